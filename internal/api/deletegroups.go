package api

import (
	"tidemark/internal/group"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteGroupsAPI answers DeleteGroups (key 42): groups without members, with
// their offsets. Each succeeds or fails on its own.
type deleteGroupsAPI struct {
	groups interface {
		DeleteGroup(id string, reply func(group.Code))
	}
}

func (a *deleteGroupsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DeleteGroupsRequest)
	resp := kmsg.NewPtrDeleteGroupsResponse()
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(req.Groups))
	part := whenAll(len(req.Groups), func() { c.Reply(resp) })
	for i, id := range req.Groups {
		g := &resp.Groups[i]
		g.Default()
		g.Group = id
		a.groups.DeleteGroup(id, func(code group.Code) {
			part(func() { g.ErrorCode = groupCode(code) })
		})
	}
}
