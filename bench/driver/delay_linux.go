package driver

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// probeEvery is how often the load generator asks for the processor.
const probeEvery = 2 * time.Millisecond

// probe measures how late this process gets a processor that it asked for: a
// thread sleeps for a while again and again, and records by how much it
// overslept. Whatever waits for an answer is woken as late as that.
func probe(ctx context.Context, c *counter, h *Histogram) {
	runtime.LockOSThread() // never unlocked: the thread, with its timer slack, ends with the goroutine
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	for ctx.Err() == nil {
		from := time.Now()
		left := unix.NsecToTimespec(probeEvery.Nanoseconds())
		if err := unix.Nanosleep(&left, nil); err != nil {
			continue // a signal
		}
		if late := time.Since(from) - probeEvery; c.phase.Load() == measuring {
			h.Record(late)
		}
	}
}
