package api

import (
	"crypto/rand"
	"fmt"
	"time"

	"tidemark/internal/group"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// joinGroupAPI answers JoinGroup (key 11).
//
//	v1  a rebalance time-out of its own; before, the session's
//	v4  a new dynamic member first gets an id: MEMBER_ID_REQUIRED (KIP-394)
//	v5  static members (KIP-345)
//	v7  protocol type in the answer
//	v9  a static leader that returns needn't assign (KIP-814)
type joinGroupAPI struct {
	groups interface {
		Join(r group.Join, reply func(group.Joined))
	}
}

func (a *joinGroupAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.JoinGroupRequest)
	r := group.Join{
		Group: req.Group, Member: req.MemberID, Instance: req.InstanceID,
		ClientID: deref(c.Header.ClientID), ClientHost: clientHost(c),
		Session:      time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		Rebalance:    time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond,
		ProtocolType: req.ProtocolType,
		RequireID:    req.Version >= 4, CanSkipAssignment: req.Version >= 9,
	}
	if req.Version < 1 {
		r.Rebalance = r.Session
	}
	for _, p := range req.Protocols {
		r.Protocols = append(r.Protocols, group.Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	if r.Member == "" {
		r.NewID = newMemberID(&r)
	}
	a.groups.Join(r, func(j group.Joined) { c.Reply(joinResponse(j, req.Version)) })
}

// newMemberID is the client's name and a random UUID, as in Kafka.
func newMemberID(r *group.Join) string {
	who := r.ClientID
	if r.Instance != nil {
		who = *r.Instance
	}
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%s-%x-%x-%x-%x-%x", who, u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func joinResponse(j group.Joined, version int16) kmsg.Response {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode, resp.Generation = groupCode(j.Code), j.Generation
	resp.ProtocolType, resp.Protocol = j.ProtocolType, j.Protocol
	if resp.Protocol == nil && version < 7 {
		resp.Protocol = new(string)
	}
	resp.LeaderID, resp.MemberID, resp.SkipAssignment = j.Leader, j.Member, j.SkipAssignment
	for _, m := range j.Members {
		rm := kmsg.NewJoinGroupResponseMember()
		rm.MemberID, rm.InstanceID, rm.ProtocolMetadata = m.ID, m.Instance, m.Metadata
		resp.Members = append(resp.Members, rm)
	}
	return resp
}
