package api

import (
	"tidemark/internal/group"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// listGroupsAPI answers ListGroups (key 16) with the groups whose coordinator
// this broker is.
//
//	v4  states, also as a filter
//	v5  types, also as a filter; all are "classic"
type listGroupsAPI struct {
	groups interface {
		List(states, types []string) ([]group.Listing, group.Code)
	}
}

func (a *listGroupsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.ListGroupsRequest)
	all, code := a.groups.List(req.StatesFilter, req.TypesFilter)
	resp := kmsg.NewPtrListGroupsResponse()
	resp.ErrorCode = groupCode(code)
	for _, l := range all {
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.ProtocolType, g.GroupState, g.GroupType = l.Group, l.ProtocolType, l.State.String(), "classic"
		resp.Groups = append(resp.Groups, g)
	}
	c.Reply(resp)
}
