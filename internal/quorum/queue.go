package quorum

import "sync"

// queue hands jobs from one goroutine to another in order. It isn't bounded by
// itself: Raft bounds what is outstanding (MaxUncommittedEntriesSize,
// MaxCommittedSizePerReady, MaxInflightBytes), and the loop must never block.
type queue[T any] struct {
	mu struct {
		sync.Mutex
		items []T
	}
	wake chan struct{}
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

func (q *queue[T]) put(items ...T) {
	q.mu.Lock()
	q.mu.items = append(q.mu.items, items...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns everything queued; nil if there is nothing.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.mu.items
	q.mu.items = nil
	return out
}
