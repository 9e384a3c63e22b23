package fetcher

import (
	"slices"

	"tidemark/internal/model"
)

// Status lists every followed partition, sorted.
func (f *Fetchers) Status() []Status {
	f.mu.Lock()
	loops := make([]*loop, 0, len(f.mu.loops))
	for _, l := range f.mu.loops {
		loops = append(loops, l)
	}
	f.mu.Unlock()
	var out []Status
	for _, l := range loops {
		l.mu.Lock()
		ps := make([]*follower, 0, len(l.mu.parts))
		for _, p := range l.mu.parts {
			ps = append(ps, p)
		}
		l.mu.Unlock()
		for _, p := range ps {
			out = append(out, p.status(l.key))
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return a.TP.Compare(b.TP) })
	return out
}

// Of is the status of one followed partition.
func (f *Fetchers) Of(tp model.TopicPartition) (Status, bool) {
	f.mu.Lock()
	a, ok := f.mu.parts[tp]
	l := f.mu.loops[f.keyOf(a)]
	f.mu.Unlock()
	if !ok || l == nil {
		return Status{}, false
	}
	l.mu.Lock()
	p := l.mu.parts[tp]
	l.mu.Unlock()
	if p == nil {
		return Status{}, false
	}
	return p.status(l.key), true
}
