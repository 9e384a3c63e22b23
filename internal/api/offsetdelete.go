package api

import (
	"tidemark/internal/group"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetDeleteAPI answers OffsetDelete (key 47, KIP-496): offsets of topics to
// which no member of the group subscribes.
type offsetDeleteAPI struct {
	groups interface {
		DeleteOffsets(r group.DeleteOffsets, reply func(group.DeletedOffsets))
	}
	view ClusterView
}

func (a *offsetDeleteAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.OffsetDeleteRequest)
	r := group.DeleteOffsets{Group: req.Group}
	resp := kmsg.NewPtrOffsetDeleteResponse()
	resp.Topics = make([]kmsg.OffsetDeleteResponseTopic, len(req.Topics))
	img := a.view.Image()
	var asked []*int16
	for i, t := range req.Topics {
		rt := &resp.Topics[i]
		rt.Topic = t.Topic
		rt.Partitions = make([]kmsg.OffsetDeleteResponseTopicPartition, len(t.Partitions))
		known, unknown := knownTopic(img, false, t.Topic, model.TopicID{})
		for j, p := range t.Partitions {
			rp := &rt.Partitions[j]
			rp.Partition = p.Partition
			if known.Partition(p.Partition) == nil {
				rp.ErrorCode = unknown.Code
				continue
			}
			asked = append(asked, &rp.ErrorCode)
			r.Partitions = append(r.Partitions, model.TopicPartition{Topic: t.Topic, Partition: p.Partition})
		}
	}
	a.groups.DeleteOffsets(r, func(d group.DeletedOffsets) {
		if d.Code != group.OK {
			resp.ErrorCode, resp.Topics = groupCode(d.Code), nil
		} else {
			for i, code := range asked {
				*code = groupCode(d.Partitions[i])
			}
		}
		c.Reply(resp)
	})
}
