package api

import (
	"fmt"

	"tidemark/internal/group"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeGroupsAPI answers DescribeGroups (key 15).
//
//	v3  authorised operations
//	v4  instance ids
//	v6  GROUP_ID_NOT_FOUND and a message; before, a group that doesn't exist is Dead
type describeGroupsAPI struct {
	groups interface {
		Describe(id string) group.Description
	}
}

func (a *describeGroupsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DescribeGroupsRequest)
	resp := kmsg.NewPtrDescribeGroupsResponse()
	for _, id := range req.Groups {
		g := describedGroup(id, a.groups.Describe(id), req.Version)
		if req.IncludeAuthorizedOperations && req.Version >= 3 && g.ErrorCode == 0 {
			g.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, g)
	}
	c.Reply(resp)
}

func describedGroup(id string, d group.Description, version int16) kmsg.DescribeGroupsResponseGroup {
	g := kmsg.NewDescribeGroupsResponseGroup()
	g.Group, g.AuthorizedOperations = id, noOperations
	g.ErrorCode = groupCode(d.Code)
	switch d.Code {
	case group.OK:
		g.State = d.State.String()
	case group.GroupIDNotFound:
		g.State = group.Dead.String()
		if version < 6 {
			g.ErrorCode = 0
		} else {
			g.ErrorMessage = kmsg.StringPtr(fmt.Sprintf("Group %s not found.", id))
		}
	}
	g.ProtocolType, g.Protocol = d.ProtocolType, d.Protocol
	for _, m := range d.Members {
		gm := kmsg.NewDescribeGroupsResponseGroupMember()
		gm.MemberID, gm.InstanceID, gm.ClientID, gm.ClientHost = m.ID, m.Instance, m.ClientID, m.ClientHost
		gm.ProtocolMetadata, gm.MemberAssignment = m.Metadata, m.Assignment
		g.Members = append(g.Members, gm)
	}
	return g
}
