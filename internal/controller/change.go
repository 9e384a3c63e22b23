package controller

import (
	"fmt"
	"slices"

	"tidemark/internal/invariants"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// rules are the settings that shape every change of one partition.
type rules struct {
	elr     bool  // eligible.leader.replicas.version >= 1
	unclean bool  // unclean.leader.election.enable of the topic
	minISR  int   // min.insync.replicas of the topic
	level   int16 // finalised metadata.version
}

// change is a partition's next state under construction. Callers set the target
// in next (ISR, Replicas, Dirs, ...), then call finish.
type change struct {
	topic    *metadata.Topic
	index    int32
	from     *metadata.Partition
	next     metadata.Partition
	rules    rules
	unclean  []model.BrokerID // brokers whose unflushed data is gone: never in the ELR
	election ElectionKind
}

func (c *Core) change(img *metadata.Image, p ref) *change {
	from := p.part()
	next := *from
	next.ISR, next.Replicas = slices.Clone(from.ISR), slices.Clone(from.Replicas)
	next.ELR, next.LastKnownELR = slices.Clone(from.ELR), slices.Clone(from.LastKnownELR)
	next.Adding, next.Removing = slices.Clone(from.Adding), slices.Clone(from.Removing)
	next.Dirs = make([]model.DirectoryID, len(from.Replicas))
	copy(next.Dirs, from.Dirs)
	return &change{topic: p.topic, index: p.index, from: from, next: next, rules: c.rules(img, p.topic.Name)}
}

func (c *Core) rules(img *metadata.Image, topic string) rules {
	return rules{
		elr:     img.Features[metadata.ELRVersionFeature] >= 1,
		unclean: c.uncleanAllowed(img, topic),
		minISR:  c.minISR(img, topic),
		level:   img.MetadataVersion(),
	}
}

// ballot is the election that happens with every change.
func (ch *change) ballot() ballot {
	if ch.rules.unclean {
		return ballotUnclean
	}
	return ballotOnline
}

// replace sets the replica list; replicas that stay keep their directory.
func (ch *change) replace(replicas []model.BrokerID, el electorate) {
	old := ch.next
	ch.next.Replicas = replicas
	ch.next.Dirs = make([]model.DirectoryID, len(replicas))
	for i, r := range replicas {
		if slices.Contains(old.Replicas, r) {
			ch.next.Dirs[i] = dirOf(&old, r)
		} else {
			ch.next.Dirs[i] = defaultDir(el.broker(r))
		}
	}
}

// finish completes a reassignment if it can, updates the ELR, elects, and returns
// the record that leads from the old state to the new one; nil if they are equal.
func (ch *change) finish(el electorate, b ballot) *metadata.PartitionChangeRecord {
	ch.completeReassignment(el)
	ch.updateELR()
	ch.elect(el, b)
	if len(ch.next.ISR) == 0 && !ch.rules.elr {
		ch.next.ISR = slices.Clone(ch.from.ISR) // invariant 4
	}
	if ch.rules.elr && len(ch.next.ISR) == 0 && len(ch.from.ISR) > 0 && ch.from.Leader != model.NoBroker {
		ch.next.LastKnownELR = []model.BrokerID{ch.from.Leader}
	}
	if invariants.Enabled {
		ch.mustHold()
	}
	return ch.record()
}

// mustHold panics if the next state breaks invariant 1.
func (ch *change) mustHold() {
	n := &ch.next
	for _, id := range slices.Concat(n.ISR, n.ELR, n.Adding, n.Removing) {
		if !slices.Contains(n.Replicas, id) {
			panic(fmt.Sprintf("invariant 1: %s-%d: %d is not a replica: %+v", ch.topic.Name, ch.index, id, *n))
		}
	}
	if n.Leader != model.NoBroker && !slices.Contains(n.ISR, n.Leader) || len(minus(n.ELR, n.ISR)) != len(n.ELR) {
		panic(fmt.Sprintf("invariant 1: %s-%d: leader, ISR and ELR: %+v", ch.topic.Name, ch.index, *n))
	}
}

// completeReassignment drops the removed replicas once every target replica is in
// the ISR (KAFKA-15665).
func (ch *change) completeReassignment(el electorate) {
	n := &ch.next
	if len(n.Adding) == 0 && len(n.Removing) == 0 {
		return
	}
	target := minus(n.Replicas, n.Removing)
	isr := minus(n.ISR, n.Removing)
	if len(isr) == 0 || !containsAll(isr, target) {
		return
	}
	ch.replace(target, el)
	n.ISR, n.Adding, n.Removing = isr, nil, nil
}

// updateELR keeps those who left the ISR electable while the ISR is too small for
// the high watermark to move: they still have every committed record (KIP-966).
func (ch *change) updateELR() {
	n := &ch.next
	if !ch.rules.elr {
		return
	}
	if len(n.ISR) >= min(ch.rules.minISR, len(n.Replicas)) {
		n.ELR, n.LastKnownELR = nil, nil
		return
	}
	var elr []model.BrokerID
	for _, r := range n.Replicas {
		member := slices.Contains(ch.from.ELR, r) || slices.Contains(ch.from.ISR, r)
		if member && !slices.Contains(n.ISR, r) && !slices.Contains(ch.unclean, r) {
			elr = append(elr, r)
		}
	}
	n.ELR = elr
}

// record compares old and new state. A nil record means no change.
func (ch *change) record() *metadata.PartitionChangeRecord {
	from, n := ch.from, &ch.next
	rec := &metadata.PartitionChangeRecord{PartitionID: ch.index, TopicID: ch.topic.ID}
	changed := false
	set := func(dst *[]model.BrokerID, old, now []model.BrokerID) {
		if !slices.Equal(old, now) {
			*dst, changed = notNil(now), true
		}
	}
	set(&rec.ISR, from.ISR, n.ISR)
	set(&rec.Replicas, from.Replicas, n.Replicas)
	set(&rec.Adding, from.Adding, n.Adding)
	set(&rec.Removing, from.Removing, n.Removing)
	if ch.rules.elr || len(from.ELR)+len(from.LastKnownELR) > 0 {
		set(&rec.ELR, from.ELR, n.ELR)
		set(&rec.LastKnownELR, from.LastKnownELR, n.LastKnownELR)
	}
	if n.Recovery != from.Recovery {
		recovery := n.Recovery
		rec.Recovery, changed = &recovery, true
	}
	if ch.rules.level >= levelDirs && !slices.Equal(padDirs(from), n.Dirs) {
		rec.Dirs, changed = slices.Clone(n.Dirs), true
	}
	if n.Leader != from.Leader || ch.mustBump() {
		leader := n.Leader
		rec.Leader, changed = &leader, true
	}
	if !changed {
		return nil
	}
	n.PartitionEpoch = from.PartitionEpoch + 1
	if rec.Leader != nil {
		n.LeaderEpoch = from.LeaderEpoch + 1
	}
	return rec
}

// mustBump reports whether the leader epoch rises although the leader stays: a
// removed replica must stop fetching. Before 3.6 every shrink did it (KAFKA-15021).
func (ch *change) mustBump() bool {
	if !containsAll(ch.next.Replicas, ch.from.Replicas) {
		return true
	}
	return ch.rules.level < levelQuietShrink && !containsAll(ch.next.ISR, ch.from.ISR)
}

// evidence describes the finished change.
func (ch *change) evidence(el electorate, reason Reason, broker model.BrokerID) Evidence {
	ev := Evidence{
		Kind: PartitionChanged, Reason: reason, Broker: broker, Epoch: model.NoBrokerEpoch,
		Topic:     ch.topic.Name,
		Partition: model.TopicIDPartition{TopicID: ch.topic.ID, Partition: ch.index},
		OldLeader: ch.from.Leader, NewLeader: ch.next.Leader,
		OldISR: slices.Clone(ch.from.ISR), NewISR: slices.Clone(ch.next.ISR),
		LeaderEpoch: ch.next.LeaderEpoch, PartitionEpoch: ch.next.PartitionEpoch,
		Election: ch.election,
	}
	if ch.from.Leader != ch.next.Leader {
		ev.Candidates = el.candidates(ch.from)
	}
	return ev
}

// apply finishes the change and, if there is one, emits it with its evidence.
func (t *step) apply(ch *change, el electorate, b ballot, why Reason, broker model.BrokerID) bool {
	rec := ch.finish(el, b)
	if rec == nil {
		return false
	}
	t.emit(rec)
	t.saw(ch.evidence(el, why, broker))
	return true
}

// Levels of metadata.version that change what is written.
const (
	levelQuietShrink int16 = 12 // 3.6-IV0: an ISR shrink keeps the leader epoch
	levelControllers int16 = 15 // 3.7-IV0: controllers register
	levelDirs        int16 = 17 // 3.7-IV2: directory ids
	levelELR         int16 = 23 // 4.0-IV1: ELR in partition records
)

func padDirs(p *metadata.Partition) []model.DirectoryID {
	dirs := make([]model.DirectoryID, len(p.Replicas))
	copy(dirs, p.Dirs)
	return dirs
}

func notNil(ids []model.BrokerID) []model.BrokerID {
	if len(ids) == 0 {
		return []model.BrokerID{}
	}
	return slices.Clone(ids)
}

func without(ids []model.BrokerID, id model.BrokerID) []model.BrokerID {
	return minus(ids, []model.BrokerID{id})
}

// minus keeps the order of ids.
func minus(ids, drop []model.BrokerID) []model.BrokerID {
	var out []model.BrokerID
	for _, id := range ids {
		if !slices.Contains(drop, id) {
			out = append(out, id)
		}
	}
	return out
}

func containsAll(ids, want []model.BrokerID) bool {
	for _, id := range want {
		if !slices.Contains(ids, id) {
			return false
		}
	}
	return true
}
