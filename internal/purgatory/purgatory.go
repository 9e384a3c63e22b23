package purgatory

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrFull means that too many requests are parked. The caller answers at once,
// as if the deadline had passed.
var ErrFull = errors.New("purgatory is full")

// Purgatory holds the deadlines of parked requests. Safe for concurrent use.
type Purgatory struct {
	max int

	mu struct {
		sync.Mutex
		heap    []*Request // smallest deadline first; Request.index is the place
		timer   *time.Timer
		armed   time.Time // when the timer fires, zero if it doesn't
		expired uint64
		closed  bool
	}
}

// New makes an empty Purgatory for at most max requests.
func New(max int) *Purgatory { return &Purgatory{max: max} }

// Len is the number of parked requests.
func (p *Purgatory) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.heap)
}

// Expired counts the requests that were completed by their deadline.
func (p *Purgatory) Expired() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.expired
}

// Close completes all parked requests as if their deadlines had passed, and
// refuses further ones.
func (p *Purgatory) Close() {
	p.mu.Lock()
	p.mu.closed = true
	all := p.mu.heap
	p.mu.heap = nil
	for _, r := range all {
		r.index = -1
	}
	if p.mu.timer != nil {
		p.mu.timer.Stop()
	}
	p.mu.Unlock()
	for _, r := range all {
		r.expire()
	}
}

// park puts r on the heap and sees to it that the timer fires in time.
func (p *Purgatory) park(r *Request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed || len(p.mu.heap) >= p.max { // invariant 4
		return fmt.Errorf("%d requests parked: %w", len(p.mu.heap), ErrFull)
	}
	p.push(r)
	if p.mu.armed.IsZero() || r.deadline.Before(p.mu.armed) {
		p.arm(r.deadline)
	}
	return nil
}

func (p *Purgatory) arm(at time.Time) {
	p.mu.armed = at
	d := time.Until(at)
	if p.mu.timer == nil {
		p.mu.timer = time.AfterFunc(d, p.fire)
		return
	}
	p.mu.timer.Reset(d)
}

// fire runs in the timer's goroutine.
func (p *Purgatory) fire() {
	now := time.Now()
	var due []*Request
	p.mu.Lock()
	p.mu.armed = time.Time{}
	for len(p.mu.heap) > 0 && !p.mu.heap[0].deadline.After(now) {
		r := p.mu.heap[0]
		p.remove(r)
		due = append(due, r)
	}
	p.mu.expired += uint64(len(due))
	if len(p.mu.heap) > 0 && !p.mu.closed {
		p.arm(p.mu.heap[0].deadline)
	}
	p.mu.Unlock()
	for _, r := range due {
		r.expire()
	}
}

// forget takes a completed request off the heap. The timer stays as it is: at
// worst it fires once for nothing.
func (p *Purgatory) forget(r *Request) {
	p.mu.Lock()
	if r.index >= 0 {
		p.remove(r)
	}
	p.mu.Unlock()
}

func (p *Purgatory) push(r *Request) {
	r.index = len(p.mu.heap)
	p.mu.heap = append(p.mu.heap, r)
	p.up(r.index)
}

func (p *Purgatory) remove(r *Request) {
	h := p.mu.heap
	i, last := r.index, len(h)-1
	r.index = -1
	if i != last {
		h[i] = h[last]
		h[i].index = i
	}
	h[last] = nil
	p.mu.heap = h[:last]
	if i != last {
		p.down(i)
		p.up(i)
	}
}

func (p *Purgatory) up(i int) {
	h := p.mu.heap
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].deadline.Before(h[parent].deadline) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		h[i].index, h[parent].index = i, parent
		i = parent
	}
}

func (p *Purgatory) down(i int) {
	h := p.mu.heap
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].deadline.Before(h[c].deadline) {
			c++
		}
		if !h[c].deadline.Before(h[i].deadline) {
			return
		}
		h[i], h[c] = h[c], h[i]
		h[i].index, h[c].index = i, c
		i = c
	}
}
