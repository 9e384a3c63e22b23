package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeQuorum (key 55) for data partitions: a leader tells where each replica
// is. Brokers of this product answer it; Apache Kafka's know only the metadata
// log and answer UNKNOWN_TOPIC_OR_PARTITION.

// MaxDescribedPartitions is how many partitions one DescribeReplicas may name.
const MaxDescribedPartitions = 2000

// ReplicaPosition is one replica as its leader sees it.
type ReplicaPosition struct {
	ID           model.BrokerID
	Dir          model.DirectoryID
	InISR        bool
	LogEnd       model.Offset // NoOffset: has not fetched in this leader epoch
	LastFetch    time.Time    // zero: not known
	LastCaughtUp time.Time    // zero: not known
}

// FollowerCondition is what a leader of this product says of one follower beyond
// Kafka's fields: the tagged field wire.TagReplicaConditions, a JSON list of these,
// sent to who sent the same field, empty, with the request.
type FollowerCondition struct {
	Broker          model.BrokerID `json:"broker"`
	Health          string         `json:"health"`
	Causes          []string       `json:"causes,omitempty"`
	Why             string         `json:"why,omitempty"`
	LogEnd          model.Offset   `json:"logEnd"`
	InSync          bool           `json:"inSync"`
	Lag             int64          `json:"lag"` // records, -1 unknown
	LagBytes        int64          `json:"lagBytes"`
	FetchAgeMs      int64          `json:"fetchAgeMs"`    // -1 never
	CaughtUpAgeMs   int64          `json:"caughtUpAgeMs"` // -1 never
	Rate            float64        `json:"rate"`          // records a second
	LeaderRate      float64        `json:"leaderRate"`
	SecondsLeft     float64        `json:"secondsLeft"` // -1: doesn't get closer
	Joined          int            `json:"joined"`
	Left            int            `json:"left"`
	AppendP99Micros int64          `json:"appendP99Micros,omitempty"`
}

// DescribedReplicas is a leader's answer for one partition. Unless Code is
// CodeNone only Leader and LeaderEpoch may be set: a hint where to ask.
type DescribedReplicas struct {
	TP            model.TopicPartition
	Code          Code
	Leader        model.BrokerID
	LeaderEpoch   model.LeaderEpoch
	HighWatermark model.Offset
	Replicas      []ReplicaPosition   // the leader first
	Conditions    []FollowerCondition // nil: the leader can't tell
}

// DescribeReplicas asks the leader of up to MaxDescribedPartitions partitions;
// those of one topic should be adjacent.
func (c *Conn) DescribeReplicas(ctx context.Context, tps []model.TopicPartition) ([]DescribedReplicas, error) {
	if len(tps) > MaxDescribedPartitions {
		return nil, fmt.Errorf("describe replicas of %d partitions: at most %d", len(tps), MaxDescribedPartitions)
	}
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.UnknownTags.Set(wire.TagReplicaConditions, nil)
	for i, tp := range tps {
		if i == 0 || tps[i-1].Topic != tp.Topic {
			t := kmsg.NewDescribeQuorumRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		t := &req.Topics[len(req.Topics)-1]
		p := kmsg.NewDescribeQuorumRequestTopicPartition()
		p.Partition = tp.Partition
		t.Partitions = append(t.Partitions, p)
	}
	resp, err := do[*kmsg.DescribeQuorumResponse](ctx, c, req)
	if err != nil {
		return nil, err
	}
	if resp.ErrorCode != 0 {
		return nil, fmt.Errorf("describe replicas: %s", Code(resp.ErrorCode))
	}
	out := make([]DescribedReplicas, 0, len(tps))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for k := range t.Partitions {
			out = append(out, describedReplicas(t.Topic, &t.Partitions[k]))
		}
	}
	return out, nil
}

func describedReplicas(topic string, p *kmsg.DescribeQuorumResponseTopicPartition) DescribedReplicas {
	d := DescribedReplicas{
		TP: model.TopicPartition{Topic: topic, Partition: p.Partition}, Code: Code(p.ErrorCode),
		Leader: model.BrokerID(p.LeaderID), LeaderEpoch: model.LeaderEpoch(p.LeaderEpoch),
		HighWatermark: model.Offset(p.HighWatermark),
	}
	p.UnknownTags.Each(func(tag uint32, value []byte) {
		if tag != wire.TagReplicaConditions || json.Unmarshal(value, &d.Conditions) != nil {
			return
		}
		d.Conditions = slices.DeleteFunc(d.Conditions, func(c FollowerCondition) bool { return c.Health == "" })
	})
	for _, s := range p.CurrentVoters {
		d.Replicas = append(d.Replicas, replicaPosition(s, true))
	}
	for _, s := range p.Observers {
		d.Replicas = append(d.Replicas, replicaPosition(s, false))
	}
	return d
}

func replicaPosition(s kmsg.DescribeQuorumResponseTopicPartitionReplicaState, inISR bool) ReplicaPosition {
	return ReplicaPosition{
		ID: model.BrokerID(s.ReplicaID), Dir: s.ReplicaDirectoryID, InISR: inISR, LogEnd: model.Offset(s.LogEndOffset),
		LastFetch: timeOrZero(s.LastFetchTimestamp), LastCaughtUp: timeOrZero(s.LastCaughtUpTimestamp),
	}
}

func timeOrZero(millis int64) time.Time {
	if millis < 0 {
		return time.Time{}
	}
	return time.UnixMilli(millis)
}
