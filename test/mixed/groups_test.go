package mixed

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/test/apachekafka"
	"tidemark/test/cluster"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetsPartitions is the size of __consumer_offsets in these clusters.
const offsetsPartitions = 5

// A group's coordinator moves between the implementations: offsets that one
// wrote are read by the other, and the member stays in its group.
func coordinatorsMove(t *testing.T, c *cluster.Cluster, a *apache) {
	all := c.Bootstrap() + "," + a.addr()
	create(t, all, "orders", nil, []int32{1, 2, 3}, []int32{apacheID, 2, 3})
	cluster.WaitISR(t, all, "orders", 3, healed)
	moveOffsets(t, all, 2, apacheID, 1)
	g := startGroup(t, all, "readers", "orders")
	for i, replicas := range [][]int32{{apacheID, 1, 2}, {1, apacheID, 2}, {apacheID, 1, 2}, {2, apacheID, 1}} {
		moveOffsets(t, all, replicas...)
		waitCoordinator(t, all, "readers", replicas[0])
		for p := range int32(2) {
			produce(t, all, "orders", p, fmt.Sprintf("round-%d", i), 25)
		}
		g.waitCommitted(int64(25 * (i + 1)))
	}
	if n := g.rebalances(); n > 1 {
		t.Errorf("the group was joined %d times: its member should have survived each move", n)
	}

	out := apachekafka.Run(t, apachekafka.Groups, "--bootstrap-server", a.addr(), "--describe", "--group", "readers")
	if strings.Count(out, " 100 ") < 2 {
		t.Errorf("want committed offset 100 twice:\n%s", out)
	}
	g.stop()
	out = apachekafka.Run(t, apachekafka.Groups, "--bootstrap-server", a.addr(), "--group", "readers", "--topic", "orders",
		"--reset-offsets", "--to-offset", "7", "--execute")
	if strings.Count(out, " 7") < 2 {
		t.Errorf("reset to 7:\n%s", out)
	}
	moveOffsets(t, all, apacheID, 1, 2)
	waitCoordinator(t, all, "readers", apacheID)
	wantOffsets(t, all, "readers", "orders", 7, 7)
	a.Kill()
	waitOut(t, c.Bootstrap(), "__consumer_offsets", 0, apacheID) // the client asks a coordinator that it once found for minutes
	wantOffsets(t, c.Bootstrap(), "readers", "orders", 7, 7)
}

// group is one member that reads and commits all the time.
type group struct {
	t           testing.TB
	topic, name string
	cl          *kgo.Client
	cancel      context.CancelFunc
	done        sync.WaitGroup
	mu          sync.Mutex
	assigned    int
}

func startGroup(t testing.TB, bootstrap, name, topic string) *group {
	t.Helper()
	g := &group{t: t, topic: topic, name: name}
	g.cl = cluster.Client(t, bootstrap, kgo.ConsumerGroup(name), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if len(m) > 0 {
				g.assigned++
			}
		}))
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.done.Go(func() {
		for ctx.Err() == nil {
			g.cl.PollFetches(ctx)
			_ = g.cl.CommitUncommittedOffsets(ctx) // tried again after the next poll
		}
	})
	t.Cleanup(g.stop)
	return g
}

func (g *group) rebalances() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.assigned
}

func (g *group) stop() {
	g.cancel()
	g.done.Wait()
	g.cl.Close()
}

// waitCommitted waits until the group's coordinator holds this offset for both
// partitions.
func (g *group) waitCommitted(want int64) {
	g.t.Helper()
	waitOffsets(g.t, g.cl, g.name, g.topic, want, want)
}

func wantOffsets(t testing.TB, bootstrap, name, topic string, want ...int64) {
	t.Helper()
	cl := cluster.Client(t, bootstrap)
	defer cl.Close()
	waitOffsets(t, cl, name, topic, want...)
}

func waitOffsets(t testing.TB, cl *kgo.Client, name, topic string, want ...int64) {
	t.Helper()
	cluster.Eventually(t, healed, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r, err := kadm.NewClient(cl).FetchOffsets(ctx, name)
		if err != nil {
			return err
		}
		for p, w := range want {
			if o, ok := r.Lookup(topic, int32(p)); !ok || o.At != w {
				return fmt.Errorf("group %s has offset %d (known: %t) of %s-%d, want %d", name, o.At, ok, topic, p, w)
			}
		}
		return nil
	})
}

// moveOffsets gives every partition of __consumer_offsets these replicas, of
// which the first leads.
func moveOffsets(t testing.TB, bootstrap string, replicas ...int32) {
	t.Helper()
	for p := range int32(offsetsPartitions) {
		reassign(t, bootstrap, "__consumer_offsets", p, replicas)
		elect(t, bootstrap, "__consumer_offsets", p)
		waitLeader(t, bootstrap, "__consumer_offsets", p, replicas[0])
	}
}

// waitCoordinator waits until that broker serves the group.
func waitCoordinator(t testing.TB, bootstrap, name string, want int32) {
	t.Helper()
	cl := cluster.Client(t, bootstrap)
	defer cl.Close()
	cluster.Eventually(t, healed, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = name, []string{name}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		if len(resp.Coordinators) != 1 || resp.Coordinators[0].NodeID != want {
			return fmt.Errorf("coordinator of %s: %+v, want %d", name, resp.Coordinators, want)
		}
		return nil
	})
}
