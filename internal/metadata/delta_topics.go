package metadata

import (
	"fmt"
	"maps"
	"slices"

	"tidemark/internal/model"
)

// topicTouch is what a delta knows of a topic that it changed.
type topicTouch struct {
	own        *Topic             // our copy, its Partitions slice too; nil if removed
	partitions map[int32]struct{} // partitions that are our copies
}

// TopicChange is one topic that was created or changed by a delta.
type TopicChange struct {
	Old, New   *Topic // Old is nil for a new topic; New never is
	Partitions []PartitionDiff
}

// PartitionDiff is one changed partition before and after a delta.
type PartitionDiff struct {
	Index    int32
	Old, New *Partition // Old is nil for a new partition; New never is
}

// Topics returns the topics that were created or changed, sorted by name, each
// with its changed partitions by index; and the ids of topics of the base that
// are gone, sorted. Deletions are to be acted on first: a new topic may have
// the name of a deleted one.
func (d *Delta) Topics() (changed []TopicChange, deleted []model.TopicID) {
	for id, touch := range d.topics {
		old := d.base.Topics.ByID[id]
		if touch.own == nil {
			if old != nil {
				deleted = append(deleted, id)
			}
			continue
		}
		c := TopicChange{Old: old, New: touch.own}
		for _, index := range slices.Sorted(maps.Keys(touch.partitions)) {
			p := PartitionDiff{Index: index, Old: old.Partition(index), New: touch.own.Partitions[index]}
			if !p.Old.Equal(p.New) {
				c.Partitions = append(c.Partitions, p)
			}
		}
		if old == nil || len(c.Partitions) > 0 {
			changed = append(changed, c)
		}
	}
	slices.SortFunc(changed, func(a, b TopicChange) int {
		return model.TopicPartition{Topic: a.New.Name}.Compare(model.TopicPartition{Topic: b.New.Name})
	})
	slices.SortFunc(deleted, model.UUID.Compare)
	return changed, deleted
}

func (d *Delta) ownTopics() *Topics {
	if !d.copied.topics {
		d.img.Topics.ByID = maps.Clone(d.img.Topics.ByID)
		d.img.Topics.ByName = maps.Clone(d.img.Topics.ByName)
		d.copied.topics = true
	}
	return &d.img.Topics
}

func (d *Delta) addTopic(r *TopicRecord) error {
	if d.img.Topics.ByID[r.TopicID] != nil || d.img.Topics.ByName[r.Name] != nil {
		return fmt.Errorf("%w: %s, id %v", ErrTopicExists, r.Name, r.TopicID)
	}
	d.putTopic(&Topic{Name: r.Name, ID: r.TopicID})
	return nil
}

func (d *Delta) putTopic(t *Topic) *topicTouch {
	all := d.ownTopics()
	all.ByID[t.ID], all.ByName[t.Name] = t, t
	touch := &topicTouch{own: t, partitions: map[int32]struct{}{}}
	d.topics[t.ID] = touch
	return touch
}

func (d *Delta) removeTopic(r *RemoveTopicRecord) error {
	t := d.img.Topics.ByID[r.TopicID]
	if t == nil {
		return fmt.Errorf("%w: id %v", ErrUnknownTopic, r.TopicID)
	}
	all := d.ownTopics()
	delete(all.ByID, t.ID)
	delete(all.ByName, t.Name)
	d.topics[t.ID] = &topicTouch{}
	d.removeConfigs(Resource{TopicResource, t.Name})
	return nil
}

// ownTopic returns the topic as a copy that the delta may change.
func (d *Delta) ownTopic(id model.TopicID) (*topicTouch, error) {
	t := d.img.Topics.ByID[id]
	if t == nil {
		return nil, fmt.Errorf("%w: id %v", ErrUnknownTopic, id)
	}
	if touch := d.topics[id]; touch != nil {
		return touch, nil
	}
	return d.putTopic(&Topic{Name: t.Name, ID: t.ID, Partitions: slices.Clone(t.Partitions)}), nil
}

func (d *Delta) setPartition(r *PartitionRecord) error {
	t, err := d.ownTopic(r.TopicID)
	if err != nil {
		return err
	}
	// A record of Kafka before directories, or a broker that has none.
	dirs := r.Dirs
	if len(dirs) == 0 {
		dirs = make([]model.DirectoryID, len(r.Replicas))
	}
	p := &Partition{
		Replicas: nilIfEmpty(r.Replicas), Dirs: nilIfEmpty(dirs), ISR: nilIfEmpty(r.ISR),
		Adding: nilIfEmpty(r.Adding), Removing: nilIfEmpty(r.Removing), ELR: nilIfEmpty(r.ELR),
		LastKnownELR: nilIfEmpty(r.LastKnownELR), Leader: r.Leader, LeaderEpoch: r.LeaderEpoch,
		PartitionEpoch: r.PartitionEpoch, Recovery: r.Recovery,
	}
	if err := p.check(); err != nil {
		return fmt.Errorf("%s-%d: %w", t.own.Name, r.PartitionID, err)
	}
	switch n := int32(len(t.own.Partitions)); {
	case r.PartitionID < 0 || r.PartitionID > n: // invariant 2
		return fmt.Errorf("%w: %s-%d after %d partitions", ErrPartitionGap, t.own.Name, r.PartitionID, n)
	case r.PartitionID == n:
		t.own.Partitions = append(t.own.Partitions, p)
	default:
		t.own.Partitions[r.PartitionID] = p
	}
	t.partitions[r.PartitionID] = struct{}{}
	return nil
}

// ownPartition returns the partition as a copy that the delta may change.
func (t *topicTouch) ownPartition(index int32) (*Partition, error) {
	p := t.own.Partition(index)
	if p == nil {
		return nil, fmt.Errorf("%w: %s-%d", ErrUnknownPartition, t.own.Name, index)
	}
	if _, ours := t.partitions[index]; ours {
		return p, nil
	}
	c := *p
	t.own.Partitions[index] = &c
	t.partitions[index] = struct{}{}
	return &c, nil
}

func (d *Delta) changePartition(r *PartitionChangeRecord) error {
	t, err := d.ownTopic(r.TopicID)
	if err != nil {
		return err
	}
	p, err := t.ownPartition(r.PartitionID)
	if err != nil {
		return err
	}
	p.merge(r)
	if err := p.check(); err != nil {
		return fmt.Errorf("%s-%d: %w", t.own.Name, r.PartitionID, err)
	}
	return nil
}

// merge applies the fields of r that are set. The leader epoch counts every
// record that names a leader, even the same one (invariant 4).
func (p *Partition) merge(r *PartitionChangeRecord) {
	p.PartitionEpoch++
	if r.Leader != nil {
		p.Leader = *r.Leader
		p.LeaderEpoch++
	}
	if r.Recovery != nil {
		p.Recovery = *r.Recovery
	}
	if r.Replicas != nil {
		p.Dirs = p.dirsFor(r.Replicas)
		p.Replicas = nilIfEmpty(r.Replicas)
	}
	if len(r.Dirs) > 0 {
		p.Dirs = r.Dirs
	}
	set := func(field *[]model.BrokerID, v []model.BrokerID) {
		if v != nil {
			*field = nilIfEmpty(v)
		}
	}
	set(&p.ISR, r.ISR)
	set(&p.Adding, r.Adding)
	set(&p.Removing, r.Removing)
	set(&p.ELR, r.ELR)
	set(&p.LastKnownELR, r.LastKnownELR)
}

// dirsFor keeps the directories of replicas that stay; those of new ones are
// not known.
func (p *Partition) dirsFor(replicas []model.BrokerID) []model.DirectoryID {
	if len(replicas) == 0 {
		return nil
	}
	dirs := make([]model.DirectoryID, len(replicas))
	for n, id := range replicas {
		dirs[n] = p.Dir(id)
	}
	return dirs
}

// check refuses what no controller writes (invariant 3).
func (p *Partition) check() error {
	switch {
	case len(p.Replicas) == 0:
		return fmt.Errorf("%w: no replicas", ErrBadPartition)
	case len(p.Dirs) != len(p.Replicas):
		return fmt.Errorf("%w: %d replicas, %d directories", ErrBadPartition, len(p.Replicas), len(p.Dirs))
	case p.Leader < model.NoBroker || p.LeaderEpoch < 0 || p.PartitionEpoch < 0:
		return fmt.Errorf("%w: leader %d, epochs %d/%d", ErrBadPartition, p.Leader, p.LeaderEpoch, p.PartitionEpoch)
	case p.Recovery != Recovered && p.Recovery != Recovering:
		return fmt.Errorf("%w: recovery state %d", ErrBadPartition, p.Recovery)
	}
	return nil
}

func (d *Delta) clearELR(r *ClearELRRecord) error {
	if r.Topic != "" {
		t := d.img.Topics.ByName[r.Topic]
		if t == nil {
			return fmt.Errorf("%w: %s", ErrUnknownTopic, r.Topic)
		}
		return d.clearTopicELR(t)
	}
	for _, id := range slices.SortedFunc(maps.Keys(d.img.Topics.ByID), model.UUID.Compare) {
		if err := d.clearTopicELR(d.img.Topics.ByID[id]); err != nil {
			return err
		}
	}
	return nil
}

// clearTopicELR touches only partitions that have something to clear. It counts
// as a change of theirs, as in Kafka: their partition epoch grows.
func (d *Delta) clearTopicELR(t *Topic) error {
	for index, p := range t.Partitions {
		if len(p.ELR) == 0 && len(p.LastKnownELR) == 0 {
			continue
		}
		touch, err := d.ownTopic(t.ID)
		if err != nil {
			return err
		}
		own, err := touch.ownPartition(int32(index))
		if err != nil {
			return err
		}
		own.ELR, own.LastKnownELR = nil, nil
		own.PartitionEpoch++
	}
	return nil
}
