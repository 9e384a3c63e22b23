package api

import (
	"tidemark/internal/group"
	"tidemark/internal/metadata"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetFetchAPI answers OffsetFetch (key 9). A partition without a committed
// offset has -1 and no error.
//
//	v1   an error code per partition only
//	v2   null topics ask for all; an error code for the group
//	v5   leader epochs
//	v7   require stable: there are no transactions, every offset is stable
//	v8   several groups
//	v9   member id and epoch, for the other group protocol
//	v10  topic ids instead of names; topics that don't exist are left out of "all"
type offsetFetchAPI struct {
	groups interface {
		Offsets(id string, partitions []model.TopicPartition) ([]group.PartitionOffset, group.Code)
	}
	view ClusterView
}

func (a *offsetFetchAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.OffsetFetchRequest)
	resp := kmsg.NewPtrOffsetFetchResponse()
	if req.Version < 8 {
		a.single(req, resp)
		c.Reply(resp)
		return
	}
	for _, g := range req.Groups {
		q := offsetQuery{img: a.view.Image(), byID: req.Version >= 10}
		resp.Groups = append(resp.Groups, a.group(q, g))
	}
	c.Reply(resp)
}

// offsetQuery is one group's part of a request.
type offsetQuery struct {
	img  *metadata.Image
	byID bool
}

func (a *offsetFetchAPI) group(q offsetQuery, g kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = g.Group
	out.Topics = []kmsg.OffsetFetchResponseGroupTopic{}
	if g.Topics == nil {
		offs, code := a.groups.Offsets(g.Group, nil)
		out.ErrorCode = groupCode(code)
		for _, o := range offs {
			q.add(&out, o)
		}
		return out
	}
	var unknown []kmsg.OffsetFetchResponseGroupTopic
	want := []model.TopicPartition{}
	for _, t := range g.Topics {
		name := t.Topic
		if q.byID {
			known, _ := knownTopic(q.img, true, "", t.TopicID)
			if known == nil {
				unknown = append(unknown, unknownOffsets(t))
				continue
			}
			name = known.Name
		}
		for _, p := range t.Partitions {
			want = append(want, model.TopicPartition{Topic: name, Partition: p})
		}
	}
	offs, code := a.groups.Offsets(g.Group, want)
	if out.ErrorCode = groupCode(code); code != group.OK {
		return out
	}
	for _, o := range offs {
		q.add(&out, o)
	}
	out.Topics = append(out.Topics, unknown...)
	return out
}

// add puts an offset under its topic, which it follows in the list.
func (q offsetQuery) add(out *kmsg.OffsetFetchResponseGroup, o group.PartitionOffset) {
	n := len(out.Topics)
	var id model.TopicID
	if q.byID {
		t := q.img.Topics.ByName[o.Partition.Topic]
		if t == nil {
			return
		}
		id = t.ID
	}
	if n == 0 || out.Topics[n-1].Topic != o.Partition.Topic {
		t := kmsg.NewOffsetFetchResponseGroupTopic()
		t.Topic, t.TopicID = o.Partition.Topic, id
		out.Topics = append(out.Topics, t)
		n++
	}
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch = o.Partition.Partition, int64(o.Offset.Offset), int32(o.LeaderEpoch)
	p.Metadata = &o.Metadata
	out.Topics[n-1].Partitions = append(out.Topics[n-1].Partitions, p)
}

func unknownOffsets(t kmsg.OffsetFetchRequestGroupTopic) kmsg.OffsetFetchResponseGroupTopic {
	out := kmsg.NewOffsetFetchResponseGroupTopic()
	out.TopicID = t.TopicID
	for _, n := range t.Partitions {
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch = n, int64(model.NoOffset), int32(model.NoLeaderEpoch)
		p.Metadata, p.ErrorCode = new(string), kerr.UnknownTopicID.Code
		out.Partitions = append(out.Partitions, p)
	}
	return out
}

// single answers the versions with one group.
func (a *offsetFetchAPI) single(req *kmsg.OffsetFetchRequest, resp *kmsg.OffsetFetchResponse) {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	if req.Topics != nil || req.Version < 2 {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range req.Topics {
		g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	out := a.group(offsetQuery{img: a.view.Image()}, g)
	resp.ErrorCode = out.ErrorCode
	if out.ErrorCode != 0 && req.Version < 2 {
		for _, t := range g.Topics { // nowhere else to say it
			ut := unknownOffsets(t)
			ut.Topic = t.Topic
			for i := range ut.Partitions {
				ut.Partitions[i].ErrorCode = out.ErrorCode
			}
			out.Topics = append(out.Topics, ut)
		}
	}
	for _, t := range out.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch = p.Partition, p.Offset, p.LeaderEpoch
			rp.Metadata, rp.ErrorCode = p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
}
