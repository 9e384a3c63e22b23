package api

import (
	"tidemark/internal/model"
	"tidemark/internal/quorum"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyFetchSnapshot int16 = 59

// fetchSnapshotAPI answers FetchSnapshot (key 59): bytes of a checkpoint file
// of the metadata log from a position (KIP-630). The partition is named by its
// topic's name in every version. From v1 on the leader's endpoint is added.
type fetchSnapshotAPI struct{ log MetadataLog }

// RegisterFetchSnapshot adds FetchSnapshot to a controller's listener.
func RegisterFetchSnapshot(h *Handlers, log MetadataLog) {
	a := &fetchSnapshotAPI{log: log}
	h.Register(keyFetchSnapshot, Async(a.handle))
}

func (a *fetchSnapshotAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.FetchSnapshotRequest)
	resp := kmsg.NewPtrFetchSnapshotResponse()
	if len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 {
		resp.ErrorCode = kerr.InvalidRequest.Code
		c.Reply(resp)
		return
	}
	in := &req.Topics[0].Partitions[0]
	t := kmsg.NewFetchSnapshotResponseTopic()
	t.Topic = req.Topics[0].Topic
	p := kmsg.NewFetchSnapshotResponseTopicPartition()
	p.Partition = in.Partition
	p.SnapshotID.EndOffset, p.SnapshotID.Epoch = in.SnapshotID.EndOffset, in.SnapshotID.Epoch
	p.Position, p.Bytes = in.Position, []byte{}
	if t.Topic != model.MetadataTopic || in.Partition != 0 {
		p.ErrorCode = kerr.UnknownTopicOrPartition.Code
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = -1, -1
	} else {
		res := a.log.FetchSnapshot(snapshotFetch(req))
		if p.ErrorCode = ErrorCode(res.Err); p.ErrorCode == kerr.InconsistentClusterID.Code {
			resp.ErrorCode = p.ErrorCode
			c.Reply(resp)
			return
		}
		leader, known := namedLeader(res.Leader, res.Endpoint)
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(leader), int32(res.Epoch)
		p.Size = res.Size
		if res.Chunk != nil {
			p.Bytes = res.Chunk
		}
		if known && c.Header.Version >= 1 {
			e := kmsg.NewFetchSnapshotResponseNodeEndpoint()
			e.NodeID, e.Host, e.Port = int32(leader), res.Endpoint.Host, res.Endpoint.Port
			resp.NodeEndpoints = append(resp.NodeEndpoints, e)
		}
	}
	t.Partitions = append(t.Partitions, p)
	resp.Topics = append(resp.Topics, t)
	c.Reply(resp)
}

func snapshotFetch(req *kmsg.FetchSnapshotRequest) quorum.SnapshotFetch {
	in := &req.Topics[0].Partitions[0]
	f := quorum.SnapshotFetch{
		CurrentEpoch: model.LeaderEpoch(in.CurrentLeaderEpoch),
		ID: quorum.SnapshotID{
			EndOffset: model.Offset(in.SnapshotID.EndOffset), Epoch: model.LeaderEpoch(in.SnapshotID.Epoch),
		},
		Position: in.Position, MaxBytes: int(req.MaxBytes),
	}
	if req.ClusterID != nil {
		f.ClusterID = *req.ClusterID
	}
	return f
}
