package api

import (
	"fmt"

	"tidemark/internal/group"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kinds of coordinators.
const (
	coordinatorGroup int8 = 0
	coordinatorTxn   int8 = 1
)

// findCoordinatorAPI answers FindCoordinator (key 10): the leader of the
// partition of __consumer_offsets to which a group belongs. The topic is
// created when it is first asked for.
//
//	v1  kind of coordinator, error message
//	v4  several keys
//	v6  share groups, which don't exist here: INVALID_REQUEST
//
// A transactional id is refused with UNSUPPORTED_VERSION, which Java's and
// librdkafka's producers take as final, instead of looking for a coordinator
// until they run out of time.
type findCoordinatorAPI struct {
	view    ClusterView
	creator TopicCreator
}

func (a *findCoordinatorAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.FindCoordinatorRequest)
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if req.Version < 4 {
		one := a.find(c.Listener, req.CoordinatorType, req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage = one.ErrorCode, one.ErrorMessage
		resp.NodeID, resp.Host, resp.Port = one.NodeID, one.Host, one.Port
		c.Reply(resp)
		return
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, a.find(c.Listener, req.CoordinatorType, key))
	}
	c.Reply(resp)
}

func (a *findCoordinatorAPI) find(listener string, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	out.Key, out.NodeID, out.Port = key, int32(model.NoBroker), -1
	refuse := func(e *kerr.Error, why string) kmsg.FindCoordinatorResponseCoordinator {
		out.ErrorCode, out.ErrorMessage = e.Code, &why
		return out
	}
	switch kind {
	case coordinatorGroup:
	case coordinatorTxn:
		return refuse(kerr.UnsupportedVersion, noTransactions)
	default:
		return refuse(kerr.InvalidRequest, fmt.Sprintf("there are no coordinators of kind %d", kind))
	}
	img := a.view.Image()
	t := img.Topics.ByName[group.OffsetsTopic]
	if t == nil {
		if a.creator != nil {
			a.creator.CreateAsync([]string{group.OffsetsTopic})
		}
		return refuse(kerr.CoordinatorNotAvailable, group.OffsetsTopic+" does not exist yet")
	}
	p := t.Partition(group.PartitionOf(key, int32(len(t.Partitions))))
	if p == nil || p.Leader == model.NoBroker {
		return refuse(kerr.CoordinatorNotAvailable, "the coordinator's partition has no leader")
	}
	e, ok := img.Endpoint(p.Leader, listener)
	if b := img.Brokers[p.Leader]; !ok || b == nil || b.Fenced {
		return refuse(kerr.CoordinatorNotAvailable, fmt.Sprintf("broker %d can't be reached", p.Leader))
	}
	out.NodeID, out.Host, out.Port = int32(p.Leader), e.Host, int32(e.Port)
	return out
}
