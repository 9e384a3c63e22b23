package purgatory

import (
	"slices"
	"sync"

	"tidemark/internal/model"
)

// Watch is where requests wait for one value of one partition to be reached:
// its high watermark, for example. The value only grows while the watch is
// open. The zero value is closed. Safe for concurrent use.
type Watch struct {
	mu    sync.Mutex
	open  bool
	since model.LeaderEpoch // first epoch of the leadership that is watched
	at    model.Offset
	waits []wait // by need
}

type wait struct {
	need model.Offset
	r    *Request
	slot int
}

// deadMax is how many completed requests may stay in the list before it is swept.
const deadMax = 64

// Open begins a leadership, whose value is at now.
func (w *Watch) Open(since model.LeaderEpoch, at model.Offset) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open, w.since, w.at = true, since, at
}

// Add lets a slot of r wait until the value is at least need. epoch is the
// leadership under which the request was accepted: if that has ended, the slot
// is Lost. // invariants 2, 3
func (w *Watch) Add(epoch model.LeaderEpoch, need model.Offset, r *Request, slot int, ready *Ready) {
	w.mu.Lock()
	var o Outcome
	switch {
	case !w.open || epoch < w.since:
		o = Lost
	case w.at >= need:
		o = Reached
	default:
		w.insert(wait{need, r, slot})
	}
	w.mu.Unlock()
	if o != Waiting {
		r.Resolve(slot, o, ready)
	}
}

// insert keeps the order. Needs nearly always come in order: it is an append.
func (w *Watch) insert(x wait) {
	if n := len(w.waits); n >= deadMax && n == cap(w.waits) {
		w.waits = slices.DeleteFunc(w.waits, func(x wait) bool { return x.r.Done() })
	}
	i := len(w.waits)
	for i > 0 && w.waits[i-1].need > x.need {
		i--
	}
	w.waits = slices.Insert(w.waits, i, x)
}

// Reach tells that the value is now at least at. A late, smaller value is harmless.
func (w *Watch) Reach(at model.Offset, ready *Ready) {
	w.mu.Lock()
	w.at = max(w.at, at)
	n := 0
	for n < len(w.waits) && w.waits[n].need <= w.at {
		n++
	}
	if n == 0 {
		w.mu.Unlock()
		return
	}
	for _, x := range w.waits[:n] {
		x.r.Resolve(x.slot, Reached, ready)
	}
	w.drop(n)
	w.mu.Unlock()
}

// drop forgets the first n waits and keeps the memory.
func (w *Watch) drop(n int) {
	rest := copy(w.waits, w.waits[n:])
	clear(w.waits[rest:])
	w.waits = w.waits[:rest]
}

// Lose ends the leadership: all that wait are Lost.
func (w *Watch) Lose(ready *Ready) {
	w.mu.Lock()
	w.open = false
	all := w.waits
	w.waits = nil
	w.mu.Unlock()
	for _, x := range all {
		x.r.Resolve(x.slot, Lost, ready)
	}
}

// Len is the number of waits, completed ones included until they are swept.
func (w *Watch) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waits)
}
