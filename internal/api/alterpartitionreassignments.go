package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveAlterReassignments answers AlterPartitionReassignments (key 45, KIP-455).
// Replicas that are null cancel. v1 may forbid a change of the replication factor
// (KIP-860).
func serveAlterReassignments(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.AlterPartitionAssignmentsRequest)
	allow := req.Version < 1 || req.AllowReplicationFactorChange
	r := &controller.AlterPartitionReassignments{AllowRFChange: allow}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			r.Partitions = append(r.Partitions, controller.Reassign{
				Partition: model.TopicPartition{Topic: t.Topic, Partition: p.Partition},
				Cancel:    p.Replicas == nil, Replicas: brokers(p.Replicas),
			})
		}
	}
	resp, err := submit[controller.AlterPartitionReassignmentsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	out.AllowReplicationFactorChange = allow
	out.ErrorCode, out.ErrorMessage = codeOf(resp.Code), messageOf(resp.Result)
	n := 0
	for _, t := range req.Topics {
		if resp.Failed() {
			break
		}
		ot := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		ot.Topic = t.Topic
		for _, p := range t.Partitions {
			res := resp.Partitions[n].Result
			n++
			op := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			op.Partition, op.ErrorCode, op.ErrorMessage = p.Partition, codeOf(res.Code), messageOf(res)
			ot.Partitions = append(ot.Partitions, op)
		}
		out.Topics = append(out.Topics, ot)
	}
	return out, nil
}
