package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"tidemark/bench/driver"
	"tidemark/bench/proc"
)

// turn is one system's turn in one round.
type turn struct {
	opt    options
	round  int
	system system
	report *report
	dir    string

	c       *cluster // of a system that speaks Kafka's protocol
	started metrics  // what the start cost
	hot     bool     // heat has run
}

// run runs the chosen scenarios. A failed scenario is reported, and the turn
// goes on; only a cluster that does not start, or an interrupt, ends it.
func (t *turn) run(ctx context.Context) error {
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	defer func() {
		if !t.opt.keep {
			os.RemoveAll(t.dir)
		}
	}()
	if sys, ok := t.system.(brokerSystem); ok {
		c, err := newCluster(sys, t.dir)
		if err != nil {
			return err
		}
		t.c = c
		defer c.stop()
		if err := t.boot(ctx); err != nil {
			return fmt.Errorf("%s does not start: %w\n%s", t.system.name(), err, c.tails(30))
		}
	}
	for _, s := range scenarios() {
		if !slices.Contains(t.opt.scenarios, s.name) {
			continue
		}
		f := s.brokers
		if t.c == nil {
			f = s.ceiling
		}
		if f == nil {
			continue
		}
		if !s.cold {
			if err := t.heat(ctx); err != nil {
				return fmt.Errorf("heating %s up: %w", t.system.name(), err)
			}
		}
		m, err := f(ctx, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.report.add(t.round, t.system.name(), s.name, m, err)
		if err != nil && t.c != nil {
			fmt.Fprintln(os.Stderr, t.c.tails(10))
			if err := t.c.revive(ctx); err != nil {
				return fmt.Errorf("%s does not come back: %w\n%s", t.system.name(), err, t.c.tails(30))
			}
		}
	}
	return nil
}

// heat gives Apache Kafka what its compiler needs to see: every kind of load,
// in turns, for a while.
func (t *turn) heat(ctx context.Context) error {
	if t.hot || t.opt.heat == 0 || t.system.name() != kafkaName {
		return nil
	}
	t.hot = true
	const piece = 3 * time.Second
	kinds := []load{{1, 3, -1, 1 << 20, 5}, {6, 3, -1, 16 << 10, 5}, {1, 3, -1, 1, 5}, {1, 1, 1, 1 << 20, 5}}
	for i, end := 0, time.Now().Add(t.opt.heat); time.Now().Before(end); i++ {
		l, tp := kinds[i%len(kinds)], topic("heat", kinds[i%len(kinds)].partitions, kinds[i%len(kinds)].rf)
		_, err := t.withTopic(ctx, tp, func() (metrics, error) {
			lanes, err := t.c.brokers.ProduceLanes(ctx, tp.Name, int16(l.acks), l.batchBytes, valueBytes)
			if err != nil {
				return nil, err
			}
			if _, err = driver.Produce(ctx, lanes, l.inFlight, driver.Window{Measure: piece, MaxBytes: t.opt.maxBytes}); err != nil {
				return nil, err
			}
			readers, err := t.c.brokers.FetchReaders(ctx, tp.Name)
			if err != nil {
				return nil, err
			}
			_, err = driver.Consume(ctx, readers, driver.Window{Measure: piece / 3})
			return nil, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// boot starts all nodes at once and notes when they answer.
func (t *turn) boot(ctx context.Context) error {
	begin := time.Now()
	for _, n := range t.c.nodes {
		if err := t.c.start(n); err != nil {
			return err
		}
	}
	first, err := t.c.brokers.FirstMetadata(ctx, 1, 90*time.Second)
	if err != nil {
		return err
	}
	all, err := t.c.brokers.FirstMetadata(ctx, clusterSize, 90*time.Second)
	if err != nil {
		return err
	}
	t.started = metrics{{"first Metadata answer, ms", millis(first.Sub(begin))}, {"all brokers listed, ms", millis(all.Sub(begin))}}
	return t.c.revive(ctx)
}

// meter is a window that also takes the CPU time of processes.
type meter struct {
	driver.Window
	cpu time.Duration
}

func (t *turn) meter(pids func() []int) *meter {
	m := &meter{Window: driver.Window{Warmup: t.opt.warmup, Measure: t.opt.measure, MaxBytes: t.opt.maxBytes}}
	var begin time.Duration
	m.Started = func() { begin = proc.CPU(pids()...) }
	m.Ended = func() { m.cpu = proc.CPU(pids()...) - begin }
	return m
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
