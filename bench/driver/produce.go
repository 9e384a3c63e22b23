package driver

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Lane is one connection of a producer and the requests that it sends in turn.
type Lane struct {
	Addr    string
	Frames  [][]byte // whole requests, length included
	ErrorAt []int    // where each one's answer holds its two-byte error code
	Bytes   int64    // of the batch in each request
	Records int64
}

// ProduceLanes prepares one lane per leader of the topic.
func (b Brokers) ProduceLanes(ctx context.Context, topic string, acks int16, batchBytes, valueBytes int) ([]Lane, error) {
	leaders, err := b.leaders(ctx, topic)
	if err != nil {
		return nil, err
	}
	batch := BuildBatch(batchBytes, valueBytes, time.Now())
	var lanes []Lane
	at := map[string]int{}
	for p, addr := range leaders {
		i, ok := at[addr]
		if !ok {
			i = len(lanes)
			at[addr] = i
			lanes = append(lanes, Lane{Addr: addr, Bytes: int64(len(batch)), Records: int64(batch.Count())})
		}
		f, e := ProduceFrame(topic, int32(p), acks, batch)
		lanes[i].Frames, lanes[i].ErrorAt = append(lanes[i].Frames, f), append(lanes[i].ErrorAt, e)
	}
	return lanes, nil
}

// Produce keeps inFlight requests outstanding on every lane for the window.
func Produce(ctx context.Context, lanes []Lane, inFlight int, w Window) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, r := &counter{stop: cancel}, &Result{}
	hists := make([]Histogram, len(lanes))
	var wg sync.WaitGroup
	for i := range lanes {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", lanes[i].Addr)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		wg.Go(func() {
			if err := lanes[i].run(conn, inFlight, c, &hists[i]); err != nil {
				c.fail(fmt.Errorf("producing to %s: %w", lanes[i].Addr, err))
			}
		})
	}
	wg.Go(func() { probe(ctx, c, &r.Own) })
	err := w.run(ctx, c, r)
	wg.Wait()
	for i := range hists {
		r.Latency.Merge(&hists[i])
	}
	return r, err
}

// run sends as many requests as answers have come, in one write if the requests are small.
func (l *Lane) run(conn net.Conn, inFlight int, c *counter, h *Histogram) error {
	r := bufio.NewReaderSize(conn, 16<<10)
	sent := make([]time.Time, inFlight) // ring of the outstanding ones
	var out, in int
	var answer, gather []byte
	for free := inFlight; ; {
		gather = gather[:0]
		for ; free > 0; free-- {
			f := l.Frames[out%len(l.Frames)]
			sent[out%inFlight] = time.Now()
			out++
			if len(f) <= 4<<10 {
				gather = append(gather, f...)
			} else if _, err := conn.Write(f); err != nil {
				return err
			}
		}
		if len(gather) > 0 {
			if _, err := conn.Write(gather); err != nil {
				return err
			}
		}
		for free == 0 || r.Buffered() >= 4 && free < inFlight {
			var err error
			if answer, err = readFrame(r, answer); err != nil {
				return err
			}
			if err := checkAnswer(answer, l.ErrorAt[in%len(l.ErrorAt)]); err != nil {
				return err
			}
			if c.phase.Load() == measuring {
				h.Record(time.Since(sent[in%inFlight]))
			}
			in++
			free++
			c.bytes.Add(l.Bytes)
			c.records.Add(l.Records)
		}
	}
}

func checkAnswer(answer []byte, at int) error {
	if len(answer) < at+2 {
		return fmt.Errorf("an answer of %d bytes has no error code at %d", len(answer), at)
	}
	return kerr.ErrorForCode(int16(binary.BigEndian.Uint16(answer[at:])))
}
