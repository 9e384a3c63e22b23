package commitlog

import (
	"sync"
	"time"
)

// Throttle bounds the bytes per second that compactions read and write
// (log.cleaner.io.max.bytes.per.second). One is shared by all cleaner threads;
// safe for concurrent use. A nil Throttle doesn't limit.
type Throttle struct {
	mu struct {
		sync.Mutex
		rate float64   // bytes per second
		free time.Time // when the bytes that were granted will have been paid for
	}
}

// NewThrottle returns a limit in bytes per second; no limit if it isn't positive.
func NewThrottle(bytesPerSecond float64) *Throttle {
	t := &Throttle{}
	t.SetRate(bytesPerSecond)
	return t
}

// SetRate changes the limit.
func (t *Throttle) SetRate(bytesPerSecond float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.rate = bytesPerSecond
}

// take grants n bytes and returns how long to wait for them.
func (t *Throttle) take(n int, now time.Time) time.Duration {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.rate <= 0 {
		return 0
	}
	if t.mu.free.Before(now) { // what wasn't used isn't saved
		t.mu.free = now
	}
	t.mu.free = t.mu.free.Add(time.Duration(float64(n) / t.mu.rate * float64(time.Second)))
	return t.mu.free.Sub(now)
}

// wait grants n bytes; false if one of the channels was closed first.
func (t *Throttle) wait(n int, stop, done <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	case <-done:
		return false
	default:
	}
	d := t.take(n, time.Now())
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return false
	case <-done:
		return false
	}
}
