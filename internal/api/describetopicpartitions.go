package api

import (
	"cmp"
	"slices"

	"tidemark/internal/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyDescribeTopicPartitions int16 = 75

// maxTopicPartitions is max.request.partition.size.limit: the most partitions
// in one answer.
const maxTopicPartitions = 2000

// describeTopicPartitionsAPI answers DescribeTopicPartitions (key 75, KIP-966):
// what Metadata tells, with eligible leader replicas, and page by page.
//
// Topics come in order of name, each once; none asks for all. An answer holds
// at least one partition and at most as many as the client asks for or
// maxTopicPartitions; if more follow, NextCursor says where to go on. Topics
// that don't exist take no room. Of a cursor's topic only the partitions from
// the cursor on are told; a topic list without that topic is INVALID_REQUEST.
type describeTopicPartitionsAPI struct{ view ClusterView }

// RegisterDescribeTopicPartitions adds DescribeTopicPartitions.
func RegisterDescribeTopicPartitions(h *Handlers, view ClusterView) {
	h.Register(keyDescribeTopicPartitions, (&describeTopicPartitionsAPI{view}).handle)
}

func (a *describeTopicPartitionsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DescribeTopicPartitionsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	img := a.view.Image()
	names, ok := wantedTopics(img, req)
	if !ok {
		for _, t := range req.Topics {
			resp.Topics = append(resp.Topics, noTopicPartitions(t.Topic, kerr.InvalidRequest, noOperations))
		}
		c.Reply(resp)
		return
	}
	q := metadataQuery{img: img, listener: c.Listener, version: 13}
	room := min(max(1, int(req.ResponsePartitionLimit)), maxTopicPartitions)
	for _, name := range names {
		t := img.Topics.ByName[name]
		if t == nil {
			resp.Topics = append(resp.Topics, noTopicPartitions(name, unknownTopic(name), topicOperations))
			continue
		}
		from := 0
		if req.Cursor != nil && req.Cursor.Topic == name {
			from = min(int(req.Cursor.Partition), len(t.Partitions))
		}
		if room == 0 {
			resp.NextCursor = topicCursor(name, from)
			break
		}
		till := min(from+room, len(t.Partitions))
		resp.Topics = append(resp.Topics, topicPartitions(&q, t, from, till))
		if room -= till - from; till < len(t.Partitions) {
			resp.NextCursor = topicCursor(name, till)
			break
		}
	}
	c.Reply(resp)
}

// wantedTopics lists the names that the answer is about, from the cursor on.
func wantedTopics(img *metadata.Image, req *kmsg.DescribeTopicPartitionsRequest) (names []string, ok bool) {
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if cur := req.Cursor; cur != nil {
		if cur.Partition < 0 || len(names) > 0 && !slices.Contains(names, cur.Topic) {
			return nil, false
		}
	}
	if len(names) == 0 {
		for name := range img.Topics.ByName {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if req.Cursor != nil {
		first, _ := slices.BinarySearchFunc(names, req.Cursor.Topic, cmp.Compare[string])
		names = names[first:]
	}
	return names, true
}

func unknownTopic(name string) *kerr.Error {
	if !validTopicName(name) {
		return kerr.InvalidTopicException
	}
	return kerr.UnknownTopicOrPartition
}

func noTopicPartitions(name string, err *kerr.Error, operations int32) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.ErrorCode, out.IsInternal = kmsg.StringPtr(name), err.Code, isInternal(name)
	out.AuthorizedOperations = operations
	return out
}

func topicCursor(name string, partition int) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	cur := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	cur.Topic, cur.Partition = name, int32(partition)
	return &cur
}

func topicPartitions(q *metadataQuery, t *metadata.Topic, from, till int) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = &t.Name, t.ID, isInternal(t.Name)
	out.AuthorizedOperations = topicOperations
	for i := from; i < till; i++ {
		p := t.Partitions[i]
		m := q.partition(int32(i), p)
		o := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		o.ErrorCode, o.Partition, o.LeaderID, o.LeaderEpoch = m.ErrorCode, m.Partition, m.Leader, m.LeaderEpoch
		o.Replicas, o.ISR, o.OfflineReplicas = m.Replicas, m.ISR, m.OfflineReplicas
		o.EligibleLeaderReplicas, o.LastKnownELR = int32s(p.ELR), int32s(p.LastKnownELR)
		out.Partitions = append(out.Partitions, o)
	}
	return out
}
