package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveAlterPartition answers AlterPartition (key 56). v3 names the epoch of each
// member's broker (KIP-903); without it the epochs aren't checked.
func serveAlterPartition(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.AlterPartitionRequest)
	r := &controller.AlterPartitions{Broker: model.BrokerID(req.BrokerID), Epoch: model.BrokerEpoch(req.BrokerEpoch)}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			r.Partitions = append(r.Partitions, controller.AlterPartition{
				Partition:      model.TopicIDPartition{TopicID: t.TopicID, Partition: p.Partition},
				LeaderEpoch:    model.LeaderEpoch(p.LeaderEpoch),
				PartitionEpoch: model.PartitionEpoch(p.PartitionEpoch),
				ISR:            proposedISR(req.Version, p),
				Recovery:       metadata.RecoveryState(p.LeaderRecoveryState),
			})
		}
	}
	resp, err := submit[controller.AlterPartitionsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrAlterPartitionResponse()
	out.ErrorCode = codeOf(resp.Code)
	n := 0
	for _, t := range req.Topics {
		if resp.Failed() {
			break
		}
		ot := kmsg.NewAlterPartitionResponseTopic()
		ot.TopidID = t.TopicID
		for range t.Partitions {
			ot.Partitions = append(ot.Partitions, alteredPartition(resp.Partitions[n]))
			n++
		}
		out.Topics = append(out.Topics, ot)
	}
	return out, nil
}

func proposedISR(version int16, p kmsg.AlterPartitionRequestTopicPartition) []controller.ISRMember {
	var isr []controller.ISRMember
	if version < 3 {
		for _, id := range p.NewISR {
			isr = append(isr, controller.ISRMember{Broker: model.BrokerID(id), Epoch: model.NoBrokerEpoch})
		}
		return isr
	}
	for _, m := range p.NewEpochISR {
		isr = append(isr, controller.ISRMember{
			Broker: model.BrokerID(m.BrokerID), Epoch: model.BrokerEpoch(m.BrokerEpoch),
		})
	}
	return isr
}

func alteredPartition(p controller.AlteredPartition) kmsg.AlterPartitionResponseTopicPartition {
	out := kmsg.NewAlterPartitionResponseTopicPartition()
	out.Partition, out.ErrorCode = p.Partition.Partition, codeOf(p.Code)
	if p.Failed() {
		return out
	}
	out.LeaderID, out.LeaderEpoch = int32(p.Leader), int32(p.LeaderEpoch)
	out.ISR, out.LeaderRecoveryState = int32s(p.ISR), int8(p.Recovery)
	out.PartitionEpoch = int32(p.PartitionEpoch)
	return out
}
