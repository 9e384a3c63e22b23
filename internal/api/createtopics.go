package api

import (
	"context"

	"tidemark/internal/controller"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveCreateTopics answers CreateTopics (key 19).
//
//	v4  -1 partitions or replicas mean the controller's defaults
//	v5  the answer says what was created, with all configs
//	v7  topic ids
func serveCreateTopics(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.CreateTopicsRequest)
	r := &controller.CreateTopics{ValidateOnly: req.ValidateOnly}
	for _, t := range req.Topics {
		r.Topics = append(r.Topics, newTopic(t))
	}
	resp, err := submit[controller.CreateTopicsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrCreateTopicsResponse()
	for _, t := range resp.Topics {
		ot := kmsg.NewCreateTopicsResponseTopic()
		ot.Topic, ot.ErrorCode, ot.ErrorMessage = t.Name, codeOf(t.Code), messageOf(t.Result)
		ot.NumPartitions, ot.ReplicationFactor = t.Partitions, t.ReplicationFactor
		ot.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
		if !t.Failed() {
			ot.TopicID = t.ID // of a dry run, too, as in Kafka
			ot.Configs = createdConfigs(t.Configs)
		}
		out.Topics = append(out.Topics, ot)
	}
	return out, nil
}

func newTopic(t kmsg.CreateTopicsRequestTopic) controller.NewTopic {
	nt := controller.NewTopic{
		Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor,
	}
	for _, a := range t.ReplicaAssignment {
		nt.Assignments = append(nt.Assignments,
			controller.Assignment{Partition: a.Partition, Replicas: brokers(a.Replicas)})
	}
	for _, cfg := range t.Configs {
		nt.Configs = append(nt.Configs, controller.ConfigEntry{Name: cfg.Name, Value: cfg.Value})
	}
	return nt
}

func createdConfigs(cs []controller.EffectiveConfig) []kmsg.CreateTopicsResponseTopicConfig {
	out := make([]kmsg.CreateTopicsResponseTopicConfig, 0, len(cs))
	for _, cfg := range cs {
		oc := kmsg.NewCreateTopicsResponseTopicConfig()
		oc.Name, oc.Value, oc.Source = cfg.Name, &cfg.Value, int8(cfg.Source)
		out = append(out, oc)
	}
	return out
}

func refuseCreateTopics(msg kmsg.Request, code int16, text string) kmsg.Response {
	req := msg.(*kmsg.CreateTopicsRequest)
	out := kmsg.NewPtrCreateTopicsResponse()
	for _, t := range req.Topics {
		ot := kmsg.NewCreateTopicsResponseTopic()
		ot.Topic, ot.ErrorCode, ot.ErrorMessage = t.Topic, code, &text
		ot.NumPartitions, ot.ReplicationFactor = -1, -1
		out.Topics = append(out.Topics, ot)
	}
	return out
}
