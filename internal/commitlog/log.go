package commitlog

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/model"
)

// Log is the log of one replica. Methods that change it are serialised by a
// lock; readers take none.
type Log struct {
	env
	o      Options
	config atomic.Pointer[Config]

	view    atomic.Pointer[[]*segment] // sorted by base, never empty, immutable
	start   atomic.Int64
	end     atomic.Int64 // stored after the bytes are readable
	flushed atomic.Int64
	cuts    atomic.Uint64 // truncations and compactions so far; readers compare it
	// firstDirty is what compaction has reached; changed with mu held.
	firstDirty atomic.Int64
	epochs     epochCache
	closed     atomic.Bool
	done       chan struct{} // closed when Close or Delete begins: compaction ends
	ending     sync.Once
	found      Findings // of Open

	// In the order in which they are taken, mu last.
	compactMu sync.Mutex // one compaction at a time, none during Close
	// layoutMu is held by everything that takes segments away, over all of its
	// renames: two such sequences must not mix. Appends and rolls don't take it.
	layoutMu sync.Mutex
	flushMu  sync.Mutex // one flush at a time; taken before mu

	// mu is held by everything that changes the log. No reader takes it.
	mu struct {
		sync.Mutex
		failed   error           // set once, when the disk failed
		dirDirty bool            // a name was added since the last sync of the directory
		flushCap model.Offset    // a running flush may not claim more than this
		cleanCap model.Offset    // a running compaction may not claim more than this
		pending  []pendingDelete // renamed files, to be removed later
		restarts []model.Offset  // restart points whose snapshot isn't at a segment's base, ascending
	}
}

// segments returns the current list; callers must not change it.
func (l *Log) segments() []*segment { return *l.view.Load() }

func (l *Log) active() *segment {
	v := l.segments()
	return v[len(v)-1]
}

func (l *Log) setSegments(v []*segment) { l.view.Store(&v) }

// upperOf is the offset at which segment i of a view ends.
func (l *Log) upperOf(v []*segment, i int, end model.Offset) model.Offset {
	if i+1 < len(v) {
		return v[i+1].base
	}
	return end
}

// floorSegment is the index of the last segment whose base isn't above off;
// -1 if there is none.
func floorSegment(v []*segment, off model.Offset) int {
	if n := len(v); n > 0 && v[n-1].base <= off { // the usual case: the tail
		return n - 1
	}
	i, found := slices.BinarySearchFunc(v, off, func(s *segment, off model.Offset) int {
		return int(min(max(s.base-off, -1), 1))
	})
	if found {
		return i
	}
	return i - 1
}

// Start is the first offset that can be read. Safe for concurrent use.
func (l *Log) Start() model.Offset { return model.Offset(l.start.Load()) }

// End is the log end offset: the one that the next record gets. Exclusive.
// Safe for concurrent use.
func (l *Log) End() model.Offset { return model.Offset(l.end.Load()) }

// Flushed is the recovery point: everything below it is on disk, and is not
// checked after a crash. Write it to the checkpoint at once after a
// truncation (TruncateInfo.FlushedLowered). Safe for concurrent use.
func (l *Log) Flushed() model.Offset { return model.Offset(l.flushed.Load()) }

// Dir is the partition's directory.
func (l *Log) Dir() string { return *l.dir.Load() }

// Config is the configuration in force.
func (l *Log) Config() Config { return *l.config.Load() }

// UpdateConfig changes the configuration of later operations.
func (l *Log) UpdateConfig(c Config) {
	c = c.withDefaults()
	l.config.Store(&c)
}

// Failed returns the ErrIO that stopped this log, or nil.
func (l *Log) Failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.failed
}

// writable is called with mu held at the begin of everything that writes.
func (l *Log) writable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	return l.mu.failed
}

// fail remembers the first disk error: the log takes no more writes.
func (l *Log) fail(err error) error {
	if err == nil {
		return nil
	}
	err = ioError(err)
	if l.mu.failed == nil {
		l.mu.failed = fmt.Errorf("log %s: %w", l.Dir(), err)
		l.o.Log.Error("log failed", "dir", l.Dir(), "offset", l.End(), "error", err)
	}
	return l.mu.failed
}

// AssignEpoch records that epoch begins at start, as a new leader does at its
// log end. The file is written by the next flush or roll: until then the entry
// is one that recovery finds in the batches, or one without any batch, which a
// restart forgets anyway.
func (l *Log) AssignEpoch(e model.LeaderEpoch, start model.Offset) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if e < 0 || start < 0 {
		return fmt.Errorf("assign epoch %d at %d: negative: %w", e, start, ErrCorrupt)
	}
	l.epochs.assign(e, start)
	return nil
}

// LatestEpoch is the epoch of the last entry; ok is false if there is none.
// Safe for concurrent use, as are the other questions about epochs.
func (l *Log) LatestEpoch() (e model.LeaderEpoch, ok bool) {
	last, ok := l.epochs.latest()
	if !ok {
		return model.NoLeaderEpoch, false
	}
	return last.Epoch, true
}

// EndOffsetFor returns the largest epoch of this log that isn't above e, and
// where it ends: (NoLeaderEpoch, NoOffset) if e is NoLeaderEpoch or above the
// latest; (e, start of the first epoch) if e is below all (KIP-101).
func (l *Log) EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset) {
	return l.epochs.endOffsetFor(e, l.End())
}

// EpochAt is the epoch of the record at off, NoLeaderEpoch if unknown.
func (l *Log) EpochAt(off model.Offset) model.LeaderEpoch { return l.epochs.at(off) }

// Epochs returns all entries; the caller must not change them.
func (l *Log) Epochs() []EpochEntry { return l.epochs.entries() }

// Size is the number of bytes in the segment files.
func (l *Log) Size() (n int64) {
	for _, s := range l.segments() {
		n += s.size()
	}
	return n
}

// SegmentStat describes one segment.
type SegmentStat struct {
	Base, Next   model.Offset // [Base, Next)
	Bytes        int64
	MaxTimestamp int64 // ms, -1 if unknown
	Active       bool
}

// Segments describes all segments, oldest first.
func (l *Log) Segments() []SegmentStat {
	end, v := l.End(), l.segments()
	out := make([]SegmentStat, len(v))
	for i, s := range v {
		st, ok, err := s.largestStamp()
		if !ok || err != nil {
			st.ts = -1
		}
		out[i] = SegmentStat{s.base, l.upperOf(v, i, end), s.size(), st.ts, i == len(v)-1}
	}
	return out
}

// SizeBetween estimates the bytes between two offsets, within an index
// interval at each end. Offsets outside the log are taken to its ends.
func (l *Log) SizeBetween(from, to model.Offset) (n int64) {
	v := l.segments()
	for i, s := range v {
		if s.base >= to || l.upperOf(v, i, to) <= from {
			continue
		}
		lo, hi := int64(0), s.size()
		if from > s.base {
			lo = s.estimate(from)
		}
		if to < l.upperOf(v, i, l.End()) {
			hi = s.estimate(to)
		}
		n += max(hi-lo, 0)
	}
	return n
}

func (s *segment) estimate(off model.Offset) int64 {
	rel := int64(off - s.base)
	if pos, ok := s.marks.get(rel); ok {
		return pos
	}
	pos, err := s.lookup(off)
	if err != nil {
		return 0
	}
	return pos
}

func (l *Log) now() time.Time { return l.o.Now() }
