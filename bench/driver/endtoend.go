package driver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Flow is an end-to-end measurement in progress: one side sends records by a
// schedule, the other receives them. Both may report from any goroutine.
type Flow struct {
	c  *counter
	mu sync.Mutex
	r  *Result
}

// Fail ends the measurement.
func (f *Flow) Fail(err error) { f.c.fail(err) }

// Send calls each with the records that are due, every millisecond until ctx
// ends. How late they are by then is the load generator's own delay, which is
// part of every latency.
func (f *Flow) Send(ctx context.Context, perSecond int, each func(first int, due []time.Time) error) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	begin, gap := time.Now(), time.Second/time.Duration(perSecond)
	var due []time.Time
	for i := 0; ; i += len(due) {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		due = due[:0]
		for at := begin.Add(time.Duration(i) * gap); !at.After(now); at = at.Add(gap) {
			due = append(due, at)
		}
		if err := each(i, due); err != nil {
			return err
		}
		handed := time.Now()
		f.mu.Lock()
		if f.c.phase.Load() == measuring {
			for _, at := range due {
				f.r.Own.Record(handed.Sub(at))
			}
		}
		f.mu.Unlock()
	}
}

// Value is a record's value that tells when it was due.
func Value(due time.Time, bytes int) []byte {
	return append(binary.LittleEndian.AppendUint64(make([]byte, 0, bytes), uint64(due.UnixNano())), make([]byte, max(0, bytes-8))...)
}

// Received takes a value that has arrived.
func (f *Flow) Received(value []byte, now time.Time) {
	if len(value) < 8 {
		return
	}
	f.c.records.Add(1)
	f.c.bytes.Add(int64(len(value)))
	if f.c.phase.Load() == measuring {
		f.mu.Lock()
		f.r.Latency.Record(now.Sub(time.Unix(0, int64(binary.LittleEndian.Uint64(value)))))
		f.mu.Unlock()
	}
}

// RunFlow runs both sides for the window. They return when their context ends.
func RunFlow(ctx context.Context, w Window, send, receive func(context.Context, *Flow) error) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &Flow{c: &counter{stop: cancel}, r: &Result{}}
	done := make(chan error, 2)
	for _, side := range []func(context.Context, *Flow) error{send, receive} {
		go func() {
			err := side(ctx, f)
			if err != nil {
				f.Fail(err)
			}
			done <- err
		}()
	}
	err := w.run(ctx, f.c, f.r)
	return f.r, errors.Join(err, <-done, <-done)
}

// EndToEnd produces perSecond records a second with an ordinary client (no
// linger, acks=all), paced by a schedule, and consumes them in the same
// process. Latency is from when a record was due to when it arrived, so a stall
// counts for every record that it held up. Partitions are filled in turn.
func (b Brokers) EndToEnd(ctx context.Context, topic string, partitions, perSecond, valueBytes int, w Window) (*Result, error) {
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
	send := func(ctx context.Context, f *Flow) error {
		return f.Send(ctx, perSecond, func(first int, due []time.Time) error {
			for i, at := range due {
				r := &kgo.Record{Topic: topic, Partition: int32((first + i) % partitions), Value: Value(at, valueBytes)}
				producer.TryProduce(ctx, r, func(_ *kgo.Record, err error) {
					if err != nil && ctx.Err() == nil {
						f.Fail(fmt.Errorf("producing: %w", err))
					}
				})
			}
			return nil
		})
	}
	receive := func(ctx context.Context, f *Flow) error {
		for {
			fetches := consumer.PollFetches(ctx)
			if ctx.Err() != nil {
				return nil
			}
			for _, e := range fetches.Errors() {
				return fmt.Errorf("consuming: %w", e.Err)
			}
			now := time.Now()
			fetches.EachRecord(func(r *kgo.Record) { f.Received(r.Value, now) })
		}
	}
	return RunFlow(ctx, w, send, receive)
}
