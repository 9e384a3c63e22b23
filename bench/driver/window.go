package driver

import (
	"context"
	"sync/atomic"
	"time"
)

// Window is when to count: after a warm-up, until the time or the bytes are used up.
type Window struct {
	Warmup, Measure time.Duration
	MaxBytes        int64  // 0 for no limit; a third for the warm-up, the rest after it
	Started, Ended  func() // called at the edges, to read the brokers' CPU time; may be nil
}

// Result is what was counted inside a window.
type Result struct {
	Bytes, Records int64 // acknowledged or received
	Took           time.Duration
	Latency        Histogram
	Own            Histogram // the load generator's own delay, which is part of the latencies
}

// MBps is the throughput in 10^6 bytes a second.
func (r *Result) MBps() float64 { return float64(r.Bytes) / 1e6 / r.Took.Seconds() }

// PerSecond is the number of records a second.
func (r *Result) PerSecond() float64 { return float64(r.Records) / r.Took.Seconds() }

const (
	warming = iota
	measuring
	over
)

// counter is shared by the lanes of one run.
type counter struct {
	phase          atomic.Int32
	bytes, records atomic.Int64
	stop           context.CancelFunc
	err            atomic.Pointer[error]
}

func (c *counter) fail(err error) {
	if c.phase.Load() != over {
		c.err.CompareAndSwap(nil, &err)
		c.stop()
	}
}

// run times the window while the lanes work, and ends it.
func (w Window) run(ctx context.Context, c *counter, r *Result) error {
	w.wait(ctx, c, w.Warmup, w.MaxBytes/3)
	if w.Started != nil {
		w.Started()
	}
	begin, bytes, records := time.Now(), c.bytes.Load(), c.records.Load()
	c.phase.Store(measuring)
	rest := w.MaxBytes - w.MaxBytes/3
	if rest > 0 {
		rest += bytes
	}
	w.wait(ctx, c, w.Measure, rest)
	failed := c.err.Load()
	c.phase.Store(over)
	r.Bytes, r.Records, r.Took = c.bytes.Load()-bytes, c.records.Load()-records, time.Since(begin)
	if w.Ended != nil {
		w.Ended()
	}
	c.stop()
	if failed != nil {
		return *failed
	}
	return nil
}

func (w Window) wait(ctx context.Context, c *counter, d time.Duration, limit int64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(d)
	for time.Now().Before(deadline) && (limit == 0 || c.bytes.Load() < limit) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
