package config

import (
	"strconv"
	"strings"
	"time"
)

func (c *Config) timers(v values) {
	c.FastFailureDetection = v.bool("tidemark.fast.failure.detection")
	c.JournalMaxBytes = v.int64("tidemark.journal.max.bytes")
	c.Replication = Replication{
		LagTimeMax:              v.millis("replica.lag.time.max.ms"),
		Fetchers:                v.int("num.replica.fetchers"),
		FetchMinBytes:           int32(v.int64("replica.fetch.min.bytes")),
		FetchMaxWait:            v.millis("replica.fetch.wait.max.ms"),
		FetchMaxBytes:           int32(v.int64("replica.fetch.max.bytes")),
		FetchResponseMaxBytes:   int32(v.int64("replica.fetch.response.max.bytes")),
		FetchBackoff:            v.millis("replica.fetch.backoff.ms"),
		SocketTimeout:           v.millis("replica.socket.timeout.ms"),
		HighWatermarkCheckpoint: v.millis("replica.high.watermark.checkpoint.interval.ms"),
		Selector:                selector(v.raw("replica.selector.class")),
		FetchMaxBytesClient:     int32(v.int64("fetch.max.bytes")),
		SessionSlots:            v.int("max.incremental.fetch.session.cache.slots"),
		ProducerIDExpiration:    v.millis("producer.id.expiration.ms"),
		ProducerIDCheck:         v.millis("producer.id.expiration.check.interval.ms"),
		QuotaSlots:              v.int("replication.quota.window.num"),
		QuotaSlot:               scaled(v.int64("replication.quota.window.size.seconds"), time.Second),
	}
	c.Lifecycle = Lifecycle{
		Heartbeat:           v.millis("broker.heartbeat.interval.ms"),
		Session:             v.millis("broker.session.timeout.ms"),
		RegistrationTimeout: v.millis("initial.broker.registration.timeout.ms"),
		ControlledShutdown:  v.bool("controlled.shutdown.enable"),
		DirFailureTimeout:   v.millis("log.dir.failure.timeout.ms"),
		RequestTimeout:      v.millis("request.timeout.ms"),
	}
	c.Quorum = Quorum{
		ElectionTimeout:         v.millis("controller.quorum.election.timeout.ms"),
		FetchTimeout:            v.millis("controller.quorum.fetch.timeout.ms"),
		RequestTimeout:          v.millis("controller.quorum.request.timeout.ms"),
		RetryBackoff:            v.millis("controller.quorum.retry.backoff.ms"),
		SnapshotBytes:           v.int64("metadata.log.max.record.bytes.between.snapshots"),
		SnapshotInterval:        v.millis("metadata.log.max.snapshot.interval.ms"),
		SegmentBytes:            v.int64("metadata.log.segment.bytes"),
		RetentionBytes:          v.int64("metadata.max.retention.bytes"),
		Retention:               v.millis("metadata.max.retention.ms"),
		IdleInterval:            v.millis("metadata.max.idle.interval.ms"),
		LeaderRebalance:         v.bool("auto.leader.rebalance.enable"),
		LeaderRebalanceInterval: scaled(v.int64("leader.imbalance.check.interval.seconds"), time.Second),
		UncleanInterval:         v.millis("unclean.leader.election.interval.ms"),
	}
	c.storage(v)
	c.Groups = Groups{
		InitialRebalanceDelay: v.millis("group.initial.rebalance.delay.ms"),
		MinSession:            v.millis("group.min.session.timeout.ms"),
		MaxSession:            v.millis("group.max.session.timeout.ms"),
		MaxSize:               v.int("group.max.size"),
		OffsetsPartitions:     int32(v.int64("offsets.topic.num.partitions")),
		OffsetsReplication:    int16(v.int64("offsets.topic.replication.factor")),
		OffsetsSegmentBytes:   v.int64("offsets.topic.segment.bytes"),
		OffsetsRetention:      scaled(v.int64("offsets.retention.minutes"), time.Minute),
		OffsetsRetentionCheck: v.millis("offsets.retention.check.interval.ms"),
		OffsetsCommitTimeout:  v.millis("offsets.commit.timeout.ms"),
		OffsetMetadataMax:     v.int("offset.metadata.max.bytes"),
	}
}

func (c *Config) storage(v values) {
	c.Storage = Storage{
		RestartBytes:            v.int64("tidemark.recovery.max.bytes"),
		ReserveBytes:            v.int64("tidemark.log.dir.reserve.bytes"),
		ScrubRate:               v.int64("tidemark.scrub.bytes.per.second"),
		LostFoundMaxBytes:       v.int64("tidemark.lostfound.max.bytes"),
		RecoveryThreads:         v.int("num.recovery.threads.per.data.dir"),
		RecoveryPointCheckpoint: v.millis("log.flush.offset.checkpoint.interval.ms"),
		LogStartCheckpoint:      v.millis("log.flush.start.offset.checkpoint.interval.ms"),
		RetentionCheck:          v.millis("log.retention.check.interval.ms"),
		InitialTaskDelay:        v.millis("log.initial.task.delay.ms"),
		Cleaner:                 v.bool("log.cleaner.enable"),
		Cleaners:                v.int("log.cleaner.threads"),
		CleanerBackoff:          v.millis("log.cleaner.backoff.ms"),
		CleanerRate:             v.float("log.cleaner.io.max.bytes.per.second"),
		DedupeBytes:             v.int64("log.cleaner.dedupe.buffer.size"),
	}
}

// selector accepts Kafka's class names, which people paste, and short names.
func selector(class string) string {
	switch {
	case class == "":
		return ""
	case strings.EqualFold(class, "rack") || strings.HasSuffix(class, "RackAwareReplicaSelector"):
		return "rack"
	default:
		return "leader"
	}
}

// synonyms maps a topic config to the broker setting of the same meaning and unit.
var synonyms = map[string]string{
	"segment.bytes": "log.segment.bytes", "segment.index.bytes": "log.index.size.max.bytes",
	"index.interval.bytes": "log.index.interval.bytes", "flush.messages": "log.flush.interval.messages",
	"retention.bytes": "log.retention.bytes", "max.message.bytes": "message.max.bytes", "cleanup.policy": "log.cleanup.policy",
	"delete.retention.ms": "log.cleaner.delete.retention.ms", "min.compaction.lag.ms": "log.cleaner.min.compaction.lag.ms",
	"max.compaction.lag.ms": "log.cleaner.max.compaction.lag.ms", "min.cleanable.dirty.ratio": "log.cleaner.min.cleanable.ratio",
	"file.delete.delay.ms": "log.segment.delete.delay.ms", "min.insync.replicas": "min.insync.replicas",
	"unclean.leader.election.enable": "unclean.leader.election.enable", "compression.type": "compression.type",
	"compression.gzip.level": "compression.gzip.level", "compression.lz4.level": "compression.lz4.level",
	"compression.zstd.level": "compression.zstd.level", "preallocate": "log.preallocate",
	"message.timestamp.type":          "log.message.timestamp.type",
	"message.timestamp.before.max.ms": "log.message.timestamp.before.max.ms",
	"message.timestamp.after.max.ms":  "log.message.timestamp.after.max.ms",
}

func (c *Config) topics(v values) {
	d := map[string]string{}
	for topic, broker := range synonyms {
		d[topic] = v.raw(broker)
	}
	ms := func(t time.Duration) string {
		if t == 1<<63-1 {
			return strconv.FormatInt(1<<63-1, 10)
		}
		return strconv.FormatInt(t.Milliseconds(), 10)
	}
	d["retention.ms"] = "-1"
	if r := v.firstOf(unitKey{"log.retention.ms", time.Millisecond}, unitKey{"log.retention.minutes", time.Minute}, unitKey{"log.retention.hours", time.Hour}); r >= 0 {
		d["retention.ms"] = ms(r)
	}
	d["segment.ms"] = ms(v.firstOf(unitKey{"log.roll.ms", time.Millisecond}, unitKey{"log.roll.hours", time.Hour}))
	d["segment.jitter.ms"] = ms(v.firstOf(unitKey{"log.roll.jitter.ms", time.Millisecond}, unitKey{"log.roll.jitter.hours", time.Hour}))
	d["flush.ms"] = ms(v.firstOf(unitKey{"log.flush.interval.ms", time.Millisecond}, unitKey{"log.flush.scheduler.interval.ms", time.Millisecond}))
	c.Topics = Topics{
		AutoCreate:        v.bool("auto.create.topics.enable"),
		DeleteEnabled:     v.bool("delete.topic.enable"),
		Partitions:        int32(v.int64("num.partitions")),
		ReplicationFactor: int16(v.int64("default.replication.factor")),
		Defaults:          d,
	}
}
