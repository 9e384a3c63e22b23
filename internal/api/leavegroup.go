package api

import (
	"tidemark/internal/group"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// leaveGroupAPI answers LeaveGroup (key 13).
//
//	v3  several members, static ones by instance id
//	v5  a reason, which isn't kept
type leaveGroupAPI struct {
	groups interface {
		Leave(r group.Leave, reply func(group.Left))
	}
}

func (a *leaveGroupAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.LeaveGroupRequest)
	r := group.Leave{Group: req.Group}
	if req.Version < 3 {
		r.Members = []group.LeavingMember{{ID: req.MemberID}}
	}
	for _, m := range req.Members {
		r.Members = append(r.Members, group.LeavingMember{ID: m.MemberID, Instance: m.InstanceID})
	}
	a.groups.Leave(r, func(l group.Left) { c.Reply(leaveResponse(req, l)) })
}

func leaveResponse(req *kmsg.LeaveGroupRequest, l group.Left) kmsg.Response {
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.ErrorCode = groupCode(l.Code)
	if l.Code != group.OK {
		return resp
	}
	if req.Version < 3 {
		resp.ErrorCode = groupCode(l.Members[0])
		return resp
	}
	for i, m := range req.Members {
		rm := kmsg.NewLeaveGroupResponseMember()
		rm.MemberID, rm.InstanceID, rm.ErrorCode = m.MemberID, m.InstanceID, groupCode(l.Members[i])
		resp.Members = append(resp.Members, rm)
	}
	return resp
}
