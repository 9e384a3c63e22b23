package broker

import (
	"fmt"
	"math"
	"path"
	"sync"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/partition"
)

// flushWorkers bounds how many files of one directory are being synced at the
// same time.
const flushWorkers = 8

// flushQueue brings the logs of one directory to disk: segments that were
// closed, and what flush.messages and flush.ms ask for. At most one sync per log
// is in flight; what is asked for meanwhile joins the next (group commit). It is
// bounded by the number of replicas, so it is never full. Each directory has its
// own, so that one that hangs holds up nobody else.
type flushQueue struct {
	mu      sync.Mutex
	ready   *sync.Cond                        // order got longer, or stopped
	done    *sync.Cond                        // a sync ended, or stopped
	jobs    map[*partition.Partition]flushJob // asked for, not yet begun
	order   []*partition.Partition            // of jobs that are not busy, oldest first
	busy    map[*partition.Partition]bool
	stopped bool
}

func newFlushQueue() *flushQueue {
	q := &flushQueue{jobs: map[*partition.Partition]flushJob{}, busy: map[*partition.Partition]bool{}}
	q.ready, q.done = sync.NewCond(&q.mu), sync.NewCond(&q.mu)
	return q
}

func (q *flushQueue) put(p *partition.Partition, upTo model.Offset) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.putLocked(p, upTo)
}

// flushJob is what is asked for one log.
type flushJob struct {
	upTo model.Offset
	mark bool // make a restart point
}

// mark asks for a restart point.
func (q *flushQueue) mark(p *partition.Partition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(p, flushJob{mark: true})
}

func (q *flushQueue) putLocked(p *partition.Partition, upTo model.Offset) {
	q.addLocked(p, flushJob{upTo: upTo})
}

func (q *flushQueue) addLocked(p *partition.Partition, j flushJob) {
	was, waits := q.jobs[p]
	q.jobs[p] = flushJob{max(was.upTo, j.upTo), was.mark || j.mark}
	if !waits && !q.busy[p] {
		q.order = append(q.order, p)
		q.ready.Signal()
	}
}

// next waits for a log to flush; false when the queue has stopped.
func (q *flushQueue) next() (p *partition.Partition, j flushJob, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) == 0 && !q.stopped {
		q.ready.Wait()
	}
	if q.stopped {
		return nil, j, false
	}
	p, q.order = q.order[0], q.order[1:]
	j = q.jobs[p]
	delete(q.jobs, p)
	q.busy[p] = true
	return p, j, true
}

func (q *flushQueue) finished(p *partition.Partition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, p)
	if _, waits := q.jobs[p]; waits {
		q.order = append(q.order, p)
		q.ready.Signal()
	}
	q.done.Broadcast()
}

// await has p flushed up to an offset and waits for it. A sync that was in
// flight may have begun before the last append: then it waits for the next one.
// An error says that it can't be done any more.
func (q *flushQueue) await(p *partition.Partition, upTo model.Offset) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	short := func() bool { return p.Log().Flushed() < min(upTo, p.Log().End()) }
	if !short() {
		return nil
	}
	q.putLocked(p, upTo)
	for {
		_, waits := q.jobs[p]
		switch {
		case !short():
			return nil
		case q.stopped:
			return fmt.Errorf("%s: the broker ends: %w", p.TP(), partition.ErrStorage)
		case !waits && !q.busy[p]:
			return fmt.Errorf("%s: not flushed up to %d: %w", p.TP(), upTo, partition.ErrStorage)
		}
		q.done.Wait()
	}
}

func (q *flushQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.ready.Broadcast()
	q.done.Broadcast()
}

// Rolled queues a flush (partition.Storage).
func (b *Broker) Rolled(p *partition.Partition, upTo model.Offset) {
	if d := b.dirOf(p); d != nil {
		d.flushes.put(p, upTo)
	}
}

// dirOf is the directory that p is in, also while p is not yet published.
func (b *Broker) dirOf(p *partition.Partition) *logDir {
	if h := b.set.Load().byName[p.TP()]; h != nil && h.p == p {
		return h.dir
	}
	dir := path.Dir(p.Log().Dir())
	for _, d := range b.dirs {
		if d.Path == dir {
			return d
		}
	}
	return nil
}

func (b *Broker) flusher(d *logDir) {
	for {
		p, job, ok := d.flushes.next()
		if !ok {
			return
		}
		begun := time.Now()
		err := b.bring(d, p, job)
		b.flushTimes.Observe(time.Since(begun))
		switch {
		case err == nil:
			p.Flushed(p.Log().Flushed())
			perform(p)
		case b.hosts(p): // not one that was just deleted
			b.Failed(p, err)
		}
		d.flushes.finished(p)
	}
}

func (b *Broker) hosts(p *partition.Partition) bool {
	h := b.set.Load().byName[p.TP()]
	return h != nil && h.p == p && !b.ending()
}

// ending tells that the broker is being closed: logs may be closed under a flush.
func (b *Broker) ending() bool { return b.ctx.Err() != nil }

// Bounds of how often flush.ms is looked at: with a finer one there is no
// difference to flush.messages=1.
const (
	flushTickMin = 10 * time.Millisecond
	flushTickMax = 10 * time.Second
)

// flushTimer flushes the logs of a directory whose records may not stay off the
// disk for longer than flush.ms. Without any, it sleeps until one is set.
func (b *Broker) flushTimer(d *logDir) {
	due := map[*partition.Partition]time.Time{} // when what isn't flushed has to be
	t := time.NewTimer(math.MaxInt64)
	defer t.Stop()
	for {
		tick := b.flushDue(d, due)
		if tick == 0 {
			tick = math.MaxInt64 // until retime
		}
		t.Reset(tick)
		select {
		case <-b.ctx.Done():
			return
		case <-d.retime:
		case <-t.C:
		}
	}
}

// flushDue queues what is due and returns when to look again, 0 for never.
func (b *Broker) flushDue(d *logDir, due map[*partition.Partition]time.Time) time.Duration {
	now := b.cfg.Now()
	shortest := time.Duration(math.MaxInt64)
	seen := map[*partition.Partition]bool{}
	for _, h := range b.set.Load().sorted {
		every := h.p.Log().Config().FlushInterval
		if h.dir != d || every == math.MaxInt64 {
			continue
		}
		shortest = min(shortest, every)
		at, waits := due[h.p]
		switch {
		case h.p.LogEnd() <= h.p.Log().Flushed():
			continue
		case waits && !now.Before(at):
			d.flushes.put(h.p, h.p.LogEnd())
		default:
			if seen[h.p] = true; !waits {
				due[h.p] = now.Add(every / 2) // it was there for up to a tick
			}
		}
	}
	for p := range due {
		if !seen[p] {
			delete(due, p)
		}
	}
	if shortest == math.MaxInt64 || d.offline.Load() {
		return 0
	}
	return min(max(shortest/2, flushTickMin), flushTickMax)
}

// retimeFlushes makes the timers look at changed settings.
func (b *Broker) retimeFlushes() {
	for _, d := range b.dirs {
		select {
		case d.retime <- struct{}{}:
		default:
		}
	}
}
