package peer

import (
	"context"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterPartition (key 56), sent by partition leaders to the active controller
// to change an in-sync set by compare-and-set.

// ISRMember is one proposed member; Epoch is NoBrokerEpoch if unknown.
type ISRMember struct {
	Broker model.BrokerID
	Epoch  model.BrokerEpoch
}

// AlterPartition is one partition's proposal.
type AlterPartition struct {
	Of             model.TopicIDPartition
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch // the epoch that the proposal builds on
	ISR            []ISRMember
	Recovering     bool
}

// AlteredPartition is the controller's verdict on one partition; the state
// counts only with CodeNone.
type AlteredPartition struct {
	Of             model.TopicIDPartition
	Code           Code
	Leader         model.BrokerID
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch
	ISR            []model.BrokerID
	Recovering     bool
}

// AlterPartitionsResult is the whole answer; Partitions counts only with CodeNone.
type AlterPartitionsResult struct {
	Code       Code
	Partitions []AlteredPartition
}

// AlterPartitions sends the proposals of one broker in one request, grouped by topic in the given order.
func (c *Conn) AlterPartitions(ctx context.Context, from model.BrokerID, epoch model.BrokerEpoch,
	ps []AlterPartition) (AlterPartitionsResult, error) {
	req := kmsg.NewPtrAlterPartitionRequest()
	req.BrokerID, req.BrokerEpoch = int32(from), int64(epoch)
	at := make(map[model.TopicID]int)
	for _, p := range ps {
		i, ok := at[p.Of.TopicID]
		if !ok {
			i = len(req.Topics)
			at[p.Of.TopicID] = i
			t := kmsg.NewAlterPartitionRequestTopic()
			t.TopicID = p.Of.TopicID
			req.Topics = append(req.Topics, t)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, alterPartition(p))
	}
	resp, err := do[*kmsg.AlterPartitionResponse](ctx, c, req)
	if err != nil {
		return AlterPartitionsResult{}, err
	}
	out := AlterPartitionsResult{Code: Code(resp.ErrorCode)}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			out.Partitions = append(out.Partitions, AlteredPartition{
				Of:   model.TopicIDPartition{TopicID: t.TopidID, Partition: p.Partition},
				Code: Code(p.ErrorCode), Leader: model.BrokerID(p.LeaderID),
				LeaderEpoch:    model.LeaderEpoch(p.LeaderEpoch),
				PartitionEpoch: model.PartitionEpoch(p.PartitionEpoch),
				ISR:            brokerIDs(p.ISR), Recovering: p.LeaderRecoveryState == 1,
			})
		}
	}
	return out, nil
}

// alterPartition fills both forms of the ISR; the version in use picks one.
func alterPartition(p AlterPartition) kmsg.AlterPartitionRequestTopicPartition {
	kp := kmsg.NewAlterPartitionRequestTopicPartition()
	kp.Partition, kp.LeaderEpoch, kp.PartitionEpoch = p.Of.Partition, int32(p.LeaderEpoch), int32(p.PartitionEpoch)
	if p.Recovering {
		kp.LeaderRecoveryState = 1
	}
	for _, m := range p.ISR {
		kp.NewISR = append(kp.NewISR, int32(m.Broker))
		e := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		e.BrokerID, e.BrokerEpoch = int32(m.Broker), int64(m.Epoch)
		kp.NewEpochISR = append(kp.NewEpochISR, e)
	}
	return kp
}

func brokerIDs(ids []int32) []model.BrokerID {
	out := make([]model.BrokerID, len(ids))
	for i, id := range ids {
		out[i] = model.BrokerID(id)
	}
	return out
}
