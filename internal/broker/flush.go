package broker

import (
	"sync"

	"tidemark/internal/model"
	"tidemark/internal/partition"
)

// flushWorkers bounds how many files are being synced at the same time.
const flushWorkers = 8

// flushQueue brings logs to disk: segments that were closed, and with flush on
// ack every append. At most one sync per log is in flight; what is asked for
// meanwhile joins the next (group commit). It is bounded by the number of
// replicas, so it is never full.
type flushQueue struct {
	mu      sync.Mutex
	ready   *sync.Cond
	upTo    map[*partition.Partition]model.Offset // asked for, not yet begun
	order   []*partition.Partition                // of upTo that are not busy, oldest first
	busy    map[*partition.Partition]bool
	stopped bool
}

func newFlushQueue() *flushQueue {
	q := &flushQueue{upTo: map[*partition.Partition]model.Offset{}, busy: map[*partition.Partition]bool{}}
	q.ready = sync.NewCond(&q.mu)
	return q
}

func (q *flushQueue) put(p *partition.Partition, upTo model.Offset) {
	q.mu.Lock()
	defer q.mu.Unlock()
	was, waits := q.upTo[p]
	q.upTo[p] = max(was, upTo)
	if !waits && !q.busy[p] {
		q.order = append(q.order, p)
		q.ready.Signal()
	}
}

// next waits for a log to flush; false when the queue has stopped.
func (q *flushQueue) next() (p *partition.Partition, upTo model.Offset, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) == 0 && !q.stopped {
		q.ready.Wait()
	}
	if q.stopped {
		return nil, 0, false
	}
	p, q.order = q.order[0], q.order[1:]
	upTo = q.upTo[p]
	delete(q.upTo, p)
	q.busy[p] = true
	return p, upTo, true
}

func (q *flushQueue) finished(p *partition.Partition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, p)
	if _, waits := q.upTo[p]; waits {
		q.order = append(q.order, p)
		q.ready.Signal()
	}
}

func (q *flushQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.ready.Broadcast()
}

// Rolled queues a flush (partition.Storage).
func (b *Broker) Rolled(p *partition.Partition, upTo model.Offset) { b.flushes.put(p, upTo) }

func (b *Broker) flusher() {
	for {
		p, upTo, ok := b.flushes.next()
		if !ok {
			return
		}
		err := p.Log().Flush(upTo)
		switch {
		case err == nil:
			p.Flushed(upTo)
			perform(p)
		case b.hosts(p): // not one that was just deleted
			b.Failed(p, err)
		}
		b.flushes.finished(p)
	}
}

func (b *Broker) hosts(p *partition.Partition) bool {
	h := b.set.Load().byName[p.TP()]
	return h != nil && h.p == p && !b.ending()
}

// ending tells that the broker is being closed: logs may be closed under a flush.
func (b *Broker) ending() bool { return b.ctx.Err() != nil }
