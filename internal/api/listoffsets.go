package api

import (
	"errors"

	"tidemark/internal/model"
	"tidemark/internal/partition"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// debugReplica is the replica id of tools that ask any replica.
const debugReplica = -2

// listOffsetsAPI answers ListOffsets (key 2).
//
//	-1 latest, -2 earliest, -3 max timestamp (v7), -4 earliest local (v8),
//	-5 latest tiered (v9), -6 earliest pending upload (v11); otherwise the
//	first record that is not older than the timestamp
//	v4   leader epochs, in and out
//	v5   OFFSET_NOT_AVAILABLE right after an election (KIP-207); before,
//	     LEADER_NOT_AVAILABLE
//
// Only the leader answers, except to a tool. A partition that is named twice
// is INVALID_REQUEST, once.
type listOffsetsAPI struct{ *dataAPI }

func (a *listOffsetsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.ListOffsetsRequest)
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	img := a.Partitions.Image()
	twice := duplicates(req)
	for _, t := range req.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for _, q := range t.Partitions {
			tp := model.TopicPartition{Topic: t.Topic, Partition: q.Partition}
			again, open := twice[tp]
			if !open {
				continue // answered where it was named first
			}
			delete(twice, tp)
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Offset, rp.Timestamp, rp.LeaderEpoch = q.Partition, -1, -1, -1
			var found partition.Found
			_, p, err := a.named(img, []byte(t.Topic), q.Partition)
			switch {
			case again:
				err = errBadRequest
			case !timestampAllowed(q.Timestamp, req.Version):
				err = errUnknownVersion
			case err == nil:
				found, err = p.ListOffset(partition.Lookup{
					Timestamp: q.Timestamp, CurrentEpoch: model.LeaderEpoch(q.CurrentLeaderEpoch),
					Isolation: partition.Isolation(req.IsolationLevel),
					Replica:   req.ReplicaID >= 0, AnyRole: req.ReplicaID == debugReplica,
				})
			}
			if errors.Is(err, partition.ErrOffsetNotAvailable) && req.Version < 5 {
				err = errNoLeaderYet
			}
			if rp.ErrorCode = ErrorCode(err); err == nil {
				rp.Offset, rp.Timestamp, rp.LeaderEpoch = int64(found.Offset), found.Timestamp, int32(found.Epoch)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	c.Reply(resp)
}

func timestampAllowed(ts int64, version int16) bool {
	switch ts { // flat switch
	case partition.MaxTimestamp:
		return version >= 7
	case partition.EarliestLocal:
		return version >= 8
	case partition.LatestTiered:
		return version >= 9
	case partition.EarliestPendingUpload:
		return version >= 11
	}
	return ts >= partition.Earliest // others have no meaning
}

// duplicates tells of every partition whether it is named more than once.
func duplicates(req *kmsg.ListOffsetsRequest) map[model.TopicPartition]bool {
	seen := map[model.TopicPartition]bool{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			tp := model.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			_, again := seen[tp]
			seen[tp] = again
		}
	}
	return seen
}
