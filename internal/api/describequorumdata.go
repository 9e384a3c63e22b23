package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeReplicasAPI answers DescribeQuorum (key 55) on a broker's listener.
//
// Kafka answers it for the metadata log alone; such a request is forwarded to
// the active controller, byte for byte. For any other topic the leader of each
// partition tells what it knows of its replicas, in the same form:
//
//	current voters  the committed ISR, the leader first
//	observers       the other replicas
//	log end         exclusive, -1 for a replica that has not fetched in this
//	                leader epoch
//	v1              when it fetched last, and when it was caught up last; the
//	                leader's own are the time of the answer
//	v2              directory ids, the replicas' endpoints, error messages
//	tag 10011       each follower's condition, if the request has the tag, too
//
// A partition that another broker leads is NOT_LEADER_OR_FOLLOWER and carries
// the leader that the metadata names. A request for both the metadata log and
// another topic is INVALID_REQUEST: no node knows both.
type describeReplicasAPI struct {
	parts   Partitions
	forward forwardAPI
}

// maxDescribedPartitions bounds one request for data partitions.
const maxDescribedPartitions = 2000

// RegisterDescribeReplicas adds DescribeQuorum to a broker's listener. It goes
// before RegisterForwarding, which leaves alone what is registered.
func RegisterDescribeReplicas(h *Handlers, parts Partitions, to Forwarder) {
	a := &describeReplicasAPI{parts: parts, forward: forwardAPI{to}}
	h.RegisterRaw(keyDescribeQuorum, a.handle)
}

func (a *describeReplicasAPI) handle(c *Call) {
	msg, err := wire.DecodeRequest(c.Header, c.Body)
	if err != nil {
		c.Close(err)
		return
	}
	req := msg.(*kmsg.DescribeQuorumRequest)
	meta, partitions := 0, 0
	for _, t := range req.Topics {
		if t.Topic == model.MetadataTopic {
			meta++
		}
		partitions += len(t.Partitions)
	}
	switch {
	case meta == len(req.Topics):
		a.forward.send(c, c.Body)
	case meta > 0:
		c.Fail(fmt.Errorf("%s and other topics in one request: %w", model.MetadataTopic, kerr.InvalidRequest))
	case partitions > maxDescribedPartitions:
		c.Fail(fmt.Errorf("%d partitions, at most %d: %w", partitions, maxDescribedPartitions, kerr.InvalidRequest))
	default:
		c.Reply(a.describe(c, req))
	}
}

func (a *describeReplicasAPI) describe(c *Call, req *kmsg.DescribeQuorumRequest) kmsg.Response {
	img := a.parts.Image()
	asked := false
	req.UnknownTags.Each(func(tag uint32, _ []byte) { asked = asked || tag == wire.TagReplicaConditions })
	resp := kmsg.NewPtrDescribeQuorumResponse()
	named := map[model.BrokerID]bool{}
	for _, in := range req.Topics {
		t := kmsg.NewDescribeQuorumResponseTopic()
		t.Topic = in.Topic
		for _, ip := range in.Partitions {
			p := a.partition(img, model.TopicPartition{Topic: in.Topic, Partition: ip.Partition}, c.Now, asked)
			for _, r := range slices.Concat(p.CurrentVoters, p.Observers) {
				named[model.BrokerID(r.ReplicaID)] = true
			}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	for _, n := range endpoints(img, c.Listener, true) {
		if !named[n.id] {
			continue
		}
		l := kmsg.NewDescribeQuorumResponseNodeListener()
		l.Name, l.Host, l.Port = c.Listener, n.host, uint16(n.port)
		out := kmsg.NewDescribeQuorumResponseNode()
		out.NodeID, out.Listeners = int32(n.id), append(out.Listeners, l)
		resp.Nodes = append(resp.Nodes, out)
	}
	return resp
}

func (a *describeReplicasAPI) partition(
	img *metadata.Image, tp model.TopicPartition, at time.Time, asked bool,
) kmsg.DescribeQuorumResponseTopicPartition {
	now := at.UnixMilli()
	out := kmsg.NewDescribeQuorumResponseTopicPartition()
	out.Partition, out.LeaderID, out.LeaderEpoch, out.HighWatermark = tp.Partition, -1, -1, -1
	_, mp, known := img.Partition(tp)
	var v partition.StateView
	p, err := a.parts.Partition(tp)
	if err == nil {
		if v = p.State(); v.Role != "leader" {
			err = fmt.Errorf("%s: %w", tp, partition.ErrNotLeader)
		}
	}
	if err != nil {
		out.ErrorCode, out.ErrorMessage = ErrorCode(err), kmsg.StringPtr(err.Error())
		if known {
			out.LeaderID, out.LeaderEpoch = int32(mp.Leader), int32(mp.LeaderEpoch)
		}
		return out
	}
	out.LeaderID, out.LeaderEpoch, out.HighWatermark = int32(v.Leader), int32(v.LeaderEpoch), int64(v.HighWatermark)
	type replicaState = kmsg.DescribeQuorumResponseTopicPartitionReplicaState
	state := func(id model.BrokerID, end model.Offset, fetched, caughtUp int64) replicaState {
		s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		s.ReplicaID, s.LogEndOffset, s.LastFetchTimestamp, s.LastCaughtUpTimestamp = int32(id), int64(end), fetched, caughtUp
		if known {
			s.ReplicaDirectoryID = mp.Dir(id)
		}
		return s
	}
	out.CurrentVoters = append(out.CurrentVoters, state(v.Leader, v.LogEnd, now, now))
	for _, f := range v.Followers {
		s := state(f.ID, f.LEO, millisOr(f.LastFetch), millisOr(f.LastCaughtUp))
		if f.InISR {
			out.CurrentVoters = append(out.CurrentVoters, s)
		} else {
			out.Observers = append(out.Observers, s)
		}
	}
	if asked {
		if b, err := json.Marshal(FollowerConditions(v, at)); err == nil {
			out.UnknownTags.Set(wire.TagReplicaConditions, b)
		}
	}
	return out
}
