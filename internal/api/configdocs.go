package api

import (
	"slices"
	"strings"

	"tidemark/internal/controller"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var topicConfigTypes = map[controller.ConfigType]kmsg.ConfigType{
	controller.TypeLong: kmsg.ConfigTypeLong, controller.TypeInt: kmsg.ConfigTypeInt,
	controller.TypeDouble: kmsg.ConfigTypeDouble, controller.TypeBool: kmsg.ConfigTypeBoolean,
	controller.TypeString: kmsg.ConfigTypeString, controller.TypeList: kmsg.ConfigTypeList,
}

var settingTypes = map[string]kmsg.ConfigType{
	"boolean": kmsg.ConfigTypeBoolean, "string": kmsg.ConfigTypeString, "int": kmsg.ConfigTypeInt,
	"short": kmsg.ConfigTypeShort, "long": kmsg.ConfigTypeLong, "double": kmsg.ConfigTypeDouble,
	"list": kmsg.ConfigTypeList, "class": kmsg.ConfigTypeClass, "password": kmsg.ConfigTypePassword,
}

// throttles are broker settings that tools set while they move replicas; they
// have no static form.
var throttles = []string{
	"follower.replication.throttled.rate", "leader.replication.throttled.rate",
	"replica.alter.log.dirs.io.max.bytes.per.second",
}

// tunable are broker settings that no topic inherits and that package broker
// applies while it runs.
var tunable = []string{
	"log.cleaner.backoff.ms", "log.cleaner.dedupe.buffer.size", "log.cleaner.io.max.bytes.per.second", "log.cleaner.threads",
	"num.recovery.threads.per.data.dir", "num.replica.fetchers", "producer.id.expiration.ms",
	"transaction.partition.verification.enable",
}

// dynamicSetting tells whether a broker setting can be changed while the broker
// runs: those that topics inherit, under the first of their names, and the two
// lists above.
func dynamicSetting(name string) bool {
	_, ok := synonymOf(name)
	return ok || slices.Contains(throttles, name) || slices.Contains(tunable, name)
}

// synonymOf finds the topic config that inherits from a broker setting.
func synonymOf(name string) (controller.TopicConfig, bool) {
	def, ok := topicConfigsBySetting[name]
	if !ok || def.Synonyms[0] != name {
		return controller.TopicConfig{}, false
	}
	return def, true
}

// family lists the settings that mean the same in different units, the finest
// first, or name alone.
func family(name string) []string {
	if def, ok := topicConfigsBySetting[name]; ok {
		return def.Synonyms
	}
	return []string{name}
}

var topicConfigsBySetting = func() map[string]controller.TopicConfig {
	m := map[string]controller.TopicConfig{}
	for _, def := range controller.TopicConfigs() {
		for _, name := range def.Synonyms {
			m[name] = def
		}
	}
	return m
}()

// topicConfigDocs says in a sentence or two what each topic config does here.
// A line that isn't indented is a name, the lines below it are its text.
var topicConfigDocs = parseDocs(`
cleanup.policy
  What happens to old segments: delete drops them by age and size, compact keeps the last record of
  every key. Both may be given; empty keeps everything.
compression.gzip.level
  Level for gzip when the broker compresses. Accepted, but the codec's own default is used.
compression.lz4.level
  Level for lz4 when the broker compresses. Accepted, but the codec's own default is used.
compression.type
  Codec of the stored batches; producer keeps what the producer chose.
compression.zstd.level
  Level for zstd when the broker compresses. Accepted, but the codec's own default is used.
delete.retention.ms
  How long compaction keeps a tombstone, so that readers from the start see it.
file.delete.delay.ms
  Time between taking a segment out of the log and deleting its files.
flush.messages
  Write the log to disk after this many records. 1 waits for the disk before it acknowledges.
flush.ms
  Write the log to disk after this much time.
follower.replication.throttled.replicas
  Replicas, as partition:broker, whose followers copy at a limited rate; * is all. Accepted, but
  nothing is throttled.
index.interval.bytes
  Bytes of records between two entries of the offset index.
leader.replication.throttled.replicas
  Replicas, as partition:broker, that leaders send at a limited rate; * is all. Accepted, but nothing
  is throttled.
local.retention.bytes
  Size kept on local disk with tiered storage; -2 follows retention.bytes.
local.retention.ms
  Age kept on local disk with tiered storage; -2 follows retention.ms.
max.compaction.lag.ms
  Longest time that a record may stay out of reach of compaction.
max.message.bytes
  Largest record batch, as compressed by the producer, that is accepted.
message.timestamp.after.max.ms
  How far in the future a record's timestamp may lie.
message.timestamp.before.max.ms
  How far in the past a record's timestamp may lie.
message.timestamp.type
  CreateTime keeps the producer's timestamps, LogAppendTime stamps the leader's clock.
min.cleanable.dirty.ratio
  Share of a log that must be uncompacted before it is compacted again.
min.compaction.lag.ms
  Shortest time that a record stays out of reach of compaction.
min.insync.replicas
  In-sync replicas that acks=all needs; with fewer such writes are refused. Also how many hold a
  record before consumers see it.
preallocate
  Allocate the whole segment file when it is created.
remote.log.copy.disable
  Stop copying segments to tiered storage. Without effect: there is no tiered storage.
remote.log.delete.on.disable
  Delete what tiered storage holds when it is turned off. Without effect: there is no tiered storage.
remote.storage.enable
  Use tiered storage, which this broker doesn't have.
retention.bytes
  Size of a partition beyond which the oldest segments are deleted; -1 sets no limit.
retention.ms
  Age beyond which segments are deleted; -1 sets no limit.
segment.bytes
  Size at which a new segment file begins.
segment.index.bytes
  Largest size of a segment's index; a full index begins a new segment.
segment.jitter.ms
  Random time taken off segment.ms, so that partitions don't roll all at once.
segment.ms
  Age at which a new segment begins even if the old one isn't full.
unclean.leader.election.enable
  Let a replica that isn't in sync lead when nothing better is left, and lose records, instead of
  staying offline.
`)

func parseDocs(block string) map[string]string {
	docs := map[string]string{}
	name := ""
	for line := range strings.Lines(block) {
		if text := strings.TrimSpace(line); !strings.HasPrefix(line, " ") {
			name = text
		} else {
			docs[name] = strings.TrimSpace(docs[name] + " " + text)
		}
	}
	return docs
}
