package group

import (
	"time"

	"tidemark/internal/model"
)

// Join lets a member enter the group, or the next generation of it. The answer
// may wait until all members have joined.
func (c *Core) Join(t Ticket, r Join, now time.Time) Effects {
	if code := c.join(t, &r, now); code != OK {
		c.reply(t, Joined{Code: code, Generation: -1, Member: r.Member})
	}
	return c.take()
}

// join returns OK if the request is answered or parked.
func (c *Core) join(t Ticket, r *Join, now time.Time) Code {
	if r.Group == "" {
		return InvalidGroupID
	}
	if r.Session < c.cfg.MinSession || r.Session > c.cfg.MaxSession {
		return InvalidSessionTimeout
	}
	g := c.groups[r.Group]
	if g == nil {
		if r.Member != "" {
			return UnknownMemberID
		}
		if len(r.Protocols) == 0 || r.ProtocolType == "" {
			return InconsistentProtocol
		}
		g = c.create(r.Group)
		g.stateTime = now.UnixMilli()
	}
	switch {
	case g.state == Dead:
		return CoordinatorNotAvailable
	case !c.roomFor(g, r.Member):
		delete(g.pending, r.Member)
		return GroupMaxSizeReached
	case !g.accepts(r.ProtocolType, r.Protocols):
		return InconsistentProtocol
	case r.Member == "":
		c.joinNew(t, g, r, now)
		return OK
	}
	return c.joinKnown(t, g, r, now)
}

func (c *Core) create(id string) *group {
	g := &group{id: id, stateTime: -1, pending: map[string]bool{}, offsets: map[model.TopicPartition]Offset{},
		inFlight: map[model.TopicPartition]int{}}
	c.groups[id] = g
	return g
}

// roomFor applies group.max.size. While a group rebalances only those who have
// joined already count, so that the quickest get a place.
func (c *Core) roomFor(g *group, id string) bool {
	m := g.member(id)
	switch g.state {
	case PreparingRebalance:
		return m != nil && m.joining.on || g.awaiting() < c.cfg.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < c.cfg.MaxSize
	}
	return true
}

func (c *Core) joinNew(t Ticket, g *group, r *Join, now time.Time) {
	switch {
	case r.Instance != nil:
		if old := g.static(*r.Instance); old != nil {
			c.replaceStatic(t, g, old, r, now)
			return
		}
		c.admit(t, g, r, r.NewID, now)
	case r.RequireID:
		// The client confirms the id before it counts, so that clients that
		// retry don't fill the group with members that nobody is (KIP-394).
		g.pending[r.NewID] = true
		c.timers.start(timerKey{g.id, pendingTimer, r.NewID}, now.Add(r.Session))
		c.reply(t, Joined{Code: MemberIDRequired, Generation: -1, Member: r.NewID})
	default:
		c.admit(t, g, r, r.NewID, now)
	}
}

// admit adds a new member.
func (c *Core) admit(t Ticket, g *group, r *Join, id string, now time.Time) {
	m := &member{
		id: id, instance: r.Instance, clientID: r.ClientID, clientHost: r.ClientHost,
		session: r.Session, rebalance: r.Rebalance, protocolType: r.ProtocolType, protocols: r.Protocols,
		joining: ticketSlot{t, true}, isNew: true,
	}
	if g.state == PreparingRebalance && g.initial {
		g.fresh = true
	}
	c.forgetPending(g, id)
	g.add(m)
	c.timers.start(timerKey{g.id, sessionTimer, id}, now.Add(max(newMemberTimeout, r.Session)))
	c.rebalance(g, now)
}

func (c *Core) joinKnown(t Ticket, g *group, r *Join, now time.Time) Code {
	if g.pending[r.Member] {
		if r.Instance != nil {
			return UnknownServerError // an id is only handed out to dynamic members
		}
		c.admit(t, g, r, r.Member, now)
		return OK
	}
	m, code := g.check(r.Member, r.Instance)
	if code != OK {
		return code
	}
	same := m.matches(r.Protocols)
	switch {
	case g.state == Empty:
		return UnknownMemberID
	case g.state == CompletingRebalance && same, g.state == Stable && same && m.id != g.leader:
		// The answer got lost on the way: the present generation again.
		c.reply(t, g.joined(m, g.leader, g.state == CompletingRebalance && m.id == g.leader))
		return OK
	}
	// Other protocols, or a leader that wants to assign anew.
	c.rejoin(t, g, m, r)
	c.rebalance(g, now)
	return OK
}

// rejoin takes over what a member says in a new Join.
func (c *Core) rejoin(t Ticket, g *group, m *member, r *Join) {
	m.protocols, m.rebalance, m.session = r.Protocols, r.Rebalance, r.Session
	if m.joining.on {
		// The client gave up on its earlier request.
		c.reply(m.joining.t, Joined{Code: RebalanceInProgress, Generation: -1, Member: m.id})
	}
	m.joining = ticketSlot{t, true}
}

// replaceStatic gives the place of a static member to the process that now
// joins under its instance id. If that changes nothing for the others, the
// generation stays (KIP-345).
func (c *Core) replaceStatic(t Ticket, g *group, m *member, r *Join, now time.Time) {
	oldLeader, oldID := g.leader, m.id
	c.evict(m)
	c.timers.stop(timerKey{g.id, sessionTimer, oldID})
	before := *m
	m.id, m.needSync = r.NewID, false
	if g.leader == oldID {
		g.leader = m.id
	}
	m.clientID, m.clientHost = r.ClientID, r.ClientHost
	c.rejoin(t, g, m, r)
	c.startSession(g, m, now)
	if g.state != Stable || g.choose() != g.protocol {
		c.rebalance(g, now)
		return
	}
	m.joining = ticketSlot{}
	c.write([]Record{g.record(g.assigned())}, &staticReturn{
		ticket: t, group: g.id, generation: g.generation, member: m.id, before: before,
		leader: oldLeader, skip: r.CanSkipAssignment,
	})
}

// evict answers what a member waits for: somebody else is this instance now.
func (c *Core) evict(m *member) {
	if m.joining.on {
		c.reply(m.joining.t, Joined{Code: FencedInstanceID, Generation: -1, Member: m.id})
	}
	if m.syncing.on {
		c.reply(m.syncing.t, Synced{Code: FencedInstanceID})
	}
	m.joining, m.syncing = ticketSlot{}, ticketSlot{}
}

// staticReturn waits until the new id of a static member is committed.
type staticReturn struct {
	ticket     Ticket
	group      string
	generation int32
	member     string
	before     member // as it was under the old id
	leader     string // before
	skip       bool
}

func (w *staticReturn) finished(c *Core, code Code, now time.Time) {
	g := c.groups[w.group]
	var m *member
	if g != nil {
		m = g.member(w.member)
	}
	switch {
	case m == nil:
		c.reply(w.ticket, Joined{Code: UnknownMemberID, Generation: -1, Member: w.member})
	case code != OK:
		// Nothing happened: the instance is who it was.
		if m.joining.on {
			c.reply(m.joining.t, Joined{Code: code, Generation: -1, Member: w.member})
		}
		c.timers.stop(timerKey{g.id, sessionTimer, m.id})
		if g.leader == m.id {
			g.leader = w.before.id
		}
		m.id, m.clientID, m.clientHost = w.before.id, w.before.clientID, w.before.clientHost
		m.protocols, m.session, m.rebalance = w.before.protocols, w.before.session, w.before.rebalance
		m.joining = ticketSlot{}
		c.startSession(g, m, now)
		c.reply(w.ticket, Joined{Code: code, Generation: -1})
	case g.generation != w.generation || g.state != Stable:
		c.reply(w.ticket, Joined{Code: RebalanceInProgress, Generation: -1, Member: w.member})
	case w.skip:
		// The leader learns the members, but must not assign (KIP-814).
		j := g.joined(m, g.leader, m.id == g.leader)
		j.SkipAssignment = m.id == g.leader
		c.reply(w.ticket, j)
	default:
		// Told that it leads, it would assign anew: so it is told the old id.
		c.reply(w.ticket, g.joined(m, w.leader, false))
	}
}

// joined is the answer for the present generation.
func (g *group) joined(m *member, leader string, withMembers bool) Joined {
	j := Joined{
		Generation: g.generation, ProtocolType: optional(g.protocolType), Protocol: optional(g.protocol),
		Leader: leader, Member: m.id,
	}
	if withMembers {
		for _, x := range g.members {
			j.Members = append(j.Members, JoinedMember{ID: x.id, Instance: x.instance, Metadata: x.metadata(g.protocol)})
		}
	}
	return j
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
