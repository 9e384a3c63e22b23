package main

import (
	"context"
	"fmt"
	"time"

	"tidemark/bench/driver"
	"tidemark/bench/proc"
)

// restartLimit is how long a restart may take before the scenario fails.
const restartLimit = 5 * time.Minute

// stopLimit is how long a clean stop may take.
const stopLimit = 2 * time.Minute

// crashAll kills every node with SIGKILL, as near to the same instant as it goes.
func (c *cluster) crashAll() {
	for _, n := range c.nodes {
		n.p.Crash()
	}
	for _, n := range c.nodes {
		n.p.Kill() // reaped
	}
}

// stopAll asks every node to end, and waits for them.
func (c *cluster) stopAll() error {
	errs := make(chan error, len(c.nodes))
	for _, n := range c.nodes {
		go func() { errs <- n.p.Stop(stopLimit) }()
	}
	var first error
	for range c.nodes {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// up starts all nodes and measures, from exec on, the first Metadata answer,
// the one that lists all nodes, and the moment when all replicas are in sync and
// every leader answers.
func (t *turn) up(ctx context.Context, tp driver.Topic, when string) (metrics, error) {
	begin := time.Now()
	for _, n := range t.c.nodes {
		if err := t.c.start(n); err != nil {
			return nil, err
		}
	}
	first, err := t.c.brokers.FirstMetadata(ctx, 1, restartLimit)
	if err != nil {
		return nil, err
	}
	all, err := t.c.brokers.FirstMetadata(ctx, clusterSize, restartLimit)
	if err != nil {
		return nil, err
	}
	if err := t.c.brokers.InSync(ctx, tp, restartLimit); err != nil {
		return nil, err
	}
	full := time.Since(begin)
	return metrics{{when + ": first Metadata answer, ms", millis(first.Sub(begin))},
		{when + ": all brokers listed, ms", millis(all.Sub(begin))}, {when + ": full ISR, ms", millis(full)}}, nil
}

// recovery kills all nodes while their newest segments are full of records, and
// measures the start, and how much of what is on the disk is read for it.
func recovery(ctx context.Context, t *turn) (metrics, error) {
	tp := topic("recovery", 6, 3)
	return t.withTopic(ctx, tp, func() (metrics, error) {
		lanes, err := t.c.brokers.ProduceLanes(ctx, tp.Name, -1, 256<<10, valueBytes)
		if err != nil {
			return nil, err
		}
		if _, err := driver.Produce(ctx, lanes, 5, driver.Window{Measure: restartLimit, MaxBytes: t.opt.maxBytes}); err != nil {
			return nil, err
		}
		var stored int64
		for _, n := range t.c.nodes {
			stored += n.topicBytes(tp.Name)
		}
		if err := pause(ctx, settle); err != nil {
			return nil, err
		}
		t.c.crashAll()
		m, err := t.up(ctx, tp, "after kill -9")
		if err != nil {
			return nil, err
		}
		var read int64
		for _, n := range t.c.nodes {
			read += proc.BytesRead(n.p.Pid())
		}
		return append(m, metric{"on disk, MB/node", float64(stored) / 1e6 / clusterSize},
			metric{"read for it, % of what is on disk", 100 * float64(read) / float64(stored)}), t.c.revive(ctx)
	})
}

// restartMany restarts three nodes with many partitions, cleanly and not.
func restartMany(ctx context.Context, t *turn) (metrics, error) {
	tp := topic("restart", 2000, 3)
	return t.withTopic(ctx, tp, func() (metrics, error) {
		lanes, err := t.c.brokers.ProduceLanes(ctx, tp.Name, -1, 1, valueBytes)
		if err != nil {
			return nil, err
		}
		if _, err := driver.Produce(ctx, lanes, 1, driver.Window{Measure: time.Minute, MaxBytes: int64(tp.Partitions) * 10 * valueBytes}); err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := t.c.stopAll(); err != nil {
			return nil, fmt.Errorf("clean stop: %w", err)
		}
		m := metrics{{"clean stop, ms", millis(time.Since(begin))}}
		for _, when := range []string{"clean start", "after kill -9"} {
			if when != "clean start" {
				t.c.crashAll()
			}
			up, err := t.up(ctx, tp, when)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", when, err)
			}
			m = append(m, up...)
			if err := t.c.revive(ctx); err != nil {
				return nil, err
			}
			if err := pause(ctx, settle); err != nil {
				return nil, err
			}
		}
		return m, nil
	})
}
