package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
)

// sawEvent says whether the node's journal has an event of that kind about the topic.
func sawEvent(n *cluster.Node, kind, topic string) error {
	_, body, err := n.Get("/v1/events")
	if err != nil {
		return err
	}
	var events []struct{ Kind, Where string }
	if err := json.Unmarshal([]byte(body), &events); err != nil {
		return err
	}
	for _, e := range events {
		if e.Kind == kind && e.Where == topic+"-0" {
			return nil
		}
	}
	return fmt.Errorf("node %d has no event %s about %s", n.ID, kind, topic)
}

// deleteRecords deletes what lies below an offset.
func deleteRecords(t *testing.T, c *cluster.Cluster, topic string, below int64) {
	t.Helper()
	cl := cluster.Client(t, c.Bootstrap(), cluster.Impatient...)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	var to kadm.Offsets
	to.Add(kadm.Offset{Topic: topic, Partition: 0, At: below})
	if r, err := kadm.NewClient(cl).DeleteRecords(ctx, to); err != nil || r.Error() != nil {
		t.Fatalf("deleting below %d: %v %v", below, err, r.Error())
	}
}

// logStart is the first offset of the topic.
func logStart(t *testing.T, c *cluster.Cluster, topic string) int64 {
	t.Helper()
	cl := cluster.Client(t, c.Bootstrap(), cluster.Impatient...)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	offs, err := kadm.NewClient(cl).ListStartOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := offs.Lookup(topic, 0)
	return at.Offset
}

// A follower is stopped until its leader has deleted what it would fetch next:
// it begins anew at the leader's first record, and its high watermark with it
// (KAFKA-9491). It then leads, and shows that it has everything.
func TestFollowerBelowTheLogStart(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: append(quick[:len(quick):len(quick)], "min.insync.replicas=1",
		"log.retention.check.interval.ms=200", "log.initial.task.delay.ms=100", "log.segment.delete.delay.ms=100")})
	for i, by := range []string{"delete records", "retention"} {
		t.Run(by, func(t *testing.T) {
			c.T = t
			topic, ctl := topicName(i), c.Controller()
			leader, follower := ctl, c.Others(ctl)[0]
			cluster.CreateAssigned(t, c.Bootstrap(), topic, leader.ID, follower.ID)
			w := cluster.StartWorkload(t, c.Bootstrap(), topic, 1, cluster.Impatient...)
			w.WaitMore(200, healed)
			follower.Pause()
			leader.WaitPartition(topic, 0, healed, without(follower))
			at := w.Seen(0)
			w.WaitMore(500, healed)
			if by == "retention" {
				setConfig(t, c, topic, map[string]string{"segment.ms": "100", "retention.bytes": "20000"})
			} else {
				cluster.Eventually(t, healed, func() error { return seenBeyond(w, at+300) })
				deleteRecords(t, c, topic, at+300)
			}
			cluster.Eventually(t, healed, func() error {
				if got := logStart(t, c, topic); got <= at {
					return fmt.Errorf("the log starts at %d, the follower ends near %d", got, at)
				}
				return nil
			})
			follower.Continue()
			cluster.Eventually(t, healed, func() error { return sawEvent(follower, "log-reset", topic) })
			setConfig(t, c, topic, map[string]string{"retention.bytes": "-1"})
			cluster.WaitISR(t, c.Bootstrap(), topic, 2, healed)
			w.WaitMore(100, healed)
			leader.Kill()
			follower.WaitPartition(topic, 0, healed, func(p cluster.PartitionState) bool { return p.Leader == follower.ID })
			w.WaitMore(100, healed)
			w.Deleted(0, logStart(t, c, topic))
			leader.Start()
			leader.WaitReady()
			cluster.WaitISR(t, c.Bootstrap(), topic, 2, healed)
			w.Finish()
		})
	}
	c.T = t
}

func seenBeyond(w *cluster.Workload, off int64) error {
	if at := w.Seen(0); at < off {
		return fmt.Errorf("the consumer is at %d, not at %d", at, off)
	}
	return nil
}

func setConfig(t *testing.T, c *cluster.Cluster, topic string, configs map[string]string) {
	t.Helper()
	cl := cluster.Client(t, c.Bootstrap(), cluster.Impatient...)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	var alter []kadm.AlterConfig
	for k, v := range configs {
		alter = append(alter, kadm.AlterConfig{Name: k, Value: &v})
	}
	rs, err := kadm.NewClient(cl).AlterTopicConfigs(ctx, alter, topic)
	if err != nil || rs[0].Err != nil {
		t.Fatalf("configuring %s: %v %+v", topic, err, rs)
	}
}

// A replica with the longer log comes back under a leader with the shorter one,
// which was elected uncleanly: it is cut to its leader's end, keeps what it lost
// apart, and both hold the same.
func TestFollowerBeyondTheLogEnd(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: append(quick[:len(quick):len(quick)], "min.insync.replicas=1", "unclean.leader.election.enable=true")})
	ctl := c.Controller()
	leader, follower := c.Others(ctl)[0], c.Others(ctl)[1]
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", leader.ID, follower.ID)
	produce := func(from, n int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), healed)
		defer cancel()
		cl := cluster.Client(t, c.Bootstrap(), append([]kgo.Opt{kgo.DefaultProduceTopic("orders")}, cluster.Impatient...)...)
		defer cl.Close()
		for i := range n {
			if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(from+i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	at := func(what string) { t.Logf("%s at %v", what, time.Since(began).Round(time.Millisecond)) }
	produce(0, 50)
	follower.Pause()
	leader.WaitPartition("orders", 0, healed, without(follower))
	produce(50, 50) // to the leader alone
	at("alone")
	leader.Kill()
	follower.Continue()
	follower.WaitPartition("orders", 0, healed, func(p cluster.PartitionState) bool { return p.Leader == follower.ID })
	at("elected")
	produce(100, 20)
	leader.Start()
	leader.WaitReady()
	cluster.WaitISR(t, c.Bootstrap(), "orders", 2, healed)
	at("in sync")
	if err := sawEvent(leader, "truncated", "orders"); err != nil {
		t.Error(err)
	}
	one := valuesOf(t, c, 70)
	follower.Kill()
	leader.WaitPartition("orders", 0, healed, func(p cluster.PartitionState) bool { return p.Leader == leader.ID })
	at("back")
	other := valuesOf(t, c, 70)
	for i := range 70 {
		want := fmt.Sprint(i)
		if i >= 50 {
			want = fmt.Sprint(50 + i)
		}
		if one[i] != want || other[i] != want {
			t.Errorf("offset %d: %s at one, %s at the other, want %s", i, one[i], other[i], want)
		}
	}
}

// valuesOf are the first n records of orders.
func valuesOf(t *testing.T, c *cluster.Cluster, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	cl := cluster.Client(t, c.Bootstrap(), append([]kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().AtStart()}})}, cluster.Impatient...)...)
	defer cl.Close()
	var out []string
	for len(out) < n {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d records of %d", len(out), n)
		}
		for r := range fs.RecordsAll() {
			if r.Offset != int64(len(out)) {
				t.Fatalf("offset %d after %d records", r.Offset, len(out))
			}
			out = append(out, string(r.Value))
		}
	}
	return out[:n]
}
