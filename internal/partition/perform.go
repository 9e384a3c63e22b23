package partition

import (
	"slices"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/replica"
	"tidemark/internal/session"
)

// takeLocked takes over the effects of the core: publishes the high watermark
// and leaves the rest to Perform.
func (p *Partition) takeLocked(eff replica.Effects) {
	n := &p.mu.pending
	if eff.Advanced {
		p.publishLocked(eff.HighWatermark)
	}
	if p.acked != nil {
		for _, a := range eff.Acks {
			p.acked.Acked(a)
		}
	}
	if eff.Propose != nil {
		n.propose, n.any = eff.Propose, true
	}
	for _, e := range eff.Evidence {
		n.events = append(n.events, p.journalEvent(e, eff.Propose))
		n.any = true
	}
}

// publishLocked stores what readers see.
func (p *Partition) publishLocked(hw model.Offset) {
	lso := p.mu.producers.LastStable(hw)
	if p.hw.Swap(int64(hw)) != int64(hw) {
		p.mu.pending.committed, p.mu.pending.any = true, true
	}
	if p.lso.Swap(int64(lso)) != int64(lso) {
		p.mu.pending.committed, p.mu.pending.any = true, true
	}
}

// Perform does what the changes since the last Perform ask for: it completes
// requests that wait (they join ready, which the caller runs), marks sessions,
// sends the ISR proposal and emits events. Any goroutine may call it; the
// caller holds no lock.
func (p *Partition) Perform(ready *purgatory.Ready) {
	p.mu.Lock()
	if !p.mu.pending.any {
		p.mu.Unlock()
		return
	}
	n := p.mu.pending
	p.mu.pending = pending{low: model.NoOffset, rolled: model.NoOffset}
	p.mu.Unlock()

	ready.Join(&n.ready)
	if n.committed {
		p.acks.Reach(p.HighWatermark(), ready)
	}
	if n.low != model.NoOffset {
		p.deletes.Reach(n.low, ready)
	}
	p.mark(n, ready)
	if n.propose != nil && p.sender != nil {
		p.sender.Propose(p, n.propose)
	}
	if p.journal != nil {
		for _, e := range n.events {
			p.journal.Emit(e)
		}
	}
	if p.storage == nil {
		return
	}
	if n.rolled != model.NoOffset {
		p.storage.Rolled(p, n.rolled)
	}
	if n.failed != nil {
		p.storage.Failed(p, n.failed)
	}
}

func (p *Partition) mark(n pending, ready *purgatory.Ready) {
	var what session.Change
	switch {
	case n.broken:
		what = session.Broken
	case n.data > 0:
		what = session.Data
	case n.committed:
		what = session.Committed
	case n.quiet:
		what = session.Quiet
	default:
		return
	}
	if all := p.subs.followers.Load(); all != nil {
		for _, e := range *all {
			wake(e.Mark(what, n.data), ready)
		}
	}
	if what == session.Data {
		if !n.committed {
			return
		}
		what = session.Committed
	}
	if all := p.subs.consumers.Load(); all != nil {
		for _, e := range *all {
			// How much became readable is not known here: look again.
			wake(e.Mark(what, 1<<30), ready)
		}
	}
}

func wake(r session.Parked, ready *purgatory.Ready) {
	if r != nil {
		ready.Add(r)
	}
}

// Subscribe makes e be marked when something changes here. Subscribing twice
// is harmless. Read after subscribing, or a change in between is missed.
func (p *Partition) Subscribe(e *session.Entry) {
	list := &p.subs.consumers
	if e.Session.Follower() {
		list = &p.subs.followers
	}
	p.subs.Lock()
	defer p.subs.Unlock()
	var all []*session.Entry
	if old := list.Load(); old != nil {
		if slices.Contains(*old, e) {
			return
		}
		all = append(make([]*session.Entry, 0, len(*old)+1), *old...)
	}
	all = append(all, e)
	list.Store(&all)
}

// Unsubscribe ends the marking of e.
func (p *Partition) Unsubscribe(e *session.Entry) {
	list := &p.subs.consumers
	if e.Session.Follower() {
		list = &p.subs.followers
	}
	p.subs.Lock()
	defer p.subs.Unlock()
	old := list.Load()
	if old == nil {
		return
	}
	all := slices.DeleteFunc(slices.Clone(*old), func(x *session.Entry) bool { return x == e })
	list.Store(&all)
}

// LastFetch is when the session through which broker id follows this partition
// was last used, the zero time if there is none. It implements
// replica.SessionTimes.
func (p *Partition) LastFetch(id model.BrokerID) time.Time {
	var last time.Time
	all := p.subs.followers.Load()
	if all == nil {
		return last
	}
	for _, e := range *all {
		if e.Session.Replica != id {
			continue
		}
		if t := e.Session.LastFetch(); t.After(last) {
			last = t
		}
	}
	return last
}

// event is an event about this partition in the given state.
func (p *Partition) event(k journal.Kind, s State) journal.Event {
	e := journal.For(k, p.tp)
	e.At = p.now()
	e.LeaderEpoch, e.PartitionEpoch = s.LeaderEpoch, s.PartitionEpoch
	e.NewISR = s.ISR
	e.LogStart = p.log.Start()
	return e
}

// journalEvent turns a decision's evidence into an event.
func (p *Partition) journalEvent(ev replica.Evidence, sent *replica.ISRChange) journal.Event {
	e := journal.For(kindOf(ev.Reason), p.tp)
	e.At, e.Reason, e.Detail = ev.At, string(ev.Reason), ev.String()
	e.Leader, e.LeaderEpoch, e.PartitionEpoch = p.self, ev.LeaderEpoch, ev.PartitionEpoch
	e.HighWatermark, e.LogEnd, e.LogStart = ev.HighWatermark, ev.LEO, p.log.Start()
	e.Offset, e.OldISR, e.MinISR = ev.Position, ev.ISR, int32(ev.MinISR)
	e.Health = string(ev.Health)
	for _, c := range ev.Causes {
		e.Causes = append(e.Causes, string(c))
	}
	if ev.Reason == replica.ReasonCondition || ev.Reason == replica.ReasonRemoved {
		e.Broker, e.Reason, e.Detail = ev.Broker, replica.JoinCauses(ev.Causes), ev.Why
	}
	if proposed := e.Kind == journal.ShrinkProposed || e.Kind == journal.ExpandProposed; proposed && sent != nil {
		e.NewISR = sent.IDs()
	} else if ev.Reason == replica.ReasonISRCommitted || ev.Reason == replica.ReasonISRMetadata {
		e.NewISR, e.OldISR = ev.ISR, nil
	}
	if ev.Broker != model.NoBroker {
		seen := journal.ReplicaSeen{Broker: ev.Broker, LogEnd: ev.Position}
		if ev.Lag > 0 {
			seen.LastCaughtUp = ev.At.Add(-ev.Lag)
		}
		if ev.SinceFetch > 0 {
			seen.LastFetch = ev.At.Add(-ev.SinceFetch)
		}
		e.Replicas = []journal.ReplicaSeen{seen}
	}
	return e
}

func kindOf(r replica.Reason) journal.Kind { // flat switch
	switch r {
	case replica.ReasonLagging, replica.ReasonNeverFetched:
		return journal.ShrinkProposed
	case replica.ReasonCaughtUp:
		return journal.ExpandProposed
	case replica.ReasonISRCommitted, replica.ReasonISRMetadata:
		return journal.ISRCommitted
	case replica.ReasonISRReverted, replica.ReasonISRStale:
		return journal.ISRRejected
	case replica.ReasonDiverged, replica.ReasonLeaderBehind, replica.ReasonDamaged:
		return journal.Truncated
	case replica.ReasonBelowLogStart:
		return journal.LogReset
	case replica.ReasonThrottled:
		return journal.Throttled
	case replica.ReasonCondition:
		return journal.ReplicaCondition
	case replica.ReasonRemoved:
		return journal.ReplicaRemoved
	}
	return journal.Note
}
