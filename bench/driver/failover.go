package driver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Gap is what a failover cost.
type Gap struct {
	Longest      time.Duration // between two acknowledgements
	Before       time.Duration // the longest before the kill, for comparison
	Acked, Retry int           // records acknowledged; requests that failed
}

// failoverPace leaves the machine to the brokers: a gap needs no finer grain.
const failoverPace = 2 * time.Millisecond

// Failover produces one record after the other (acks=all, one in flight, at
// most one every failoverPace) to a one-partition topic, calls kill once acknowledgements have flowed for a
// while, and goes on until they flow again, at most limit. Every broker is
// asked for metadata every 20 ms; the answer with the highest leader epoch wins.
func (b Brokers) Failover(ctx context.Context, topic string, limit time.Duration, kill func()) (Gap, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	w := &leaderWatch{topic: topic, changed: make(chan struct{}, 1)}
	for _, addr := range b {
		go w.watch(ctx, addr)
	}
	frame, at := ProduceFrame(topic, 0, -1, BuildBatch(1, 1024, time.Now()))
	const steady = time.Second
	var g Gap
	begin := time.Now()
	last := begin
	var killed, recovered time.Time
	broke := false // a request has failed since the kill
	var conn *Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	pace := time.NewTicker(failoverPace)
	defer pace.Stop()
	for ; ctx.Err() == nil; <-pace.C {
		if conn == nil {
			if conn = w.dial(ctx); conn == nil {
				continue
			}
		}
		answer, err := conn.Raw(frame, 2*time.Second)
		if err == nil {
			err = checkAnswer(answer, at)
		}
		if err != nil {
			conn.Close()
			conn = nil
			g.Retry++
			broke = !killed.IsZero()
			w.wait(ctx)
			continue
		}
		now := time.Now()
		g.Acked++
		gap := now.Sub(last)
		last = now
		switch {
		case killed.IsZero():
			if g.Acked > 1 { // the first includes finding the leader
				g.Before = max(g.Before, gap)
			}
			if now.Sub(begin) > steady {
				kill()
				killed, last = time.Now(), now
			}
		default:
			g.Longest = max(g.Longest, gap)
			if recovered.IsZero() && broke {
				recovered = now
			}
			if !recovered.IsZero() && now.Sub(recovered) > steady {
				return g, nil
			}
		}
	}
	return g, fmt.Errorf("no acknowledgement within %v of the kill (%d before it, %d refusals): %w", limit, g.Acked, g.Retry, ctx.Err())
}

// leaderWatch keeps the newest known leader of partition 0.
type leaderWatch struct {
	topic   string
	changed chan struct{}
	mu      struct {
		sync.Mutex
		epoch int32
		addr  string
	}
}

const metadataEvery = 20 * time.Millisecond

func (w *leaderWatch) watch(ctx context.Context, addr string) {
	tick := time.NewTicker(metadataEvery)
	defer tick.Stop()
	var c *Conn
	for {
		if c == nil {
			c, _ = Dial(ctx, addr)
		}
		if c != nil {
			resp, err := c.Do(metadataRequest(w.topic), time.Second)
			if err != nil {
				c.Close()
				c = nil
			} else {
				w.learn(resp.(*kmsg.MetadataResponse))
			}
		}
		select {
		case <-ctx.Done():
			if c != nil {
				c.Close()
			}
			return
		case <-tick.C:
		}
	}
}

func (w *leaderWatch) learn(m *kmsg.MetadataResponse) {
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			addr := addressOf(m, p.Leader)
			w.mu.Lock()
			if addr != "" && (w.mu.addr == "" || p.LeaderEpoch > w.mu.epoch) {
				w.mu.epoch, w.mu.addr = p.LeaderEpoch, addr
				select {
				case w.changed <- struct{}{}:
				default:
				}
			}
			w.mu.Unlock()
		}
	}
}

// wait returns after a change of leader or after a short pause.
func (w *leaderWatch) wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-w.changed:
	case <-time.After(metadataEvery):
	}
}

// dial connects to the newest leader; nil if there is none or it refuses.
func (w *leaderWatch) dial(ctx context.Context) *Conn {
	w.mu.Lock()
	addr := w.mu.addr
	w.mu.Unlock()
	if addr != "" {
		if c, err := Dial(ctx, addr); err == nil {
			return c
		}
	}
	w.wait(ctx)
	return nil
}

// FirstMetadata waits for the first Metadata answer that lists at least nodes
// brokers, from any broker, asking every 2 ms, and returns when it came.
func (b Brokers) FirstMetadata(ctx context.Context, nodes int, limit time.Duration) (time.Time, error) {
	var at time.Time
	err := poll(ctx, limit, 2*time.Millisecond, func() error {
		m, err := b.Metadata(ctx)
		if err != nil {
			return err
		}
		if len(m.Brokers) < nodes {
			return fmt.Errorf("%d of %d brokers are listed", len(m.Brokers), nodes)
		}
		at = time.Now()
		return nil
	})
	return at, err
}

// InSync waits until every broker reports all replicas of the topic in sync.
func (b Brokers) InSync(ctx context.Context, t Topic, limit time.Duration) error {
	return poll(ctx, limit, 10*time.Millisecond, func() error {
		m, err := b.Metadata(ctx, t.Name)
		if err != nil {
			return err
		}
		return inSync(m, t)
	})
}
