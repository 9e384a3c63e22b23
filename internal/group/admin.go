package group

import (
	"slices"
	"strings"
	"time"

	"tidemark/internal/model"
)

// List returns the groups in one of the states, of one of the types (only
// "classic" exists here); an empty filter passes all. Names of states and types
// are compared without case.
func (c *Core) List(states, types []string) []Listing {
	if len(types) > 0 && !slices.ContainsFunc(types, func(s string) bool { return strings.EqualFold(s, "classic") }) {
		return nil
	}
	var out []Listing
	for _, id := range c.names() {
		g := c.groups[id]
		same := func(s string) bool { return strings.EqualFold(s, g.state.String()) }
		if len(states) > 0 && !slices.ContainsFunc(states, same) {
			continue
		}
		out = append(out, Listing{Group: id, ProtocolType: g.protocolType, State: g.state})
	}
	return out
}

// Describe describes one group; GroupIDNotFound comes with the state Dead.
func (c *Core) Describe(id string) Description {
	g := c.groups[id]
	if g == nil || g.state == Dead {
		return Description{Code: GroupIDNotFound, State: Dead}
	}
	d := Description{State: g.state, ProtocolType: g.protocolType}
	stable := g.state == Stable
	if stable {
		d.Protocol = g.protocol
	}
	for _, m := range g.members {
		md := MemberDescription{ID: m.id, Instance: m.instance, ClientID: m.clientID, ClientHost: m.clientHost}
		if stable {
			md.Metadata, md.Assignment = m.metadata(g.protocol), m.assignment
		}
		d.Members = append(d.Members, md)
	}
	return d
}

// DeleteGroup removes a group without members, and its offsets.
func (c *Core) DeleteGroup(t Ticket, id string, _ time.Time) Effects {
	g := c.groups[id]
	switch {
	case g == nil || g.state == Dead:
		c.reply(t, Deleted{GroupIDNotFound})
	case g.state != Empty:
		c.reply(t, Deleted{NonEmptyGroup})
	default:
		c.bury(g, g.touched(), deletingGroup{ticket: t, group: id, answer: true})
	}
	return c.take()
}

// bury writes tombstones for offsets and the group. Until they are committed,
// the group is Dead: nobody can join it or commit to it.
func (c *Core) bury(g *group, tps []model.TopicPartition, w deletingGroup) {
	var recs []Record
	for _, tp := range tps {
		recs = append(recs, Record{Key: offsetCommitKey(g.id, tp)})
	}
	recs = append(recs, Record{Key: groupMetadataKey(g.id)})
	g.state = Dead
	c.write(recs, w)
}

type deletingGroup struct {
	ticket Ticket
	group  string
	answer bool // somebody asked for it
}

func (w deletingGroup) finished(c *Core, code Code, _ time.Time) {
	if g := c.groups[w.group]; g != nil && g.state == Dead && code != OK {
		g.state = Empty
	}
	if w.answer {
		c.reply(w.ticket, Deleted{code})
	}
}

// Expire removes offsets whose retention is over, and groups of which nothing
// is left (KIP-211). To be called every offsets.retention.check.interval.ms.
func (c *Core) Expire(now time.Time) Effects {
	for _, id := range c.names() {
		c.expire(c.groups[id], now)
	}
	return c.take()
}

func (c *Core) expire(g *group, now time.Time) {
	if g.state != Empty && g.state != Stable {
		return // who knows what the next generation consumes
	}
	topics, known := g.subscribed()
	if g.state == Stable && !known {
		return
	}
	var gone []model.TopicPartition
	for _, tp := range partitions(g.offsets) {
		if topics[tp.Topic] || g.inFlight[tp] > 0 {
			continue
		}
		if g.isExpired(g.offsets[tp], now, c.cfg.OffsetsRetention) {
			gone = append(gone, tp)
		}
	}
	if g.state == Empty && len(gone) == len(g.offsets) && len(g.inFlight) == 0 && len(g.pending) == 0 {
		c.bury(g, gone, deletingGroup{group: g.id})
		return
	}
	c.removeOffsets(g, gone)
}

// isExpired: retention counts from the time the group became empty, or from
// the commit for topics that a living group does not consume and for groups
// that never had members.
func (g *group) isExpired(o Offset, now time.Time, retention time.Duration) bool {
	if o.ExpireTime >= 0 {
		return now.UnixMilli() >= o.ExpireTime
	}
	since := o.CommitTime
	if g.state == Empty && g.protocolType != "" && g.stateTime >= 0 {
		since = g.stateTime
	}
	return now.UnixMilli()-since >= retention.Milliseconds()
}

// TopicsDeleted removes the offsets of topics that don't exist any more.
func (c *Core) TopicsDeleted(topics map[string]bool) Effects {
	for _, id := range c.names() {
		g := c.groups[id]
		if g.state == Dead {
			continue
		}
		tps := slices.DeleteFunc(g.touched(), func(tp model.TopicPartition) bool { return !topics[tp.Topic] })
		c.removeOffsets(g, tps)
	}
	return c.take()
}

func (c *Core) removeOffsets(g *group, tps []model.TopicPartition) {
	if len(tps) == 0 {
		return
	}
	var recs []Record
	for _, tp := range tps {
		recs = append(recs, Record{Key: offsetCommitKey(g.id, tp)})
	}
	g.hold(tps)
	c.write(recs, removing{g.id, tps})
}

type removing struct {
	group      string
	partitions []model.TopicPartition
}

func (w removing) finished(c *Core, _ Code, _ time.Time) {
	if g := c.groups[w.group]; g != nil {
		g.unhold(w.partitions)
	}
}
