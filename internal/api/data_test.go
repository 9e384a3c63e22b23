package api

import (
	"context"
	"fmt"
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
