package ceiling

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"tidemark/bench/driver"
	"tidemark/internal/record"
)

// tail is a consumer that waits at the high watermark.
type tail struct {
	to          *conn
	from, limit int64
}

// tail sends what is committed behind from, now or when it comes.
func (n *node) tail(c *conn, f []byte) error {
	p, err := n.part(f[1:], true)
	if err != nil {
		return err
	}
	t := tail{c, int64(binary.BigEndian.Uint64(f[3:])), int64(binary.BigEndian.Uint32(f[11:]))}
	p.mu.Lock()
	p.mu.tails = append(p.mu.tails, t)
	p.mu.Unlock()
	n.feed(p)
	return nil
}

// feed answers the consumers for whom the high watermark has moved.
func (n *node) feed(p *part) {
	hw := p.highWatermark(n.cfg.RF)
	var ready []tail
	p.mu.Lock()
	p.mu.tails = slices.DeleteFunc(p.mu.tails, func(t tail) bool {
		if t.from < hw {
			ready = append(ready, t)
		}
		return t.from < hw
	})
	p.mu.Unlock()
	for _, t := range ready {
		size := min(hw-t.from, t.limit)
		head := binary.BigEndian.AppendUint32(nil, uint32(8+size))
		head = binary.BigEndian.AppendUint64(head, uint64(hw))
		_ = t.to.send(head, []span{{p, t.from, int(size)}}) // a dead connection's own reader ends it
	}
}

// EndToEnd does what driver.Brokers.EndToEnd does, without a client library:
// everything that is due together goes out as one batch for each partition.
func (c Config) EndToEnd(ctx context.Context, perSecond, valueBytes int, w driver.Window) (*driver.Result, error) {
	send := func(ctx context.Context, f *driver.Flow) error { return c.produceFlow(ctx, f, perSecond, valueBytes) }
	return driver.RunFlow(ctx, w, send, c.consumeFlow)
}

func (c Config) produceFlow(ctx context.Context, f *driver.Flow, perSecond, valueBytes int) error {
	leaders := min(c.Partitions, len(c.Addrs))
	conns := make([]net.Conn, leaders)
	for i := range conns {
		nc, err := dialUntil(ctx, c.Addrs[i])
		if err != nil {
			return err
		}
		conns[i] = nc
		go func() { _, _ = io.Copy(io.Discard, nc) }() // acknowledgements
	}
	batches := make([]record.Builder, c.Partitions)
	var frame []byte
	return f.Send(ctx, perSecond, func(first int, due []time.Time) error {
		for i, at := range due {
			batches[(first+i)%c.Partitions].Add(at.UnixMilli(), nil, driver.Value(at, valueBytes))
		}
		for p := range batches {
			if batches[p].Count() == 0 {
				continue
			}
			batch := batches[p].Build()
			batches[p].Reset()
			frame = binary.BigEndian.AppendUint32(frame[:0], uint32(4+len(batch)))
			frame = append(append(frame, opProduce, ackAll, byte(p>>8), byte(p)), batch...)
			if _, err := conns[p%leaders].Write(frame); err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
}

// consumeFlow reads every partition over a connection of its own.
func (c Config) consumeFlow(ctx context.Context, f *driver.Flow) error {
	errs := make(chan error, c.Partitions)
	for p := range c.Partitions {
		go func() { errs <- c.consumeOne(ctx, f, p) }()
	}
	var all error
	for range c.Partitions {
		err := <-errs
		if err != nil && ctx.Err() == nil {
			f.Fail(err) // ends the others
			all = errors.Join(all, err)
		}
	}
	return all
}

func (c Config) consumeOne(ctx context.Context, f *driver.Flow, partition int) error {
	nc, err := dialUntil(ctx, c.Addrs[partition%len(c.Addrs)])
	if err != nil {
		return err
	}
	var in []byte
	for at := int64(0); ; {
		out := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 15, opTail}, uint16(partition))
		out = binary.BigEndian.AppendUint64(out, uint64(at))
		if _, err := nc.Write(binary.BigEndian.AppendUint32(out, consumeMax)); err != nil {
			return err
		}
		if in, err = readFrame(nc, in); err != nil {
			return err
		}
		now := time.Now()
		for rest := in[min(len(in), 12):]; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if errors.Is(err, record.ErrShort) {
				break
			}
			if err != nil {
				return err
			}
			for r, err := range b.Records(len(b)) {
				if err != nil {
					return fmt.Errorf("batch at %d: %w", at, err)
				}
				f.Received(r.Value, now)
			}
			at, rest = at+int64(len(b)), after
		}
	}
}

// dialUntil connects; the connection ends with ctx.
func dialUntil(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil {
		context.AfterFunc(ctx, func() { nc.Close() })
	}
	return nc, err
}
