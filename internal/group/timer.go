package group

import (
	"container/heap"
	"time"
)

// timerKind is what happens when a timer expires.
type timerKind uint8

const (
	sessionTimer timerKind = iota // of a member
	pendingTimer                  // of a member id that was handed out (KIP-394)
	initialTimer                  // more members may join the first generation
	joinTimer                     // members rejoin
	syncTimer                     // members ask for their assignment
)

type timerKey struct {
	group  string
	kind   timerKind
	member string
}

// timers is a heap of deadlines. A deadline that moves back, as with every
// heartbeat, costs a map access: the entry in the heap is corrected when it
// comes up.
type timers struct {
	set  map[timerKey]*timer
	heap timerHeap
}

type timer struct {
	deadline time.Time
	queued   time.Time // of the entry in the heap that counts
}

type timerEntry struct {
	at  time.Time
	key timerKey
	seq uint64 // equal deadlines expire in the order they were set
}

func (t *timers) start(k timerKey, deadline time.Time) {
	if t.set == nil {
		t.set = map[timerKey]*timer{}
	}
	x := t.set[k]
	if x == nil {
		x = &timer{}
		t.set[k] = x
	}
	x.deadline = deadline
	if x.queued.IsZero() || deadline.Before(x.queued) {
		t.queue(k, x)
	}
}

func (t *timers) queue(k timerKey, x *timer) {
	x.queued = x.deadline
	t.heap.seq++
	heap.Push(&t.heap, timerEntry{x.deadline, k, t.heap.seq})
}

func (t *timers) stop(k timerKey) { delete(t.set, k) }

func (t *timers) running(k timerKey) bool { return t.set[k] != nil }

// next is when pop may have something, the zero time if never.
func (t *timers) next() time.Time {
	if len(t.heap.e) == 0 {
		return time.Time{}
	}
	return t.heap.e[0].at
}

// pop removes a timer that has expired.
func (t *timers) pop(now time.Time) (timerKey, bool) {
	for len(t.heap.e) > 0 && !t.heap.e[0].at.After(now) {
		e := heap.Pop(&t.heap).(timerEntry)
		x := t.set[e.key]
		switch {
		case x == nil || !x.queued.Equal(e.at):
			// Stopped, or replaced by an earlier entry.
		case x.deadline.After(now):
			t.queue(e.key, x)
		default:
			delete(t.set, e.key)
			return e.key, true
		}
	}
	return timerKey{}, false
}

type timerHeap struct {
	e   []timerEntry
	seq uint64
}

func (h *timerHeap) Len() int { return len(h.e) }
func (h *timerHeap) Less(i, j int) bool {
	if !h.e[i].at.Equal(h.e[j].at) {
		return h.e[i].at.Before(h.e[j].at)
	}
	return h.e[i].seq < h.e[j].seq
}
func (h *timerHeap) Swap(i, j int) { h.e[i], h.e[j] = h.e[j], h.e[i] }
func (h *timerHeap) Push(x any)    { h.e = append(h.e, x.(timerEntry)) }
func (h *timerHeap) Pop() any {
	e := h.e[len(h.e)-1]
	h.e = h.e[:len(h.e)-1]
	return e
}
