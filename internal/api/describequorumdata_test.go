package api

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// controllerStub answers envelopes with what answer makes of the request inside.
type controllerStub struct {
	answer func(kmsg.Request) kmsg.Response
}

func (s controllerStub) Envelope(_ context.Context, e peer.Envelope) (peer.EnvelopeResult, error) {
	h, body, err := wire.ParseHeader(e.Request)
	if err != nil {
		return peer.EnvelopeResult{}, err
	}
	req, err := wire.DecodeRequest(h, body)
	if err != nil {
		return peer.EnvelopeResult{}, err
	}
	return peer.EnvelopeResult{Response: wire.EncodeResponse(h, s.answer(req))}, nil
}

func quorumReq(topics ...string) *kmsg.DescribeQuorumRequest {
	req := kmsg.NewPtrDescribeQuorumRequest()
	for _, name := range topics {
		t := kmsg.NewDescribeQuorumRequestTopic()
		t.Topic = name
		for i := range int32(4) {
			p := kmsg.NewDescribeQuorumRequestTopicPartition()
			p.Partition = i
			t.Partitions = append(t.Partitions, p)
			if name == model.MetadataTopic {
				break
			}
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func describeHandlers(n *dataNode, to Forwarder) *Handlers {
	h := New(Options{})
	RegisterDescribeReplicas(h, n, to)
	RegisterForwarding(h, to, func(int16) bool { return true })
	RegisterApiVersions(h, nil)
	return h
}

func TestDescribeQuorumOfDataPartitions(t *testing.T) {
	n := newDataNode(t, 1, 2)
	client := n.dial()
	if p := produce(t, client, 1, 0, oneBatch("a", "b", "c")); p.ErrorCode != 0 {
		t.Fatal(p)
	}
	call[*kmsg.FetchResponse](t, client, fetchReq(2, 0, -1, 2), 17) // replica 2 has two of the three
	for id, b := range n.img.Brokers {
		b.Endpoints = append(b.Endpoints, metadata.Endpoint{Name: "CLIENT", Host: "host", Port: uint16(9000 + id)})
	}
	c, _ := serve(t, describeHandlers(n, controllerStub{}))
	for version := int16(0); version <= 2; version++ {
		resp := ask[*kmsg.DescribeQuorumResponse](t, c, quorumReq("orders"), version)
		p := resp.Topics[0].Partitions[0]
		if resp.ErrorCode != 0 || p.ErrorCode != 0 || p.LeaderID != 1 || p.HighWatermark != 2 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		ends := map[int32]int64{}
		for _, r := range append(p.CurrentVoters, p.Observers...) {
			ends[r.ReplicaID] = r.LogEndOffset
			known := r.ReplicaID != 3 && version >= 1
			if known != (r.LastFetchTimestamp > 0) || known != (r.LastCaughtUpTimestamp > 0) {
				t.Errorf("v%d: replica %d: %+v", version, r.ReplicaID, r)
			}
		}
		if fmt.Sprint(ends) != "map[1:3 2:2 3:-1]" || len(p.CurrentVoters) != 2 || len(p.Observers) != 1 {
			t.Errorf("v%d: %v, voters %v", version, ends, p.CurrentVoters)
		}
		p.UnknownTags.Each(func(tag uint32, _ []byte) { t.Errorf("v%d: tag %d, which nobody asked for", version, tag) })
		req := quorumReq("orders")
		req.UnknownTags.Set(wire.TagReplicaConditions, nil)
		var told []peer.FollowerCondition
		ask[*kmsg.DescribeQuorumResponse](t, c, req, version).Topics[0].Partitions[0].UnknownTags.Each(func(tag uint32, v []byte) {
			if err := json.Unmarshal(v, &told); tag != wire.TagReplicaConditions || err != nil {
				t.Errorf("v%d: tag %d: %v", version, tag, err)
			}
		})
		if len(told) != 2 || told[0].Broker != 2 || told[0].Lag != 1 || told[0].Health != "in-sync" ||
			told[1].Broker != 3 || told[1].Health != "lagging" || fmt.Sprint(told[1].Causes) != "[NEVER_FETCHED]" {
			t.Errorf("v%d: conditions %+v", version, told)
		}
		if elsewhere := resp.Topics[0].Partitions[2]; elsewhere.ErrorCode != kerr.NotLeaderForPartition.Code ||
			elsewhere.LeaderID != 2 || elsewhere.LeaderEpoch != 7 {
			t.Errorf("v%d: %+v", version, elsewhere)
		}
		if version == 2 && (len(resp.Nodes) != 3 || resp.Nodes[0].Listeners[0].Port != 9001) {
			t.Errorf("nodes %+v", resp.Nodes)
		}
		unknown := ask[*kmsg.DescribeQuorumResponse](t, c, quorumReq("nothing"), version)
		if code := unknown.Topics[0].Partitions[0].ErrorCode; code == 0 {
			t.Errorf("v%d: unknown topic answered", version)
		}
	}
}

func TestDescribeQuorumOfTheMetadataLogIsForwarded(t *testing.T) {
	n := newDataNode(t, 1)
	to := controllerStub{answer: func(req kmsg.Request) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
		topic := kmsg.NewDescribeQuorumResponseTopic()
		topic.Topic = req.(*kmsg.DescribeQuorumRequest).Topics[0].Topic + " from the controller"
		resp.Topics = append(resp.Topics, topic)
		return resp
	}}
	c, _ := serve(t, describeHandlers(n, to))
	for version := int16(0); version <= 2; version++ {
		resp := ask[*kmsg.DescribeQuorumResponse](t, c, quorumReq(model.MetadataTopic), version)
		if len(resp.Topics) != 1 || resp.Topics[0].Topic != model.MetadataTopic+" from the controller" {
			t.Fatalf("v%d: %+v", version, resp)
		}
		mixed := ask[*kmsg.DescribeQuorumResponse](t, c, quorumReq(model.MetadataTopic, "orders"), version)
		if mixed.ErrorCode != kerr.InvalidRequest.Code || len(mixed.Topics) != 0 {
			t.Fatalf("v%d: %+v", version, mixed)
		}
	}
}

func TestPeersDescribeReplicas(t *testing.T) {
	n := newDataNode(t, 1, 2, 3)
	if p := produce(t, n.dial(), 1, 1, oneBatch("a")); p.ErrorCode != 0 {
		t.Fatal(p)
	}
	c, _ := serve(t, describeHandlers(n, controllerStub{}))
	got, err := c.DescribeReplicas(context.Background(), []model.TopicPartition{
		{Topic: "orders", Partition: 1}, {Topic: "orders", Partition: 2}, {Topic: "other"},
	})
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if d := got[0]; d.Code != peer.CodeNone || d.TP.Partition != 1 || d.Leader != 1 || len(d.Replicas) != 3 ||
		d.Replicas[0].LogEnd != 1 || d.Replicas[1].LogEnd != model.NoOffset || !d.Replicas[2].InISR {
		t.Errorf("%+v", d)
	}
	if d := got[1]; d.Code != peer.CodeNotLeader || d.Leader != 2 || len(d.Replicas) != 0 {
		t.Errorf("%+v", d)
	}
	many := make([]model.TopicPartition, peer.MaxDescribedPartitions+1)
	if _, err := c.DescribeReplicas(context.Background(), many); err == nil {
		t.Error("too many partitions accepted")
	}
}
