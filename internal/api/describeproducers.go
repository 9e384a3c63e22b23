package api

import (
	"tidemark/internal/model"
	"tidemark/internal/partition"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyDescribeProducers int16 = 61

// describeProducersAPI answers DescribeProducers (key 61, KIP-664): the producer
// ids that a partition's leader knows, and their open transactions. Others than
// the leader answer NOT_LEADER_OR_FOLLOWER.
type describeProducersAPI struct{ parts Partitions }

// RegisterDescribeProducers adds DescribeProducers.
func RegisterDescribeProducers(h *Handlers, parts Partitions) {
	h.Register(keyDescribeProducers, (&describeProducersAPI{parts}).handle)
}

func (a *describeProducersAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DescribeProducersRequest)
	resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
	for _, in := range req.Topics {
		t := kmsg.NewDescribeProducersResponseTopic()
		t.Topic = in.Topic
		for _, index := range in.Partitions {
			t.Partitions = append(t.Partitions, a.partition(in.Topic, index))
		}
		resp.Topics = append(resp.Topics, t)
	}
	c.Reply(resp)
}

func (a *describeProducersAPI) partition(topic string, index int32) kmsg.DescribeProducersResponseTopicPartition {
	out := kmsg.NewDescribeProducersResponseTopicPartition()
	out.Partition = index
	p, err := a.leader(topic, index)
	if err != nil {
		out.ErrorCode, out.ErrorMessage = ErrorCode(err), kmsg.StringPtr(text(err))
		return out
	}
	for _, s := range p.ProducerStates() {
		o := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		o.ProducerID, o.ProducerEpoch = int64(s.ID), int32(s.Epoch)
		o.LastSequence, o.LastTimestamp = s.LastSequence, s.LastTimestamp
		o.CoordinatorEpoch, o.CurrentTxnStartOffset = s.CoordinatorEpoch, int64(s.TxnStart)
		out.ActiveProducers = append(out.ActiveProducers, o)
	}
	return out
}

func (a *describeProducersAPI) leader(topic string, index int32) (*partition.Partition, error) {
	if err := checkTopicName(topic); err != nil {
		return nil, err
	}
	tp := model.TopicPartition{Topic: topic, Partition: index}
	if _, _, ok := a.parts.Image().Partition(tp); !ok {
		return nil, kerr.UnknownTopicOrPartition
	}
	p, err := a.parts.Partition(tp)
	if err != nil {
		return nil, err
	}
	if leads, _ := p.Leads(); !leads {
		return nil, partition.ErrNotLeader
	}
	return p, nil
}
