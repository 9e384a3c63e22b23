package broker

import (
	"sync"

	"tidemark/internal/latency"
	"tidemark/internal/partition"
)

// retired are the counters of replicas that are no longer hosted: totals must not
// go back when a topic is deleted, or whoever computes rates sees a restart.
type retired struct {
	sync.Mutex // also held while the set of hosted replicas is replaced
	partition.Counters
}

// replace publishes a set of replicas and keeps the counts of those that left.
func (b *Broker) replace(set *replicas) {
	b.gone.Lock()
	defer b.gone.Unlock()
	for _, h := range b.set.Load().sorted {
		if now := set.byName[h.p.TP()]; now == nil || now.p != h.p {
			b.gone.Add(h.p.Counters())
		}
	}
	b.set.Store(set)
}

// Counters are those of all replicas that this broker has hosted since it was
// opened.
func (b *Broker) Counters() partition.Counters {
	b.gone.Lock()
	defer b.gone.Unlock()
	total := b.gone.Counters
	for _, h := range b.set.Load().sorted {
		total.Add(h.p.Counters())
	}
	return total
}

// Flushes is how long flushes of logs took.
func (b *Broker) Flushes() (s latency.Snapshot) {
	b.flushTimes.AddTo(&s)
	return s
}
