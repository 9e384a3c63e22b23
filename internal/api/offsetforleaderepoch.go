package api

import (
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// epochEndAPI answers OffsetForLeaderEpoch (key 23): where an epoch ends in
// this log (KIP-101, KIP-320). Only the leader answers, except to a tool (v3).
type epochEndAPI struct{ *dataAPI }

func (a *epochEndAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.OffsetForLeaderEpochRequest)
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	img := a.Partitions.Image()
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for _, q := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = q.Partition, -1, -1
			_, p, err := a.named(img, []byte(t.Topic), q.Partition)
			if err == nil {
				end, e := p.EpochEnd(model.LeaderEpoch(q.LeaderEpoch), model.LeaderEpoch(q.CurrentLeaderEpoch),
					req.Version >= 3 && req.ReplicaID == debugReplica)
				err = e
				rp.LeaderEpoch, rp.EndOffset = int32(end.Epoch), int64(end.End)
			}
			rp.ErrorCode = ErrorCode(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	c.Reply(resp)
}
