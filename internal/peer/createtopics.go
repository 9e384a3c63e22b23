package peer

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateTopics (key 19), sent by a broker that needs a topic: an internal one,
// or one that a client's Metadata request named.

// NewTopic asks for a topic; Partitions and Replicas of -1 leave the number to
// the controller's defaults.
type NewTopic struct {
	Name       string
	Partitions int32
	Replicas   int16
	Configs    map[string]string
}

// CreatedTopics has one code a topic.
type CreatedTopics struct {
	Code   Code // NOT_CONTROLLER if every topic was refused with it
	Topics map[string]Code
}

// CreateTopics creates topics.
func (c *Conn) CreateTopics(ctx context.Context, topics []NewTopic, limit time.Duration) (CreatedTopics, error) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(limit.Milliseconds())
	for _, t := range topics {
		r := kmsg.NewCreateTopicsRequestTopic()
		r.Topic, r.NumPartitions, r.ReplicationFactor = t.Name, t.Partitions, t.Replicas
		for _, k := range slices.Sorted(maps.Keys(t.Configs)) {
			cfg := kmsg.NewCreateTopicsRequestTopicConfig()
			cfg.Name, cfg.Value = k, kmsg.StringPtr(t.Configs[k])
			r.Configs = append(r.Configs, cfg)
		}
		req.Topics = append(req.Topics, r)
	}
	resp, err := do[*kmsg.CreateTopicsResponse](ctx, c, req)
	if err != nil {
		return CreatedTopics{}, err
	}
	out := CreatedTopics{Topics: map[string]Code{}}
	for _, t := range resp.Topics {
		out.Topics[t.Topic] = Code(t.ErrorCode)
		if Code(t.ErrorCode) == CodeNotController {
			out.Code = CodeNotController
		}
	}
	return out, nil
}
