package broker

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/record"
)

// topicConfig is the effective configuration of one topic on this broker.
type topicConfig struct {
	log      commitlog.Config
	settings partition.Settings
	unclean  bool // unclean.leader.election.enable
}

// synonym is a broker setting that gives a topic setting its default, and the
// number of the topic's units in one of its own.
type synonym struct {
	name  string
	scale int64
}

// synonyms of the topic settings whose broker setting has another name, the
// finest unit first, since it goes before the coarser ones.
var synonyms = map[string][]synonym{
	"cleanup.policy":                  {{"log.cleanup.policy", 1}},
	"compression.type":                {{"compression.type", 1}},
	"delete.retention.ms":             {{"log.cleaner.delete.retention.ms", 1}},
	"file.delete.delay.ms":            {{"log.segment.delete.delay.ms", 1}},
	"flush.messages":                  {{"log.flush.interval.messages", 1}},
	"flush.ms":                        {{"log.flush.interval.ms", 1}},
	"index.interval.bytes":            {{"log.index.interval.bytes", 1}},
	"max.compaction.lag.ms":           {{"log.cleaner.max.compaction.lag.ms", 1}},
	"max.message.bytes":               {{"message.max.bytes", 1}},
	"message.timestamp.after.max.ms":  {{"log.message.timestamp.after.max.ms", 1}},
	"message.timestamp.before.max.ms": {{"log.message.timestamp.before.max.ms", 1}},
	"message.timestamp.type":          {{"log.message.timestamp.type", 1}},
	"min.cleanable.dirty.ratio":       {{"log.cleaner.min.cleanable.ratio", 1}},
	"min.compaction.lag.ms":           {{"log.cleaner.min.compaction.lag.ms", 1}},
	"min.insync.replicas":             {{"min.insync.replicas", 1}},
	"preallocate":                     {{"log.preallocate", 1}},
	"retention.bytes":                 {{"log.retention.bytes", 1}},
	"retention.ms": {
		{"log.retention.ms", 1}, {"log.retention.minutes", 60e3}, {"log.retention.hours", 3600e3},
	},
	"segment.bytes":                  {{"log.segment.bytes", 1}},
	"segment.index.bytes":            {{"log.index.size.max.bytes", 1}},
	"segment.jitter.ms":              {{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", 3600e3}},
	"segment.ms":                     {{"log.roll.ms", 1}, {"log.roll.hours", 3600e3}},
	"unclean.leader.election.enable": {{"unclean.leader.election.enable", 1}},
}

// lookup finds the values of one topic: its own override, then the dynamic
// setting of this broker, then that of all brokers, then the static default.
// Values that don't parse are skipped: the controller has checked them, and a
// newer one may know what this node doesn't.
type lookup struct {
	own, broker, all, static map[string]string
}

func (b *Broker) lookup(img *metadata.Image, topic string) lookup {
	return lookupFor(img, b.cfg.Self, topic, b.cfg.Defaults)
}

func lookupFor(img *metadata.Image, id model.BrokerID, topic string, static map[string]string) lookup {
	return lookup{
		own:    img.TopicConfig(topic),
		broker: img.Configs[metadata.Resource{Type: metadata.BrokerResource, Name: strconv.Itoa(int(id))}],
		all:    img.Configs[metadata.Resource{Type: metadata.BrokerResource}],
		static: static,
	}
}

// candidates yields the values for a topic setting, strongest first, with the
// factor to the topic's unit. A name without synonyms is a broker setting.
func (l lookup) candidates(name string, yield func(value string, scale int64) bool) {
	if v, ok := l.own[name]; ok && yield(v, 1) {
		return
	}
	names := synonyms[name]
	if names == nil {
		names = []synonym{{name, 1}}
	}
	for _, layer := range []map[string]string{l.broker, l.all} {
		for _, s := range names {
			if v, ok := layer[s.name]; ok && yield(v, s.scale) {
				return
			}
		}
	}
	if v, ok := l.static[name]; ok {
		yield(v, 1)
	}
}

func (l lookup) int(name string, def int64) int64 {
	l.candidates(name, func(v string, scale int64) bool {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return false
		}
		if def = n; n > 0 && n < math.MaxInt64/scale {
			def = n * scale
		}
		return true
	})
	return def
}

// millis is a duration in ms; values too large for a Duration mean forever.
func (l lookup) millis(name string, def int64) time.Duration {
	n := l.int(name, def)
	if n > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

func (l lookup) str(name, def string) string {
	l.candidates(name, func(v string, _ int64) bool {
		def = strings.TrimSpace(v)
		return true
	})
	return def
}

func (l lookup) bool(name string) bool { return strings.EqualFold(l.str(name, "false"), "true") }

func (l lookup) float(name string, def float64) float64 {
	l.candidates(name, func(v string, _ int64) bool {
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err == nil {
			def = f
		}
		return err == nil
	})
	return def
}

// Defaults of Kafka that matter here, in the units of the topic settings.
const (
	weekMillis       = 7 * 24 * 3600 * 1000
	dayMillis        = 24 * 3600 * 1000
	maxMessageBytes  = 1048588
	timestampAfterMs = 3600 * 1000
)

// resolve computes the effective configuration of a topic for one partition.
func (b *Broker) resolve(img *metadata.Image, tp model.TopicPartition) topicConfig {
	l := b.lookup(img, tp.Topic)
	policy := strings.Split(l.str("cleanup.policy", "delete"), ",")
	for i := range policy {
		policy[i] = strings.TrimSpace(policy[i])
	}
	c := topicConfig{unclean: l.bool("unclean.leader.election.enable")}
	c.log = commitlog.Config{
		SegmentBytes:      l.int("segment.bytes", 1<<30),
		SegmentAge:        l.millis("segment.ms", weekMillis),
		SegmentJitter:     l.millis("segment.jitter.ms", 0),
		IndexInterval:     int(l.int("index.interval.bytes", 4096)),
		IndexMaxBytes:     int(l.int("segment.index.bytes", 10<<20)),
		RetentionBytes:    l.int("retention.bytes", -1),
		Retention:         l.millis("retention.ms", weekMillis),
		FileDeleteDelay:   l.millis("file.delete.delay.ms", 60000),
		FlushMessages:     l.int("flush.messages", math.MaxInt64),
		FlushInterval:     l.millis("flush.ms", math.MaxInt64),
		Delete:            slices.Contains(policy, "delete"),
		Compact:           slices.Contains(policy, "compact"),
		MinCleanableRatio: l.float("min.cleanable.dirty.ratio", 0.5),
		MinCompactionLag:  l.millis("min.compaction.lag.ms", 0),
		MaxCompactionLag:  l.millis("max.compaction.lag.ms", math.MaxInt64),
		DeleteRetention:   l.millis("delete.retention.ms", dayMillis),
		Preallocate:       l.bool("preallocate"),
	}
	codec, recompress := codecOf(l.str("compression.type", "producer"))
	c.settings = partition.Settings{
		MaxBatchBytes:      int(l.int("max.message.bytes", maxMessageBytes)),
		SegmentBytes:       int(c.log.SegmentBytes),
		Compacted:          c.log.Compact,
		Deletes:            c.log.Delete,
		LogAppendTime:      l.str("message.timestamp.type", "CreateTime") == "LogAppendTime",
		TimestampBeforeMax: l.int("message.timestamp.before.max.ms", math.MaxInt64),
		TimestampAfterMax:  l.int("message.timestamp.after.max.ms", timestampAfterMs),
		Codec:              codec,
		Recompress:         recompress,
		MinISR:             int(max(1, l.int("min.insync.replicas", 1))),
		LagTimeMax:         b.cfg.LagTimeMax,
		// flush.messages=1 asks for every record on disk before it counts.
		FlushOnAck:    c.log.FlushMessages == 1,
		FlushMessages: c.log.FlushMessages,
		VerifyTxns:    b.settings(img).verifyTxns,
	}
	b.throttles(img, tp, &c.settings)
	return c
}

func codecOf(name string) (codec record.Codec, recompress bool) { // flat switch
	switch name {
	case "gzip":
		return record.Gzip, true
	case "snappy":
		return record.Snappy, true
	case "lz4":
		return record.LZ4, true
	case "zstd":
		return record.Zstd, true
	case "uncompressed":
		return record.None, true
	default:
		return record.None, false
	}
}

// configsChanged gives changed configuration to the replicas that it concerns.
func (b *Broker) configsChanged(img *metadata.Image, d *metadata.Delta) {
	if d == nil {
		b.tune(img)
		b.reconfigure(img, func(string) bool { return true })
		return
	}
	topics := map[string]bool{}
	all := false // also of another broker: its throttle is a reason for its silence
	for _, r := range d.ConfigChanges() {
		switch {
		case r.Type == metadata.TopicResource:
			topics[r.Name] = true
		case r.Type == metadata.BrokerResource:
			all = true
		}
	}
	if all {
		b.tune(img)
	}
	if all || len(topics) > 0 {
		b.reconfigure(img, func(topic string) bool { return all || topics[topic] })
	}
}

func (b *Broker) reconfigure(img *metadata.Image, concerned func(topic string) bool) {
	for _, h := range b.set.Load().sorted {
		if !concerned(h.p.TP().Topic) {
			continue
		}
		c := b.resolve(img, h.p.TP())
		h.unsafe = c.unclean
		h.p.Log().UpdateConfig(c.log)
		h.p.UpdateSettings(c.settings)
		perform(h.p)
	}
}
