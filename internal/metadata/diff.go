package metadata

import (
	"maps"
	"slices"
)

// Between returns the delta that leads from old to next, already applied: what
// a node publishes when a snapshot replaces its image. Whatever next doesn't
// have counts as deleted. Both images stay as they are.
func Between(old, next *Image) *Delta {
	d := NewDelta(old)
	d.img, d.applied = next, true
	d.diffTopics(old, next)
	for id := range unequal(old.Brokers, next.Brokers, (*Broker).equal) {
		d.brokers[id], d.copied.brokers = next.Brokers[id] != nil, true
	}
	for id := range unequal(old.Controllers, next.Controllers, (*Controller).equal) {
		d.controllers[id], d.copied.controllers = struct{}{}, true
	}
	for key := range unequal(old.Configs, next.Configs, maps.Equal) {
		d.configs[key], d.copied.configs = struct{}{}, true
	}
	for name := range unequal(old.Features, next.Features, equal) {
		d.features[name], d.copied.features = struct{}{}, true
	}
	d.voters = old.KRaftVersion != next.KRaftVersion || !slices.EqualFunc(old.Voters, next.Voters, voterEqual)
	// Records can't be compared; these sets are small and their readers only
	// ask whether to look again.
	d.copied.quotas = len(old.ClientQuotas)+len(next.ClientQuotas) > 0
	d.copied.scram = len(old.ScramCredentials)+len(next.ScramCredentials) > 0
	d.copied.acls = len(old.ACLs)+len(next.ACLs) > 0
	d.copied.tokens = len(old.Tokens)+len(next.Tokens) > 0
	return d
}

func (d *Delta) diffTopics(old, next *Image) {
	for id := range old.Topics.ByID {
		if next.Topics.ByID[id] == nil {
			d.topics[id] = &topicTouch{}
		}
	}
	for id, t := range next.Topics.ByID {
		was := old.Topics.ByID[id]
		touch := &topicTouch{own: t, partitions: map[int32]struct{}{}}
		for index, p := range t.Partitions {
			if !was.Partition(int32(index)).Equal(p) {
				touch.partitions[int32(index)] = struct{}{}
			}
		}
		if was == nil || len(touch.partitions) > 0 {
			d.topics[id] = touch
		}
	}
	d.copied.topics = len(d.topics) > 0
}

// unequal returns the keys whose values differ, or that only one map has.
func unequal[K comparable, V any](a, b map[K]V, same func(V, V) bool) map[K]struct{} {
	out := map[K]struct{}{}
	for k, v := range a {
		if w, ok := b[k]; !ok || !same(v, w) {
			out[k] = struct{}{}
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out[k] = struct{}{}
		}
	}
	return out
}

func equal[T comparable](a, b T) bool { return a == b }

// equal ignores RegisteredAt, which a snapshot doesn't have.
func (b *Broker) equal(o *Broker) bool {
	return b.ID == o.ID && b.Epoch == o.Epoch && b.Incarnation == o.Incarnation && b.Rack == o.Rack &&
		b.HasRack == o.HasRack && b.Fenced == o.Fenced && b.InControlledShutdown == o.InControlledShutdown &&
		b.MigratingZk == o.MigratingZk && slices.Equal(b.Endpoints, o.Endpoints) && slices.Equal(b.Dirs, o.Dirs) &&
		slices.Equal(b.CordonedDirs, o.CordonedDirs) && maps.Equal(b.Features, o.Features)
}

func (c *Controller) equal(o *Controller) bool {
	return c.ID == o.ID && c.Incarnation == o.Incarnation && slices.Equal(c.Endpoints, o.Endpoints) &&
		maps.Equal(c.Features, o.Features)
}

func voterEqual(a, b Voter) bool {
	return a.ID == b.ID && a.Dir == b.Dir && a.KRaftVersion == b.KRaftVersion && slices.Equal(a.Endpoints, b.Endpoints)
}

// LiveBrokersChanged reports whether the set of brokers that clients may be
// sent to, or where they listen, may differ between base and image.
func (d *Delta) LiveBrokersChanged() bool {
	for id := range d.brokers {
		was, is := d.base.Brokers[id], d.img.Brokers[id]
		if live(was) != live(is) || live(is) && !slices.Equal(was.Endpoints, is.Endpoints) {
			return true
		}
	}
	return false
}

func live(b *Broker) bool { return b != nil && !b.Fenced }
