package journal

import "sync/atomic"

// Subscription receives events as they happen. A subscriber that is slower
// than the stream loses the newest events; Missed counts them, and the gap
// shows in Seq.
type Subscription struct {
	C      <-chan Event // closed when the subscription or the journal ends
	c      chan Event
	j      *Journal
	missed atomic.Uint64
}

// Subscribe starts a subscription that buffers at most buffer events (at least 1).
func (j *Journal) Subscribe(buffer int) *Subscription {
	c := make(chan Event, max(buffer, 1))
	s := &Subscription{C: c, c: c, j: j}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.stopped {
		close(c)
		return s
	}
	j.mu.subs[s] = struct{}{}
	return s
}

// Missed counts the events that this subscriber lost.
func (s *Subscription) Missed() uint64 { return s.missed.Load() }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	if _, ok := s.j.mu.subs[s]; ok {
		delete(s.j.mu.subs, s)
		s.end()
	}
}

// offer and end run under Journal.mu, so that nothing is sent on a closed channel.
func (s *Subscription) offer(e Event) {
	select {
	case s.c <- e:
	default:
		s.missed.Add(1)
	}
}

func (s *Subscription) end() { close(s.c) }
