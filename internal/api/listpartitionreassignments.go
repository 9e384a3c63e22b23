package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveListReassignments answers ListPartitionReassignments (key 46). No topics
// means all.
func serveListReassignments(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.ListPartitionReassignmentsRequest)
	r := &controller.ListPartitionReassignments{All: req.Topics == nil}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			r.Partitions = append(r.Partitions, model.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	resp, err := submit[controller.ListPartitionReassignmentsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrListPartitionReassignmentsResponse()
	out.ErrorCode, out.ErrorMessage = codeOf(resp.Code), messageOf(resp.Result)
	for _, p := range resp.Partitions {
		if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != p.Partition.Topic {
			t := kmsg.NewListPartitionReassignmentsResponseTopic()
			t.Topic = p.Partition.Topic
			out.Topics = append(out.Topics, t)
		}
		op := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		op.Partition, op.Replicas = p.Partition.Partition, int32s(p.Replicas)
		op.AddingReplicas, op.RemovingReplicas = int32s(p.Adding), int32s(p.Removing)
		last := &out.Topics[len(out.Topics)-1]
		last.Partitions = append(last.Partitions, op)
	}
	return out, nil
}
