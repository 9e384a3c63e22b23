package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
)

// A compacted topic keeps the last record of each key on every replica, and
// consumers see gaps, no loss.
func TestCompactedTopicShrinks(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: []string{"log.cleaner.backoff.ms=300"}})
	cluster.CreateTopic(t, c.Bootstrap(), "state", 1, 3, map[string]string{
		"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01"})
	ctx, cancel := context.WithTimeout(context.Background(), 4*healed)
	defer cancel()
	cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("state"), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(1))
	defer cl.Close()
	const rounds, keys = 20, 3
	for r := range rounds {
		for k := range keys {
			value := append(fmt.Appendf(nil, "%d ", r), make([]byte, 100<<10)...)
			if err := cl.ProduceSync(ctx, &kgo.Record{Key: fmt.Appendf(nil, "k%d", k), Value: value}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := int64(rounds*keys - 1)
	for range c.Nodes { // each node leads once
		cluster.Eventually(t, healed, func() error {
			n, final := readState(ctx, t, c.Bootstrap(), last)
			if n > 2*rounds {
				return fmt.Errorf("%d records left", n)
			}
			for k := range keys {
				if got := final[fmt.Sprintf("k%d", k)]; got != fmt.Sprint(rounds-1) {
					t.Fatalf("k%d is of round %q", k, got)
				}
			}
			return nil
		})
		leader := c.LeaderNode("state", 0)
		leader.Stop()
		leader.Start()
		leader.WaitReady()
		cluster.WaitISR(t, c.Bootstrap(), "state", 3, healed)
	}
}

// readState reads the topic up to an offset: how many records there are, and
// the first word of the last one of each key.
func readState(ctx context.Context, t *testing.T, bootstrap string, last int64) (n int, final map[string]string) {
	t.Helper()
	cl := cluster.Client(t, bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"state": {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	final = map[string]string{}
	for at := int64(-1); at < last; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset <= at {
				t.Errorf("offset %d after %d", r.Offset, at)
			}
			var round string
			_, _ = fmt.Sscan(string(r.Value[:min(len(r.Value), 8)]), &round)
			at, n, final[string(r.Key)] = r.Offset, n+1, round
		})
	}
	return n, final
}
