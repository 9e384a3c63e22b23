package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidemark/test/cluster"
)

// dirID is the directory id under which the node runs.
func dirID(t *testing.T, n *cluster.Node) string {
	t.Helper()
	s, err := n.State()
	if err != nil || len(s.Node.Dirs) != 1 {
		t.Fatalf("node %d: %v %+v", n.ID, err, s.Node)
	}
	return s.Node.Dirs[0].ID
}

// A node loses its disk under load. It comes back with a new directory id,
// takes its place in the quorum, and gets all its data again.
func TestWipeOneNodeUnderLoad(t *testing.T) {
	c, w := underLoad(t)
	n := c.LeaderNode("orders", 0)
	old := dirID(t, n)
	n.Kill()
	w.WaitMore(100, healed)
	n.Wipe()
	n.Start()
	n.WaitReady()
	if now := dirID(t, n); now == old {
		t.Errorf("the wiped node %d still has directory id %s", n.ID, old)
	}
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	isVoter(t, c, n)
	// Its new vote counts: the quorum stands with it and one other.
	gone := c.Others(n)[0]
	gone.Kill()
	w.WaitMore(100, healed)
	cluster.CreateTopic(t, c.Bootstrap(), "after", 1, 2, nil)
	gone.Start()
	gone.WaitReady()
	heals(t, c, w)
}

// isVoter waits until the node's present directory is a voter's, and the old
// one is not, as DescribeQuorum shows it.
func isVoter(t *testing.T, c *cluster.Cluster, n *cluster.Node) {
	t.Helper()
	cl := cluster.Client(t, c.Bootstrap())
	defer cl.Close()
	want := dirID(t, n)
	topic, part := kmsg.NewDescribeQuorumRequestTopic(), kmsg.NewDescribeQuorumRequestTopicPartition()
	topic.Topic, topic.Partitions = "__cluster_metadata", append(topic.Partitions, part)
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Topics = append(req.Topics, topic)
	cluster.Eventually(t, healed, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		p := resp.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return err
		}
		var dirs []string
		for _, v := range p.CurrentVoters {
			dirs = append(dirs, base64.RawURLEncoding.EncodeToString(v.ReplicaDirectoryID[:]))
		}
		if len(dirs) != 3 || !slices.Contains(dirs, want) {
			return fmt.Errorf("voters %v, want three with %s", dirs, want)
		}
		return nil
	})
}

// A wiped controller never votes as its old self. What only nodes 1 and 3 had
// committed would be lost if node 2, which lacks it, were elected by the vote
// of an empty node 3.
func TestWipedControllerDoesNotVoteAsItsOldSelf(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: quick})
	c.Node(2).Kill()
	cluster.CreateAssigned(t, c.Bootstrap(), "late", 1)
	c.Node(1).Kill()
	c.Node(3).Kill()
	c.Node(3).Wipe()
	c.Node(2).Start()
	c.Node(3).Start()
	cluster.Stays(t, 8*time.Second, func() error {
		for _, id := range []int{2, 3} {
			n := c.Node(id)
			if !n.Running() {
				return fmt.Errorf("node %d ended\n%s", id, n.LogTail(30))
			}
			if s, err := n.State(); err == nil && s.Controller.Leader > 0 {
				return fmt.Errorf("node %d says that %d leads at epoch %d, without the only complete log", id, s.Controller.Leader, s.Controller.Epoch)
			}
		}
		return nil
	})
	c.Node(1).Start()
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	cluster.WaitISR(t, c.Bootstrap(), "late", 1, healed)
	if _, err := stateOf(t, c.Node(2)).Partition("late", 0); err != nil {
		t.Error(err)
	}
	// The new node 3 has become a voter: with it and node 2 the quorum stands.
	isVoter(t, c, c.Node(3))
	c.Node(1).Kill()
	cluster.CreateAssigned(t, c.Bootstrap(), "last", 2)
}

func stateOf(t *testing.T, n *cluster.Node) cluster.State {
	t.Helper()
	s, err := n.State()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The only in-sync replica loses its disk: the partition stays offline, says
// why, and comes back from an older replica when an operator asks for it.
func TestWipeLastInSyncReplica(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 4, Settings: quick, Roles: func(id int) string {
		if id == 4 {
			return "controller"
		}
		return "broker"
	}})
	ctl := c.Node(4)
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", 1, 2, 3)
	cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("orders"), kgo.RequestTimeoutOverhead(2*time.Second))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	adm := kadm.NewClient(cl)
	one := "1"
	if _, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "min.insync.replicas", Value: &one}}, "orders"); err != nil {
		t.Fatal(err)
	}
	send := func(prefix string) {
		t.Helper()
		for i := range 100 {
			if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprintf("%s-%d", prefix, i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	send("all")
	for _, id := range []int{2, 3} {
		c.Node(id).Kill()
		ctl.WaitPartition("orders", 0, healed, func(p cluster.PartitionState) bool { return len(p.ISR) == 4-id })
	}
	send("alone")
	c.Node(1).Kill()
	c.Node(1).Wipe()
	for _, id := range []int{1, 2, 3} {
		c.Node(id).Start()
	}
	for _, id := range []int{1, 2, 3} {
		c.Node(id).WaitReady()
	}
	p := ctl.WaitPartition("orders", 0, healed, func(p cluster.PartitionState) bool { return p.Leader == -1 && p.Reason != "" })
	t.Logf("offline: %s", p.Reason)
	cluster.Stays(t, 5*time.Second, func() error {
		for _, n := range c.Nodes {
			p, err := stateOf(t, n).Partition("orders", 0)
			if err != nil || p.Leader != -1 || !strings.Contains(p.Reason, "no replica may lead") {
				return fmt.Errorf("node %d: %v %+v", n.ID, err, p)
			}
		}
		return nil
	})
	var set kadm.TopicsSet
	set.Add("orders", 0)
	res, err := adm.ElectLeaders(ctx, kadm.ElectLiveReplica, set)
	if err != nil || res["orders"][0].Err != nil {
		t.Fatalf("unclean election: %v %+v", err, res)
	}
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	left := map[string]bool{}
	for i := range 100 {
		left[fmt.Sprintf("all-%d", i)] = true
	}
	parts := map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().AtStart()}}
	reader := cluster.Client(t, c.Bootstrap(), kgo.ConsumePartitions(parts))
	defer reader.Close()
	for len(left) > 0 {
		fs := reader.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d records that all three had are missing: %v", len(left), err)
		}
		for r := range fs.RecordsAll() {
			delete(left, string(r.Value))
		}
	}
	send("again")
}
