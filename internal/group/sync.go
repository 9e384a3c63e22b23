package group

import "time"

// Sync answers with the member's assignment once the leader has brought it.
func (c *Core) Sync(t Ticket, r Sync, now time.Time) Effects {
	if code := c.sync(t, &r, now); code != OK {
		c.reply(t, Synced{Code: code})
	}
	return c.take()
}

func (c *Core) sync(t Ticket, r *Sync, now time.Time) Code {
	if r.Group == "" {
		return InvalidGroupID
	}
	g := c.groups[r.Group]
	if g == nil {
		return UnknownMemberID
	}
	m, code := g.current(r.Member, r.Instance, r.Generation)
	if code != OK {
		return code
	}
	if r.ProtocolType != nil && *r.ProtocolType != g.protocolType || r.Protocol != nil && *r.Protocol != g.protocol {
		return InconsistentProtocol
	}
	switch g.state {
	case PreparingRebalance:
		return RebalanceInProgress
	case Stable:
		c.synced(g, m)
		c.reply(t, g.synced(m))
		return OK
	case CompletingRebalance:
	default:
		return UnknownMemberID
	}
	if m.syncing.on {
		c.reply(m.syncing.t, Synced{Code: RebalanceInProgress})
	}
	m.syncing = ticketSlot{t, true}
	c.synced(g, m)
	if m.id == g.leader {
		c.storeAssignment(g, r.Assignments)
	}
	return OK
}

// current finds a member of the present generation.
func (g *group) current(id string, instance *string, generation int32) (*member, Code) {
	if g.state == Dead {
		return nil, CoordinatorNotAvailable
	}
	m, code := g.check(id, instance)
	if code != OK {
		return nil, code
	}
	if generation != g.generation {
		return nil, IllegalGeneration
	}
	return m, OK
}

// synced notes that a member asked for its assignment.
func (c *Core) synced(g *group, m *member) {
	m.needSync = false
	for _, x := range g.members {
		if x.needSync {
			return
		}
	}
	c.timers.stop(timerKey{g.id, syncTimer, ""})
}

func (g *group) synced(m *member) Synced {
	return Synced{ProtocolType: optional(g.protocolType), Protocol: optional(g.protocol), Assignment: m.assignment}
}

// storeAssignment writes the generation. A member without an assignment gets an
// empty one.
func (c *Core) storeAssignment(g *group, as []Assignment) {
	byMember := make(map[string][]byte, len(g.members))
	for _, a := range as {
		byMember[a.Member] = a.Data
	}
	// What is written is the state that the group will have.
	state := g.state
	g.state = Stable
	rec := g.record(byMember)
	g.state = state
	c.write([]Record{rec}, &assigned{group: g.id, generation: g.generation, assignments: byMember})
}

// assigned waits until the assignments of a generation are committed.
type assigned struct {
	group       string
	generation  int32
	assignments map[string][]byte
}

func (w *assigned) finished(c *Core, code Code, now time.Time) {
	g := c.groups[w.group]
	if g == nil || g.state != CompletingRebalance || g.generation != w.generation {
		return // a newer rebalance has answered the requests already
	}
	if code != OK {
		c.refuseSyncs(g, code)
		c.prepare(g, now)
		return
	}
	g.enter(Stable, now)
	for _, m := range g.members {
		m.assignment = w.assignments[m.id]
		if m.syncing.on {
			c.reply(m.syncing.t, g.synced(m)) // invariant 2
			m.syncing = ticketSlot{}
			c.startSession(g, m, now)
		}
	}
}

// syncExpired removes members that joined and then never asked for their assignment.
func (c *Core) syncExpired(g *group, now time.Time) {
	if g.state != CompletingRebalance && g.state != Stable {
		return
	}
	gone := false
	for i := 0; i < len(g.members); {
		if m := g.members[i]; m.needSync {
			c.drop(g, m)
			gone = true
			continue
		}
		i++
	}
	if gone {
		c.rebalance(g, now)
	}
}

// Heartbeat keeps a member's session. RebalanceInProgress asks it to join again.
func (c *Core) Heartbeat(r Heartbeat, now time.Time) Code {
	if r.Group == "" {
		return InvalidGroupID
	}
	g := c.groups[r.Group]
	if g == nil {
		return UnknownMemberID
	}
	m, code := g.current(r.Member, r.Instance, r.Generation)
	if code != OK {
		return code
	}
	switch g.state {
	case Empty:
		return UnknownMemberID
	case PreparingRebalance:
		code = RebalanceInProgress
	}
	c.startSession(g, m, now)
	return code
}

// Leave removes members at once, static ones too.
func (c *Core) Leave(t Ticket, r Leave, now time.Time) Effects {
	c.reply(t, c.leave(&r, now))
	return c.take()
}

func (c *Core) leave(r *Leave, now time.Time) Left {
	if r.Group == "" {
		return Left{Code: InvalidGroupID}
	}
	g := c.groups[r.Group]
	if g == nil {
		return Left{Code: UnknownMemberID}
	}
	if g.state == Dead {
		return Left{Code: CoordinatorNotAvailable}
	}
	var out Left
	before := len(g.members)
	for _, l := range r.Members {
		out.Members = append(out.Members, c.leaveOne(g, l))
	}
	switch {
	case g.state == PreparingRebalance:
		c.maybeCompleteJoin(g, now)
	case len(g.members) < before:
		c.rebalance(g, now)
	default:
		c.maybeForget(g)
	}
	return out
}

func (c *Core) leaveOne(g *group, l LeavingMember) Code {
	if l.Instance == nil && g.pending[l.ID] {
		c.forgetPending(g, l.ID)
		return OK
	}
	var m *member
	if l.Instance == nil {
		m = g.member(l.ID)
	} else if m = g.static(*l.Instance); m != nil && l.ID != "" && l.ID != m.id {
		return FencedInstanceID
	}
	if m == nil {
		return UnknownMemberID
	}
	c.drop(g, m)
	return OK
}
