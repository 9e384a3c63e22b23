package node

import (
	"maps"
	"slices"
	"sync"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// tracker remembers since when a broker is away and since when a partition
// lacks replicas, as this node saw it happen. Safe for concurrent use.
type tracker struct {
	mu         sync.Mutex
	brokers    map[model.BrokerID]time.Time // since not running
	partitions map[model.TopicIDPartition]lack
	now        func() time.Time
}

// lack is a set of replicas outside the ISR, since its newest addition.
type lack struct {
	missing []model.BrokerID
	since   time.Time
}

func newTracker() *tracker {
	return &tracker{brokers: map[model.BrokerID]time.Time{}, partitions: map[model.TopicIDPartition]lack{}, now: time.Now}
}

// saw takes in new metadata; it is a subscriber of the observer.
func (t *tracker) saw(img *metadata.Image, d *metadata.Delta) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for _, id := range changedBrokers(img, d) {
		b := img.Brokers[id]
		switch {
		case b == nil || !b.Fenced && !b.InControlledShutdown:
			delete(t.brokers, id)
		case t.brokers[id].IsZero():
			t.brokers[id] = now
		}
	}
	if d == nil {
		t.partitions = map[model.TopicIDPartition]lack{}
		for _, topic := range img.Topics.ByID {
			for i, p := range topic.Partitions {
				t.sawPartition(model.TopicIDPartition{TopicID: topic.ID, Partition: int32(i)}, p, now)
			}
		}
		return
	}
	changed, deleted := d.Topics()
	for _, c := range changed {
		for _, p := range c.Partitions {
			t.sawPartition(model.TopicIDPartition{TopicID: c.New.ID, Partition: p.Index}, p.New, now)
		}
	}
	maps.DeleteFunc(t.partitions, func(k model.TopicIDPartition, _ lack) bool { return slices.Contains(deleted, k.TopicID) })
}

func changedBrokers(img *metadata.Image, d *metadata.Delta) []model.BrokerID {
	if d != nil {
		return d.Brokers()
	}
	return slices.Sorted(maps.Keys(img.Brokers))
}

func (t *tracker) sawPartition(id model.TopicIDPartition, p *metadata.Partition, now time.Time) {
	missing := outside(p)
	if len(missing) == 0 && p.Leader != model.NoBroker {
		delete(t.partitions, id)
		return
	}
	old, had := t.partitions[id]
	worse := slices.ContainsFunc(missing, func(b model.BrokerID) bool { return !slices.Contains(old.missing, b) })
	if !had || worse {
		t.partitions[id] = lack{missing, now}
		return
	}
	t.partitions[id] = lack{missing, old.since}
}

// outside are the replicas that are not in the ISR, those that are being added left out.
func outside(p *metadata.Partition) []model.BrokerID {
	var out []model.BrokerID
	for _, r := range p.Replicas {
		if !slices.Contains(p.ISR, r) && !slices.Contains(p.Adding, r) {
			out = append(out, r)
		}
	}
	return out
}

func (t *tracker) brokerSince(id model.BrokerID) *time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.brokers[id]; ok {
		return &at
	}
	return nil
}

func (t *tracker) partitionSince(id model.TopicIDPartition) *time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.partitions[id]; ok {
		return &l.since
	}
	return nil
}
