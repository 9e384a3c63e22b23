package api

import (
	"tidemark/internal/group"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// syncGroupAPI answers SyncGroup (key 14): the answer waits until the leader has
// brought the assignments and they are committed.
//
//	v3  static members
//	v5  protocol type and name must be those of the generation (KIP-559)
type syncGroupAPI struct {
	groups interface {
		Sync(r group.Sync, reply func(group.Synced))
	}
}

func (a *syncGroupAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.SyncGroupRequest)
	if req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		c.Reply(syncResponse(group.Synced{Code: group.InconsistentProtocol}))
		return
	}
	r := group.Sync{
		Group: req.Group, Member: req.MemberID, Instance: req.InstanceID, Generation: req.Generation,
		ProtocolType: req.ProtocolType, Protocol: req.Protocol,
	}
	for _, g := range req.GroupAssignment {
		r.Assignments = append(r.Assignments, group.Assignment{Member: g.MemberID, Data: g.MemberAssignment})
	}
	a.groups.Sync(r, func(s group.Synced) { c.Reply(syncResponse(s)) })
}

func syncResponse(s group.Synced) kmsg.Response {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode = groupCode(s.Code)
	resp.ProtocolType, resp.Protocol = s.ProtocolType, s.Protocol
	resp.MemberAssignment = s.Assignment
	return resp
}
