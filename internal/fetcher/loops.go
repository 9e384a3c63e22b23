package fetcher

import (
	"cmp"
	"slices"
	"sync/atomic"

	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// traffic is what a loop counts.
type traffic struct{ requests, bytes atomic.Int64 }

// answered counts an answer.
func (t *traffic) answered(r *peer.ReplicaFetchResult) {
	n := 0
	for i := range r.Partitions {
		n += len(r.Partitions[i].Records)
	}
	t.requests.Add(1)
	t.bytes.Add(int64(n))
}

// LoopStatus is one loop as the metrics show it.
type LoopStatus struct {
	Leader          model.BrokerID
	ID              int32
	Partitions      int
	Requests, Bytes int64 // answered fetches, and the record bytes in them, since the loop began
}

// Loops lists the loops, by leader and id.
func (f *Fetchers) Loops() []LoopStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]LoopStatus, 0, len(f.mu.loops))
	for key, l := range f.mu.loops {
		l.mu.Lock()
		out = append(out, LoopStatus{key.leader, key.id, len(l.mu.parts), l.traffic.requests.Load(), l.traffic.bytes.Load()})
		l.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b LoopStatus) int { return cmp.Or(cmp.Compare(a.Leader, b.Leader), cmp.Compare(a.ID, b.ID)) })
	return out
}
