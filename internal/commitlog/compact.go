package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// ErrInterrupted means that a compaction ended early without a fault: it was
// told to stop, another one runs, or what it was cleaning left the log. What it
// had finished stays; FirstDirty didn't move.
var ErrInterrupted = errors.New("compaction interrupted")

// ProducerTail is what compaction must leave of a live producer: the batch that
// ends with LastOffset, or, if that is NoOffset, the markers of Epoch.
type ProducerTail struct {
	ID         model.ProducerID
	Epoch      model.ProducerEpoch
	LastOffset model.Offset
}

// CompactOptions are the terms of one compaction.
type CompactOptions struct {
	// Bound is the smaller of high watermark and last stable offset: nothing at
	// or above it is compacted. Dirty says how much further it is limited.
	Bound model.Offset
	Now   time.Time
	// MapBytes bounds the memory of the map of keys, 24 bytes each. If the dirty
	// range has more keys, a part of it is compacted: call again.
	MapBytes int64
	// Producers returns the producers that this log remembers. Nil: there are none.
	Producers func() []ProducerTail
	Throttle  *Throttle           // of reads and writes together; nil: none
	Progress  func(CompactReport) // called about once per MiB read; may be nil
	Stop      <-chan struct{}     // closed to interrupt it; may be nil
}

// CompactReport describes a compaction, also while it runs.
type CompactReport struct {
	From, To       model.Offset // the dirty range that was compacted; To is the new FirstDirty
	Bound          model.Offset // what could have been compacted
	Keys           int          // entries of the map
	Segments       int          // before
	SegmentsLeft   int          // after
	Bytes          int64        // of these segments before
	BytesLeft      int64        // after
	RecordsRead    int64
	RecordsLeft    int64
	BytesRead      int64 // so far, for the map and for the rewriting
	BytesToRead    int64 // an estimate: the map may fill up earlier
	BytesWritten   int64
	AbortedBatches int64 // of aborted transactions, dropped
}

// compaction is the state of one run.
type compaction struct {
	l         *Log
	o         CompactOptions
	v         []*segment // what is rewritten: everything from the begin of the log to the segment with end-1
	upper     model.Offset
	bound     model.Offset
	end       model.Offset // first offset that isn't in the map
	keys      *offsetMap
	txns      *cleanTxns
	producers map[model.ProducerID]ProducerTail
	rep       CompactReport
	owed      int // bytes that the throttle and Progress haven't heard of
}

// Compact removes, from the closed segments, every record for whose key a
// later one exists below the bound, and what only stood for a deletion long
// ago. Offsets never change, the log end stays readable. It reads the dirty
// range once for the last offset of each key, then rewrites all segments from
// the begin of the log. One at a time per log (ErrInterrupted); appends,
// flushes, reads and retention go on beside it. ErrCorrupt: a batch below the
// bound is damaged, the log must not be compacted. ErrIO from reading or from
// a full disk leaves the log as it was and in use; Failed tells.
func (l *Log) Compact(o CompactOptions) (CompactReport, error) {
	if !l.compactMu.TryLock() {
		return CompactReport{}, fmt.Errorf("another one runs: %w", ErrInterrupted)
	}
	defer l.compactMu.Unlock()
	if o.MapBytes <= 0 {
		o.MapBytes = 128 << 20
	}
	c, err := l.newCompaction(o)
	if err != nil || c.bound <= c.rep.From {
		return c.rep, c.explain(err)
	}
	if err := c.run(); err != nil {
		return c.rep, c.explain(err)
	}
	l.o.Log.Info("log compacted", "dir", l.Dir(), "offset", c.end, "from", c.rep.From, "keys", c.keys.n,
		"segments", c.rep.Segments, "left", c.rep.SegmentsLeft, "bytes", c.rep.Bytes, "bytesLeft", c.rep.BytesLeft)
	return c.rep, nil
}

// newCompaction fixes the range.
func (l *Log) newCompaction(o CompactOptions) (*compaction, error) {
	c := &compaction{l: l, o: o, producers: map[model.ProducerID]ProducerTail{}}
	l.mu.Lock()
	err := l.writable()
	l.mu.cleanCap = math.MaxInt64
	c.v = l.segments()
	l.mu.Unlock()
	if err != nil {
		return c, err
	}
	st, err := l.Dirty(o.Bound, o.Now)
	c.bound = st.Bound
	c.rep = CompactReport{From: st.FirstDirty, To: st.FirstDirty, Bound: st.Bound,
		BytesToRead: st.CleanBytes + 2*st.DirtyBytes}
	return c, err
}

func (c *compaction) run() error {
	if err := c.index(); err != nil {
		return err
	}
	if c.end <= c.rep.From { // no key fits, or the range has no batch
		return nil
	}
	n := 0
	for n+1 < len(c.v) && c.v[n].base < c.end {
		n++
	}
	c.upper = c.v[n].base
	// What makes an older record superfluous must not be lost after it is gone.
	if err := c.l.Flush(c.end); err != nil {
		return err
	}
	aborted, err := c.l.AbortedTxns(c.v[0].base, c.upper)
	if err != nil {
		return err
	}
	c.v, c.txns = c.v[:n], newCleanTxns(aborted)
	if c.o.Producers != nil {
		for _, p := range c.o.Producers() {
			c.producers[p.ID] = p
		}
	}
	c.rep.Keys = c.keys.n
	for rest := c.v; len(rest) > 0; {
		group, after, err := c.group(rest)
		if err != nil {
			return err
		}
		upper := c.upper
		if len(after) > 0 {
			upper = after[0].base
		}
		if err := c.clean(group, upper); err != nil {
			return err
		}
		rest = after
	}
	return c.finish()
}

// finish moves FirstDirty, unless a truncation has passed it.
func (c *compaction) finish() error {
	if err := c.reached(); err != nil {
		return err
	}
	c.rep.To, c.rep.BytesToRead = c.end, c.rep.BytesRead
	c.report()
	return nil
}

func (c *compaction) reached() error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.l.mu.cleanCap < c.end {
		return ErrInterrupted
	}
	c.l.firstDirty.Store(int64(c.end))
	return nil
}

// explain turns the traces of a log that changed underneath into ErrInterrupted.
func (c *compaction) explain(err error) error {
	if err == nil {
		return nil
	}
	if stale(err) {
		if c.l.closed.Load() {
			return ErrClosed
		}
		return fmt.Errorf("compact [%d, %d): %w: %w", c.rep.From, c.bound, ErrInterrupted, err)
	}
	return fmt.Errorf("compact [%d, %d): %w", c.rep.From, c.bound, err)
}

// index reads [From, bound) into the map and sets end.
func (c *compaction) index() error {
	from := c.rep.From
	c.keys = newOffsetMap(c.o.MapBytes, int64(c.bound-from))
	c.end = from
	aborted, err := c.l.AbortedTxns(from, c.bound)
	if err != nil {
		return err
	}
	txns := newCleanTxns(aborted)
	for i := max(floorSegment(c.v, from), 0); i+1 < len(c.v) && c.v[i].base < c.bound; i++ {
		full, err := c.indexSegment(c.v[i], from, txns)
		if err != nil {
			return err
		}
		if full {
			break
		}
		c.keys.latest = max(c.keys.latest, c.v[i+1].base-1) // the segment may end in a gap
	}
	c.end = max(c.end, c.keys.latest+1)
	return nil
}

func (c *compaction) indexSegment(s *segment, from model.Offset, txns *cleanTxns) (full bool, err error) {
	pos, err := s.lookup(from)
	if err != nil {
		return false, err
	}
	err = c.scan(s, pos, func(b record.Batch) error {
		if b.LastOffset() < from {
			return nil
		}
		if !txns.observe(b) && !b.Control() {
			for r, err := range b.Records(maxDecompressed) {
				if err != nil {
					return fmt.Errorf("%w: %w", ErrCorrupt, err)
				}
				if r.Key != nil && r.Offset >= from && !c.keys.put(r.Key, r.Offset) {
					full = true
					return errStop
				}
			}
		}
		c.keys.latest = max(c.keys.latest, b.LastOffset())
		return nil
	})
	if err == errStop {
		err = nil
	}
	return full, err
}

// scan reads the intact batches of a closed segment from a position on.
func (c *compaction) scan(s *segment, pos int64, fn func(record.Batch) error) error {
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	scan := newBatchScan(h.f, pos, s.size())
	for {
		b, at, err := scan.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		if err := b.CheckCRC(); err != nil {
			return fmt.Errorf("%s, position %d: %w: %w", s, at, ErrCorrupt, err)
		}
		c.rep.BytesRead += int64(len(b))
		if err := c.pay(len(b)); err != nil {
			return err
		}
		if err := fn(b); err != nil {
			return err
		}
	}
}

// pay accounts for bytes read or written; it sleeps as the throttle says, and
// ends the compaction if it shall stop.
func (c *compaction) pay(n int) error {
	const step = 1 << 20
	if c.owed += n; c.owed < step && !c.stopped() {
		return nil
	}
	n, c.owed = c.owed, 0
	c.report()
	if !c.o.Throttle.wait(n, c.o.Stop, c.l.done) {
		return ErrInterrupted
	}
	return nil
}

func (c *compaction) stopped() bool {
	select {
	case <-c.o.Stop:
		return true
	case <-c.l.done:
		return true
	default:
		return false
	}
}

func (c *compaction) report() {
	if c.o.Progress != nil {
		c.o.Progress(c.rep)
	}
}

// group takes the first segments that fit into one: by bytes, by the size of
// their indexes, and by the span of their offsets.
func (c *compaction) group(v []*segment) (group, rest []*segment, err error) {
	cfg := c.l.config.Load()
	var bytes, places, stamps int64
	for i, s := range v {
		p, t, err := s.indexSizes()
		if err != nil {
			return nil, nil, err
		}
		upper := c.upper
		if i+1 < len(v) {
			upper = v[i+1].base
		}
		limit := int64(cfg.IndexMaxBytes)
		if i > 0 && (bytes+s.size() > cfg.SegmentBytes || places+p > limit || stamps+t > limit ||
			upper-1-v[0].base > math.MaxInt32) {
			return v[:i], v[i:], nil
		}
		bytes, places, stamps = bytes+s.size(), places+p, stamps+t
	}
	return v, nil, nil
}

// indexSizes returns the bytes of the offset and the time index of a closed segment.
func (s *segment) indexSizes() (places, stamps int64, err error) {
	e, err := s.env.fs.Stat(s.env.path(s.base, indexSuffix))
	if err != nil {
		return 0, 0, ioError(err)
	}
	t, err := s.env.fs.Stat(s.env.path(s.base, timeSuffix))
	if err != nil {
		return 0, 0, ioError(err)
	}
	return e.Size, t.Size, nil
}
