package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestListOffsetsAndEpochEnds(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	produce(t, c, 1, 0, oneBatch("a", "b"))
	call[*kmsg.FetchResponse](t, c, fetchReq(2, 0, -1, 1), 17)
	list := func(ts int64, version int16) kmsg.ListOffsetsResponseTopicPartition {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		tp := kmsg.NewListOffsetsRequestTopic()
		tp.Topic = "orders"
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Timestamp, p.CurrentLeaderEpoch = ts, -1
		tp.Partitions = append(tp.Partitions, p)
		req.Topics = append(req.Topics, tp)
		return call[*kmsg.ListOffsetsResponse](t, c, req, version).Topics[0].Partitions[0]
	}
	call[*kmsg.FetchResponse](t, c, fetchReq(2, 0, -1, 2), 17)
	if p := list(-1, 7); p.ErrorCode != 0 || p.Offset != 2 || p.LeaderEpoch != 0 {
		t.Fatalf("%+v", p)
	}
	if p := list(-2, 1); p.ErrorCode != 0 || p.Offset != 0 {
		t.Fatalf("%+v", p)
	}
	for ts, since := range map[int64]int16{-3: 7, -4: 8, -5: 9, -6: 11} {
		if p := list(ts, since-1); p.ErrorCode != kerr.UnsupportedVersion.Code {
			t.Fatalf("%d before v%d: %+v", ts, since, p)
		}
		if p := list(ts, since); p.ErrorCode != 0 || (ts <= -5) != (p.Offset == -1) {
			t.Fatalf("%d in v%d: %+v", ts, since, p)
		}
	}
	if p := list(-7, 11); p.ErrorCode != kerr.UnsupportedVersion.Code {
		t.Fatalf("%+v", p)
	}
	twice := kmsg.NewPtrListOffsetsRequest()
	twice.ReplicaID = -1
	twice.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: []kmsg.ListOffsetsRequestTopicPartition{
		{Partition: 0, Timestamp: -1, CurrentLeaderEpoch: -1}, {Partition: 1, Timestamp: -1, CurrentLeaderEpoch: -1},
		{Partition: 0, Timestamp: -2, CurrentLeaderEpoch: -1},
	}}}
	if ps := call[*kmsg.ListOffsetsResponse](t, c, twice, 7).Topics[0].Partitions; len(ps) != 2 ||
		ps[0].ErrorCode != kerr.InvalidRequest.Code || ps[1].ErrorCode == kerr.InvalidRequest.Code {
		t.Fatalf("%+v", ps)
	}
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	tp := kmsg.NewOffsetForLeaderEpochRequestTopic()
	tp.Topic = "orders"
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.CurrentLeaderEpoch, p.LeaderEpoch = 0, 0
	tp.Partitions = append(tp.Partitions, p)
	req.Topics = append(req.Topics, tp)
	got := call[*kmsg.OffsetForLeaderEpochResponse](t, c, req, 4).Topics[0].Partitions[0]
	if got.ErrorCode != 0 || got.LeaderEpoch != 0 || got.EndOffset != 2 {
		t.Fatalf("%+v", got)
	}
}

func TestDeleteRecordsWaitsForReplicas(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c, f := n.dial(), n.dial()
	produce(t, c, 1, 0, oneBatch("a", "b"))
	for _, id := range []int32{2, 3} {
		call[*kmsg.FetchResponse](t, f, fetchReq(id, 0, -1, 2), 17)
	}
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	tp := kmsg.NewDeleteRecordsRequestTopic()
	tp.Topic = "orders"
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = -1
	tp.Partitions = append(tp.Partitions, p)
	req.Topics = append(req.Topics, tp)
	answer := later[*kmsg.DeleteRecordsResponse](t, c, req, 2)
	for _, id := range []int32{2, 3} {
		fr := fetchReq(id, 0, -1, 2)
		fr.Topics[0].Partitions[0].LogStartOffset = 2
		call[*kmsg.FetchResponse](t, f, fr, 17)
	}
	got := wait(t, answer).Topics[0].Partitions[0]
	if got.ErrorCode != 0 || got.LowWatermark != 2 {
		t.Fatalf("%+v", got)
	}
}
