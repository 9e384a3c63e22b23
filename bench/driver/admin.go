package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const adminWait = 10 * time.Second

// Brokers are the client addresses of one cluster, in the order of node ids from 1.
type Brokers []string

// Topic says how a topic is made. Replicas of partition p are the nodes from
// First+p on, in a ring: every system gets the same layout.
type Topic struct {
	Name       string
	Partitions int
	RF, MinISR int
	First      int32 // node id of partition 0's leader; 0 means 1
}

// do asks the brokers in turn until one answers.
func (b Brokers) do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	var errs []error
	for _, addr := range b {
		c, err := Dial(ctx, addr)
		if err == nil {
			resp, derr := c.Do(req, adminWait)
			c.Close()
			if derr == nil {
				return resp, nil
			}
			err = derr
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Create makes the topic and waits until every partition has its leader, all
// its replicas in sync, and the leaders lead.
func (b Brokers) Create(ctx context.Context, t Topic) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 5, 30000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t.Name, -1, -1
	first := max(t.First, 1) - 1
	for p := range t.Partitions {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition = int32(p)
		for r := range t.RF {
			a.Replicas = append(a.Replicas, (first+int32(p+r))%int32(len(b))+1)
		}
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
	}
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = "min.insync.replicas", kmsg.StringPtr(strconv.Itoa(t.MinISR))
	rt.Configs = append(rt.Configs, c)
	req.Topics = append(req.Topics, rt)
	resp, err := b.do(ctx, req)
	if err != nil {
		return err
	}
	for _, rt := range resp.(*kmsg.CreateTopicsResponse).Topics {
		if err := kerr.ErrorForCode(rt.ErrorCode); err != nil {
			return fmt.Errorf("create %s: %w", t.Name, err)
		}
	}
	return b.waitInSync(ctx, t)
}

func (b Brokers) waitInSync(ctx context.Context, t Topic) error {
	return poll(ctx, 60*time.Second, 20*time.Millisecond, func() error {
		for _, addr := range b {
			m, err := (Brokers{addr}).Metadata(ctx, t.Name)
			if err != nil {
				return err
			}
			if err := inSync(m, t); err != nil {
				return fmt.Errorf("%s: %w", addr, err)
			}
		}
		return b.leading(ctx, t)
	})
}

// leading asks every leader for its partitions' ends: a broker can show a
// partition in its metadata a moment before it leads it.
func (b Brokers) leading(ctx context.Context, t Topic) error {
	leaders, err := b.leaders(ctx, t.Name)
	if err != nil {
		return err
	}
	asked := map[string]*kmsg.ListOffsetsRequest{}
	for p, addr := range leaders {
		if asked[addr] == nil {
			asked[addr] = kmsg.NewPtrListOffsetsRequest()
			asked[addr].Version, asked[addr].ReplicaID = 5, -1
			asked[addr].Topics = []kmsg.ListOffsetsRequestTopic{{Topic: t.Name}}
		}
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = int32(p), -1, -1
		asked[addr].Topics[0].Partitions = append(asked[addr].Topics[0].Partitions, rp)
	}
	for addr, req := range asked {
		resp, err := (Brokers{addr}).do(ctx, req)
		if err != nil {
			return err
		}
		for _, rt := range resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range rt.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("%s says of %s-%d: %w", addr, t.Name, p.Partition, err)
				}
			}
		}
	}
	return nil
}

func inSync(m *kmsg.MetadataResponse, t Topic) error {
	if len(m.Topics) != 1 || len(m.Topics[0].Partitions) != t.Partitions {
		return fmt.Errorf("topic %s isn't known yet", t.Name)
	}
	for _, p := range m.Topics[0].Partitions {
		if p.ErrorCode != 0 || p.Leader < 0 || len(p.ISR) != t.RF {
			return fmt.Errorf("%s-%d: leader %d, isr %v, error %d", t.Name, p.Partition, p.Leader, p.ISR, p.ErrorCode)
		}
	}
	return nil
}

// Delete removes a topic.
func (b Brokers) Delete(ctx context.Context, name string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis, req.TopicNames = 4, 30000, []string{name}
	resp, err := b.do(ctx, req)
	if err != nil {
		return err
	}
	for _, t := range resp.(*kmsg.DeleteTopicsResponse).Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	return nil
}

func metadataRequest(topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = metadataVersion, false
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// Metadata asks for the brokers and the named topics.
func (b Brokers) Metadata(ctx context.Context, topics ...string) (*kmsg.MetadataResponse, error) {
	resp, err := b.do(ctx, metadataRequest(topics...))
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.MetadataResponse), nil
}

// Controller returns the node id of the active controller.
func (b Brokers) Controller(ctx context.Context) (int32, error) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, t)
	resp, err := b.do(ctx, req)
	if err != nil {
		return 0, err
	}
	q := resp.(*kmsg.DescribeQuorumResponse)
	if err := kerr.ErrorForCode(q.ErrorCode); err != nil {
		return 0, err
	}
	if len(q.Topics) != 1 || len(q.Topics[0].Partitions) != 1 {
		return 0, errors.New("DescribeQuorum names no partition")
	}
	p := q.Topics[0].Partitions[0]
	return p.LeaderID, kerr.ErrorForCode(p.ErrorCode)
}

// leaders returns the address of each partition's leader.
func (b Brokers) leaders(ctx context.Context, topic string) ([]string, error) {
	m, err := b.Metadata(ctx, topic)
	if err != nil {
		return nil, err
	}
	if len(m.Topics) != 1 {
		return nil, fmt.Errorf("no topic %s in the answer", topic)
	}
	out := make([]string, len(m.Topics[0].Partitions))
	for _, p := range m.Topics[0].Partitions {
		addr := addressOf(m, p.Leader)
		if addr == "" || int(p.Partition) >= len(out) {
			return nil, fmt.Errorf("%s-%d has no leader", topic, p.Partition)
		}
		out[p.Partition] = addr
	}
	return out, nil
}

func addressOf(m *kmsg.MetadataResponse, node int32) string {
	for _, b := range m.Brokers {
		if b.NodeID == node {
			return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		}
	}
	return ""
}

// poll calls f until it returns nil; after limit it returns f's last error.
func poll(ctx context.Context, limit, every time.Duration, f func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Reduced waits until every partition has a leader and an in-sync set without
// the node, in the view of every broker that answers.
func (b Brokers) Reduced(ctx context.Context, t Topic, without int32, limit time.Duration) error {
	return poll(ctx, limit, 20*time.Millisecond, func() error {
		answered := 0
		for _, addr := range b {
			m, err := (Brokers{addr}).Metadata(ctx, t.Name)
			if err != nil {
				continue
			}
			answered++
			for _, mt := range m.Topics {
				for _, p := range mt.Partitions {
					if p.Leader < 0 || p.Leader == without || slices.Contains(p.ISR, without) {
						return fmt.Errorf("%s-%d: leader %d, isr %v, node %d should be in neither", t.Name, p.Partition, p.Leader, p.ISR, without)
					}
				}
			}
		}
		if answered < len(b)-1 {
			return fmt.Errorf("%d brokers answered", answered)
		}
		return nil
	})
}
