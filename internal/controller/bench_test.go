package controller

import (
	"testing"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// BenchmarkFence fences one of three brokers that all host 30,000 partitions.
func BenchmarkFence(b *testing.B) {
	s := newStory()
	s.core = New(s.cfg)
	s.take(s.core.Activate(s.img, 1, s.env()))
	for id := model.BrokerID(1); id <= 3; id++ {
		s.decide(&RegisterBroker{
			Broker: id, ClusterID: "tide", Incarnation: model.UUID{0: 1, 15: byte(id)},
			Endpoints: []metadata.Endpoint{{Name: "P"}}, Dirs: []model.DirectoryID{soleDir(id)},
			Features: map[string]metadata.VersionRange{metadata.MetadataVersionFeature: {Min: 7, Max: 30}},
		})
		s.decide(&BrokerHeartbeat{Broker: id, Epoch: s.epoch(id), MetadataOffset: s.img.Offset})
	}
	for i := range 30 {
		s.decide(&CreateTopics{Topics: []NewTopic{auto("t"+idString(model.BrokerID(i)), 1000, 3)}})
	}
	for b.Loop() {
		if n := len(s.core.Hint(1, s.env())); n != 30_001 {
			b.Fatalf("%d records", n)
		}
		s.core.Abandon(s.img)
		s.core.DrainEvidence()
	}
}
