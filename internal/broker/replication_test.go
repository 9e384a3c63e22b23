package broker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/fetcher"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/vfs"
)

// cable connects the fetchers of one node with the partitions of another, as a
// leader without fetch sessions would answer them.
type cable struct {
	nodes *sync.Map // "host:port" -> *node
	to    *node
}

func (c *cable) Close() error { return nil }

func (c *cable) ReplicaFetch(ctx context.Context, r peer.ReplicaFetch, out *peer.ReplicaFetchResult) error {
	until := time.Now().Add(r.MaxWait)
	for first := true; ; first = false {
		*out = peer.ReplicaFetchResult{}
		news := false
		for i := range r.Partitions {
			fp, some := c.read(r, &r.Partitions[i], first)
			out.Partitions = append(out.Partitions, fp)
			news = news || some
		}
		if news || !time.Now().Before(until) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *cable) read(r peer.ReplicaFetch, p *peer.ReplicaFetchPartition, acknowledge bool,
) (fp peer.FetchedPartition, news bool) {
	fp.Of = p.Of
	part, err := c.to.PartitionByID(p.Of)
	if err != nil {
		fp.Code = peer.CodeNotLeader
		return fp, true
	}
	res, err := part.Fetch(partition.Fetch{
		Replica: r.Replica, ReplicaEpoch: r.Epoch, Acknowledge: acknowledge, Offset: p.Offset, CurrentEpoch: p.CurrentEpoch,
		LastFetchedEpoch: p.LastEpoch, LogStart: p.LogStart, MaxBytes: int(p.MaxBytes), MinOne: true,
	})
	defer res.Slice.Release()
	perform(part)
	switch {
	case err != nil:
		fp.Code = peer.CodeNotLeader
		return fp, true
	case res.Diverging:
		fp.Diverging = &peer.EpochOffset{Epoch: res.Divergence.Epoch, End: res.Divergence.End}
		return fp, true
	}
	part.Sent(res.Slice.Len())
	fp.HighWatermark, fp.LogStart = res.HW, res.LogStart
	fp.Records = make([]byte, res.Slice.Len())
	if _, err := res.Slice.ReadInto(fp.Records); err != nil {
		fp.Code = peer.CodeStorageError
	}
	return fp, len(fp.Records) > 0
}

func (c *cable) ListOffset(context.Context, model.BrokerID, model.TopicPartition, model.LeaderEpoch, int64,
) (peer.ListedOffset, error) {
	return peer.ListedOffset{Code: peer.CodeNotLeader}, nil
}

// lateQuota is the quota of a node that is made after its fetchers.
type lateQuota func() fetcher.Quota

func (q lateQuota) Wait() time.Duration { return q().Wait() }
func (q lateQuota) Record(bytes int)    { q().Record(bytes) }

// wired starts brokers 1 and 2, which fetch from each other.
func wired(t *testing.T, set ...func(*Config)) (map[model.BrokerID]*node, func(...metadata.Record)) {
	t.Helper()
	var nodes sync.Map
	out := map[model.BrokerID]*node{}
	for id := model.BrokerID(1); id <= 2; id++ {
		f := fetcher.New(fetcher.Config{
			Self: id, BrokerEpoch: func() model.BrokerEpoch { return 499 + model.BrokerEpoch(id) },
			Version: func() int16 { return 17 },
			Dial: func(_ context.Context, addr, _ string) (fetcher.Leader, error) {
				to, ok := nodes.Load(addr)
				if !ok {
					return nil, fmt.Errorf("%s: refused", addr)
				}
				return &cable{&nodes, to.(*node)}, nil
			},
			Events: &story{}, Quota: lateQuota(func() fetcher.Quota { return out[id].FollowerQuota() }),
			PartitionMaxBytes: 16 << 10, MaxBytes: 64 << 10,
		})
		n := start(t, vfs.NewMem(), 2, func(c *Config) {
			c.Self, c.Fetchers = id, f
			for _, fn := range set {
				fn(c)
			}
		})
		n.story.alter = func(ps []peer.AlterPartition) (peer.AlterPartitionsResult, error) {
			return peer.AlterPartitionsResult{Code: peer.CodeNotController}, nil
		}
		out[id] = n
		nodes.Store(fmt.Sprintf("h%d:9092", id), n)
	}
	return out, func(recs ...metadata.Record) {
		for id := model.BrokerID(1); id <= 2; id++ {
			out[id].apply(t, false, recs...)
		}
	}
}

// The log of a leader that was cut off meets that of its successor: real
// partitions, real fetchers, KIP-101 end to end.
func TestTwoBrokersAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, apply := wired(t)
		defer func() {
			n[1].Broker.Close(true, 1)
			n[2].Broker.Close(true, 1)
		}()
		tp := tpOf("a", 0)
		at := func(id model.BrokerID) *partition.Partition {
			p, err := n[id].Partition(tp)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		n[1].apply(t, true, cluster()...)
		n[2].apply(t, true, cluster()...)
		apply(topic("a"), part("a", 0, 1, 1, 2))
		n[1].produce(t, tp, 10)
		pass(2 * time.Second)
		if at(2).LogEnd() != 10 || at(1).HighWatermark() != 10 || at(2).HighWatermark() != 10 {
			t.Fatalf("follower ends at %d, high watermarks %d and %d",
				at(2).LogEnd(), at(1).HighWatermark(), at(2).HighWatermark())
		}

		// Broker 2 becomes leader, but 1 doesn't hear of it and goes on writing.
		change := leaderIs("a", 0, 2)
		n[2].apply(t, false, change)
		n[1].produce(t, tp, 3)
		n[2].produce(t, tp, 5)
		pass(time.Second)
		if at(1).LogEnd() != 13 || at(1).HighWatermark() != 10 || at(2).LogEnd() != 15 {
			t.Fatalf("ends %d and %d, high watermark %d", at(1).LogEnd(), at(2).LogEnd(), at(1).HighWatermark())
		}
		// Now it does: its 3 records were never committed.
		n[1].apply(t, false, change)
		pass(3 * time.Second)
		if at(1).LogEnd() != 15 || at(1).HighWatermark() != 15 || at(2).HighWatermark() != 15 {
			t.Fatalf("ends %d, high watermarks %d and %d", at(1).LogEnd(), at(1).HighWatermark(), at(2).HighWatermark())
		}
		if a, b := fmt.Sprint(at(1).Log().Epochs()), fmt.Sprint(at(2).Log().Epochs()); a != b {
			t.Fatalf("epochs %s and %s", a, b)
		}
		// And back, without a loss.
		apply(leaderIs("a", 0, 1))
		n[1].produce(t, tp, 1)
		pass(3 * time.Second)
		if at(2).LogEnd() != 16 || at(2).HighWatermark() != 16 {
			t.Fatalf("after failback: end %d, high watermark %d", at(2).LogEnd(), at(2).HighWatermark())
		}
	})
}
