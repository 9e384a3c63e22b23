package mixed

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"tidemark/test/cluster"

	"github.com/twmb/franz-go/pkg/kgo"
)

// An old leader comes back with records that nobody else ever had, under a new
// leader of the other kind that has written others in their place: it cuts its
// log where the two part (KIP-101, KIP-279), and both hold the same bytes.
func oldLeadersCut(t *testing.T, c *cluster.Cluster, a *apache) {
	settings := map[string]string{"min.insync.replicas": "1"}
	create(t, c.Bootstrap(), "forked", settings, []int32{apacheID, 2}, []int32{2, apacheID})
	all := c.Bootstrap() + "," + a.addr()
	cluster.WaitISR(t, all, "forked", 2, healed)
	var want [2][]string
	for p := range int32(2) {
		want[p] = produce(t, all, "forked", p, "before", 50)
	}

	{ // Apache Kafka cuts
		c.Node(2).Pause()
		lost := alone(t, a.addr(), "forked", 0, apacheID)
		a.Kill()
		c.Node(2).Continue()
		waitLeader(t, c.Bootstrap(), "forked", 0, 2)
		instead := produce(t, c.Bootstrap(), "forked", 0, "instead", 30)
		want[0] = slices.Concat(want[0], survivors(t, c.Bootstrap(), 0, len(want[0])+len(instead), lost), instead)
		a.again(c)
		cluster.WaitISR(t, all, "forked", 2, healed)
		sameBytes(t, c, a, "forked", 0, 2)
	}
	elect(t, all, "forked", 1)
	waitLeader(t, all, "forked", 1, 2)
	{ // Tidemark cuts
		a.Pause()
		lost := alone(t, c.Node(2).Addr(), "forked", 1, 2)
		c.Node(2).Kill()
		a.Continue()
		waitLeader(t, c.Node(1).Addr(), "forked", 1, apacheID)
		instead := produce(t, a.addr(), "forked", 1, "instead", 30)
		want[1] = slices.Concat(want[1], survivors(t, a.addr(), 1, len(want[1])+len(instead), lost), instead)
		c.Node(2).Start()
		c.Node(2).WaitReady()
		cluster.WaitISR(t, all, "forked", 2, healed)
		sameBytes(t, c, a, "forked", 1, 2)
	}
	for p := range int32(2) {
		elect(t, all, "forked", p)
		for _, from := range []string{c.Bootstrap(), a.addr()} {
			if got := consume(t, from, "forked", p, len(want[p])); !slices.Equal(got, want[p]) {
				t.Errorf("forked-%d through %s:\n%q\nwant\n%q", p, from, got, want[p])
			}
		}
	}
}

// alone sends records one by one to a leader whose only follower is paused,
// with acks=1, and returns their values.
func alone(t testing.TB, bootstrap, topic string, partition, leader int32) []string {
	t.Helper()
	cl := cluster.Client(t, bootstrap, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite(),
		kgo.RequiredAcks(kgo.LeaderAck()), kgo.RecordDeliveryTimeout(healed))
	defer cl.Close()
	var out []string
	for i := range 20 {
		v := fmt.Sprintf("lost at %d-%d", leader, i)
		if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// survivors returns the lost records that the new leader has besides the known
// ones: the paused follower may have had an answer on its way, but not all.
func survivors(t testing.TB, bootstrap string, partition int32, known int, lost []string) []string {
	t.Helper()
	n := int(endOffset(t, bootstrap, "forked", partition)) - known
	if n < 0 || n >= len(lost) {
		t.Fatalf("forked-%d: the new leader has %d of the %d records that it never confirmed", partition, n, len(lost))
	}
	return lost[:n]
}
