package main

import (
	"context"
	"fmt"
	"time"

	"tidemark/bench/driver"
)

// failoverLimit is how long a failover may take before the scenario fails.
const failoverLimit = 90 * time.Second

// failover kills the leader of a one-partition topic; the topic is laid out so
// that the leader is, or is not, the active controller.
func failover(controller bool) func(context.Context, *turn) (metrics, error) {
	return func(ctx context.Context, t *turn) (metrics, error) {
		active, err := t.c.brokers.Controller(ctx)
		if err != nil {
			return nil, err
		}
		if active < 1 || int(active) > clusterSize {
			return nil, fmt.Errorf("no active controller (%d)", active)
		}
		tp := topic("failover", 1, 3)
		tp.First = active
		if !controller {
			tp.First = active%clusterSize + 1
		}
		return t.withTopic(ctx, tp, func() (metrics, error) {
			n := t.c.nodes[tp.First-1]
			g, err := t.c.brokers.Failover(ctx, tp.Name, failoverLimit, n.p.Crash)
			if err != nil {
				return nil, err
			}
			if err := t.restore(ctx, tp); err != nil {
				return nil, err
			}
			return metrics{{"longest gap, ms", millis(g.Longest)}, {"longest gap before the kill, ms", millis(g.Before)}}, nil
		})
	}
}

// restore starts what was killed and waits until it has caught up.
func (t *turn) restore(ctx context.Context, tp driver.Topic) error {
	for _, n := range t.c.nodes {
		if n.p != nil && !n.p.Running() {
			n.p.Kill() // reaped
		}
	}
	if err := t.c.revive(ctx); err != nil {
		return err
	}
	return t.c.brokers.InSync(ctx, tp, failoverLimit)
}

// catchUp kills a node, produces without it, starts it again and measures how
// fast it fetches what it missed.
func catchUp(ctx context.Context, t *turn) (metrics, error) {
	tp := topic("catchup", 6, 3)
	return t.withTopic(ctx, tp, func() (metrics, error) {
		n := t.c.nodes[clusterSize-1]
		n.p.Kill()
		if err := t.c.brokers.Reduced(ctx, tp, int32(n.id), failoverLimit); err != nil {
			return nil, err
		}
		lanes, err := t.c.brokers.ProduceLanes(ctx, tp.Name, -1, 256<<10, valueBytes)
		if err != nil {
			return nil, err
		}
		if _, err := driver.Produce(ctx, lanes, 5, driver.Window{Measure: time.Minute, MaxBytes: t.opt.maxBytes}); err != nil {
			return nil, err
		}
		want, have := t.c.nodes[0].topicBytes(tp.Name), n.topicBytes(tp.Name)
		if err := t.c.start(n); err != nil {
			return nil, err
		}
		grown := watchGrowth(ctx, n, tp.Name, have, want)
		err = t.c.brokers.InSync(ctx, tp, failoverLimit)
		inSync := time.Since(n.p.Started)
		if err != nil {
			return nil, err
		}
		took := <-grown
		if took == 0 {
			return nil, fmt.Errorf("in sync after %v, but the files have %d of %d bytes", inSync, n.topicBytes(tp.Name), want)
		}
		return metrics{{"MB/s", float64(want-have) / 1e6 / took.Seconds()}, {"from exec to in sync, s", inSync.Seconds()},
			{"caught up, MB", float64(want-have) / 1e6}}, t.c.revive(ctx)
	})
}

// watchGrowth reports how long a topic's files took from their first growth to
// the wanted size; 0 if they have not got there 10 s after the last change.
func watchGrowth(ctx context.Context, n *node, topic string, have, want int64) <-chan time.Duration {
	out := make(chan time.Duration, 1)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var begin time.Time
		for deadline := time.Now().Add(failoverLimit); time.Now().Before(deadline) && ctx.Err() == nil; <-tick.C {
			size := n.topicBytes(topic)
			if begin.IsZero() && size > have {
				begin = time.Now()
			}
			if size >= want {
				out <- time.Since(begin)
				return
			}
		}
		out <- 0
	}()
	return out
}
