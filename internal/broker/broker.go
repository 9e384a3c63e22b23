package broker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/fetcher"
	"tidemark/internal/journal"
	"tidemark/internal/latency"
	"tidemark/internal/lostfound"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/purgatory"
	"tidemark/internal/replica"
	"tidemark/internal/vfs"
)

// Fetchers copy from leaders; *fetcher.Fetchers implements it.
type Fetchers interface {
	Add([]fetcher.Assignment)
	Remove([]model.TopicPartition)
	// Resize changes the number of loops per leader.
	Resize(n int) error
	Close()
}

// Sink takes events; *journal.Journal implements it.
type Sink interface{ Emit(journal.Event) }

// AlterChannel carries ISR proposals; *observer.Channel implements it.
type AlterChannel interface {
	AlterPartitions(context.Context, model.BrokerID, model.BrokerEpoch, []peer.AlterPartition) (
		peer.AlterPartitionsResult, error)
}

// AssignChannel carries directory assignments; *observer.Channel implements it.
type AssignChannel interface {
	AssignReplicasToDirs(context.Context, model.BrokerID, model.BrokerEpoch, []peer.DirAssignment) (
		peer.AssignDirsResult, error)
}

// Coordinators are told when this broker begins and ceases to lead a partition,
// outside all locks but apply, in the order of the metadata.
type Coordinators interface {
	Elected(p *partition.Partition, epoch model.LeaderEpoch)
	Resigned(tp model.TopicPartition, epoch model.LeaderEpoch)
}

// Dir is one configured log directory.
type Dir struct {
	Path string
	ID   model.DirectoryID
}

// Config configures a Broker. Zero durations take Kafka's defaults.
type Config struct {
	Self     model.BrokerID
	Epoch    func() model.BrokerEpoch // of the current registration
	FS       vfs.FS
	Dirs     []Dir
	Listener string // inter.broker.listener.name, upper case
	// Defaults are topic configurations from the static configuration, by their
	// topic names.
	Defaults map[string]string

	Fetchers     Fetchers
	Alter        AlterChannel
	Assign       AssignChannel
	Coordinators Coordinators // may be nil
	Events       Sink
	Acks         partition.Acks // counts who completes acks=all; may be nil
	Log          *slog.Logger
	Now          func() time.Time
	// DirFailed is told the id of a directory that failed, and how many are left.
	DirFailed func(id model.DirectoryID, left int)

	LagTimeMax        time.Duration    // replica.lag.time.max.ms; 30 s
	HighWatermarks    time.Duration    // replica.high.watermark.checkpoint.interval.ms; 5 s
	RecoveryPoints    time.Duration    // log.flush.offset.checkpoint.interval.ms; 60 s
	Retention         time.Duration    // log.retention.check.interval.ms; 5 min
	InitialDelay      time.Duration    // log.initial.task.delay.ms; 30 s
	ProducerExpiry    time.Duration    // producer.id.expiration.ms; 24 h
	RecoveryThreads   int              // num.recovery.threads.per.data.dir; 2
	RestartBytes      int64            // tidemark.recovery.max.bytes; 0: no restart points
	ReserveBytes      int64            // tidemark.log.dir.reserve.bytes; at most a twentieth of the disk
	FetcherLoops      int              // num.replica.fetchers; 1
	ScrubRate         int64            // tidemark.scrub.bytes.per.second; 0: no scrub
	LostFound         *lostfound.Store // keeps what is cut; nil: nothing
	NoCleaner         bool             // log.cleaner.enable=false
	Cleaners          int              // log.cleaner.threads; 0 means 1, below 0 none
	CleanerBackoff    time.Duration    // log.cleaner.backoff.ms; 15 s
	CleanerRate       float64          // log.cleaner.io.max.bytes.per.second; 0: no limit
	DedupeBytes       int64            // log.cleaner.dedupe.buffer.size; 128 MiB
	QuotaSlots        int              // replication.quota.window.num; 11
	QuotaSlot         time.Duration    // replication.quota.window.size.seconds; 1 s
	VerifyTxns        bool             // transaction.partition.verification.enable
	RetryBackoff      time.Duration    // of AlterPartition; 50 ms
	AssignmentBackoff time.Duration    // of AssignReplicasToDirs; 500 ms
}

func (c *Config) setDefaults() {
	c.LagTimeMax = cmp.Or(c.LagTimeMax, 30*time.Second)
	c.HighWatermarks = cmp.Or(c.HighWatermarks, 5*time.Second)
	c.RecoveryPoints = cmp.Or(c.RecoveryPoints, time.Minute)
	c.Retention = cmp.Or(c.Retention, 5*time.Minute)
	c.InitialDelay = cmp.Or(c.InitialDelay, 30*time.Second)
	c.ProducerExpiry = cmp.Or(c.ProducerExpiry, 24*time.Hour)
	c.RecoveryThreads = cmp.Or(c.RecoveryThreads, 2)
	c.FetcherLoops = cmp.Or(c.FetcherLoops, 1)
	c.Cleaners = cmp.Or(c.Cleaners, 1)
	c.CleanerBackoff = cmp.Or(c.CleanerBackoff, 15*time.Second)
	c.DedupeBytes = cmp.Or(c.DedupeBytes, 128<<20)
	c.QuotaSlots = cmp.Or(c.QuotaSlots, 11)
	c.QuotaSlot = cmp.Or(c.QuotaSlot, time.Second)
	c.RetryBackoff = cmp.Or(c.RetryBackoff, 50*time.Millisecond)
	c.AssignmentBackoff = cmp.Or(c.AssignmentBackoff, 500*time.Millisecond)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// hosted is one replica and what the broker knows of it beyond its log.
type hosted struct {
	p      *partition.Partition
	dir    *logDir
	unsafe bool // unclean.leader.election.enable: the topic prefers availability
	// owed is the high watermark that an unclean stop took away, NoOffset if none
	// (invariant 6). Atomic: the fetcher clears it.
	owed atomic.Int64
	// lost is set while the controller is asked not to count on the replica for
	// damage, refetching from the cut until the debt is paid.
	lost, refetching atomic.Bool
	// leads is the leader epoch in which the coordinators were told that this
	// replica leads, NoLeaderEpoch if they were not. Guarded by apply.
	leads model.LeaderEpoch
}

// replicas are the maps that others read; never changed once published.
type replicas struct {
	byName map[model.TopicPartition]*hosted
	byID   map[model.TopicIDPartition]*hosted
	sorted []*hosted
}

// Broker hosts replicas. Methods are safe for concurrent use.
type Broker struct {
	cfg     Config
	dirs    []*logDir
	image   atomic.Pointer[metadata.Image]
	set     atomic.Pointer[replicas]
	gone    retired
	alter   *alterQueue
	dirq    *assignQueue
	repairs *repairs
	loads   progress

	flushTimes latency.Histogram

	loaded atomic.Bool // logs are loaded; set under apply
	tuned  atomic.Pointer[settings]

	leaderQuota, followerQuota *throttle
	cleaners                   *cleaners

	apply struct {
		sync.Mutex
		closed bool
		hosted map[model.TopicPartition]*hosted
		stray  []strayDir
	}

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// Open locks the directories and takes their clean-shutdown markers away. Logs
// are loaded when the first metadata is applied. A directory that can't be
// opened is offline from the start; it is an error if none can.
func Open(cfg Config) (*Broker, error) {
	cfg.setDefaults()
	b := &Broker{cfg: cfg}
	b.leaderQuota = newThrottle(cfg.QuotaSlots, cfg.QuotaSlot, cfg.Now)
	b.followerQuota = newThrottle(cfg.QuotaSlots, cfg.QuotaSlot, cfg.Now)
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.image.Store(metadata.Empty())
	b.tuned.Store(b.settings(metadata.Empty()))
	b.set.Store(&replicas{})
	b.apply.hosted = make(map[model.TopicPartition]*hosted)
	b.alter = newAlterQueue(b)
	b.dirq = newAssignQueue(b)
	b.repairs = newRepairs(b)
	b.cleaners = newCleaners(b)
	for _, d := range cfg.Dirs {
		ld, err := openDir(cfg.FS, d)
		if err != nil {
			b.closeDirs()
			return nil, err
		}
		ld.space = newSpace(ld, &b.cfg)
		b.dirs = append(b.dirs, ld)
	}
	if b.liveDirs() == 0 {
		b.closeDirs()
		return nil, fmt.Errorf("no usable log directory among %d", len(cfg.Dirs))
	}
	return b, nil
}

// Start begins the periodic work and the queues to the controller.
func (b *Broker) Start() {
	b.tasks.Go(b.alter.run)
	b.tasks.Go(b.dirq.run)
	b.tasks.Go(b.ticks)
	b.tasks.Go(b.repairs.run)
	for _, d := range b.dirs {
		b.tasks.Go(func() { b.scrubber(d) })
		b.tasks.Go(func() { b.markHighWatermarks(d) })
		b.tasks.Go(func() { b.janitor(d) })
		b.tasks.Go(func() { b.flushTimer(d) })
		b.tasks.Go(func() { b.recordPoints(d) })
		b.tasks.Go(func() { b.undertake(d) })
		for range flushWorkers {
			b.tasks.Go(func() { b.flusher(d) })
		}
	}
}

// Image is the metadata that was applied last, or is being applied.
func (b *Broker) Image() *metadata.Image { return b.image.Load() }

// PreviousEpoch is the broker epoch of the last life if that ended cleanly in
// every directory, else NoBrokerEpoch. It goes into the registration.
func (b *Broker) PreviousEpoch() model.BrokerEpoch {
	epoch := model.NoBrokerEpoch
	for i, d := range b.dirs {
		if !d.clean || (i > 0 && d.lastEpoch != epoch) {
			return model.NoBrokerEpoch
		}
		epoch = d.lastEpoch
	}
	return epoch
}

// DirIDs lists the directories that are online, sorted.
func (b *Broker) DirIDs() []model.DirectoryID {
	var ids []model.DirectoryID
	for _, d := range b.dirs {
		if !d.offline.Load() {
			ids = append(ids, d.ID)
		}
	}
	slices.SortFunc(ids, model.UUID.Compare)
	return ids
}

// Partition returns a hosted replica. Errors: partition.ErrUnknownPartition if
// the metadata doesn't know it, ErrNotHosted if it is elsewhere, ErrStorage if
// it is on a failed directory.
func (b *Broker) Partition(tp model.TopicPartition) (*partition.Partition, error) {
	if h := b.set.Load().byName[tp]; h != nil {
		return h.p, nil
	}
	_, mp, ok := b.Image().Partition(tp)
	return nil, b.missing(fmt.Sprint(tp), mp, ok, partition.ErrUnknownPartition)
}

// PartitionByID is Partition by topic id; an unknown id is partition.ErrUnknownTopicID.
func (b *Broker) PartitionByID(id model.TopicIDPartition) (*partition.Partition, error) {
	if h := b.set.Load().byID[id]; h != nil {
		return h.p, nil
	}
	img := b.Image()
	_, mp, ok := img.PartitionByID(id)
	unknown := partition.ErrUnknownTopicID
	if img.Topics.ByID[id.TopicID] != nil {
		unknown = partition.ErrUnknownPartition
	}
	return nil, b.missing(fmt.Sprintf("%s-%d", id.TopicID, id.Partition), mp, ok, unknown)
}

func (b *Broker) missing(name string, mp *metadata.Partition, ok bool, unknown error) error {
	switch {
	case !ok:
		return fmt.Errorf("%s: %w", name, unknown)
	case slices.Contains(mp.Replicas, b.cfg.Self) && b.isOfflineDir(mp.Dir(b.cfg.Self)):
		return fmt.Errorf("%s: %w", name, partition.ErrStorage)
	default:
		return fmt.Errorf("%s: %w", name, partition.ErrNotHosted)
	}
}

// Partitions lists the hosted replicas by topic and partition. The slice is the
// caller's.
func (b *Broker) Partitions() []*partition.Partition {
	set := b.set.Load()
	out := make([]*partition.Partition, len(set.sorted))
	for i, h := range set.sorted {
		out[i] = h.p
	}
	return out
}

// Owed tells that a replica stopped uncleanly and lacks records that it had
// reported committed: its log has to reach the offset before it may lead.
func (b *Broker) Owed(tp model.TopicPartition) (model.Offset, bool) {
	h := b.set.Load().byName[tp]
	if h == nil {
		return model.NoOffset, false
	}
	at := model.Offset(h.owed.Load())
	return at, at != model.NoOffset
}

// FollowerQuota bounds what throttled partitions fetch.
func (b *Broker) FollowerQuota() fetcher.Quota { return b.followerQuota }

// BrokerStatus answers from the current image (replica.Brokers).
func (b *Broker) BrokerStatus(id model.BrokerID) replica.BrokerStatus {
	r := b.Image().Brokers[id]
	if r == nil {
		return replica.BrokerStatus{Epoch: model.NoBrokerEpoch}
	}
	return replica.BrokerStatus{Epoch: r.Epoch, Eligible: !r.Fenced && !r.InControlledShutdown, ShuttingDown: r.InControlledShutdown}
}

// OthersAlive tells whether another broker is registered and unfenced.
func (b *Broker) OthersAlive() bool {
	return slices.ContainsFunc(b.Image().LiveBrokers(), func(id model.BrokerID) bool { return id != b.cfg.Self })
}

// publish makes the maps that others read from apply.hosted, unless they hold
// the same already: most metadata, such as the controller's NoOp twice a second,
// brings and takes away no replica.
func (b *Broker) publish() {
	if b.published() {
		return
	}
	set := &replicas{
		byName: make(map[model.TopicPartition]*hosted, len(b.apply.hosted)),
		byID:   make(map[model.TopicIDPartition]*hosted, len(b.apply.hosted)),
		sorted: make([]*hosted, 0, len(b.apply.hosted)),
	}
	for tp, h := range b.apply.hosted {
		set.byName[tp] = h
		set.byID[model.TopicIDPartition{TopicID: h.p.TopicID(), Partition: tp.Partition}] = h
		set.sorted = append(set.sorted, h)
	}
	slices.SortFunc(set.sorted, func(x, y *hosted) int { return x.p.TP().Compare(y.p.TP()) })
	b.replace(set)
}

// published tells whether what others read is what apply.hosted holds. A hosted
// stands for one replica of one topic id for as long as it lives.
func (b *Broker) published() bool {
	set := b.set.Load()
	if len(set.byName) != len(b.apply.hosted) {
		return false
	}
	for tp, h := range b.apply.hosted {
		if set.byName[tp] != h {
			return false
		}
	}
	return true
}

// perform does what changes of p ask for.
func perform(p *partition.Partition) {
	var ready purgatory.Ready
	p.Perform(&ready)
	ready.Run()
}

func (b *Broker) event(k journal.Kind, tp model.TopicPartition, reason, detail string) journal.Event {
	e := journal.For(k, tp)
	e.Reason, e.Detail = reason, detail
	return e
}
