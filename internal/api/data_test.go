package api

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/server"
	"tidemark/internal/session"
	"tidemark/internal/vfs"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var ordersID = model.TopicID{1, 2, 3}

// dataNode is broker 1 of three, with the partitions of the topic "orders".
type dataNode struct {
	t     *testing.T
	img   *metadata.Image
	parts map[model.TopicPartition]*partition.Partition
	addr  string
	opts  DataOptions
}

func (n *dataNode) Image() *metadata.Image { return n.img }

func (n *dataNode) Partition(tp model.TopicPartition) (*partition.Partition, error) {
	if p := n.parts[tp]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s: %w", tp, partition.ErrNotHosted)
}

func (n *dataNode) BrokerStatus(model.BrokerID) replica.BrokerStatus {
	return replica.BrokerStatus{Epoch: 1, Eligible: true}
}

// newDataNode leads orders-0 and orders-1 with the given ISR; orders-2 is led
// by broker 2 and not hosted here.
func newDataNode(t *testing.T, isr ...model.BrokerID) *dataNode {
	n := &dataNode{t: t, img: metadata.Empty(), parts: map[model.TopicPartition]*partition.Partition{}}
	for id := model.BrokerID(1); id <= 3; id++ {
		n.img.Brokers[id] = &metadata.Broker{
			ID: id, Epoch: 1, Rack: fmt.Sprintf("rack%d", id), HasRack: true,
			Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: "host", Port: uint16(9000 + id)}},
		}
	}
	topic := &metadata.Topic{Name: "orders", ID: ordersID}
	fs := vfs.NewMem()
	for i := range int32(3) {
		mp := &metadata.Partition{Replicas: []model.BrokerID{1, 2, 3}, ISR: isr, Leader: 1}
		topic.Partitions = append(topic.Partitions, mp)
		if i == 2 {
			mp.Leader, mp.LeaderEpoch = 2, 7
			continue
		}
		n.host(fs, model.TopicPartition{Topic: "orders", Partition: i}, isr)
	}
	n.img.Topics.ByName["orders"], n.img.Topics.ByID[ordersID] = topic, topic
	n.opts = DataOptions{
		Self: 1, Partitions: n, Produces: purgatory.New(100), Fetches: purgatory.New(100), Deletes: purgatory.New(100),
		Sessions: session.NewCache(10), RackAware: true,
	}
	h := New(Options{})
	RegisterData(h, n.opts)
	RegisterApiVersions(h, func() Features { return Features{} })
	srv, err := server.Listen(server.Config{Listener: "PLAINTEXT", Address: "127.0.0.1:0"}, h)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		n.opts.Produces.Close()
		n.opts.Fetches.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	})
	n.addr = srv.Addr().String()
	return n
}

func (n *dataNode) host(fs vfs.FS, tp model.TopicPartition, isr []model.BrokerID) {
	n.t.Helper()
	n.hostUnder(nil, fs, tp, isr)
}

// hostUnder hosts a partition under a replication quota, if not nil.
func (n *dataNode) hostUnder(q partition.Quota, fs vfs.FS, tp model.TopicPartition, isr []model.BrokerID) {
	n.t.Helper()
	p, err := partition.Open(partition.Options{
		TP: tp, TopicID: ordersID, Self: 1, Brokers: n, Quota: q,
		LogOptions: commitlog.Options{FS: fs, Dir: "d/" + tp.String(), Config: commitlog.DefaultConfig()},
		Settings: partition.Settings{
			MaxBatchBytes: 1 << 20, Deletes: true, MinISR: 2, LagTimeMax: time.Minute,
			TimestampBeforeMax: 1 << 62, TimestampAfterMax: 1 << 62, ThrottleLeader: q != nil,
		},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := p.BecomeLeader(partition.State{Leader: 1, Replicas: []model.BrokerID{1, 2, 3}, ISR: isr}); err != nil {
		n.t.Fatal(err)
	}
	p.Perform(&purgatory.Ready{})
	n.parts[tp] = p
}

func (n *dataNode) dial() *peer.Conn {
	n.t.Helper()
	c, err := peer.Dial(context.Background(), n.addr, peer.Options{ClientID: "test", RequestTimeout: 10 * time.Second})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

func call[R any](t *testing.T, c *peer.Conn, req kmsg.Request, version int16) R {
	t.Helper()
	resp, err := c.DoVersion(context.Background(), req, version)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(R)
}

// later sends a request and returns where its answer arrives.
func later[R any](t *testing.T, c *peer.Conn, req kmsg.Request, version int16) <-chan R {
	out := make(chan R, 1)
	go func() {
		resp, err := c.DoVersion(context.Background(), req, version)
		if err != nil {
			t.Error(err)
			close(out)
			return
		}
		out <- resp.(R)
	}()
	return out
}

func oneBatch(values ...string) []byte {
	var b record.Builder
	for _, v := range values {
		b.Add(1, []byte("k"), []byte(v))
	}
	return b.Build()
}

func produceReq(acks int16, timeout int32, index int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, timeout
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = "orders", ordersID
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = index, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func produce(t *testing.T, c *peer.Conn, acks int16, index int32, records []byte) kmsg.ProduceResponseTopicPartition {
	t.Helper()
	return call[*kmsg.ProduceResponse](t, c, produceReq(acks, 5000, index, records), 13).Topics[0].Partitions[0]
}

// fetchReq reads orders at the given offsets, one a partition, as a replica or
// as a consumer (replica -1).
func fetchReq(replica int32, id, epoch int32, at ...int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.ReplicaState.ID = replica, replica
	req.ReplicaState.Epoch = -1
	if replica >= 0 {
		req.ReplicaState.Epoch = 1
	}
	req.SessionID, req.SessionEpoch = id, epoch
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 0, 1, 1<<20
	if len(at) == 0 {
		return req
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = "orders", ordersID
	for i, off := range at {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = int32(i), off, 1<<20
		p.CurrentLeaderEpoch, p.LastFetchedEpoch = -1, -1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func wait[R any](t *testing.T, c <-chan R) R {
	t.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
		panic("unreachable")
	}
}

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
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != kerr.RequestTimedOut.Code || p.BaseOffset != 0 {
		t.Fatalf("%+v", p)
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
	if p := produce(t, c, -1, 0, oneBatch("a")); p.ErrorCode != kerr.NotEnoughReplicas.Code || p.LogStartOffset != -1 {
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

func TestConsumerWakesWhenCommitted(t *testing.T) {
	n := newDataNode(t, 1, 2)
	consumer, client, f2 := n.dial(), n.dial(), n.dial()
	req := fetchReq(-1, 0, 0, 0, 0)
	first := call[*kmsg.FetchResponse](t, consumer, req, 13)
	if first.SessionID == 0 || len(first.Topics[0].Partitions) != 2 {
		t.Fatalf("%+v", first)
	}
	// Nothing changed: the incremental fetch parks, with no partition named.
	inc := fetchReq(-1, first.SessionID, 1)
	inc.MaxWaitMillis = 10_000
	answer := later[*kmsg.FetchResponse](t, consumer, inc, 13)
	if p := produce(t, client, 1, 1, oneBatch("a")); p.ErrorCode != 0 {
		t.Fatalf("%+v", p)
	}
	call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, -1, 0, 1), 17)
	got := wait(t, answer)
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
		t.Fatalf("%+v", got)
	}
	if p := got.Topics[0].Partitions[0]; p.Partition != 1 || p.HighWatermark != 1 || len(p.RecordBatches) == 0 {
		t.Fatalf("%+v", p)
	}
	// Sent and not taken: it comes again until the position moves.
	again := call[*kmsg.FetchResponse](t, consumer, fetchReq(-1, first.SessionID, 2), 13)
	if len(again.Topics) != 1 || len(again.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Fatalf("%+v", again)
	}
	moved := call[*kmsg.FetchResponse](t, consumer, fetchReq(-1, first.SessionID, 3, 0, 1), 13)
	if len(moved.Topics) != 0 {
		t.Fatalf("%+v", moved)
	}
	if n.opts.Fetches.Len() != 0 {
		t.Fatalf("%d fetches still parked", n.opts.Fetches.Len())
	}
}

func TestFetchSessionErrors(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	s := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 0), 13)
	for _, v := range []struct {
		id, epoch int32
		version   int16
		want      *kerr.Error
	}{
		{s.SessionID + 1, 1, 13, kerr.FetchSessionIDNotFound},
		{s.SessionID, 7, 13, kerr.InvalidFetchSessionEpoch},
		{s.SessionID, 1, 12, kerr.FetchSessionTopicIDError},
	} {
		r := call[*kmsg.FetchResponse](t, c, fetchReq(-1, v.id, v.epoch), v.version)
		if r.ErrorCode != v.want.Code || r.SessionID != 0 || len(r.Topics) != 0 {
			t.Errorf("%+v: %+v", v, r)
		}
	}
	if r := call[*kmsg.FetchResponse](t, c, fetchReq(-1, s.SessionID, -1, 0), 13); r.ErrorCode != 0 || r.SessionID != 0 {
		t.Fatalf("%+v", r)
	}
	if n.opts.Sessions.Len() != 0 {
		t.Fatal("the session was to be closed")
	}
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

// A parked fetch must not sleep over the end of a leadership.
func TestParkedFetchSeesTheLeaderChange(t *testing.T) {
	n := newDataNode(t, 1, 2)
	f2, f3 := n.dial(), n.dial()
	first := call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, 0, 0, 0), 17)
	inc := fetchReq(2, first.SessionID, 1)
	inc.MaxWaitMillis = 10_000
	parked := later[*kmsg.FetchResponse](t, f2, inc, 17)
	full := fetchReq(3, 0, -1, 0, 0)
	full.MaxWaitMillis = 10_000
	sessionless := later[*kmsg.FetchResponse](t, f3, full, 17)
	p := n.parts[model.TopicPartition{Topic: "orders"}]
	if _, err := p.BecomeFollower(partition.State{Leader: 2, LeaderEpoch: 1, PartitionEpoch: 1}); err != nil {
		t.Fatal(err)
	}
	var ready purgatory.Ready
	p.Perform(&ready)
	ready.Run()
	got := wait(t, parked).Topics[0].Partitions
	if len(got) != 1 || got[0].Partition != 0 || got[0].ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Fatalf("%+v", got)
	}
	all := wait(t, sessionless).Topics[0].Partitions
	if len(all) != 2 || all[0].ErrorCode != kerr.NotLeaderForPartition.Code || all[1].ErrorCode != 0 {
		t.Fatalf("%+v", all)
	}
}

// A high watermark that moved is told with the next answer, without data, but
// does not wake a follower (KAFKA-9731).
func TestHighWatermarkAloneIsToldInTheSession(t *testing.T) {
	n := newDataNode(t, 1, 2, 3)
	c, f2, f3 := n.dial(), n.dial(), n.dial()
	first := call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, 0, 0), 17)
	produce(t, c, 1, 0, oneBatch("a"))
	call[*kmsg.FetchResponse](t, f2, fetchReq(2, first.SessionID, 1), 17)
	taken := call[*kmsg.FetchResponse](t, f2, fetchReq(2, first.SessionID, 2, 1), 17)
	if len(taken.Topics) != 0 {
		t.Fatalf("nothing new, and yet %+v", taken.Topics)
	}
	inc := fetchReq(2, first.SessionID, 3)
	inc.MaxWaitMillis = 300
	parked := later[*kmsg.FetchResponse](t, f2, inc, 17)
	call[*kmsg.FetchResponse](t, f3, fetchReq(3, 0, -1, 1), 17) // commits
	got := wait(t, parked)
	if len(got.Topics) != 1 {
		t.Fatalf("%+v", got)
	}
	if p := got.Topics[0].Partitions[0]; p.HighWatermark != 1 || len(p.RecordBatches) != 0 {
		t.Fatalf("%+v", p)
	}
}

// With room for one partition only, both are served in turn.
func TestLimitedFetchIsFair(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c, f2 := n.dial(), n.dial()
	for range 3 {
		produce(t, c, 1, 0, oneBatch("aaaa"))
		produce(t, c, 1, 1, oneBatch("bbbb"))
	}
	req := fetchReq(2, 0, 0, 0, 0)
	req.MaxBytes = 10
	at := [2]int64{}
	got := call[*kmsg.FetchResponse](t, f2, req, 17)
	id := got.SessionID
	for epoch := int32(1); epoch <= 6; epoch++ {
		next := fetchReq(2, id, epoch)
		for _, p := range got.Topics[0].Partitions {
			if len(p.RecordBatches) == 0 {
				continue
			}
			at[p.Partition]++
			one := fetchReq(2, id, epoch, 0, 0)
			next.Topics = one.Topics
			next.Topics[0].Partitions = next.Topics[0].Partitions[p.Partition : p.Partition+1]
			next.Topics[0].Partitions[0].FetchOffset = at[p.Partition]
		}
		if d := at[0] - at[1]; d < -1 || d > 1 {
			t.Fatalf("after %d answers the positions are %v", epoch, at)
		}
		next.MaxBytes = 10
		got = call[*kmsg.FetchResponse](t, f2, next, 17)
		if len(got.Topics) == 0 {
			break
		}
	}
	if at != [2]int64{3, 3} {
		t.Fatalf("positions %v", at)
	}
}

// A client that sends its next request without waiting gets both answers.
func TestPipelinedFetchOfOneSession(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	first := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 0), 13)
	a := fetchReq(-1, first.SessionID, 1)
	a.MaxWaitMillis = 10_000
	b := fetchReq(-1, first.SessionID, 2)
	one := later[*kmsg.FetchResponse](t, c, a, 13)
	for n.opts.Fetches.Len() == 0 {
		runtime.Gosched()
	}
	two := later[*kmsg.FetchResponse](t, c, b, 13)
	if r := wait(t, one); r.ErrorCode != 0 {
		t.Fatalf("%+v", r)
	}
	if r := wait(t, two); r.ErrorCode != 0 {
		t.Fatalf("%+v", r)
	}
}
