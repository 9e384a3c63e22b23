package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveElectLeaders answers ElectLeaders (key 43). v0 has preferred elections only
// and no code for the whole answer; no topics means all partitions.
func serveElectLeaders(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.ElectLeadersRequest)
	r := &controller.ElectLeaders{All: req.Topics == nil}
	if req.Version >= 1 {
		r.Type = controller.ElectionType(req.ElectionType)
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			r.Partitions = append(r.Partitions, model.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	resp, err := submit[controller.ElectLeadersResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrElectLeadersResponse()
	out.ErrorCode = codeOf(resp.Code)
	at := map[string]int{}
	for _, p := range resp.Partitions {
		i, ok := at[p.Partition.Topic]
		if !ok {
			i = len(out.Topics)
			at[p.Partition.Topic] = i
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = p.Partition.Topic
			out.Topics = append(out.Topics, t)
		}
		op := kmsg.NewElectLeadersResponseTopicPartition()
		op.Partition, op.ErrorCode, op.ErrorMessage = p.Partition.Partition, codeOf(p.Code), messageOf(p.Result)
		out.Topics[i].Partitions = append(out.Topics[i].Partitions, op)
	}
	return out, nil
}

// refuseElectLeaders says it twice: v0 has no code for the whole.
func refuseElectLeaders(msg kmsg.Request, code int16, text string) kmsg.Response {
	req := msg.(*kmsg.ElectLeadersRequest)
	out := kmsg.NewPtrElectLeadersResponse()
	out.ErrorCode = code
	for _, t := range req.Topics {
		ot := kmsg.NewElectLeadersResponseTopic()
		ot.Topic = t.Topic
		for _, p := range t.Partitions {
			op := kmsg.NewElectLeadersResponseTopicPartition()
			op.Partition, op.ErrorCode, op.ErrorMessage = p, code, &text
			ot.Partitions = append(ot.Partitions, op)
		}
		out.Topics = append(out.Topics, ot)
	}
	return out
}
