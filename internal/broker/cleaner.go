package broker

import (
	"errors"
	"math"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/partition"
)

// cleanOffsetsName is the checkpoint of what has been compacted.
const cleanOffsetsName = "cleaner-offset-checkpoint"

// maxCleaners bounds log.cleaner.threads.
const maxCleaners = 64

// minMapBytes is what a cleaner's map of keys needs to get anywhere.
const minMapBytes = 1 << 20

// cleaners compact logs, each one log at a time, the dirtiest first. A log is
// compacted up to its last stable offset, which is not above the high
// watermark, whether this replica leads or follows.
type cleaners struct {
	b        *Broker
	throttle *commitlog.Throttle
	compacts atomic.Int64 // that were completed

	mu struct {
		sync.Mutex
		stops []chan struct{} // one per cleaner
		busy  map[*partition.Partition]bool
		// spoilt logs are left alone for a while: what is wrong with them, a
		// compaction would make final. Bounded by the number of replicas.
		spoilt map[*partition.Partition]time.Time // when it is tried again
		ended  bool
	}
}

func newCleaners(b *Broker) *cleaners {
	c := &cleaners{b: b, throttle: commitlog.NewThrottle(0)}
	c.mu.busy, c.mu.spoilt = map[*partition.Partition]bool{}, map[*partition.Partition]time.Time{}
	return c
}

// resize brings the number of cleaners to n; one that is at work stops there.
func (c *cleaners) resize(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.ended {
		return
	}
	for len(c.mu.stops) > n {
		last := len(c.mu.stops) - 1
		close(c.mu.stops[last])
		c.mu.stops = c.mu.stops[:last]
	}
	for len(c.mu.stops) < n {
		stop := make(chan struct{})
		c.mu.stops = append(c.mu.stops, stop)
		c.b.tasks.Go(func() { c.run(stop) })
	}
}

// end stops all cleaners for good.
func (c *cleaners) end() {
	c.resize(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ended = true
}

// run compacts as long as there is something to do, and then looks again after
// log.cleaner.backoff.ms.
func (c *cleaners) run(stop <-chan struct{}) {
	t := time.NewTimer(c.b.tuned.Load().cleanerBackoff)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		for c.b.loaded.Load() {
			h := c.take()
			if h == nil {
				break
			}
			c.compact(h, stop)
			select {
			case <-stop:
				return
			default:
			}
		}
		t.Reset(c.b.tuned.Load().cleanerBackoff)
	}
}

// bound is what may be compacted: nothing that is not committed or belongs to
// an open transaction.
func bound(p *partition.Partition) model.Offset { return min(p.HighWatermark(), p.LastStable()) }

// take chooses the dirtiest log that needs it; it is busy until compact returns.
func (c *cleaners) take() (best *hosted) {
	now := c.b.cfg.Now()
	ratio := -1.0
	for _, h := range c.b.set.Load().sorted {
		if h.dir.offline.Load() || !h.p.Log().Config().Compact || h.dir.space.Take(0) != nil || !c.idle(h.p) {
			continue
		}
		st, err := h.p.Log().Dirty(bound(h.p), now)
		switch {
		case errors.Is(err, commitlog.ErrClosed):
		case err != nil:
			c.failed(h, err)
		case st.Needed && st.Ratio > ratio:
			best, ratio = h, st.Ratio
		}
	}
	if best == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.busy[best.p] || now.Before(c.mu.spoilt[best.p]) { // another cleaner was quicker
		return nil
	}
	c.mu.busy[best.p] = true
	return best
}

func (c *cleaners) idle(p *partition.Partition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.mu.busy[p] && !c.b.cfg.Now().Before(c.mu.spoilt[p])
}

// forget drops what is known of a replica that is deleted.
func (c *cleaners) forget(p *partition.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.spoilt, p)
}

func (c *cleaners) compact(h *hosted, stop <-chan struct{}) {
	_, err := h.p.Log().Compact(commitlog.CompactOptions{
		Bound: bound(h.p), Now: c.b.cfg.Now(), MapBytes: c.mapBytes(),
		Producers: func() []commitlog.ProducerTail { return tails(h.p) }, Throttle: c.throttle, Stop: stop,
	})
	if err != nil {
		c.failed(h, err)
	}
	c.mu.Lock()
	delete(c.mu.busy, h.p)
	if err == nil {
		delete(c.mu.spoilt, h.p)
	}
	c.mu.Unlock()
	if err != nil {
		return
	}
	c.compacts.Add(1)
	c.b.writeCleanOffsets(h.dir)
}

// mapBytes is one cleaner's part of log.cleaner.dedupe.buffer.size.
func (c *cleaners) mapBytes() int64 {
	s := c.b.tuned.Load()
	return max(s.dedupeBytes/int64(max(s.cleaners, 1)), minMapBytes)
}

// tails are the producers that p remembers.
func tails(p *partition.Partition) []commitlog.ProducerTail {
	states := p.ProducerStates()
	out := make([]commitlog.ProducerTail, len(states))
	for i, s := range states {
		out[i] = commitlog.ProducerTail{ID: s.ID, Epoch: s.Epoch, LastOffset: s.LastOffset}
	}
	return out
}

// spoiltFor is how long a log is left alone after a failure. Kafka does so until
// the next start; here a damaged log is mended while the broker runs.
const spoiltFor = time.Hour

// failed leaves alone a log whose compaction can't go on, has the disk checked
// if its records are damaged, and takes a directory offline that doesn't work.
func (c *cleaners) failed(h *hosted, err error) {
	switch {
	case errors.Is(err, commitlog.ErrInterrupted), errors.Is(err, commitlog.ErrClosed), !c.b.hosts(h.p):
		return
	case h.p.Log().Failed() != nil:
		c.b.Failed(h.p, err)
		return
	case errors.Is(err, commitlog.ErrCorrupt):
		c.b.Suspect(h.p, h.p.Log().FirstDirty(), partition.SuspectRead)
	}
	if !c.spoil(h.p) {
		return
	}
	e := c.b.event(journal.Note, h.p.TP(), "uncleanable", "not compacted for "+spoiltFor.String()+": "+err.Error())
	e.Dir = h.dir.Path
	c.b.cfg.Events.Emit(e)
}

// spoil has p left alone for a while; false if it is already.
func (c *cleaners) spoil(p *partition.Partition) bool {
	now := c.b.cfg.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.mu.spoilt[p]) {
		return false
	}
	c.mu.spoilt[p] = now.Add(spoiltFor)
	return true
}

// Cleaning says how many compactions were completed, and which hosted logs are
// not compacted because of a failure.
func (b *Broker) Cleaning() (compactions int64, uncleanable []model.TopicPartition) {
	c := b.cleaners
	for _, h := range b.set.Load().sorted {
		c.mu.Lock()
		bad := !c.mu.spoilt[h.p].IsZero()
		c.mu.Unlock()
		if bad {
			uncleanable = append(uncleanable, h.p.TP())
		}
	}
	return c.compacts.Load(), uncleanable
}

// writeCleanOffsets writes what has been compacted in a directory.
func (b *Broker) writeCleanOffsets(d *logDir) {
	b.checkpoint(d, cleanOffsetsName, func(h *hosted) (model.Offset, bool) {
		at := h.p.Log().FirstDirty()
		return at, h.p.Log().Config().Compact && at > 0
	})
}

// readCleanOffsets adds what the last life compacted. Without it, everything is
// dirty again, which costs time and nothing else.
func (d *logDir) readCleanOffsets() {
	m, err := commitlog.ReadCheckpoint(d.fs, path.Join(d.Path, cleanOffsetsName))
	if err == nil {
		d.cleanOffsets = m
	}
}

// rateOrNone turns log.cleaner.io.max.bytes.per.second into a throttle's rate.
func rateOrNone(bytesPerSecond float64) float64 {
	if bytesPerSecond >= math.MaxInt64 {
		return 0
	}
	return bytesPerSecond
}
