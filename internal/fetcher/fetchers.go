package fetcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/replica"
)

// ErrNoSpace is what a Replica answers when it can't take records now, but may
// some time later: the fetch is tried again.
var ErrNoSpace = errors.New("no space for what was fetched")

// ErrNotFollowing is what a Replica answers when it no longer follows in the
// leader epoch that the caller names.
var ErrNotFollowing = errors.New("not following in this leader epoch")

// Position is where a following replica's next fetch begins.
type Position struct {
	Offset        model.Offset      // what the fetch acknowledges
	LastEpoch     model.LeaderEpoch // of the record before Offset, NoLeaderEpoch if unknown
	LogStart      model.Offset
	HighWatermark model.Offset
	Throttled     bool // counts towards, and is held up by, the quota
}

// Quota bounds what throttled partitions receive. Safe for concurrent use.
type Quota interface {
	// Wait is how long nothing may be received; 0 if it may.
	Wait() time.Duration
	Record(bytes int)
}

// Replica is a local replica that follows. Each method fails with
// ErrNotFollowing unless it still follows in the epoch given.
type Replica interface {
	Position(epoch model.LeaderEpoch) (Position, error)
	// Append adds what was fetched: whole batches, maybe none, and a torn one at
	// the end; and takes the leader's high watermark and log start.
	Append(Fetched) error
	// Settle waits until what was appended may be acknowledged by the next fetch:
	// with flush on ack, until it is on disk. All partitions of an answer are
	// appended to before the first one settles, so that their syncs run together.
	Settle() error
	// Diverged cuts the log according to the leader's epoch end; fetched is the
	// offset that was asked for.
	Diverged(epoch model.LeaderEpoch, leader replica.EpochEnd, fetched model.Offset) error
	// TruncateTo cuts the log.
	TruncateTo(epoch model.LeaderEpoch, to model.Offset, why replica.Reason) error
	// StartAt drops the whole log; the next record has this offset.
	StartAt(epoch model.LeaderEpoch, at model.Offset, why replica.Reason) error
}

// Fetched is a leader's answer for one partition, without error or divergence.
type Fetched struct {
	Epoch    model.LeaderEpoch // under which was fetched
	Offset   model.Offset      // that was asked for
	Records  []byte            // valid during the call
	LeaderHW model.Offset
	LogStart model.Offset // the leader's
}

// Leader is one connection to a leader; *peer.Conn implements it.
type Leader interface {
	ReplicaFetch(context.Context, peer.ReplicaFetch, *peer.ReplicaFetchResult) error
	ListOffset(ctx context.Context, self model.BrokerID, tp model.TopicPartition, current model.LeaderEpoch,
		timestamp int64) (peer.ListedOffset, error)
	Close() error
}

// Sink takes events; *journal.Journal implements it.
type Sink interface{ Emit(journal.Event) }

// Config configures Fetchers. Zero values take Kafka's defaults.
type Config struct {
	Self        model.BrokerID
	BrokerEpoch func() model.BrokerEpoch
	Version     func() int16 // highest Fetch version at the finalised metadata.version
	Dial        func(ctx context.Context, addr, clientID string) (Leader, error)
	Events      Sink
	Quota       Quota // follower.replication.throttled.rate; nil: no throttle

	Loops             int           // num.replica.fetchers; 1
	MaxWait           time.Duration // replica.fetch.wait.max.ms; 500 ms
	MinBytes          int32         // replica.fetch.min.bytes; 1
	MaxBytes          int32         // replica.fetch.response.max.bytes; 10 MiB
	PartitionMaxBytes int32         // replica.fetch.max.bytes; 1 MiB
	Backoff           time.Duration // replica.fetch.backoff.ms; 1 s
	Timeout           time.Duration // replica.socket.timeout.ms; 30 s
}

func (c *Config) setDefaults() {
	c.Loops = max(c.Loops, 1)
	c.MaxWait = cmp.Or(c.MaxWait, 500*time.Millisecond)
	c.MinBytes = cmp.Or(c.MinBytes, 1)
	c.MaxBytes = cmp.Or(c.MaxBytes, 10<<20)
	c.PartitionMaxBytes = cmp.Or(c.PartitionMaxBytes, 1<<20)
	c.Backoff = cmp.Or(c.Backoff, time.Second)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
}

// Assignment is a partition to follow.
type Assignment struct {
	TP      model.TopicPartition
	TopicID model.TopicID
	Leader  model.BrokerID
	Addr    string // "host:port" of the leader
	Epoch   model.LeaderEpoch
	Replica Replica
}

type loopKey struct {
	leader model.BrokerID
	id     int32
}

// Fetchers runs the loops. Safe for concurrent use.
type Fetchers struct {
	cfg Config
	mu  struct {
		sync.Mutex
		closed bool
		n      int32
		loops  map[loopKey]*loop
		parts  map[model.TopicPartition]Assignment
	}
}

// New returns Fetchers without partitions.
func New(cfg Config) *Fetchers {
	cfg.setDefaults()
	f := &Fetchers{cfg: cfg}
	f.mu.n = int32(cfg.Loops)
	f.mu.loops = make(map[loopKey]*loop)
	f.mu.parts = make(map[model.TopicPartition]Assignment)
	return f
}

// ID is the fetcher id of a partition among n: Java's hash of the topic, so
// that partitions spread as they do in Kafka.
func ID(tp model.TopicPartition, n int32) int32 {
	var h int32
	for _, r := range tp.Topic { // topic names are ASCII: one UTF-16 unit each
		h = 31*h + r
	}
	h = 31*h + tp.Partition
	if h < 0 {
		h = -h
	}
	if h < 0 { // math.MinInt32
		h = 0
	}
	return h % n
}

// Add begins to fetch, or goes on in a new leader epoch or from a new address.
// An assignment that a loop already has in the same epoch is left alone, unless
// its address changed or it failed before.
func (f *Fetchers) Add(list []Assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed {
		return
	}
	for _, a := range list {
		if old, ok := f.mu.parts[a.TP]; ok && f.keyOf(old) != f.keyOf(a) {
			f.removeLocked(a.TP)
		}
		f.mu.parts[a.TP] = a
		key := f.keyOf(a)
		l := f.mu.loops[key]
		if l != nil && l.addr != a.Addr {
			f.readdressLocked(key, a.Addr)
			l = f.mu.loops[key]
		}
		if l == nil {
			l = newLoop(f.cfg, key, a.Addr)
			f.mu.loops[key] = l
		}
		l.add(a)
	}
	f.reapLocked()
}

// readdressLocked moves the partitions of a loop to a new one at addr.
func (f *Fetchers) readdressLocked(key loopKey, addr string) {
	old := f.mu.loops[key]
	l := newLoop(f.cfg, key, addr)
	f.mu.loops[key] = l
	old.stop()
	for _, a := range f.sortedLocked() {
		if f.keyOf(a) == key && old.remove(a.TP) {
			a.Addr = addr
			f.mu.parts[a.TP] = a
			l.add(a)
		}
	}
}

// Remove stops fetching the partitions.
func (f *Fetchers) Remove(tps []model.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tp := range tps {
		f.removeLocked(tp)
	}
	f.reapLocked()
}

func (f *Fetchers) removeLocked(tp model.TopicPartition) {
	a, ok := f.mu.parts[tp]
	if !ok {
		return
	}
	delete(f.mu.parts, tp)
	if l := f.mu.loops[f.keyOf(a)]; l != nil {
		l.remove(tp)
	}
}

func (f *Fetchers) keyOf(a Assignment) loopKey { return loopKey{a.Leader, ID(a.TP, f.mu.n)} }

// reapLocked ends loops without partitions.
func (f *Fetchers) reapLocked() {
	for key, l := range f.mu.loops {
		if l.empty() {
			l.stop()
			delete(f.mu.loops, key)
		}
	}
}

func (f *Fetchers) sortedLocked() []Assignment {
	out := make([]Assignment, 0, len(f.mu.parts))
	for _, a := range f.mu.parts {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Assignment) int { return a.TP.Compare(b.TP) })
	return out
}

// Resize changes num.replica.fetchers and spreads the partitions anew
// (KAFKA-13772). Kafka's limits for one step, at least half and at most twice
// the old value, are those of the request that changes the setting: a broker
// that starts has to take whatever it was changed to in several.
func (f *Fetchers) Resize(n int) error {
	if n <= 0 {
		return fmt.Errorf("num.replica.fetchers %d: must be above 0", n)
	}
	f.mu.Lock()
	if n == int(f.mu.n) || f.mu.closed {
		f.mu.Unlock()
		return nil
	}
	all := f.sortedLocked()
	for _, a := range all {
		f.removeLocked(a.TP)
	}
	f.mu.n = int32(n)
	f.mu.Unlock()
	f.Add(all)
	return nil
}

// Close stops all loops and waits for them.
func (f *Fetchers) Close() {
	f.mu.Lock()
	f.mu.closed = true
	loops := f.mu.loops
	f.mu.loops = nil
	clear(f.mu.parts)
	f.mu.Unlock()
	for _, l := range loops {
		l.stop()
	}
	for _, l := range loops {
		<-l.done
	}
}
