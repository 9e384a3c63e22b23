package api

import (
	"time"

	"tidemark/internal/group"
	"tidemark/internal/metadata"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetCommitAPI answers OffsetCommit (key 8).
//
//	v2-v4  a retention time of its own
//	v6     leader epochs
//	v7     static members
//	v9     GROUP_ID_NOT_FOUND for a generation of a group that doesn't exist
//	v10    topic ids instead of names
//
// Partitions that the metadata doesn't know are refused here; the others are
// committed, all or none.
type offsetCommitAPI struct {
	groups interface {
		Commit(r group.Commit, reply func(group.Committed))
	}
	view ClusterView
}

func (a *offsetCommitAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.OffsetCommitRequest)
	r := group.Commit{
		Group: req.Group, Member: req.MemberID, Instance: req.InstanceID, Generation: req.Generation,
		Retention: -1, NotFoundCode: req.Version >= 9,
	}
	if req.Version <= 4 && req.RetentionTimeMillis >= 0 {
		r.Retention = time.Duration(req.RetentionTimeMillis) * time.Millisecond
	}
	resp := kmsg.NewPtrOffsetCommitResponse()
	var asked []*int16 // where the outcome of each offset goes
	img := a.view.Image()
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i, t := range req.Topics {
		rt := &resp.Topics[i]
		rt.Default()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		known, unknown := knownTopic(img, req.Version >= 10, t.Topic, t.TopicID)
		rt.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			rp := &rt.Partitions[j]
			rp.Partition = p.Partition
			if known.Partition(p.Partition) == nil {
				rp.ErrorCode = unknown.Code
				continue
			}
			asked = append(asked, &rp.ErrorCode)
			r.Offsets = append(r.Offsets, commitOffset(known, p))
		}
	}
	if len(asked) == 0 {
		c.Reply(resp)
		return
	}
	a.groups.Commit(r, func(res group.Committed) {
		for i, code := range asked {
			*code = groupCode(res.Code)
			if res.Code == group.OK {
				*code = groupCode(res.Partitions[i])
			}
		}
		c.Reply(resp)
	})
}

func commitOffset(t *metadata.Topic, p kmsg.OffsetCommitRequestTopicPartition) group.CommitOffset {
	return group.CommitOffset{
		Partition: model.TopicPartition{Topic: t.Name, Partition: p.Partition}, TopicID: t.ID,
		Offset: model.Offset(p.Offset), LeaderEpoch: model.LeaderEpoch(p.LeaderEpoch), Metadata: deref(p.Metadata),
	}
}

// knownTopic finds a topic by id or by name; nil if there is none. unknown is the
// code for a partition that doesn't exist.
func knownTopic(img *metadata.Image, byID bool, name string, id [16]byte) (t *metadata.Topic, unknown *kerr.Error) {
	if !byID {
		return img.Topics.ByName[name], kerr.UnknownTopicOrPartition
	}
	if t = img.Topics.ByID[id]; t == nil {
		return nil, kerr.UnknownTopicID
	}
	return t, kerr.UnknownTopicOrPartition
}
