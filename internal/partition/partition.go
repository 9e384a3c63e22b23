package partition

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/producer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/session"
)

// Sink takes replication events; *journal.Journal is one.
type Sink interface{ Emit(e journal.Event) }

// Sender queues ISR proposals for AlterPartition. Propose never blocks; the
// answer comes back through Partition.ISRCommitted or ISRRejected, also when
// the queue is full (RefusedRetry after a while).
type Sender interface {
	Propose(p *Partition, c *replica.ISRChange)
}

// Storage is told what the keeper of the log directory must do. No lock of
// the partition is held, except appendMu for FlushedLowered.
type Storage interface {
	// Rolled: flush the log up to the offset, some time if a segment was closed,
	// and as soon as possible with flush on ack; then call Flushed and Perform.
	Rolled(p *Partition, upTo model.Offset)
	// FlushedLowered: a truncation cut below the recovery point; write the
	// checkpoint before anything else is appended.
	FlushedLowered(p *Partition)
	// Failed: the directory does not work any more.
	Failed(p *Partition, err error)
}

// Space guards what is left of a log directory's disk. Called under no lock but
// appendMu, for every append.
type Space interface {
	// Take returns ErrNoSpace if that many bytes of records may not be written now.
	Take(bytes int) error
}

// Quota bounds what followers outside the ISR are sent of throttled partitions.
// Its methods are called under no lock but a partition's mu.
type Quota interface {
	// Exceeded: nothing may be sent to them now.
	Exceeded() bool
	// Record counts bytes that were sent to any follower.
	Record(bytes int)
	// Withheld: p has records that it was not allowed to send. Once it is,
	// p.Release and Perform are called.
	Withheld(p *Partition)
}

// Settings is what configuration says about a replica. A value, replaced as a
// whole; the comments name Kafka's settings.
type Settings struct {
	MaxBatchBytes      int           // max.message.bytes
	SegmentBytes       int           // segment.bytes
	Compacted          bool          // cleanup.policy contains compact
	Deletes            bool          // cleanup.policy contains delete
	LogAppendTime      bool          // message.timestamp.type
	TimestampBeforeMax int64         // message.timestamp.before.max.ms
	TimestampAfterMax  int64         // message.timestamp.after.max.ms
	Codec              record.Codec  // compression.type, if Recompress
	Recompress         bool          // compression.type is not "producer"
	MinISR             int           // min.insync.replicas
	LagTimeMax         time.Duration // replica.lag.time.max.ms
	FlushOnAck         bool          // acknowledge only what is on disk
	FlushMessages      int64         // flush.messages; 0: never
	VerifyTxns         bool          // transaction.partition.verification.enable

	ThrottleLeader   bool // leader.replication.throttled.replicas names this replica
	ThrottleFollower bool // follower.replication.throttled.replicas names this replica
	// ThrottledFollowers are the brokers that follower.replication.throttled.replicas
	// names and that have a rate. Never changed.
	ThrottledFollowers []model.BrokerID
}

// Options make a Partition. Everything but LogOptions/Log, TP and Self may be
// left out where nothing depends on it.
type Options struct {
	TP       model.TopicPartition
	TopicID  model.TopicID
	Self     model.BrokerID
	Settings Settings
	// Log is the opened log; if nil, LogOptions are used to open it, with the
	// partition's producer table for its snapshots. A log that is given must
	// have been opened with ProducerSnapshot = a function that calls
	// Partition.ProducerSnapshot.
	Log        *commitlog.Log
	LogOptions commitlog.Options
	// HighWatermark from replication-offset-checkpoint, 0 if it has no entry.
	HighWatermark model.Offset
	Now           func() time.Time
	Brokers       replica.Brokers
	Sender        Sender
	Storage       Storage
	Space         Space // nil: no limit but the disk's
	Keeper        Keeper
	Quota         Quota // of what leaders send; nil: no throttle
	Acks          Acks  // nil: nobody counts
	Journal       Sink
	Logger        *slog.Logger
}

// Partition is one hosted replica. All methods are safe for concurrent use.
type Partition struct {
	tp      model.TopicPartition
	topicID model.TopicID
	self    model.BrokerID
	log     *commitlog.Log
	now     func() time.Time
	brokers replica.Brokers
	sender  Sender
	storage Storage
	space   Space
	keeper  Keeper
	quota   Quota
	acked   Acks
	journal Sink
	logger  *slog.Logger

	settings atomic.Pointer[Settings]
	hw, lso  atomic.Int64 // published before mu is released
	damage   atomic.Pointer[[]Range]

	acks    purgatory.Watch // high watermark, for acks=all
	deletes purgatory.Watch // low watermark, for DeleteRecords

	subs struct {
		sync.Mutex                                            // serialises writers
		followers, consumers atomic.Pointer[[]*session.Entry] // copy on write
	}

	stats  counts
	adding atomic.Pointer[[]model.BrokerID] // replicas that a reassignment brings; nil if there are none

	appendMu sync.Mutex // invariant 1

	mu struct {
		sync.Mutex
		role      role
		leo       model.Offset // published log end; invariant 2
		producers *producer.Table
		pending   pending
		pe        model.PartitionEpoch // of the last metadata, in any role
		replicas  []model.BrokerID
		waited    time.Time                 // when AckTimedOut spoke last
		repeats   map[model.BrokerID]repeat // of the followers of a leader
	}
}

// pending is what Perform has to do.
type pending struct {
	any       bool
	data      int // bytes appended
	committed bool
	quiet     bool
	broken    bool
	ready     purgatory.Ready // requests that lost what they waited for
	low       model.Offset
	propose   *replica.ISRChange
	events    []journal.Event
	failed    error
	rolled    model.Offset
}

// Open makes the replica of a log and loads its producers. It has no role yet.
func Open(o Options) (*Partition, error) {
	p := &Partition{
		tp: o.TP, topicID: o.TopicID, self: o.Self, now: o.Now, brokers: o.Brokers,
		sender: o.Sender, storage: o.Storage, keeper: o.Keeper, space: o.Space, quota: o.Quota, acked: o.Acks, journal: o.Journal, logger: o.Logger, log: o.Log,
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	p.settings.Store(&o.Settings)
	p.mu.role = idle{epoch: model.NoLeaderEpoch}
	p.mu.producers = producer.New()
	p.mu.producers.RequireVerification(o.Settings.VerifyTxns)
	p.mu.pending.low, p.mu.pending.rolled = model.NoOffset, model.NoOffset
	if p.log == nil {
		o.LogOptions.ProducerSnapshot = p.ProducerSnapshot
		log, err := commitlog.Open(o.LogOptions)
		if err != nil {
			return nil, err
		}
		p.log = log
	}
	table, err := p.loadProducers(p.log.End())
	if err != nil {
		return nil, err
	}
	p.mu.producers = table
	p.mu.leo = p.log.End()
	hw := max(p.log.Start(), min(o.HighWatermark, p.mu.leo))
	p.hw.Store(int64(hw))
	p.lso.Store(int64(table.LastStable(hw)))
	return p, nil
}

// ProducerSnapshot encodes the producer state at the log end. It is for the
// log, which calls it from an append, a roll or a close, thus under appendMu.
func (p *Partition) ProducerSnapshot() []byte {
	return p.mu.producers.Snapshot() // invariant 4
}

// loadProducers makes the producer table of the log up to end: the newest
// usable snapshot, and the batches after it. Those below the log start count as
// long as they are in the files: a snapshot without them would be out of date,
// and the producer's next batch out of order.
func (p *Partition) loadProducers(end model.Offset) (*producer.Table, error) {
	table, from := producer.New(), p.log.Oldest()
	for at := end; ; {
		off, data, ok := p.log.LatestProducerSnapshot(at)
		if !ok || off < p.log.Oldest() { // between the snapshot and the log batches are missing
			break
		}
		if t, err := producer.Restore(data); err == nil {
			table, from = t, off
			break
		} else {
			p.logger.Warn("producer snapshot is unusable, trying an older one",
				"partition", p.tp.String(), "offset", int64(off), "err", err)
		}
		at = off - 1
	}
	table.RequireVerification(p.settings.Load().VerifyTxns)
	if from >= end {
		return table, nil
	}
	replay := func(b record.Batch) error {
		table.Appended(b)
		return nil
	}
	if err := p.log.Below(from, replay); err != nil {
		return nil, fmt.Errorf("%s: producer state from %d: %w", p.tp, from, err)
	}
	if err := p.log.Batches(from, replay); err != nil {
		return nil, fmt.Errorf("%s: producer state from %d: %w", p.tp, from, err)
	}
	return table, nil
}

// TP names the partition.
func (p *Partition) TP() model.TopicPartition { return p.tp }

// TopicID is the id of the topic that this replica belongs to.
func (p *Partition) TopicID() model.TopicID { return p.topicID }

// Log is the replica's log, for those who keep it: retention, checkpoints,
// tools. Appends and truncations go through the Partition.
func (p *Partition) Log() *commitlog.Log { return p.log }

// HighWatermark is the first offset not known to be on every member of the
// in-sync set: consumers read below it. Never decreases while this replica
// leads (KIP-101).
func (p *Partition) HighWatermark() model.Offset { return model.Offset(p.hw.Load()) }

// LastStable is the last stable offset, exclusive: read_committed consumers
// read below it.
func (p *Partition) LastStable() model.Offset { return model.Offset(p.lso.Load()) }

// LogStart is the first offset that can be read.
func (p *Partition) LogStart() model.Offset { return p.log.Start() }

// LogEnd is the published log end.
func (p *Partition) LogEnd() model.Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.leo
}

// Settings are those in force.
func (p *Partition) Settings() Settings { return *p.settings.Load() }

// UpdateSettings replaces the settings. Call Perform afterwards.
func (p *Partition) UpdateSettings(s Settings) {
	p.settings.Store(&s)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.producers.RequireVerification(s.VerifyTxns)
	if f, ok := p.mu.role.(following); ok {
		f.core.Configure(s.FlushOnAck)
	}
	if l, ok := p.mu.role.(leading); ok {
		l.core.Limit(s.ThrottledFollowers)
		p.takeLocked(l.core.Configure(s.MinISR, s.LagTimeMax, s.FlushOnAck, p.now()))
	}
}
