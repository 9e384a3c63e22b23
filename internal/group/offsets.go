package group

import (
	"time"

	"tidemark/internal/model"
)

// Commit stores offsets of a group. It is answered once they are committed.
func (c *Core) Commit(t Ticket, r Commit, now time.Time) Effects {
	if code := c.commit(t, &r, now); code != OK {
		c.reply(t, Committed{Code: code})
	}
	return c.take()
}

func (c *Core) commit(t Ticket, r *Commit, now time.Time) Code {
	g := c.groups[r.Group]
	if code := g.admitsCommit(r); code != OK {
		return code
	}
	if g == nil { // committing needs no members: a group of offsets only
		g = c.create(r.Group)
	}
	// A commit is a sign of life, too.
	if m := g.member(r.Member); m != nil && (g.state == Stable || g.state == PreparingRebalance) {
		c.startSession(g, m, now)
	}
	w := &committing{ticket: t, group: r.Group, reply: Committed{Partitions: make([]Code, len(r.Offsets))}}
	expire := int64(-1)
	if r.Retention >= 0 {
		expire = now.Add(r.Retention).UnixMilli()
	}
	var recs []Record
	for i, o := range r.Offsets {
		if len(o.Metadata) > c.cfg.MetadataMax {
			w.reply.Partitions[i] = OffsetMetadataTooLarge
			continue
		}
		recs = append(recs, Record{offsetCommitKey(r.Group, o.Partition), offsetCommitValue(Offset{
			Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
			CommitTime: now.UnixMilli(), ExpireTime: expire, TopicID: o.TopicID,
		})})
		w.partitions = append(w.partitions, o.Partition)
	}
	if len(recs) == 0 {
		c.maybeForget(g)
		c.reply(t, w.reply)
		return OK
	}
	g.hold(w.partitions)
	c.write(recs, w)
	return OK
}

// admitsCommit fences commits: of a group with members only a member of the
// present generation may commit.
func (g *group) admitsCommit(r *Commit) Code {
	switch {
	case g == nil && r.Generation < 0:
		return OK
	case g == nil && r.NotFoundCode:
		return GroupIDNotFound
	case g == nil:
		return IllegalGeneration
	case g.state == Dead:
		return CoordinatorNotAvailable
	case r.Generation < 0 && g.state == Empty:
		return OK // an admin, or a consumer that assigns itself
	case r.Generation >= 0 || r.Member != "" || r.Instance != nil:
		if _, code := g.current(r.Member, r.Instance, r.Generation); code != OK {
			return code
		}
	case g.state != Empty:
		return UnknownMemberID
	}
	if g.state == CompletingRebalance {
		return RebalanceInProgress // the assignment may not be the member's any more
	}
	return OK
}

// committing waits until offsets are committed.
type committing struct {
	ticket     Ticket
	group      string
	partitions []model.TopicPartition // those that were written
	reply      Committed
}

func (w *committing) finished(c *Core, code Code, _ time.Time) {
	if g := c.groups[w.group]; g != nil {
		g.unhold(w.partitions)
		c.maybeForget(g)
	}
	for i, p := range w.reply.Partitions {
		if p == OK {
			w.reply.Partitions[i] = code
		}
	}
	c.reply(w.ticket, w.reply)
}

// hold notes that writes are on the way, so that a deletion that is decided
// before they are committed covers them.
func (g *group) hold(tps []model.TopicPartition) {
	for _, tp := range tps {
		g.inFlight[tp]++
	}
}

func (g *group) unhold(tps []model.TopicPartition) {
	for _, tp := range tps {
		if g.inFlight[tp]--; g.inFlight[tp] <= 0 {
			delete(g.inFlight, tp)
		}
	}
}

// touched returns the partitions with an offset, or with one on the way.
func (g *group) touched() []model.TopicPartition {
	all := make(map[model.TopicPartition]bool, len(g.offsets)+len(g.inFlight))
	for tp := range g.offsets {
		all[tp] = true
	}
	for tp := range g.inFlight {
		all[tp] = true
	}
	return partitions(all)
}

// Offset returns the committed offset of a partition; -1 if there is none.
func (c *Core) Offset(group string, tp model.TopicPartition) PartitionOffset {
	if g := c.groups[group]; g != nil && g.state != Dead {
		if o, ok := g.offsets[tp]; ok {
			return PartitionOffset{tp, o}
		}
	}
	return PartitionOffset{tp, Offset{Offset: model.NoOffset, LeaderEpoch: model.NoLeaderEpoch, ExpireTime: -1}}
}

// AllOffsets returns every committed offset of a group, by partition.
func (c *Core) AllOffsets(group string) []PartitionOffset {
	g := c.groups[group]
	if g == nil || g.state == Dead {
		return nil
	}
	out := make([]PartitionOffset, 0, len(g.offsets))
	for _, tp := range partitions(g.offsets) {
		out = append(out, PartitionOffset{tp, g.offsets[tp]})
	}
	return out
}

// DeleteOffsets removes offsets of partitions whose topics no member subscribes to.
func (c *Core) DeleteOffsets(t Ticket, r DeleteOffsets, _ time.Time) Effects {
	if code := c.deleteOffsets(t, &r); code != OK {
		c.reply(t, DeletedOffsets{Code: code})
	}
	return c.take()
}

func (c *Core) deleteOffsets(t Ticket, r *DeleteOffsets) Code {
	g := c.groups[r.Group]
	if g == nil || g.state == Dead {
		return GroupIDNotFound
	}
	if g.state != Empty && g.protocolType != consumerType {
		return NonEmptyGroup
	}
	topics, _ := g.subscribed()
	w := &deletingOffsets{ticket: t, group: r.Group, reply: DeletedOffsets{Partitions: make([]Code, len(r.Partitions))}}
	var recs []Record
	for i, tp := range r.Partitions {
		if topics[tp.Topic] {
			w.reply.Partitions[i] = GroupSubscribedToTopic
			continue
		}
		if _, ok := g.offsets[tp]; !ok && g.inFlight[tp] == 0 {
			continue
		}
		recs = append(recs, Record{Key: offsetCommitKey(r.Group, tp)})
		w.partitions = append(w.partitions, tp)
	}
	if len(recs) == 0 {
		c.reply(t, w.reply)
		return OK
	}
	g.hold(w.partitions)
	c.write(recs, w)
	return OK
}

type deletingOffsets struct {
	ticket     Ticket
	group      string
	partitions []model.TopicPartition
	reply      DeletedOffsets
}

func (w *deletingOffsets) finished(c *Core, code Code, _ time.Time) {
	if g := c.groups[w.group]; g != nil {
		g.unhold(w.partitions)
		c.maybeForget(g)
	}
	if code != OK {
		w.reply = DeletedOffsets{Code: code}
	}
	c.reply(w.ticket, w.reply)
}
