package replica

import (
	"slices"
	"time"

	"tidemark/internal/model"
)

// Tick looks for members of the ISR that have fallen behind, and proposes to
// drop them all in one change. Call it every LagTimeMax/2: a dead follower is
// then noticed after between one and one and a half times LagTimeMax.
func (l *Leader) Tick(seen SessionTimes, now time.Time) Effects {
	l.credit(seen)
	eff := l.advance(now)
	eff.Evidence = append(eff.Evidence, l.tell(seen, now)...)
	if l.isr.Proposal() != nil { // invariant 4
		return eff
	}
	var out []model.BrokerID
	for i := range l.followers {
		f := &l.followers[i]
		// A replica at the leader's end never leaves for its age (KAFKA-7152): if it
		// is dead, it is fenced, and if it is alive, it has all there is.
		if !f.committed || f.leo == l.leo || now.Sub(f.lastCaughtUp) <= l.lagMax {
			continue
		}
		reason := ReasonLagging
		if f.leo == model.NoOffset {
			reason = ReasonNeverFetched
		}
		f.lastLeftCause = reason
		c := l.condition(f, seen, now)
		f.leftCauses = c.Causes
		e := l.evidence(reason, f, now)
		e.Causes, e.Why = c.Causes, c.Why()
		e.Limit, e.ISR, e.MinISR = l.lagMax, l.isr.CommittedISR(), l.EffectiveMinISR()
		eff.Evidence = append(eff.Evidence, e)
		out = append(out, f.id)
	}
	if out == nil {
		eff.add(l.Reconsider(now))
		return eff
	}
	keep := slices.DeleteFunc(slices.Clone(l.isr.CommittedISR()), func(id model.BrokerID) bool {
		return slices.Contains(out, id)
	})
	eff.Propose = l.change(keep)
	l.setISR(PendingShrink{ISR: l.isr.CommittedISR(), Removing: out, Sent: eff.Propose})
	return eff
}

// Reconsider proposes a follower that could not be proposed when it last
// fetched: it was fenced then, or another change was in flight. Incremental
// sessions do not name an idle partition again, so no further fetch may come.
// Call it when a broker was unfenced.
func (l *Leader) Reconsider(now time.Time) Effects {
	for i := range l.followers {
		f := &l.followers[i]
		if f.leo == model.NoOffset || !l.caughtUp(f, now) {
			continue
		}
		if eff := l.maybeExpand(f, now); eff.Propose != nil {
			eff.add(l.advance(now))
			return eff
		}
	}
	return Effects{}
}

// maybeExpand proposes f if it may join. Reaching the high watermark is not
// enough: right after an election it may still be below records that the
// previous leader committed. All of those are below epochStart (KAFKA-7128).
func (l *Leader) maybeExpand(f *follower, now time.Time) Effects {
	if f.committed || l.isr.Proposal() != nil || f.leo < l.hw || f.leo < l.epochStart || now.Before(f.notBefore) {
		return Effects{}
	}
	if !f.eligible(l.brokers.BrokerStatus(f.id)) {
		return Effects{}
	}
	var isr []model.BrokerID
	for _, id := range l.replicas {
		if id == f.id || slices.Contains(l.isr.CommittedISR(), id) {
			isr = append(isr, id)
		}
	}
	e := l.evidence(ReasonCaughtUp, f, now)
	e.ISR, e.MinISR = l.isr.CommittedISR(), l.EffectiveMinISR()
	eff := Effects{Propose: l.change(isr), Evidence: []Evidence{e}}
	l.setISR(PendingExpand{ISR: l.isr.CommittedISR(), Adding: f.id, Sent: eff.Propose})
	return eff
}

// change makes the proposal. The broker epochs come from the same books that
// the decision was made on (KAFKA-15221).
func (l *Leader) change(isr []model.BrokerID) *ISRChange {
	l.proposals++
	c := &ISRChange{Proposal: l.proposals, LeaderEpoch: l.epoch, PartitionEpoch: l.pe}
	for _, id := range isr {
		m := ISRMember{ID: id, Epoch: model.NoBrokerEpoch}
		if f := l.find(id); f != nil {
			m.Epoch = f.brokerEpoch
		}
		c.ISR = append(c.ISR, m)
	}
	return c
}

// ISRAnswer is the controller's agreement to a proposal.
type ISRAnswer struct {
	Proposal       uint64
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch
	ISR            []model.BrokerID
}

// ISRCommitted takes the controller's agreement. It is ignored unless it
// answers the proposal in flight, in this leader epoch, with a partition epoch
// that is not older: metadata may have overtaken it.
func (l *Leader) ISRCommitted(a ISRAnswer, now time.Time) Effects {
	sent := l.isr.Proposal()
	if sent == nil || sent.Proposal != a.Proposal || a.LeaderEpoch != l.epoch || a.PartitionEpoch < l.pe {
		return Effects{}
	}
	return l.commit(ReasonISRCommitted, a.PartitionEpoch, a.ISR, now)
}

// commit replaces the ISR state, tells what changed, and tries the high watermark.
func (l *Leader) commit(why Reason, pe model.PartitionEpoch, isr []model.BrokerID, now time.Time) Effects {
	by := mover{id: model.NoBroker, phase: AckLeft}
	at := l.leo
	var causes []Cause // of those that leave by the controller's own decision
	for i := range l.followers {
		f := &l.followers[i]
		switch in := slices.Contains(isr, f.id); {
		case in && !f.committed:
			f.joined++
			f.lastJoin = now
			f.returned()
		case !in && f.committed:
			f.left++
			f.lastLeft = now
			if f.leo < at { // of those that left, the one that held the high watermark back
				by.id, at = f.id, f.leo
			}
			if why == ReasonISRMetadata && !l.dropping(f.id) {
				f.lastLeftCause = ReasonISRMetadata
				h, why := l.absent(f, l.brokers.BrokerStatus(f.id))
				if f.leftCauses = why; why != nil { // told of by this change
					f.told = Condition{Health: h, Cause: why[0]}.key()
				}
				for _, c := range f.leftCauses {
					causes = withCause(causes, c)
				}
			}
		}
	}
	changed := !slices.Equal(isr, l.isr.CommittedISR())
	l.pe = pe
	l.setISR(Committed{ISR: slices.Clone(isr)})
	var eff Effects
	if changed || why == ReasonISRCommitted {
		e := l.evidence(why, nil, now)
		e.ISR, e.MinISR, e.Causes = l.isr.CommittedISR(), l.EffectiveMinISR(), causes
		eff.Evidence = append(eff.Evidence, e)
	}
	eff.add(l.advanceBy(by, now))
	eff.add(l.Reconsider(now))
	return eff
}

// dropping tells whether the leader itself has asked to drop a member. The
// metadata may bring the agreement before the answer does.
func (l *Leader) dropping(id model.BrokerID) bool {
	s, ok := l.isr.(PendingShrink)
	return ok && slices.Contains(s.Removing, id)
}

// gone is the evidence of the replicas that a reassignment took away.
func (l *Leader) gone(a Assignment, now time.Time) (out []Evidence) {
	for i := range l.followers {
		if f := &l.followers[i]; !slices.Contains(a.Replicas, f.id) {
			e := l.evidence(ReasonRemoved, f, now)
			e.Causes = []Cause{CauseAdminRemoved}
			out = append(out, e)
		}
	}
	return out
}

// ISRRejected takes the controller's refusal of a proposal, or the failure to
// ask. A refusal of anything but the proposal in flight is ignored.
func (l *Leader) ISRRejected(proposal uint64, why Refusal, now time.Time) Effects {
	sent := l.isr.Proposal()
	if sent == nil || sent.Proposal != proposal {
		return Effects{}
	}
	switch why {
	case RefusedRetry:
		return Effects{Propose: sent}
	case RefusedStale:
		e := l.evidence(ReasonISRStale, nil, now)
		e.ISR = l.isr.CommittedISR()
		return Effects{Evidence: []Evidence{e}}
	}
	e := l.evidence(ReasonISRReverted, nil, now)
	if s, ok := l.isr.(PendingExpand); ok {
		if f := l.find(s.Adding); f != nil {
			f.notBefore = now.Add(expandBackoff)
			e.Broker, e.Position, e.Causes = f.id, f.leo, []Cause{CauseISRUpdateRejected}
			f.rejectedAt = now
		}
	}
	l.setISR(Committed{ISR: l.isr.CommittedISR()})
	e.ISR = l.isr.CommittedISR()
	eff := Effects{Evidence: []Evidence{e}}
	eff.add(l.advance(now))
	return eff
}

// Update takes the partition's state from newer metadata of the same leader
// epoch. An older partition epoch is ignored. An equal one is no news either,
// and a proposal on top of it stays in flight: dropping it would let the high
// watermark pass a candidate that the controller may already have admitted.
func (l *Leader) Update(a Assignment, now time.Time) Effects {
	if a.PartitionEpoch < l.pe {
		return Effects{}
	}
	if a.PartitionEpoch == l.pe {
		l.removing, l.dead = a.Removing, a.Dead
		if slices.Equal(a.Replicas, l.replicas) {
			return Effects{}
		}
		// The answer to AlterPartition came first and said nothing of the
		// replicas: it completed a reassignment.
		eff := Effects{Evidence: l.gone(a, now)}
		l.assign(a.Replicas)
		l.setISR(l.isr)
		eff.add(l.advance(now))
		return eff
	}
	gone := l.gone(a, now)
	l.assign(a.Replicas)
	l.removing, l.dead = a.Removing, a.Dead
	eff := l.commit(ReasonISRMetadata, a.PartitionEpoch, a.ISR, now)
	eff.Evidence = append(gone, eff.Evidence...)
	return eff
}

// Configure takes new values of min.insync.replicas and replica.lag.time.max.ms.
func (l *Leader) Configure(minISR int, lagMax time.Duration, flushGate bool, now time.Time) Effects {
	l.minISR, l.lagMax, l.flushGate = minISR, lagMax, flushGate
	return l.advance(now)
}
