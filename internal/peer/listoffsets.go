package peer

import (
	"context"
	"fmt"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListOffsets (key 2) as a follower sends it: one partition, with its own
// replica id, to find where a leader's log begins or ends.

// The two timestamps that followers ask for.
const (
	LatestOffset   int64 = -1 // the leader's log end
	EarliestOffset int64 = -2 // the leader's log start
)

// ListedOffset is the leader's answer; Offset and Epoch count only with CodeNone.
type ListedOffset struct {
	Code   Code
	Offset model.Offset
	Epoch  model.LeaderEpoch
}

// ListOffset asks for one offset. current fences: the leader refuses another leader epoch.
func (c *Conn) ListOffset(ctx context.Context, replica model.BrokerID, tp model.TopicPartition,
	current model.LeaderEpoch, timestamp int64) (ListedOffset, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = int32(replica)
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = tp.Topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.Timestamp = tp.Partition, int32(current), timestamp
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := do[*kmsg.ListOffsetsResponse](ctx, c, req)
	if err != nil {
		return ListedOffset{}, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if t.Topic == tp.Topic && p.Partition == tp.Partition {
				return ListedOffset{Code(p.ErrorCode), model.Offset(p.Offset), model.LeaderEpoch(p.LeaderEpoch)}, nil
			}
		}
	}
	return ListedOffset{}, fmt.Errorf("list offsets: %w: no answer for %s", ErrMalformed, tp)
}
