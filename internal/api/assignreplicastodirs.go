package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveAssignReplicasToDirs answers AssignReplicasToDirs (key 73). The answer
// mirrors the request.
func serveAssignReplicasToDirs(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.AssignReplicasToDirsRequest)
	r := &controller.AssignReplicasToDirs{
		Broker: model.BrokerID(req.BrokerID), Epoch: model.BrokerEpoch(req.BrokerEpoch),
	}
	for _, d := range req.Directories {
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				r.Assignments = append(r.Assignments, controller.DirAssignment{
					Dir:       d.ID,
					Partition: model.TopicIDPartition{TopicID: t.TopicID, Partition: p.Partition},
				})
			}
		}
	}
	resp, err := submit[controller.AssignReplicasToDirsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrAssignReplicasToDirsResponse()
	out.ErrorCode = codeOf(resp.Code)
	if !resp.Failed() {
		out.Directories = assigned(req, resp.Assignments)
	}
	return out, nil
}

func assigned(req *kmsg.AssignReplicasToDirsRequest, done []controller.DirAssigned) (
	out []kmsg.AssignReplicasToDirsResponseDirectory) {
	n := 0
	for _, d := range req.Directories {
		od := kmsg.NewAssignReplicasToDirsResponseDirectory()
		od.ID = d.ID
		for _, t := range d.Topics {
			ot := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
			ot.TopicID = t.TopicID
			for _, p := range t.Partitions {
				op := kmsg.NewAssignReplicasToDirsResponseDirectoryTopicPartition()
				op.Partition, op.ErrorCode = p.Partition, codeOf(done[n].Code)
				ot.Partitions = append(ot.Partitions, op)
				n++
			}
			od.Topics = append(od.Topics, ot)
		}
		out = append(out, od)
	}
	return out
}
