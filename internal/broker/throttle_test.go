package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/producer"
	"tidemark/internal/record"
	"tidemark/internal/replica"
)

func topicSet(name, key, value string) metadata.Record {
	return &metadata.ConfigRecord{Type: metadata.TopicResource, Resource: name, Name: key, Value: &value}
}

// fill appends count batches of about 1 KiB.
func (n *node) fill(t *testing.T, tp model.TopicPartition, count int) {
	t.Helper()
	p, err := n.Partition(tp)
	if err != nil {
		t.Fatal(err)
	}
	for range count {
		var b record.Builder
		b.Add(time.Now().UnixMilli(), nil, make([]byte, 950))
		if _, err := p.AppendAsLeader(b.Build(), partition.Append{Origin: producer.Client, Epoch: model.NoLeaderEpoch}); err != nil {
			t.Fatal(err)
		}
	}
	perform(p)
}

func TestThrottledList(t *testing.T) {
	for _, c := range []struct {
		list  string
		index int32
		want  string
	}{
		{"", 0, "[] false"}, {"*", 3, "[] true"}, {"0:1,0:2, 1:3", 0, "[1 2] false"}, {"0:1,1:3", 1, "[3] false"},
		{"none", 0, "[] false"}, {"0:x,0:2", 0, "[2] false"},
	} {
		who, all := throttled(c.list, c.index)
		want(t, c.list, fmt.Sprintf("%v %v", who, all), c.want)
	}
}

// A follower outside the ISR is filled at the rate of the throttle, on whichever
// side it is set; a member of the ISR is not slowed down.
func TestReplicationThrottle(t *testing.T) {
	for _, c := range []struct {
		side       string
		rate, list string // config names
	}{
		{"leader", leaderRate, leaderReplicas}, {"follower", followerRate, followerReplicas},
	} {
		t.Run(c.side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, apply := wired(t)
				defer n[1].Broker.Close(true, 1)
				defer n[2].Broker.Close(true, 1)
				n[1].apply(t, true, cluster()...)
				n[2].apply(t, true, cluster()...)
				apply(set("", c.rate, "20480"), topic("a"), topicSet("a", c.list, "*"), part("a", 0, 1, 1), part("a", 1, 1, 1, 2))
				pass(time.Second)
				n[1].fill(t, tpOf("a", 0), 1000)
				apply(&metadata.PartitionChangeRecord{TopicID: topicID("a"), Replicas: []model.BrokerID{1, 2},
					Dirs: []model.DirectoryID{dirID(1), dirID(1)}})
				at := func(index int32) int64 {
					p, err := n[2].Partition(tpOf("a", index))
					if err != nil {
						t.Fatal(err)
					}
					return int64(p.LogEnd())
				}
				// A window's worth (10 s) may go at once; from then on it is the rate.
				for _, limit := range []struct{ low, high int64 }{{150, 320}, {330, 520}, {530, 720}} {
					pass(10 * time.Second)
					if got := at(0); got < limit.low || got > limit.high {
						t.Fatalf("%d KiB, want %d to %d", got, limit.low, limit.high)
					}
				}
				lead, _ := n[1].Partition(tpOf("a", 0))
				condition := lead.State().Followers[0].Condition
				if condition.Cause != replica.CauseThrottled {
					t.Errorf("the leader says %s", condition)
				}
				if _, told := n[1].last(journal.Throttled); told != (c.side == "leader") {
					t.Errorf("in the journal of the leader: %v", told)
				}
				if c.side == "leader" {
					before := at(1)
					n[1].fill(t, tpOf("a", 1), 100)
					pass(time.Second)
					if got := at(1) - before; got != 100 {
						t.Fatalf("a member of the ISR got %d of 100", got)
					}
				}
				// Without the throttle the rest comes at once.
				apply(set("", c.rate, ""))
				pass(3 * time.Second)
				if at(0) != 1000 {
					t.Fatalf("%d KiB after the throttle was taken away", at(0))
				}
			})
		})
	}
}
