package api

import (
	"maps"
	"testing"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/purgatory"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var orders0 = model.TopicPartition{Topic: "orders"}

// become gives a hosted partition its role in another epoch.
func (n *dataNode) become(tp model.TopicPartition, leader model.BrokerID, epoch model.LeaderEpoch) {
	n.t.Helper()
	p := n.parts[tp]
	s := partition.State{
		Leader: leader, LeaderEpoch: epoch, PartitionEpoch: model.PartitionEpoch(epoch),
		Replicas: []model.BrokerID{1, 2, 3}, ISR: []model.BrokerID{1, 2},
	}
	var err error
	if leader == 1 {
		err = p.BecomeLeader(s)
	} else {
		_, err = p.BecomeFollower(s)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	var ready purgatory.Ready
	p.Perform(&ready)
	ready.Run()
}

// one fetches, and returns what came of the only partition in the answer.
func one(t *testing.T, c *peer.Conn, req *kmsg.FetchRequest, version int16) kmsg.FetchResponseTopicPartition {
	t.Helper()
	got := call[*kmsg.FetchResponse](t, c, req, version)
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
		t.Fatalf("want one partition, got %+v", got.Topics)
	}
	return got.Topics[0].Partitions[0]
}

// KAFKA-9338: an incremental fetch is judged by the leader epoch that the session
// was told, and a newer one has to be told again.
func TestSessionKeepsTheEpoch(t *testing.T) {
	n := newDataNode(t, 1, 2)
	f2 := n.dial()
	named := func(id, epoch, leaderEpoch int32) *kmsg.FetchRequest {
		req := fetchReq(2, id, epoch, 0)
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = leaderEpoch
		return req
	}
	s := call[*kmsg.FetchResponse](t, f2, named(0, 0, 0), 17)
	if p := s.Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Fatalf("%+v", p)
	}
	n.become(orders0, 1, 1)
	for epoch := int32(1); epoch <= 2; epoch++ { // again and again, until it is told
		if p := one(t, f2, fetchReq(2, s.SessionID, epoch), 17); p.ErrorCode != kerr.FencedLeaderEpoch.Code {
			t.Fatalf("epoch 0 under a leader of epoch 1: %+v", p)
		}
	}
	if p := one(t, f2, named(s.SessionID, 3, 2), 17); p.ErrorCode != kerr.UnknownLeaderEpoch.Code {
		t.Fatalf("epoch 2: %+v", p)
	}
	if p := one(t, f2, named(s.SessionID, 4, 1), 17); p.ErrorCode != 0 {
		t.Fatalf("epoch 1: %+v", p)
	}
}

// A session that was told of an error is told the high watermark again when that
// is over, although it hasn't moved.
func TestErrorIsFollowedByTheHighWatermark(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c, f2 := n.dial(), n.dial()
	produce(t, c, 1, 0, oneBatch("a"))
	call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, -1, 1), 17)
	s := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 1), 13)
	if p := s.Topics[0].Partitions[0]; p.HighWatermark != 1 {
		t.Fatalf("%+v", p)
	}
	if got := call[*kmsg.FetchResponse](t, c, fetchReq(-1, s.SessionID, 1), 13); len(got.Topics) != 0 {
		t.Fatalf("nothing is new, and yet %+v", got.Topics)
	}
	n.parts[orders0].Stop()
	n.parts[orders0].Perform(&purgatory.Ready{})
	if p := one(t, c, fetchReq(-1, s.SessionID, 2), 13); p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Fatalf("%+v", p)
	}
	n.become(orders0, 1, 2)
	if p := one(t, c, fetchReq(-1, s.SessionID, 3), 13); p.ErrorCode != 0 || p.HighWatermark != 1 {
		t.Fatalf("after the error: %+v", p)
	}
}

// KAFKA-13111: a topic that was made again under its name has another id. A
// session that knows the old one is told so, and never gets the new records.
func TestSessionOfADeletedTopic(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	s := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 0), 13)
	at := func(epoch int32) int16 {
		t.Helper()
		p := one(t, c, fetchReq(-1, s.SessionID, epoch, 0), 13)
		if len(p.RecordBatches) != 0 {
			t.Fatalf("%+v", p)
		}
		return p.ErrorCode
	}
	// The metadata has the new topic, the replica is still that of the old one.
	again := &metadata.Topic{Name: "orders", ID: model.TopicID{9}, Partitions: n.img.Topics.ByName["orders"].Partitions}
	img := *n.img
	img.Topics.ByName = map[string]*metadata.Topic{"orders": again}
	img.Topics.ByID = map[model.TopicID]*metadata.Topic{again.ID: again}
	n.img = &img
	if code := at(1); code != kerr.InconsistentTopicID.Code {
		t.Fatalf("the old id: %v", kerr.ErrorForCode(code))
	}
	// A fetch without a session never knew what the id named.
	if p := one(t, c, fetchReq(-1, 0, -1, 0), 13); p.ErrorCode != kerr.UnknownTopicID.Code {
		t.Fatalf("the old id without a session: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	req := fetchReq(-1, 0, -1, 0)
	req.Topics[0].TopicID = again.ID
	if p := one(t, c, req, 13); p.ErrorCode != kerr.InconsistentTopicID.Code {
		t.Fatalf("the new id at the old replica: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	if p := produce(t, c, 1, 0, oneBatch("new")); p.ErrorCode != kerr.UnknownTopicID.Code {
		t.Fatalf("a produce to the old id: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	if code := at(2); code != kerr.InconsistentTopicID.Code {
		t.Fatalf("the old id after that: %v", kerr.ErrorForCode(code))
	}
	gone := *n.img
	gone.Topics.ByName, gone.Topics.ByID = nil, nil
	n.img = &gone
	if code := at(3); code != kerr.UnknownTopicOrPartition.Code {
		t.Fatalf("the old id when no topic has the name: %v", kerr.ErrorForCode(code))
	}
}

// KIP-392: a consumer that had better read elsewhere is told at once (KAFKA-13767),
// by the leader only (KAFKA-13778), and is sent to nobody that is fenced, is about
// to stop, or doesn't listen where the client came from.
func TestWhoIsPreferred(t *testing.T) {
	rack2 := func() *kmsg.FetchRequest {
		req := fetchReq(-1, 0, -1, 1)
		req.Rack, req.MaxWaitMillis = "rack2", 60_000
		return req
	}
	other := []metadata.Endpoint{{Name: "INTERNAL", Host: "host", Port: 1}}
	for _, c := range []struct {
		name   string
		change func(*metadata.Broker)
		want   int32
	}{
		{"sound", func(*metadata.Broker) {}, 2},
		{"fenced", func(b *metadata.Broker) { b.Fenced = true }, -1},
		{"stopping", func(b *metadata.Broker) { b.InControlledShutdown = true }, -1},
		{"on another listener", func(b *metadata.Broker) { b.Endpoints = other }, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newDataNode(t, 1, 2)
			client := n.dial()
			produce(t, client, 1, 0, oneBatch("a"))
			call[*kmsg.FetchResponse](t, client, fetchReq(2, 0, -1, 1), 17)
			b := *n.img.Brokers[2]
			c.change(&b)
			n.img.Brokers = maps.Clone(n.img.Brokers)
			n.img.Brokers[2] = &b
			req := rack2()
			if c.want < 0 {
				req.MaxWaitMillis = 0
			}
			p := wait(t, later[*kmsg.FetchResponse](t, client, req, 13)).Topics[0].Partitions[0]
			if p.ErrorCode != 0 || p.PreferredReadReplica != c.want || len(p.RecordBatches) != 0 {
				t.Fatalf("%+v, want %d", p, c.want)
			}
		})
	}
	t.Run("a follower is asked", func(t *testing.T) {
		n := newDataNode(t, 1, 2)
		client := n.dial()
		n.become(orders0, 2, 1)
		b := oneBatch("a")
		if err := n.parts[orders0].AppendAsFollower(partition.Replicated{Epoch: 1, Records: b}); err != nil {
			t.Fatal(err)
		}
		if err := n.parts[orders0].AppendAsFollower(partition.Replicated{Epoch: 1, Offset: 1, LeaderHW: 1}); err != nil {
			t.Fatal(err)
		}
		req := rack2()
		req.Topics[0].Partitions[0].FetchOffset = 0
		p := one(t, client, req, 13)
		if p.ErrorCode != 0 || p.PreferredReadReplica != -1 || len(p.RecordBatches) == 0 {
			t.Fatalf("%+v", p)
		}
		if p := one(t, client, req, 10); p.ErrorCode != kerr.NotLeaderForPartition.Code {
			t.Fatalf("before v11 (KAFKA-9004): %+v", p)
		}
	})
}

func TestFetchErrorsAndHints(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	r := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, -1, 5, 0, 0), 16)
	ps := r.Topics[0].Partitions
	if ps[0].ErrorCode != kerr.OffsetOutOfRange.Code || ps[0].HighWatermark != -1 || ps[0].LogStartOffset != -1 {
		t.Fatalf("%+v", ps[0])
	}
	if ps[1].ErrorCode != 0 {
		t.Fatalf("%+v", ps[1])
	}
	if ps[2].ErrorCode != kerr.NotLeaderForPartition.Code || ps[2].CurrentLeader.LeaderID != 2 || len(r.Brokers) != 1 {
		t.Fatalf("%+v %+v", ps[2], r.Brokers)
	}
	req := fetchReq(-1, 0, -1, 0)
	req.Topics[0].Partitions[0].CurrentLeaderEpoch = 3
	if p := call[*kmsg.FetchResponse](t, c, req, 16).Topics[0].Partitions[0]; p.ErrorCode != kerr.UnknownLeaderEpoch.Code {
		t.Fatalf("%+v", p)
	}
}

func TestFetchDivergence(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	produce(t, c, 1, 0, oneBatch("a", "b"))
	req := fetchReq(2, 0, -1, 9)
	req.Topics[0].Partitions[0].LastFetchedEpoch = 0
	p := call[*kmsg.FetchResponse](t, c, req, 17).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.DivergingEpoch.Epoch != 0 || p.DivergingEpoch.EndOffset != 2 || len(p.RecordBatches) != 0 {
		t.Fatalf("%+v", p)
	}
	st := n.parts[model.TopicPartition{Topic: "orders"}].State()
	if st.Followers[0].LEO != model.NoOffset {
		t.Fatalf("a diverging fetch counted as acknowledgement: %+v", st.Followers[0])
	}
}

func TestPreferredReadReplica(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	produce(t, c, 1, 0, oneBatch("a"))
	rack := func(name string, version int16) int32 {
		req := fetchReq(-1, 0, -1, 0)
		req.Rack = name
		return call[*kmsg.FetchResponse](t, c, req, version).Topics[0].Partitions[0].PreferredReadReplica
	}
	if id := rack("rack2", 13); id != -1 {
		t.Fatalf("%d: replica 2 has not fetched yet", id)
	}
	call[*kmsg.FetchResponse](t, c, fetchReq(2, 0, -1, 1), 17)
	call[*kmsg.FetchResponse](t, c, fetchReq(3, 0, -1, 1), 17)
	for name, want := range map[string]int32{"rack1": -1, "rack2": 2, "rack3": -1, "": -1, "elsewhere": -1} {
		if id := rack(name, 13); id != want {
			t.Errorf("%q: %d, want %d", name, id, want)
		}
	}
}
