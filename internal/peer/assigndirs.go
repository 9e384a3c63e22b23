package peer

import (
	"context"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// AssignReplicasToDirs (key 73), sent by a broker to the active controller to
// say which directory holds which replica.

// DirAssignment is one replica's directory.
type DirAssignment struct {
	Of  model.TopicIDPartition
	Dir model.DirectoryID
}

// DirAssigned is the controller's verdict on one assignment.
type DirAssigned struct {
	DirAssignment
	Code Code
}

// AssignDirsResult is the whole answer; Replicas counts only with CodeNone.
type AssignDirsResult struct {
	Code     Code
	Replicas []DirAssigned
}

// AssignReplicasToDirs sends the assignments, grouped by directory and topic in the given order.
func (c *Conn) AssignReplicasToDirs(ctx context.Context, from model.BrokerID, epoch model.BrokerEpoch,
	as []DirAssignment) (AssignDirsResult, error) {
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	req.BrokerID, req.BrokerEpoch = int32(from), int64(epoch)
	dirAt := make(map[model.DirectoryID]int)
	type topicOf struct {
		dir   model.DirectoryID
		topic model.TopicID
	}
	topicAt := make(map[topicOf]int)
	for _, a := range as {
		d, ok := dirAt[a.Dir]
		if !ok {
			d = len(req.Directories)
			dirAt[a.Dir] = d
			kd := kmsg.NewAssignReplicasToDirsRequestDirectory()
			kd.ID = a.Dir
			req.Directories = append(req.Directories, kd)
		}
		topics := &req.Directories[d].Topics
		t, ok := topicAt[topicOf{a.Dir, a.Of.TopicID}]
		if !ok {
			t = len(*topics)
			topicAt[topicOf{a.Dir, a.Of.TopicID}] = t
			kt := kmsg.NewAssignReplicasToDirsRequestDirectoryTopic()
			kt.TopicID = a.Of.TopicID
			*topics = append(*topics, kt)
		}
		kp := kmsg.NewAssignReplicasToDirsRequestDirectoryTopicPartition()
		kp.Partition = a.Of.Partition
		(*topics)[t].Partitions = append((*topics)[t].Partitions, kp)
	}
	resp, err := do[*kmsg.AssignReplicasToDirsResponse](ctx, c, req)
	if err != nil {
		return AssignDirsResult{}, err
	}
	out := AssignDirsResult{Code: Code(resp.ErrorCode)}
	for _, d := range resp.Directories {
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				of := model.TopicIDPartition{TopicID: t.TopicID, Partition: p.Partition}
				out.Replicas = append(out.Replicas, DirAssigned{DirAssignment{of, d.ID}, Code(p.ErrorCode)})
			}
		}
	}
	return out, nil
}
