package controller

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ConfigType is how a config's text is read.
type ConfigType uint8

// The types of topic configs.
const (
	TypeLong ConfigType = iota + 1
	TypeInt
	TypeDouble
	TypeBool
	TypeString
	TypeList
)

// TopicConfig describes one config that a topic may have: the only table of them.
type TopicConfig struct {
	Name    string
	Type    ConfigType
	Default string
	// Synonyms are the broker settings that give the value for topics without an
	// override, the most specific first.
	Synonyms []string
	// Min and Max bound numbers, inclusive.
	Min, Max float64
	// Legal lists the values of a string or of a list's members; nil allows all.
	Legal []string
}

const (
	maxLong = float64(math.MaxInt64)
	maxInt  = float64(math.MaxInt32)
	longMax = "9223372036854775807"
)

var topicConfigs = []TopicConfig{
	{Name: "cleanup.policy", Type: TypeList, Default: "delete", Synonyms: []string{"log.cleanup.policy"},
		Legal: []string{"compact", "delete"}},
	{Name: "compression.gzip.level", Type: TypeInt, Default: "-1", Synonyms: []string{"compression.gzip.level"},
		Min: -1, Max: 9},
	{Name: "compression.lz4.level", Type: TypeInt, Default: "9", Synonyms: []string{"compression.lz4.level"},
		Min: 1, Max: 17},
	{Name: "compression.type", Type: TypeString, Default: "producer", Synonyms: []string{"compression.type"},
		Legal: []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"}},
	{Name: "compression.zstd.level", Type: TypeInt, Default: "3", Synonyms: []string{"compression.zstd.level"},
		Min: -131072, Max: 22},
	{Name: "delete.retention.ms", Type: TypeLong, Default: "86400000",
		Synonyms: []string{"log.cleaner.delete.retention.ms"}, Max: maxLong},
	{Name: "file.delete.delay.ms", Type: TypeLong, Default: "60000",
		Synonyms: []string{"log.segment.delete.delay.ms"}, Max: maxLong},
	{Name: "flush.messages", Type: TypeLong, Default: longMax,
		Synonyms: []string{"log.flush.interval.messages"}, Min: 1, Max: maxLong},
	{Name: "flush.ms", Type: TypeLong, Default: longMax,
		Synonyms: []string{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"}, Max: maxLong},
	{Name: "follower.replication.throttled.replicas", Type: TypeList},
	{Name: "index.interval.bytes", Type: TypeInt, Default: "4096",
		Synonyms: []string{"log.index.interval.bytes"}, Max: maxInt},
	{Name: "leader.replication.throttled.replicas", Type: TypeList},
	{Name: "local.retention.bytes", Type: TypeLong, Default: "-2",
		Synonyms: []string{"log.local.retention.bytes"}, Min: -2, Max: maxLong},
	{Name: "local.retention.ms", Type: TypeLong, Default: "-2",
		Synonyms: []string{"log.local.retention.ms"}, Min: -2, Max: maxLong},
	{Name: "max.compaction.lag.ms", Type: TypeLong, Default: longMax,
		Synonyms: []string{"log.cleaner.max.compaction.lag.ms"}, Min: 1, Max: maxLong},
	{Name: "max.message.bytes", Type: TypeInt, Default: "1048588", Synonyms: []string{"message.max.bytes"},
		Max: maxInt},
	{Name: "message.timestamp.after.max.ms", Type: TypeLong, Default: "3600000",
		Synonyms: []string{"log.message.timestamp.after.max.ms"}, Max: maxLong},
	{Name: "message.timestamp.before.max.ms", Type: TypeLong, Default: longMax,
		Synonyms: []string{"log.message.timestamp.before.max.ms"}, Max: maxLong},
	{Name: "message.timestamp.type", Type: TypeString, Default: "CreateTime",
		Synonyms: []string{"log.message.timestamp.type"}, Legal: []string{"CreateTime", "LogAppendTime"}},
	{Name: "min.cleanable.dirty.ratio", Type: TypeDouble, Default: "0.5",
		Synonyms: []string{"log.cleaner.min.cleanable.ratio"}, Max: 1},
	{Name: "min.compaction.lag.ms", Type: TypeLong, Default: "0",
		Synonyms: []string{"log.cleaner.min.compaction.lag.ms"}, Max: maxLong},
	{Name: "min.insync.replicas", Type: TypeInt, Default: "1", Synonyms: []string{"min.insync.replicas"},
		Min: 1, Max: maxInt},
	{Name: "preallocate", Type: TypeBool, Default: "false", Synonyms: []string{"log.preallocate"}},
	{Name: "remote.log.copy.disable", Type: TypeBool, Default: "false"},
	{Name: "remote.log.delete.on.disable", Type: TypeBool, Default: "false"},
	{Name: "remote.storage.enable", Type: TypeBool, Default: "false"},
	{Name: "retention.bytes", Type: TypeLong, Default: "-1", Synonyms: []string{"log.retention.bytes"},
		Min: -math.MaxInt64, Max: maxLong},
	{Name: "retention.ms", Type: TypeLong, Default: "604800000",
		Synonyms: []string{"log.retention.ms", "log.retention.minutes", "log.retention.hours"},
		Min:      -1, Max: maxLong},
	{Name: "segment.bytes", Type: TypeInt, Default: "1073741824", Synonyms: []string{"log.segment.bytes"},
		Min: 1 << 20, Max: maxInt},
	{Name: "segment.index.bytes", Type: TypeInt, Default: "10485760",
		Synonyms: []string{"log.index.size.max.bytes"}, Min: 4, Max: maxInt},
	{Name: "segment.jitter.ms", Type: TypeLong, Default: "0",
		Synonyms: []string{"log.roll.jitter.ms", "log.roll.jitter.hours"}, Max: maxLong},
	{Name: "segment.ms", Type: TypeLong, Default: "604800000",
		Synonyms: []string{"log.roll.ms", "log.roll.hours"}, Min: 1, Max: maxLong},
	{Name: "unclean.leader.election.enable", Type: TypeBool, Default: "false",
		Synonyms: []string{"unclean.leader.election.enable"}},
}

// TopicConfigs returns every topic config, sorted by name. The caller may keep the
// slice but not change what is in it.
func TopicConfigs() []TopicConfig { return slices.Clone(topicConfigs) }

// LookupTopicConfig finds a topic config by name.
func LookupTopicConfig(name string) (TopicConfig, bool) {
	i, ok := slices.BinarySearchFunc(topicConfigs, name, func(c TopicConfig, n string) int {
		return strings.Compare(c.Name, n)
	})
	if !ok {
		return TopicConfig{}, false
	}
	return topicConfigs[i], true
}

// Check reports why value isn't legal, with Kafka's wording, or nil.
func (c TopicConfig) Check(value string) error {
	value = strings.TrimSpace(value)
	bad := func(why string) error {
		return fmt.Errorf("Invalid value %s for configuration %s: %s", value, c.Name, why) //nolint:staticcheck // text of the protocol
	}
	switch c.Type {
	case TypeBool:
		if l := strings.ToLower(value); l != "true" && l != "false" {
			return bad("Expected value to be either true or false")
		}
	case TypeInt, TypeLong:
		return c.checkInteger(value, bad)
	case TypeDouble:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(f) {
			return bad("Not a number of type DOUBLE")
		}
		return c.checkRange(f, bad)
	case TypeString:
		if c.Legal != nil && !slices.Contains(c.Legal, value) {
			return bad("String must be one of: " + strings.Join(c.Legal, ", "))
		}
	case TypeList:
		return c.checkList(value, bad)
	}
	return nil
}

func (c TopicConfig) checkInteger(value string, bad func(string) error) error {
	bits, name := 64, "LONG"
	if c.Type == TypeInt {
		bits, name = 32, "INT"
	}
	n, err := strconv.ParseInt(value, 10, bits)
	if err != nil {
		return bad("Not a number of type " + name)
	}
	return c.checkRange(float64(n), bad)
}

func (c TopicConfig) checkRange(v float64, bad func(string) error) error {
	if v < c.Min {
		return bad("Value must be at least " + number(c.Min))
	}
	if v > c.Max {
		return bad("Value must be no more than " + number(c.Max))
	}
	return nil
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (c TopicConfig) checkList(value string, bad func(string) error) error {
	for _, v := range SplitList(value) {
		if c.Legal != nil && !slices.Contains(c.Legal, v) {
			return bad("String must be one of: " + strings.Join(c.Legal, ", "))
		}
	}
	if strings.HasSuffix(c.Name, ".throttled.replicas") && !throttleSyntax(value) {
		return bad("Must be the literal '*' or a list of replicas in the following format: " +
			"[partitionId]:[brokerId],[partitionId]:[brokerId],...")
	}
	return nil
}

func throttleSyntax(value string) bool {
	if value == "*" {
		return true
	}
	for _, v := range SplitList(value) {
		p, b, ok := strings.Cut(v, ":")
		if !ok {
			return false
		}
		for _, n := range []string{p, b} {
			if _, err := strconv.ParseUint(strings.TrimSpace(n), 10, 31); err != nil {
				return false
			}
		}
	}
	return true
}

// SplitList reads a list value: commas between, blanks around, empty for none.
func SplitList(value string) []string {
	var out []string
	for v := range strings.SplitSeq(value, ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}
