package main

import (
	"context"
	"fmt"
	"time"

	"tidemark/bench/driver"
	"tidemark/bench/proc"
)

// metric is one number of a scenario; the name ends with its unit.
type metric struct {
	Name  string
	Value float64
}

type metrics []metric

// scenario is one row group of the report.
type scenario struct {
	name, title string
	extra       bool // not part of the default set
	cold        bool // needs a cluster that has seen no load
	brokers     func(context.Context, *turn) (metrics, error)
	ceiling     func(context.Context, *turn) (metrics, error) // nil: there is none
}

const valueBytes = 1024

// load is a produce scenario.
type load struct {
	partitions, rf, acks, batchBytes, inFlight int
}

func (l load) scenario(name, title string) scenario {
	return scenario{name: name, title: title, brokers: l.onBrokers, ceiling: l.onCeiling}
}

// scenarios lists all, in the order in which they run: what needs an untouched
// cluster first, what kills nodes last.
func scenarios() []scenario {
	return []scenario{
		{name: "start", cold: true, title: "three nodes from exec to the first Metadata answer, empty directories", brokers: started, ceiling: startCeiling},
		{name: "idle", cold: true, title: "three idle nodes without topics", brokers: idle, ceiling: idleCeiling},
		{name: "idle-2000", cold: true, title: "three idle nodes, 2,000 partitions with RF 3", extra: true, brokers: idleFull},
		load{1, 3, -1, 1 << 20, 5}.scenario("produce-1m", "produce, RF 3, acks=all, 1 partition, 1 MiB batches, 5 in flight"),
		load{6, 3, -1, 1 << 20, 5}.scenario("produce-1m-6p", "produce, RF 3, acks=all, 6 partitions, 1 MiB batches, 5 in flight per leader"),
		load{6, 3, -1, 16 << 10, 5}.scenario("produce-16k", "produce, RF 3, acks=all, 6 partitions, 16 KiB batches, 5 in flight per leader"),
		load{1, 1, 1, 1 << 20, 5}.scenario("produce-rf1", "produce, RF 1, acks=1, 1 partition, 1 MiB batches, 5 in flight"),
		load{1, 3, -1, 1, 5}.scenario("one-5", "one record a batch, RF 3, acks=all, 1 partition, 5 in flight"),
		load{1, 3, -1, 1, 1}.scenario("one-1", "one record a batch, RF 3, acks=all, 1 partition, 1 in flight"),
		{name: "consume", title: "consume what was just produced, 6 partitions, raw", brokers: consume, ceiling: consumeCeiling},
		{name: "e2e-1p", title: "end to end, 10,000 msg/s of 1 KiB, 1 partition, RF 3, acks=all, no linger (franz-go)", brokers: endToEnd(1), ceiling: endToEndCeiling(1)},
		{name: "e2e-6p", title: "end to end, 10,000 msg/s of 1 KiB, 6 partitions, RF 3, acks=all, no linger (franz-go)", brokers: endToEnd(6), ceiling: endToEndCeiling(6)},
		{name: "catch-up", title: "catch-up of a broker that was killed and missed the production, 6 partitions, RF 3", brokers: catchUp},
		{name: "recovery", title: "start of three nodes that were killed, 6 partitions, RF 3, -max-mb on every node", extra: true, brokers: recovery},
		{name: "restart-2000", title: "restart of three nodes with 2,000 partitions, RF 3", extra: true, brokers: restartMany},
		{name: "failover", title: "kill -9 of the leader (not the active controller): longest gap between acks", brokers: failover(false)},
		{name: "failover-controller", title: "kill -9 of the leader that is also the active controller: longest gap between acks", brokers: failover(true)},
	}
}

// withTopic makes a fresh topic, runs f and deletes the topic.
func (t *turn) withTopic(ctx context.Context, topic driver.Topic, f func() (metrics, error)) (metrics, error) {
	if err := t.c.brokers.Create(ctx, topic); err != nil {
		return nil, err
	}
	m, err := f()
	if err != nil {
		return nil, err
	}
	return m, t.c.drop(ctx, topic.Name)
}

// topic names a fresh topic of the turn's round.
func topic(name string, partitions, rf int) driver.Topic {
	return driver.Topic{Name: "bench-" + name, Partitions: partitions, RF: rf, MinISR: min(2, rf)}
}

func (l load) onBrokers(ctx context.Context, t *turn) (metrics, error) {
	tp := topic("load", l.partitions, l.rf)
	return t.withTopic(ctx, tp, func() (metrics, error) {
		lanes, err := t.c.brokers.ProduceLanes(ctx, tp.Name, int16(l.acks), l.batchBytes, valueBytes)
		if err != nil {
			return nil, err
		}
		m := t.meter(t.c.pids)
		r, err := driver.Produce(ctx, lanes, l.inFlight, m.Window)
		if err != nil {
			return nil, err
		}
		return append(l.metrics(r, m.cpu), memory("after", t.c.pids())...), nil
	})
}

// metrics of a produce: throughput for large batches, rate and latency for single records.
func (l load) metrics(r *driver.Result, cpu time.Duration) metrics {
	if r.Records == 0 {
		return nil
	}
	p50, p99 := metric{"p50, ms", millis(r.Latency.Quantile(0.5))}, metric{"p99, ms", millis(r.Latency.Quantile(0.99))}
	if l.batchBytes < valueBytes {
		return append(metrics{{"records/s", r.PerSecond()}, {"brokers' CPU, us/record", float64(cpu.Microseconds()) / float64(r.Records)}, p50, p99}, ownDelay(r)...)
	}
	return append(metrics{{"MB/s", r.MBps()}, {"brokers' CPU, s/GB", perGB(r, cpu)}, p50, p99}, ownDelay(r)...)
}

// ownDelay is what of the latencies is the load generator's.
func ownDelay(r *driver.Result) metrics {
	return metrics{{"of it the generator's delay, p50, ms", millis(r.Own.Quantile(0.5))}, {"of it the generator's delay, p99, ms", millis(r.Own.Quantile(0.99))}}
}

func perGB(r *driver.Result, cpu time.Duration) float64 {
	return cpu.Seconds() / (float64(r.Bytes) / 1e9)
}

// memory is the resident set of the largest process and their mean.
func memory(when string, pids []int) metrics {
	var sum, most int64
	for _, pid := range pids {
		r, _ := proc.Memory(pid)
		sum, most = sum+r, max(most, r)
	}
	if len(pids) == 0 {
		return nil
	}
	return metrics{{"RSS " + when + ", mean, MB/node", float64(sum) / 1e6 / float64(len(pids))}, {"RSS " + when + ", max, MB", float64(most) / 1e6}}
}

func consume(ctx context.Context, t *turn) (metrics, error) {
	tp := topic("consume", 6, 3)
	return t.withTopic(ctx, tp, func() (metrics, error) {
		lanes, err := t.c.brokers.ProduceLanes(ctx, tp.Name, -1, consumeBatch, valueBytes)
		if err != nil {
			return nil, err
		}
		r, err := driver.Produce(ctx, lanes, 5, driver.Window{Measure: time.Minute, MaxBytes: t.opt.maxBytes / 2})
		if err != nil {
			return nil, err
		}
		n, err := t.c.brokers.Verify(ctx, tp.Name)
		if err != nil {
			return nil, err
		}
		if n < r.Records {
			return nil, fmt.Errorf("%d records in the topic, %d were acknowledged", n, r.Records)
		}
		readers, err := t.c.brokers.FetchReaders(ctx, tp.Name)
		if err != nil {
			return nil, err
		}
		m := t.meter(t.c.pids)
		m.MaxBytes = 0
		c, err := driver.Consume(ctx, readers, m.Window)
		if err != nil {
			return nil, err
		}
		return metrics{{"MB/s", c.MBps()}, {"brokers' CPU, s/GB", perGB(c, m.cpu)}}, nil
	})
}

// consumeBatch is the batch size of what is consumed.
const consumeBatch = 64 << 10

func endToEnd(partitions int) func(context.Context, *turn) (metrics, error) {
	return func(ctx context.Context, t *turn) (metrics, error) {
		tp := topic("e2e", partitions, 3)
		return t.withTopic(ctx, tp, func() (metrics, error) {
			m := t.meter(t.c.pids)
			r, err := t.c.brokers.EndToEnd(ctx, tp.Name, partitions, perSecond, valueBytes, m.Window)
			if err != nil {
				return nil, err
			}
			return flowMetrics(r, m.cpu), tooFew(r)
		})
	}
}

// perSecond is the rate of the end-to-end scenarios.
const perSecond = 10000

// tooFew is an error if less arrived than was due.
func tooFew(r *driver.Result) error {
	if r.PerSecond() < 0.9*perSecond {
		return fmt.Errorf("only %.0f of %d records a second arrived; the latency would say nothing", r.PerSecond(), perSecond)
	}
	return nil
}

func flowMetrics(r *driver.Result, cpu time.Duration) metrics {
	return append(metrics{{"p50, ms", millis(r.Latency.Quantile(0.5))}, {"p99, ms", millis(r.Latency.Quantile(0.99))},
		{"p99.9, ms", millis(r.Latency.Quantile(0.999))}, {"brokers' CPU, cores", cpu.Seconds() / r.Took.Seconds()}}, ownDelay(r)...)
}

func started(_ context.Context, t *turn) (metrics, error) { return t.started, nil }

func idle(ctx context.Context, t *turn) (metrics, error) { return t.watchIdle(ctx, t.c.pids()) }

func idleFull(ctx context.Context, t *turn) (metrics, error) {
	tp := topic("idle", 2000, 3)
	return t.withTopic(ctx, tp, func() (metrics, error) { return t.watchIdle(ctx, t.c.pids()) })
}

const settle = 3 * time.Second

// watchIdle lets the processes settle and then watches them do nothing.
func (t *turn) watchIdle(ctx context.Context, pids []int) (metrics, error) {
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	switches := func() (sum int64) {
		for _, pid := range pids {
			sum += proc.ContextSwitches(pid)
		}
		return sum
	}
	begin, cpu, sw := time.Now(), proc.CPU(pids...), switches()
	if err := pause(ctx, t.opt.idle); err != nil {
		return nil, err
	}
	took := time.Since(begin).Seconds() * float64(len(pids))
	files := 0
	for _, pid := range pids {
		files += proc.OpenFiles(pid)
	}
	m := memory("idle", pids)
	return append(m, metric{"voluntary context switches/s per node", float64(switches()-sw) / took},
		metric{"CPU, % of a core per node", 100 * (proc.CPU(pids...) - cpu).Seconds() / took},
		metric{"open files per node", float64(files) / float64(len(pids))}), nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
