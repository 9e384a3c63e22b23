package mixed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tidemark/test/cluster"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What happens while replicas of one partition are on both implementations, one
// thing after the other in one cluster. The Apache Kafka broker has two log
// directories, and tells the controllers which replica is in which.
func TestOneCluster(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: []string{"replica.lag.time.max.ms=3000", "broker.session.timeout.ms=40000"}})
	dir := filepath.Join(c.Dir, "apache")
	a := join(t, c, false, "log.dirs="+dir+","+dir+secondDir, "replica.lag.time.max.ms=3000", "auto.create.topics.enable=true")
	t.Run("topics and groups made by use", func(t *testing.T) { madeByUse(t, c, a) })
	t.Run("followers that lag", func(t *testing.T) { followersThatLag(t, c, a) })
	t.Run("records deleted", func(t *testing.T) { recordsDeleted(t, c, a) })
	t.Run("reassigned there and back", func(t *testing.T) { reassigned(t, c, a) })
	t.Run("deleted and made again", func(t *testing.T) { madeAgain(t, c, a) })
	t.Run("old leaders cut their logs", func(t *testing.T) { oldLeadersCut(t, c, a) })
	t.Run("tools through the Apache Kafka broker", func(t *testing.T) { toolsThrough(t, c, a) })
	t.Run("coordinators move", func(t *testing.T) { coordinatorsMove(t, c, a) })
}

// The leader of either kind takes a paused follower of the other out of the
// in-sync set, and back in. Sessions last longer than that. The paused node isn't
// the active controller, which Apache Kafka would ask for 30 s.
func followersThatLag(t *testing.T, c *cluster.Cluster, a *apache) {
	follower := c.Node(2)
	if activeController(t, c) == follower {
		follower = c.Node(3)
	}
	id := int32(follower.ID)
	create(t, c.Bootstrap(), "lag", map[string]string{"min.insync.replicas": "1"}, []int32{apacheID, id}, []int32{1, apacheID})
	all := c.Bootstrap() + "," + a.addr()
	cluster.WaitISR(t, all, "lag", 2, healed)
	follower.Pause()
	alone(t, a.addr(), "lag", 0, apacheID)
	waitISR(t, c.Node(1).Addr(), "lag", 0, apacheID)
	follower.Continue()
	waitISR(t, c.Node(1).Addr(), "lag", 0, id, apacheID)
	a.Pause()
	alone(t, c.Node(1).Addr(), "lag", 1, 1)
	waitISR(t, c.Node(1).Addr(), "lag", 1, 1)
	a.Continue()
	waitISR(t, c.Node(1).Addr(), "lag", 1, 1, apacheID)
	sameBytes(t, c, a, "lag", 0, follower.ID)
	sameBytes(t, c, a, "lag", 1, 1)
}

// Followers take over the leader's log start, and a new replica begins there.
func recordsDeleted(t *testing.T, c *cluster.Cluster, a *apache) {
	all := c.Bootstrap() + "," + a.addr()
	create(t, all, "cut", map[string]string{"min.insync.replicas": "1"}, []int32{apacheID, 1}, []int32{1, apacheID})
	cluster.WaitISR(t, all, "cut", 2, healed)
	for p, first := range []int32{apacheID, 1} {
		want := produce(t, all, "cut", int32(p), "kept", 100)[60:]
		deleteRecords(t, all, "cut", int32(p), 60)
		// The other follower leads next, then a third broker begins at the cut.
		for _, replicas := range [][]int32{{12 - first, first}, {3, 12 - first}, {3, first}, {first, 3}} {
			reassign(t, all, "cut", int32(p), replicas)
			elect(t, all, "cut", int32(p))
			waitLeader(t, all, "cut", int32(p), replicas[0])
			if got := consume(t, all, "cut", int32(p), len(want)); !slices.Equal(got, want) {
				t.Errorf("cut-%d at %v: %q", p, replicas, got)
			}
		}
	}
}

func reassigned(t *testing.T, c *cluster.Cluster, a *apache) {
	all := c.Bootstrap() + "," + a.addr()
	create(t, all, "moved", nil, []int32{1, 2, 3})
	cluster.WaitISR(t, all, "moved", 3, healed)
	want := produce(t, all, "moved", 0, "before", 300)
	reassign(t, all, "moved", 0, []int32{apacheID, 2, 3})
	waitGone(t, filepath.Join(c.Node(1).Dir, "moved-0"))
	elect(t, all, "moved", 0)
	waitLeader(t, all, "moved", 0, apacheID)
	want = append(want, produce(t, all, "moved", 0, "there", 300)...)
	sameBytes(t, c, a, "moved", 0, 2, 3)
	reassign(t, all, "moved", 0, []int32{1, 2, 3})
	waitGone(t, filepath.Join(a.dir, "moved-0"))
	waitGone(t, filepath.Join(a.dir+secondDir, "moved-0"))
	elect(t, all, "moved", 0)
	waitLeader(t, all, "moved", 0, 1)
	if got := consume(t, all, "moved", 0, len(want)); !slices.Equal(got, want) {
		t.Errorf("moved-0: %d records of %d", len(got), len(want))
	}
}

// A topic is deleted and one of the same name made while a broker is away: it
// must not take its old replica for the new one.
func madeAgain(t *testing.T, c *cluster.Cluster, a *apache) {
	all := c.Bootstrap() + "," + a.addr()
	for round, away := range []struct {
		stop, start func()
		others      string
		replicas    []int32
	}{
		{a.Kill, func() { a.again(c) }, c.Bootstrap(), []int32{1, apacheID}},
		{
			c.Node(2).Kill, func() { c.Node(2).Start(); c.Node(2).WaitReady() },
			strings.Join([]string{a.addr(), c.Node(1).Addr(), c.Node(3).Addr()}, ","), []int32{apacheID, 2},
		},
	} {
		topic := fmt.Sprintf("again-%d", round)
		settings := map[string]string{"min.insync.replicas": "1"}
		create(t, all, topic, settings, away.replicas)
		cluster.WaitISR(t, all, topic, 2, healed)
		produce(t, all, topic, 0, "first-life", 200)
		away.stop()
		want := secondLife(t, away.others, topic, settings, away.replicas[0])
		away.start()
		reassign(t, all, topic, 0, away.replicas)
		sameBytes(t, c, a, topic, 0, int(min(away.replicas[0], away.replicas[1])))
		if got := consume(t, all, topic, 0, len(want)); !slices.Equal(got, want) {
			t.Errorf("%s: %q", topic, got)
		}
	}
}

// secondLife deletes the topic, makes it again on the one replica that is there
// and returns what it then produced.
func secondLife(t testing.TB, others, topic string, settings map[string]string, replica int32) []string {
	t.Helper()
	waitISR(t, others, topic, 0, replica)
	deleteTopic(t, others, topic)
	var id [16]byte
	cluster.Eventually(t, healed, func() (err error) {
		id, err = tryCreate(others, topic, settings, []int32{replica})
		return err
	})
	waitTopicID(t, others, topic, id)
	return produce(t, others, topic, 0, "second-life", 50)
}

// A producer and a consumer group that meet the Apache Kafka broker first make
// it ask our controllers for topics, its own __consumer_offsets too.
func madeByUse(t *testing.T, c *cluster.Cluster, a *apache) {
	cl := cluster.Client(t, a.addr(), kgo.AllowAutoTopicCreation(), kgo.RecordDeliveryTimeout(healed),
		kgo.ConsumerGroup("first"), kgo.ConsumeTopics("by-use"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "by-use", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for n := 0; n == 0; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("nothing read: %v", fs.Errors())
		}
		n = fs.NumRecords()
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, c.Bootstrap(), "first", "by-use", 1)
	cluster.WaitISR(t, a.addr(), "__consumer_offsets", 3, healed)
}

// reassign gives the partition these replicas and waits until it has no others
// and all are in sync.
func reassign(t testing.TB, bootstrap, topic string, partition int32, replicas []int32) {
	t.Helper()
	cl := cluster.Client(t, bootstrap)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	var req kadm.AlterPartitionAssignmentsReq
	req.Assign(topic, partition, replicas)
	res, err := kadm.NewClient(cl).AlterPartitionAssignments(ctx, req)
	if err == nil {
		err = res.Error()
	}
	if err != nil {
		t.Fatalf("%s-%d to %v: %v", topic, partition, replicas, err)
	}
	waitISR(t, bootstrap, topic, partition, slices.Clone(replicas)...)
}

func deleteTopic(t testing.TB, bootstrap, topic string) {
	t.Helper()
	cl := cluster.Client(t, bootstrap)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	if _, err := kadm.NewClient(cl).DeleteTopic(ctx, topic); err != nil {
		t.Fatal(err)
	}
}

func deleteRecords(t testing.TB, bootstrap, topic string, partition int32, before int64) {
	t.Helper()
	cl := cluster.Client(t, bootstrap)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: before})
	r, err := kadm.NewClient(cl).DeleteRecords(ctx, offsets)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		t.Fatalf("deleting records of %s-%d: %v", topic, partition, err)
	}
}

func waitGone(t testing.TB, path string) {
	t.Helper()
	cluster.Eventually(t, healed, func() error {
		if _, err := os.Stat(path); err == nil {
			return fmt.Errorf("%s is still there", path)
		}
		return nil
	})
}
