package peer

import (
	"context"
	"fmt"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetForLeaderEpoch (key 23): where a leader's log leaves an epoch (KIP-101).

// EpochEnd is the largest epoch not above the one asked for, and its end.
// Both are unset if the leader knows no such epoch.
type EpochEnd struct {
	Code  Code
	Epoch model.LeaderEpoch
	End   model.Offset
}

// EpochEnd asks one leader about one partition. current fences the request.
func (c *Conn) EpochEnd(ctx context.Context, replica model.BrokerID, tp model.TopicPartition,
	current, epoch model.LeaderEpoch) (EpochEnd, error) {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = int32(replica)
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = tp.Topic
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = tp.Partition, int32(current), int32(epoch)
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := do[*kmsg.OffsetForLeaderEpochResponse](ctx, c, req)
	if err != nil {
		return EpochEnd{}, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if t.Topic == tp.Topic && p.Partition == tp.Partition {
				return EpochEnd{Code(p.ErrorCode), model.LeaderEpoch(p.LeaderEpoch), model.Offset(p.EndOffset)}, nil
			}
		}
	}
	return EpochEnd{}, fmt.Errorf("offset for leader epoch: %w: no answer for %s", ErrMalformed, tp)
}
