package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tidemark/bench/ceiling"
	"tidemark/bench/driver"
	"tidemark/bench/proc"
)

// ceilingModes are environments of the ceiling's processes. Which one is
// quicker depends on the machine and the load; the better one counts.
var ceilingModes = [][]string{nil, {"GOMAXPROCS=1"}}

// bestCeiling measures in every mode and returns the best result: the highest
// first metric, or the lowest if less is more.
func (t *turn) bestCeiling(less bool, partitions, rf int, f func(c ceiling.Config, pids []int) (metrics, error)) (metrics, error) {
	var best metrics
	for i, env := range ceilingModes {
		m, err := t.withCeiling(env, partitions, rf, f)
		if err != nil {
			return nil, err
		}
		if len(m) == 0 {
			continue
		}
		m = append(m, metric{"mode: GOMAXPROCS, 0 is the default", float64(i)})
		if best == nil || (m[0].Value < best[0].Value) == less {
			best = m
		}
	}
	return best, nil
}

// withCeiling starts three processes of the ceiling for f and ends them.
func (t *turn) withCeiling(env []string, partitions, rf int, f func(c ceiling.Config, pids []int) (metrics, error)) (metrics, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := proc.FreePorts(clusterSize)
	if err != nil {
		return nil, err
	}
	c := ceiling.Config{Partitions: partitions, RF: rf}
	for _, p := range ports {
		c.Addrs = append(c.Addrs, fmt.Sprintf("127.0.0.1:%d", p))
	}
	var pids []int
	for i := range clusterSize {
		dir := filepath.Join(t.dir, fmt.Sprintf("node-%d", i+1))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		p, err := proc.Start(dir+".log", env, self, ceilingCommand, "-id", fmt.Sprint(i+1), "-addrs", strings.Join(c.Addrs, ","),
			"-partitions", fmt.Sprint(partitions), "-rf", fmt.Sprint(rf), "-dir", dir)
		if err != nil {
			return nil, err
		}
		defer p.Kill()
		pids = append(pids, p.Pid())
	}
	for _, a := range c.Addrs {
		if err := ceiling.Ping(a, 10*time.Second); err != nil {
			return nil, err
		}
	}
	return f(c, pids)
}

func (l load) onCeiling(ctx context.Context, t *turn) (metrics, error) {
	return t.bestCeiling(false, l.partitions, l.rf, func(c ceiling.Config, pids []int) (metrics, error) {
		m := t.meter(func() []int { return pids })
		r, err := driver.Produce(ctx, c.Lanes(l.acks, l.batchBytes, valueBytes), l.inFlight, m.Window)
		if err != nil {
			return nil, err
		}
		return append(l.metrics(r, m.cpu), memory("after", pids)...), nil
	})
}

func consumeCeiling(ctx context.Context, t *turn) (metrics, error) {
	return t.bestCeiling(false, 6, 3, func(c ceiling.Config, pids []int) (metrics, error) {
		_, err := driver.Produce(ctx, c.Lanes(-1, consumeBatch, valueBytes), 5, driver.Window{Measure: time.Minute, MaxBytes: t.opt.maxBytes / 2})
		if err != nil {
			return nil, err
		}
		m := t.meter(func() []int { return pids })
		m.MaxBytes = 0
		r, err := driver.Consume(ctx, c.Readers(), m.Window)
		if err != nil {
			return nil, err
		}
		return metrics{{"MB/s", r.MBps()}, {"brokers' CPU, s/GB", perGB(r, m.cpu)}}, nil
	})
}

// endToEndCeiling is the end-to-end load without a client library; the mode
// with the lower median counts.
func endToEndCeiling(partitions int) func(context.Context, *turn) (metrics, error) {
	return func(ctx context.Context, t *turn) (metrics, error) {
		m, err := t.bestCeiling(true, partitions, 3, func(c ceiling.Config, pids []int) (metrics, error) {
			m := t.meter(func() []int { return pids })
			r, err := c.EndToEnd(ctx, perSecond, valueBytes, m.Window)
			if err != nil {
				return nil, err
			}
			return flowMetrics(r, m.cpu), tooFew(r)
		})
		return m, err
	}
}

func startCeiling(_ context.Context, t *turn) (metrics, error) {
	begin := time.Now()
	var m metrics
	return t.withCeiling(nil, 1, 3, func(ceiling.Config, []int) (metrics, error) {
		m = append(m, metric{"all brokers listed, ms", millis(time.Since(begin))})
		return m, nil
	})
}

func idleCeiling(ctx context.Context, t *turn) (metrics, error) {
	return t.withCeiling(nil, 6, 3, func(_ ceiling.Config, pids []int) (metrics, error) { return t.watchIdle(ctx, pids) })
}
