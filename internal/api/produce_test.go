package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestProduceAcksAllIsReleasedByFollowers(t *testing.T) {
	n := newDataNode(t, 1, 2, 3)
	client, f2, f3 := n.dial(), n.dial(), n.dial()
	answer := later[*kmsg.ProduceResponse](t, client, produceReq(-1, 10_000, 0, oneBatch("a", "b")), 13)
	// The follower's fetch parks until the append comes, so that no order is assumed.
	req := fetchReq(2, 0, -1, 0)
	req.MaxWaitMillis = 10_000
	got := call[*kmsg.FetchResponse](t, f2, req, 17)
	if p := got.Topics[0].Partitions[0]; len(p.RecordBatches) == 0 || p.HighWatermark != 0 {
		t.Fatalf("%+v", p)
	}
	call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, -1, 2), 17)
	select {
	case r := <-answer:
		t.Fatalf("answered before replica 3 has it: %+v", r)
	default:
	}
	call[*kmsg.FetchResponse](t, f3, fetchReq(3, 0, -1, 2), 17)
	p := wait(t, answer).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.BaseOffset != 0 || p.LogAppendTime != -1 || p.LogStartOffset != 0 {
		t.Fatalf("%+v", p)
	}
	for _, version := range []int16{4, 11, 12, 16, 18} {
		r := call[*kmsg.FetchResponse](t, client, fetchReq(-1, 0, -1, 0), version)
		if p := r.Topics[0].Partitions[0]; p.HighWatermark != 2 || len(p.RecordBatches) == 0 {
			t.Fatalf("v%d: %+v", version, p)
		}
	}
}

func TestProduceTimesOut(t *testing.T) {
	n := newDataNode(t, 1, 2, 3)
	c := n.dial()
	resp := call[*kmsg.ProduceResponse](t, c, produceReq(-1, 1, 0, oneBatch("a")), 9)
	p := resp.Topics[0].Partitions[0]
	if p.ErrorCode != kerr.RequestTimedOut.Code || p.BaseOffset != 0 {
		t.Fatalf("%+v", p)
	}
	if why := p.ErrorMessage; why == nil || !strings.Contains(*why, "broker 2") || !strings.Contains(*why, "broker 3") {
		t.Errorf("the answer doesn't name who was missing: %v", why)
	}
	if end := n.parts[model.TopicPartition{Topic: "orders"}].LogEnd(); end != 1 {
		t.Fatalf("the record stays: log end %d", end)
	}
}

// With a replica set of one nothing waits, not even with a time-out of 0.
func TestProduceToASingleReplicaDoesNotWait(t *testing.T) {
	n := newDataNode(t, 1)
	p := n.parts[model.TopicPartition{Topic: "orders"}]
	if err := p.BecomeLeader(partition.State{
		Leader: 1, LeaderEpoch: 1, PartitionEpoch: 1, Replicas: []model.BrokerID{1}, ISR: []model.BrokerID{1},
	}); err != nil {
		t.Fatal(err)
	}
	c := n.dial()
	for i := range int64(20) {
		resp := call[*kmsg.ProduceResponse](t, c, produceReq(-1, 0, 0, oneBatch("a")), 13)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != i {
			t.Fatalf("%+v", p)
		}
	}
}

func TestProduceErrors(t *testing.T) {
	n := newDataNode(t, 1)
	c := n.dial()
	if p := produce(t, c, -1, 0, oneBatch("a")); p.ErrorCode != kerr.NotEnoughReplicas.Code || p.LogStartOffset != 0 {
		t.Fatalf("%+v", p)
	}
	if p := produce(t, c, 1, 0, oneBatch("a")); p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Fatalf("%+v", p)
	}
	if p := produce(t, c, 5, 0, oneBatch("a")); p.ErrorCode != kerr.InvalidRequiredAcks.Code || p.BaseOffset != -1 {
		t.Fatalf("%+v", p)
	}
	if p := produce(t, c, 1, 9, oneBatch("a")); p.ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Fatalf("%+v", p)
	}
	broken := oneBatch("a")
	broken[len(broken)-1] ^= 1
	if p := produce(t, c, 1, 0, broken); p.ErrorCode != kerr.CorruptMessage.Code {
		t.Fatalf("%+v", p)
	}
	var control record.Builder
	control.SetControl()
	control.Add(1, record.ControlKey(0), nil)
	if p := produce(t, c, 1, 0, control.Build()); p.ErrorCode != kerr.InvalidRecord.Code || p.LogStartOffset != 0 || p.ErrorMessage == nil {
		t.Fatalf("%+v", p)
	}
	resp := call[*kmsg.ProduceResponse](t, c, produceReq(1, 100, 2, oneBatch("a")), 10)
	p := resp.Topics[0].Partitions[0]
	if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != 2 || p.CurrentLeader.LeaderEpoch != 7 ||
		len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 2 || resp.Brokers[0].Port != 9002 {
		t.Fatalf("%+v %+v", p, resp.Brokers)
	}
	req := produceReq(5, 100, 0, oneBatch("a")) // acks are judged after the topic
	req.Topics[0].TopicID = model.TopicID{9}
	if p := call[*kmsg.ProduceResponse](t, c, req, 13).Topics[0].Partitions[0]; p.ErrorCode != kerr.UnknownTopicID.Code {
		t.Fatalf("%+v", p)
	}
	var txn record.Builder
	txn.SetTransactional()
	txn.SetProducer(7, 0, 0)
	txn.Add(1, nil, []byte("a"))
	if p := produce(t, c, 1, 0, txn.Build()); p.ErrorCode != kerr.TransactionalIDAuthorizationFailed.Code {
		t.Fatalf("a transactional batch without a transactional id: %+v", p)
	}
}

// Without a coordinator nobody could end a transaction: a batch of one would hold
// back every read_committed consumer for ever.
func TestTransactionWithoutACoordinator(t *testing.T) {
	n := newDataNode(t, 1)
	c := n.dial()
	var txn record.Builder
	txn.SetTransactional()
	txn.SetProducer(7, 0, 0)
	txn.Add(1, nil, []byte("a"))
	req := produceReq(1, 100, 0, txn.Build())
	req.TransactionID = kmsg.StringPtr("id")
	p := call[*kmsg.ProduceResponse](t, c, req, 9).Topics[0].Partitions[0]
	if p.ErrorCode != kerr.NotEnoughReplicas.Code || p.LogStartOffset != -1 || p.ErrorMessage == nil {
		t.Fatalf("%+v", p)
	}
	req = produceReq(1, 100, 0, oneBatch("not of the transaction"))
	req.TransactionID = kmsg.StringPtr("id")
	if p := call[*kmsg.ProduceResponse](t, c, req, 9).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Fatalf("%+v", p)
	}
}

func TestAcksZeroErrorClosesTheConnection(t *testing.T) {
	n := newDataNode(t, 1)
	c := n.dial()
	go func() { _, _ = c.DoVersion(context.Background(), produceReq(0, 100, 9, oneBatch("a")), 9) }()
	select {
	case <-c.Broken():
	case <-time.After(10 * time.Second):
		t.Fatal("the connection stays open")
	}
}
