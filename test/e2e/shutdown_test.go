package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
)

const cleanShutdown = ".kafka_cleanshutdown"

func exists(n *cluster.Node, name string) bool {
	_, err := os.Stat(filepath.Join(n.Dir, name))
	return err == nil
}

// stopsCleanly is SIGTERM: exit code 0 within the limit, and the file that
// spares the next start the recovery.
func stopsCleanly(t *testing.T, n *cluster.Node, limit time.Duration) {
	t.Helper()
	n.Terminate()
	stopped(t, n, limit)
}

// stopped waits for the end of a node that was sent SIGTERM once: a second one
// would force it.
func stopped(t *testing.T, n *cluster.Node, limit time.Duration) {
	t.Helper()
	began := time.Now()
	if err := n.Wait(limit); err != nil {
		t.Fatalf("SIGTERM: node %d: %v\n%s", n.ID, err, n.LogTail(40))
	}
	t.Logf("node %d stopped within %v", n.ID, time.Since(began).Round(time.Millisecond))
	if !exists(n, cleanShutdown) {
		t.Errorf("node %d wrote no %s", n.ID, cleanShutdown)
	}
}

// startsWithoutRecovery starts a node whose clean stop has to be believed.
func startsWithoutRecovery(t *testing.T, nodes ...*cluster.Node) {
	t.Helper()
	from := map[*cluster.Node]int{}
	for _, n := range nodes {
		from[n] = len(n.LogTail(1 << 30))
		n.Start()
	}
	for _, n := range nodes {
		n.WaitReady()
		if exists(n, cleanShutdown) {
			t.Errorf("node %d runs and %s is still there", n.ID, cleanShutdown)
		}
		for _, line := range strings.Split(n.LogTail(1 << 30)[from[n]:], "\n") {
			if strings.Contains(strings.ToLower(line), "recover") {
				t.Errorf("node %d recovers after a clean stop: %s", n.ID, line)
			}
		}
	}
}

// A rolling restart with SIGTERM: producers see no error, nothing is lost.
func TestRollingRestart(t *testing.T) {
	c, w := underLoad(t)
	before := w.LongestGap()
	for _, n := range c.Nodes {
		stopsCleanly(t, n, 20*time.Second)
		w.WaitMore(100, healed)
		startsWithoutRecovery(t, n)
		cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	}
	t.Logf("longest time without an acknowledgement: %v (%v before)", w.LongestGap().Round(time.Millisecond), before.Round(time.Millisecond))
	heals(t, c, w)
}

// SIGTERM to all three at once: no majority is left to ask for permission, and
// everything ends well all the same. The last of them is alone when it stops.
func TestStopAllAtOnce(t *testing.T) {
	c, w := underLoad(t)
	for _, n := range c.Nodes {
		n.Terminate()
	}
	for _, n := range c.Nodes {
		stopped(t, n, 15*time.Second)
	}
	startsWithoutRecovery(t, c.Nodes...)
	heals(t, c, w)
}

// One node alone stops within five seconds.
func TestStopAlone(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 1})
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 3, 1, nil)
	w := cluster.StartWorkload(t, c.Bootstrap(), "orders", 3)
	w.WaitMore(100, healed)
	stopsCleanly(t, c.Node(1), 5*time.Second)
	startsWithoutRecovery(t, c.Node(1))
	w.WaitMore(100, healed)
	w.Finish()
}

// The broker that coordinates a group dies: the group's offsets are where they
// were, at the next coordinator and after everything has been restarted.
func TestGroupOffsetsSurviveTheCoordinator(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3})
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 3, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("orders"), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.RequestTimeoutOverhead(2*time.Second))
	defer cl.Close()
	send := func(from, to int) {
		t.Helper()
		var rs []*kgo.Record
		for i := from; i < to; i++ {
			rs = append(rs, kgo.StringRecord(fmt.Sprint(i)))
		}
		if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	read := func(n int) {
		t.Helper()
		for got := 0; got < n; {
			fs := cl.PollRecords(ctx, n-got)
			if err := fs.Err0(); err != nil {
				t.Fatalf("%d of %d: %v", got, n, err)
			}
			for r := range fs.RecordsAll() {
				seen[string(r.Value)]++
				got++
			}
		}
		if err := cl.CommitUncommittedOffsets(ctx); err != nil {
			t.Fatal(err)
		}
	}
	adm := kadm.NewClient(cl)
	committed := func(want int64) {
		t.Helper()
		cluster.Eventually(t, healed, func() error {
			attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			os, err := adm.FetchOffsets(attempt, "billing")
			if err != nil {
				return err
			}
			sum := int64(0)
			os.Each(func(o kadm.OffsetResponse) { sum += o.At })
			if sum != want {
				return fmt.Errorf("committed offsets add up to %d, want %d", sum, want)
			}
			return nil
		})
	}
	send(0, 900)
	read(500)
	committed(500)
	for range 2 {
		d, err := adm.DescribeGroups(ctx, "billing")
		if err != nil {
			t.Fatal(err)
		}
		coordinator := c.Node(int(d["billing"].Coordinator.NodeID))
		coordinator.Kill()
		committed(500)
		coordinator.Start()
		coordinator.WaitReady()
	}
	read(200) // the member lives on
	committed(700)
	for _, n := range c.Nodes {
		n.Signal9()
	}
	for _, n := range c.Nodes {
		n.Kill()
		n.Start()
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	committed(700)
	read(200)
	committed(900)
	for i := range 900 {
		if v := fmt.Sprint(i); seen[v] == 0 {
			t.Errorf("record %s never came", v)
		}
	}
}
