package driver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// EndToEnd produces perSecond records a second with an ordinary client (no
// linger, acks=all), paced by a schedule, and consumes them in the same
// process. Latency is from when a record was due to when it arrived, so a stall
// counts for every record that it held up. Partitions are filled in turn.
func (b Brokers) EndToEnd(ctx context.Context, topic string, partitions, perSecond, valueBytes int, w Window) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	producer, err := kgo.NewClient(kgo.SeedBrokers(b...), kgo.ProducerLinger(0), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(10*perSecond), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	from := map[int32]kgo.Offset{}
	for p := range partitions {
		from[int32(p)] = kgo.NewOffset().AtStart()
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(b...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	c, r := &counter{stop: cancel}, &Result{}
	done := make(chan error, 2)
	go func() { done <- send(ctx, producer, topic, partitions, perSecond, valueBytes, c) }()
	go func() { done <- receive(ctx, consumer, c, &r.Latency) }()
	err = w.run(ctx, c, r)
	return r, errors.Join(err, <-done, <-done)
}

// send produces what is due every millisecond; the clock of a record is its schedule.
func send(ctx context.Context, cl *kgo.Client, topic string, partitions, perSecond, valueBytes int, c *counter) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	begin, gap := time.Now(), time.Second/time.Duration(perSecond)
	for i := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for due := begin.Add(time.Duration(i) * gap); !due.After(time.Now()); due = due.Add(gap) {
			value := make([]byte, valueBytes)
			binary.LittleEndian.PutUint64(value, uint64(due.UnixNano()))
			cl.TryProduce(ctx, &kgo.Record{Topic: topic, Partition: int32(i % partitions), Value: value}, func(_ *kgo.Record, err error) {
				if err != nil && ctx.Err() == nil {
					c.fail(fmt.Errorf("producing: %w", err))
				}
			})
			i++
		}
	}
}

func receive(ctx context.Context, cl *kgo.Client, c *counter, h *Histogram) error {
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			c.fail(fmt.Errorf("consuming: %w", e.Err))
			return nil
		}
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) {
			if c.phase.Load() == measuring && len(r.Value) >= 8 {
				h.Record(now.Sub(time.Unix(0, int64(binary.LittleEndian.Uint64(r.Value)))))
			}
			c.records.Add(1)
			c.bytes.Add(int64(len(r.Value)))
		})
	}
}
