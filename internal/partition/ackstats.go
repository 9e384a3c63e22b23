package partition

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// Acks is told of every acks=all append that became committed: which replica
// completed it, and how long each part of the wait took. It is called under
// partition.mu: it must not block. *AckStats is one.
type Acks interface{ Acked(a replica.Ack) }

// AckBounds are the upper bounds of AckStats' buckets, from 50 µs to 30 s. What
// took longer is in the count alone.
var AckBounds = []time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// AckStats counts, over all partitions that a node leads, who completed the
// acks=all appends and how long they waited, by phase. The zero value is empty.
// Safe for concurrent use; nothing in it ever decreases.
type AckStats struct {
	grow sync.Mutex // serialises writers of byLast
	// byLast is copied on write: a node sees few brokers.
	byLast atomic.Pointer[[]*ackCounts]
}

type ackCounts struct {
	last   model.BrokerID
	acks   atomic.Uint64
	wait   ackHistogram
	phases []ackHistogram // by replica.AckPhase
}

type ackHistogram struct {
	buckets []atomic.Uint64 // by AckBounds, each for itself
	count   atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

func (h *ackHistogram) observe(d time.Duration) {
	if i, _ := slices.BinarySearch(AckBounds, d); i < len(h.buckets) {
		h.buckets[i].Add(1)
	}
	h.count.Add(1)
	h.sum.Add(int64(d))
}

// Acked implements Acks. A follower's ack counts in its three phases, zeroes
// included, any other one in its only phase.
func (s *AckStats) Acked(a replica.Ack) {
	c := s.of(a.Last)
	c.acks.Add(1)
	c.wait.observe(a.Wait)
	if a.Phases[replica.AckFlush] > 0 || a.Phases[replica.AckLeft] > 0 {
		c.phases[replica.AckFlush].maybe(a.Phases[replica.AckFlush])
		c.phases[replica.AckLeft].maybe(a.Phases[replica.AckLeft])
		return
	}
	for _, p := range []replica.AckPhase{replica.AckFetch, replica.AckAppend, replica.AckReturn} {
		c.phases[p].observe(a.Phases[p])
	}
}

func (h *ackHistogram) maybe(d time.Duration) {
	if d > 0 {
		h.observe(d)
	}
}

func (s *AckStats) of(last model.BrokerID) *ackCounts {
	if c := find(s.byLast.Load(), last); c != nil {
		return c
	}
	s.grow.Lock()
	defer s.grow.Unlock()
	old := s.byLast.Load()
	if c := find(old, last); c != nil {
		return c
	}
	c := &ackCounts{last: last, phases: make([]ackHistogram, len(replica.AckPhases()))}
	c.wait.buckets = make([]atomic.Uint64, len(AckBounds))
	for i := range c.phases {
		c.phases[i].buckets = make([]atomic.Uint64, len(AckBounds))
	}
	all := []*ackCounts{c}
	if old != nil {
		all = append(slices.Clone(*old), c)
	}
	s.byLast.Store(&all)
	return c
}

func find(all *[]*ackCounts, last model.BrokerID) *ackCounts {
	if all == nil {
		return nil
	}
	for _, c := range *all {
		if c.last == last {
			return c
		}
	}
	return nil
}

// AckHistogram is one distribution of waits.
type AckHistogram struct {
	Buckets []uint64 // how many were at most AckBounds[i], the earlier buckets included
	Count   uint64
	Sum     time.Duration
}

// AckCounts is what one replica completed as the last one.
type AckCounts struct {
	Last   model.BrokerID // model.NoBroker: nobody, the ISR was too small until it grew
	Acks   uint64         // appends that it completed
	Wait   AckHistogram   // the whole wait
	Phases []AckHistogram // by replica.AckPhase; String gives the label
}

// Snapshot returns the counts by broker id.
func (s *AckStats) Snapshot() []AckCounts {
	all := s.byLast.Load()
	if all == nil {
		return nil
	}
	out := make([]AckCounts, 0, len(*all))
	for _, c := range *all {
		n := AckCounts{Last: c.last, Acks: c.acks.Load(), Wait: c.wait.snapshot()}
		for i := range c.phases {
			n.Phases = append(n.Phases, c.phases[i].snapshot())
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b AckCounts) int { return int(a.Last) - int(b.Last) })
	return out
}

func (h *ackHistogram) snapshot() AckHistogram {
	out := AckHistogram{Buckets: make([]uint64, len(h.buckets)), Count: h.count.Load(), Sum: time.Duration(h.sum.Load())}
	n := uint64(0)
	for i := range h.buckets {
		n += h.buckets[i].Load()
		out.Buckets[i] = n
	}
	out.Count = max(out.Count, n) // observe isn't atomic as a whole
	return out
}
