package purgatory

import (
	"sync"
	"time"
)

// Outcome is how the wait for one value ended.
type Outcome uint8

const (
	// Waiting: not yet; after the deadline: not at all.
	Waiting Outcome = iota
	// Reached: the value was reached.
	Reached
	// Lost: it can't be reached any more, for example after a leader change.
	Lost
)

// Request is one parked request, which waits for a number of values, its slots.
type Request struct {
	p        *Purgatory
	deadline time.Time
	index    int // in the heap; guarded by Purgatory.mu
	complete func(r *Request)

	mu struct {
		sync.Mutex
		outcomes []Outcome
		pending  int // slots that are Waiting, and one more until Park
		done     bool
		expired  bool
	}
	one [1]Outcome // backs outcomes of the usual request
}

// NewRequest makes a request that waits for slots values. complete runs once,
// in the goroutine that brought the last one, or that of the timer. It must
// not block.
func (p *Purgatory) NewRequest(slots int, deadline time.Time, complete func(r *Request)) *Request {
	r := &Request{p: p, deadline: deadline, index: -1, complete: complete}
	r.mu.pending = slots + 1
	if slots <= len(r.one) {
		r.mu.outcomes = r.one[:slots]
	} else {
		r.mu.outcomes = make([]Outcome, slots)
	}
	return r
}

// Park starts the deadline, after every slot has been given to a Watch. If
// nothing is left to wait for, or the deadline has passed, the request joins
// ready. ErrFull: the request is completed as expired.
func (r *Request) Park(ready *Ready) error {
	r.mu.Lock()
	r.mu.pending--
	last := r.mu.pending == 0 && !r.mu.done
	if last {
		r.mu.done = true
	}
	r.mu.Unlock()
	if last {
		ready.Add(r)
		return nil
	}
	err := r.p.park(r)
	if err != nil {
		r.expire()
		return err
	}
	// It may have been completed between the two steps, and not been on the heap yet.
	if r.Done() {
		r.p.forget(r)
	}
	return nil
}

// Resolve ends the wait of one slot. The second call for a slot has no effect.
func (r *Request) Resolve(slot int, o Outcome, ready *Ready) {
	if r.resolve(slot, o) {
		ready.Add(r)
	}
}

func (r *Request) resolve(slot int, o Outcome) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.done || r.mu.outcomes[slot] != Waiting {
		return false
	}
	r.mu.outcomes[slot] = o
	r.mu.pending--
	r.mu.done = r.mu.pending == 0
	return r.mu.done
}

// Wake ends the wait of a request with one slot. If it returns true, the caller
// has claimed the request and must Complete it, once it holds no lock.
func (r *Request) Wake() bool { return r.resolve(0, Reached) }

// Complete runs the completion of a request that was claimed.
func (r *Request) Complete() {
	r.p.forget(r)
	r.complete(r)
}

func (r *Request) expire() {
	r.mu.Lock()
	if r.mu.done { // invariant 1
		r.mu.Unlock()
		return
	}
	r.mu.done, r.mu.expired = true, true
	r.mu.Unlock()
	r.complete(r)
}

// Done tells whether the request is completed, or about to be.
func (r *Request) Done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.done
}

// Expired tells the completion function that the deadline passed.
func (r *Request) Expired() bool { return r.mu.expired }

// Outcome tells the completion function how the wait of a slot ended.
func (r *Request) Outcome(slot int) Outcome { return r.mu.outcomes[slot] }

// Ready gathers requests to complete, while locks are held and until a drain
// is over. The zero value is empty. Not for concurrent use.
type Ready struct{ requests []Completer }

// Completer is something to complete: a *Request that was claimed by Wake, as
// a rule.
type Completer interface{ Complete() }

// Add gathers c, which is completed exactly once.
func (d *Ready) Add(c Completer) { d.requests = append(d.requests, c) }

// Len is the number of gathered requests.
func (d *Ready) Len() int { return len(d.requests) }

// Run completes them, and those that join meanwhile. The caller holds no lock.
func (d *Ready) Run() {
	for i := 0; i < len(d.requests); i++ {
		c := d.requests[i]
		d.requests[i] = nil
		c.Complete()
	}
	d.requests = d.requests[:0]
}

// Join moves the requests of o to d.
func (d *Ready) Join(o *Ready) {
	d.requests = append(d.requests, o.requests...)
	clear(o.requests)
	o.requests = o.requests[:0]
}
