package group

import (
	"slices"
	"time"
)

// rebalance begins a new generation, or sees whether the one that is being made
// is complete.
func (c *Core) rebalance(g *group, now time.Time) {
	switch g.state {
	case Empty, CompletingRebalance, Stable:
		c.prepare(g, now)
	case PreparingRebalance:
		c.maybeCompleteJoin(g, now)
	}
}

// prepare asks all members to join again: they learn it with their next heartbeat.
func (c *Core) prepare(g *group, now time.Time) {
	if g.state == CompletingRebalance {
		c.refuseSyncs(g, RebalanceInProgress)
	}
	c.timers.stop(timerKey{g.id, syncTimer, ""})
	for _, m := range g.members {
		m.needSync = false
	}
	g.initial = g.state == Empty
	g.enter(PreparingRebalance, now)
	if g.initial {
		// The first one does not get everything only to give it up again at once.
		g.fresh = false
		d := c.cfg.InitialRebalanceDelay
		g.remaining = max(g.rebalanceTimeout()-d, 0)
		c.timers.start(timerKey{g.id, initialTimer, ""}, now.Add(d))
		return
	}
	c.timers.start(timerKey{g.id, joinTimer, ""}, now.Add(g.rebalanceTimeout()))
	c.maybeCompleteJoin(g, now)
}

// initialDelayOver waits again if somebody joined meanwhile, but not longer
// than the rebalance time-out in all.
func (c *Core) initialDelayOver(g *group, now time.Time) {
	if g.state != PreparingRebalance {
		return
	}
	if g.fresh && g.remaining > 0 {
		g.fresh = false
		d := min(c.cfg.InitialRebalanceDelay, g.remaining)
		g.remaining -= d
		c.timers.start(timerKey{g.id, initialTimer, ""}, now.Add(d))
		return
	}
	c.completeJoin(g, now)
}

func (c *Core) maybeCompleteJoin(g *group, now time.Time) {
	if g.state == PreparingRebalance && !g.initial && g.allJoined() {
		c.completeJoin(g, now)
	}
}

// completeJoin makes the next generation of those who have joined.
func (c *Core) completeJoin(g *group, now time.Time) {
	if g.state != PreparingRebalance {
		return
	}
	c.timers.stop(timerKey{g.id, joinTimer, ""})
	c.timers.stop(timerKey{g.id, initialTimer, ""})
	for _, m := range slices.Clone(g.members) {
		if !m.joining.on && m.instance == nil { // a static member may come back
			c.drop(g, m)
		}
	}
	if len(g.members) > 0 && !c.electLeader(g) {
		// Only static members that have not rejoined: they keep their places
		// until their sessions end.
		c.timers.start(timerKey{g.id, joinTimer, ""}, now.Add(g.rebalanceTimeout()))
		return
	}
	g.generation++ // invariant 3
	g.initial = false
	if len(g.members) == 0 {
		g.protocol, g.leader = "", ""
		g.enter(Empty, now)
		if g.generation == 1 && len(g.offsets) == 0 {
			g.generation = 0 // nobody has seen it
			c.maybeForget(g)
			return
		}
		c.write([]Record{g.record(nil)}, emptied{})
		return
	}
	g.protocol = g.choose()
	g.enter(CompletingRebalance, now)
	for _, m := range g.members {
		m.needSync = true
		if !m.joining.on {
			continue
		}
		c.reply(m.joining.t, g.joined(m, g.leader, m.id == g.leader))
		m.joining, m.isNew = ticketSlot{}, false
		c.startSession(g, m, now)
	}
	c.timers.start(timerKey{g.id, syncTimer, ""}, now.Add(g.rebalanceTimeout()))
}

// electLeader keeps the leader if it has joined, else takes the first who has.
func (c *Core) electLeader(g *group) bool {
	if m := g.member(g.leader); m != nil && m.joining.on {
		return true
	}
	for _, m := range g.members {
		if m.joining.on {
			g.leader = m.id
			return true
		}
	}
	return false
}

// emptied: the record of an empty group changes no answer; if it is lost, the
// members that it forgets lose their sessions under the next coordinator.
type emptied struct{}

func (emptied) finished(*Core, Code, time.Time) {}

// drop removes a member and what belongs to it.
func (c *Core) drop(g *group, m *member) {
	if m.joining.on {
		c.reply(m.joining.t, Joined{Code: UnknownMemberID, Generation: -1})
	}
	if m.syncing.on {
		c.reply(m.syncing.t, Synced{Code: UnknownMemberID})
	}
	c.timers.stop(timerKey{g.id, sessionTimer, m.id})
	g.remove(m)
}

func (c *Core) forgetPending(g *group, id string) {
	delete(g.pending, id)
	c.timers.stop(timerKey{g.id, pendingTimer, id})
}

// maybeForget drops a group of which nothing is in the log.
func (c *Core) maybeForget(g *group) {
	if g.state == Empty && g.generation == 0 && len(g.members) == 0 && len(g.pending) == 0 &&
		len(g.offsets) == 0 && len(g.inFlight) == 0 {
		delete(c.groups, g.id)
	}
}

// startSession begins a member's session anew.
func (c *Core) startSession(g *group, m *member, now time.Time) {
	c.timers.start(timerKey{g.id, sessionTimer, m.id}, now.Add(m.session))
}

// sessionExpired removes a member that was not heard of. One that waits for an
// answer can't send heartbeats and is not to blame.
func (c *Core) sessionExpired(g *group, id string, now time.Time) {
	m := g.member(id)
	if m == nil || !m.isNew && (m.joining.on || m.syncing.on) {
		return
	}
	c.drop(g, m)
	c.rebalance(g, now)
}

// refuseSyncs answers all that wait for an assignment, and forgets assignments.
func (c *Core) refuseSyncs(g *group, code Code) {
	for _, m := range g.members {
		m.assignment = nil
		if m.syncing.on {
			c.reply(m.syncing.t, Synced{Code: code})
			m.syncing = ticketSlot{}
		}
	}
}
