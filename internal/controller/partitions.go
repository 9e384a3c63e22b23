package controller

import (
	"cmp"
	"slices"
	"strings"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// ref names one partition of an image.
type ref struct {
	topic *metadata.Topic
	index int32
}

func (r ref) part() *metadata.Partition { return r.topic.Partitions[r.index] }

func (r ref) id() model.TopicIDPartition {
	return model.TopicIDPartition{TopicID: r.topic.ID, Partition: r.index}
}

func (r ref) name() model.TopicPartition {
	return model.TopicPartition{Topic: r.topic.Name, Partition: r.index}
}

// partitions returns those for which want holds, by topic name and index: the
// order in which a decision that concerns many of them takes them (invariant 6).
func partitions(img *metadata.Image, want func(p *metadata.Partition) bool) []ref {
	var out []ref
	for _, topic := range img.Topics.ByID {
		for i, p := range topic.Partitions {
			if want(p) {
				out = append(out, ref{topic: topic, index: int32(i)})
			}
		}
	}
	slices.SortFunc(out, func(a, b ref) int {
		return cmp.Or(strings.Compare(a.topic.Name, b.topic.Name), cmp.Compare(a.index, b.index))
	})
	return out
}

// find returns a partition by topic id, and why there is none.
func find(img *metadata.Image, id model.TopicIDPartition) (ref, Code) {
	topic, ok := img.Topics.ByID[id.TopicID]
	if !ok {
		return ref{}, UnknownTopicID
	}
	if id.Partition < 0 || int(id.Partition) >= len(topic.Partitions) {
		return ref{}, UnknownTopic
	}
	return ref{topic: topic, index: id.Partition}, OK
}

// findByName is find by topic name.
func findByName(img *metadata.Image, tp model.TopicPartition) (ref, Code) {
	topic, ok := img.Topics.ByName[tp.Topic]
	if !ok || tp.Partition < 0 || int(tp.Partition) >= len(topic.Partitions) {
		return ref{}, UnknownTopic
	}
	return ref{topic: topic, index: tp.Partition}, OK
}

// brokerIDs returns the registered brokers in ascending order.
func brokerIDs(img *metadata.Image) []model.BrokerID {
	ids := make([]model.BrokerID, 0, len(img.Brokers))
	for id := range img.Brokers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
