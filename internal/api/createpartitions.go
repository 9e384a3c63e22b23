package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveCreatePartitions answers CreatePartitions (key 37). All versions mean the
// same.
func serveCreatePartitions(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.CreatePartitionsRequest)
	r := &controller.CreatePartitions{ValidateOnly: req.ValidateOnly}
	for _, t := range req.Topics {
		m := controller.MorePartitions{Name: t.Topic, Count: t.Count}
		if t.Assignment != nil {
			m.Assignments = make([][]model.BrokerID, 0, len(t.Assignment))
			for _, a := range t.Assignment {
				m.Assignments = append(m.Assignments, brokers(a.Replicas))
			}
		}
		r.Topics = append(r.Topics, m)
	}
	resp, err := submit[controller.CreatePartitionsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrCreatePartitionsResponse()
	for _, t := range resp.Topics {
		ot := kmsg.NewCreatePartitionsResponseTopic()
		ot.Topic, ot.ErrorCode, ot.ErrorMessage = t.Name, codeOf(t.Code), messageOf(t.Result)
		out.Topics = append(out.Topics, ot)
	}
	return out, nil
}

func refuseCreatePartitions(msg kmsg.Request, code int16, text string) kmsg.Response {
	req := msg.(*kmsg.CreatePartitionsRequest)
	out := kmsg.NewPtrCreatePartitionsResponse()
	for _, t := range req.Topics {
		ot := kmsg.NewCreatePartitionsResponseTopic()
		ot.Topic, ot.ErrorCode, ot.ErrorMessage = t.Topic, code, &text
		out.Topics = append(out.Topics, ot)
	}
	return out
}
