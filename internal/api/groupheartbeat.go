package api

import (
	"tidemark/internal/group"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupHeartbeatAPI answers Heartbeat (key 12). v3: static members.
type groupHeartbeatAPI struct {
	groups interface {
		Heartbeat(r group.Heartbeat) group.Code
	}
}

func (a *groupHeartbeatAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.HeartbeatRequest)
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.ErrorCode = groupCode(a.groups.Heartbeat(group.Heartbeat{
		Group: req.Group, Member: req.MemberID, Instance: req.InstanceID, Generation: req.Generation,
	}))
	c.Reply(resp)
}
