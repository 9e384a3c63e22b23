package commitlog

import (
	"errors"
	"hash/fnv"
	"log/slog"
	"math"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// Errors that callers distinguish with errors.Is.
var (
	// ErrOffsetOutOfRange means that an offset lies outside [Start, End].
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrCorrupt means that bytes on disk, or bytes to append, aren't batches.
	ErrCorrupt = errors.New("corrupt log")
	// ErrIO means that the disk failed. The log refuses appends from then on,
	// and the failed operation is never retried: the kernel may have dropped
	// the dirty pages.
	ErrIO = errors.New("log storage error")
	// ErrClosed is returned after Close or Delete.
	ErrClosed = errors.New("log closed")
	// ErrOffsetOrder means that a batch begins below the log end.
	ErrOffsetOrder = errors.New("offsets out of order")
	// ErrTruncated means that the bytes of a Slice were cut off the log after
	// it was taken; read again.
	ErrTruncated = errors.New("log truncated under the reader")
)

// Config is what can be set per topic. Sizes are bytes. The comments name
// Kafka's topic configuration.
type Config struct {
	SegmentBytes      int64         // segment.bytes
	SegmentAge        time.Duration // segment.ms
	SegmentJitter     time.Duration // segment.jitter.ms
	IndexInterval     int           // index.interval.bytes
	IndexMaxBytes     int           // segment.index.bytes
	RetentionBytes    int64         // retention.bytes; -1 keeps any size
	Retention         time.Duration // retention.ms; negative keeps forever
	FileDeleteDelay   time.Duration // file.delete.delay.ms
	FlushMessages     int64         // flush.messages
	FlushInterval     time.Duration // flush.ms
	Delete, Compact   bool          // cleanup.policy
	MinCleanableRatio float64       // min.cleanable.dirty.ratio
	MinCompactionLag  time.Duration // min.compaction.lag.ms
	MaxCompactionLag  time.Duration // max.compaction.lag.ms
	DeleteRetention   time.Duration // delete.retention.ms
	Preallocate       bool          // preallocate: reserve blocks ahead of the writer
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		SegmentBytes: 1 << 30, SegmentAge: 7 * 24 * time.Hour, IndexInterval: 4096, IndexMaxBytes: 10 << 20,
		RetentionBytes: -1, Retention: 7 * 24 * time.Hour, FileDeleteDelay: time.Minute,
		FlushMessages: math.MaxInt64, FlushInterval: math.MaxInt64, Delete: true,
		MinCleanableRatio: 0.5, MaxCompactionLag: math.MaxInt64, DeleteRetention: 24 * time.Hour,
	}
}

// maxSegmentBytes keeps positions within the 31 bits of an index entry.
const maxSegmentBytes = math.MaxInt32

func (c Config) withDefaults() Config {
	d := DefaultConfig()
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = d.SegmentBytes
	}
	c.SegmentBytes = min(c.SegmentBytes, maxSegmentBytes)
	if c.SegmentAge <= 0 {
		c.SegmentAge = d.SegmentAge
	}
	if c.IndexInterval <= 0 {
		c.IndexInterval = d.IndexInterval
	}
	if c.IndexMaxBytes <= 0 {
		c.IndexMaxBytes = d.IndexMaxBytes
	}
	return c
}

// rollAge is the age at which a segment that begins at base is rolled. The
// jitter is drawn from the names, so that the partitions of a node don't all
// roll at once and a test always sees the same one.
func (c *Config) rollAge(dir string, base model.Offset) time.Duration {
	age := c.SegmentAge
	if c.Compact && c.MaxCompactionLag > 0 { // only closed segments are compacted
		age = min(age, c.MaxCompactionLag)
	}
	if c.SegmentJitter <= 0 {
		return age
	}
	h := fnv.New64a()
	h.Write([]byte(segmentName(dir, base, logSuffix)))
	return age - time.Duration(h.Sum64()%uint64(min(c.SegmentJitter, age)+1))
}

// Options say where a log lives and what is known about its last shutdown.
type Options struct {
	FS     vfs.FS
	Dir    string // the partition's directory; made if it is missing
	Config Config

	LogStart      model.Offset // from log-start-offset-checkpoint; 0 if it has no entry
	RecoveryPoint model.Offset // from recovery-point-offset-checkpoint; 0 if it has no entry
	// Cleaned is the entry of the cleaner-offset-checkpoint; 0 if it has none.
	// Below it, segments need not join: compaction may have emptied their ends.
	Cleaned model.Offset
	Clean   bool // the directory was closed cleanly: nothing is checked

	Now func() time.Time // nil: time.Now
	// ProducerSnapshot encodes the producer state at the log end. It is called
	// with the log's lock held, at a roll (before the append that caused it)
	// and at a clean close. Nil, or a nil result, writes none.
	ProducerSnapshot func() []byte
	// Removing is told what recovery is about to cut; may be nil.
	Removing func(Removal)
	// OnDirty is called, with the log's lock held, when RestartBytes were appended
	// to the active segment since the last restart point: call RestartPoint some
	// time. 0 or nil: never.
	RestartBytes int64
	OnDirty      func()
	// OnReadError is called when the bytes of a Slice can't be read, long after
	// Read has returned it; by any goroutine, maybe often. May be nil.
	OnReadError func(error)
	// OnSegmentRecovered reports progress of recovery, before the first segment is
	// read and after each; may be nil.
	OnSegmentRecovered func(done, total int)
	Log                *slog.Logger // nil: discarded
	Files              *Files       // open-file budget; nil: shared by the process
}

func (o Options) withDefaults() Options {
	o.Config = o.Config.withDefaults()
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Files == nil {
		o.Files = sharedFiles()
	}
	return o
}
