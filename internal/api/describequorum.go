package api

import (
	"context"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/quorum"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyDescribeQuorum int16 = 55

// QuorumDescriber tells how far each controller and observer is.
type QuorumDescriber interface {
	// DescribeQuorum is quorum.ErrNotLeader on everyone but the leader.
	DescribeQuorum(ctx context.Context) (quorum.Description, error)
}

// describeQuorumAPI answers DescribeQuorum (key 55) on the leader (KIP-595,
// KIP-836).
//
//	v1  times of the last fetch and of being caught up
//	v2  directory ids, the voters' endpoints, error messages (KIP-853)
type describeQuorumAPI struct{ quorum QuorumDescriber }

// RegisterDescribeQuorum adds DescribeQuorum to a controller's listener.
func RegisterDescribeQuorum(h *Handlers, q QuorumDescriber) {
	a := &describeQuorumAPI{quorum: q}
	h.Register(keyDescribeQuorum, Async(a.handle))
}

func (a *describeQuorumAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DescribeQuorumRequest)
	resp := kmsg.NewPtrDescribeQuorumResponse()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	d, err := a.quorum.DescribeQuorum(ctx)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = ErrorCode(err), kmsg.StringPtr(err.Error())
		c.Reply(resp)
		return
	}
	for _, in := range req.Topics {
		t := kmsg.NewDescribeQuorumResponseTopic()
		t.Topic = in.Topic
		for _, ip := range in.Partitions {
			t.Partitions = append(t.Partitions, describedPartition(in.Topic, ip.Partition, &d))
		}
		resp.Topics = append(resp.Topics, t)
	}
	for _, v := range d.Nodes {
		n := kmsg.NewDescribeQuorumResponseNode()
		n.NodeID = int32(v.ID)
		for _, e := range v.Endpoints {
			l := kmsg.NewDescribeQuorumResponseNodeListener()
			l.Name, l.Host, l.Port = e.Name, e.Host, e.Port
			n.Listeners = append(n.Listeners, l)
		}
		resp.Nodes = append(resp.Nodes, n)
	}
	c.Reply(resp)
}

func describedPartition(topic string, index int32, d *quorum.Description) kmsg.DescribeQuorumResponseTopicPartition {
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
	p.Partition = index
	if topic != model.MetadataTopic || index != 0 {
		p.ErrorCode, p.LeaderID, p.LeaderEpoch, p.HighWatermark = kerr.UnknownTopicOrPartition.Code, -1, -1, -1
		return p
	}
	p.LeaderID, p.LeaderEpoch, p.HighWatermark = int32(d.Leader), int32(d.Epoch), int64(d.HighWatermark)
	p.CurrentVoters, p.Observers = replicaStates(d.Voters), replicaStates(d.Observers)
	return p
}

func replicaStates(in []quorum.ReplicaState) []kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	out := make([]kmsg.DescribeQuorumResponseTopicPartitionReplicaState, 0, len(in))
	for _, r := range in {
		s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		s.ReplicaID, s.ReplicaDirectoryID, s.LogEndOffset = int32(r.ID), r.Dir, int64(r.LogEnd)
		s.LastFetchTimestamp, s.LastCaughtUpTimestamp = millisOr(r.LastFetch), millisOr(r.LastCaughtUp)
		out = append(out, s)
	}
	return out
}

// millisOr is -1 for a time that isn't known.
func millisOr(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}
