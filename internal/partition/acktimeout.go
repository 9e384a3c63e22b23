package partition

import (
	"fmt"
	"strings"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// waitedEvery bounds how often a partition's journal tells that producers wait in vain.
const waitedEvery = time.Second

// AckTimedOut says why an acks=all append was not committed in time: which
// replicas lack it and what is in their way, or that too few are in sync. "" if this
// replica leads no longer. The journal hears of it, too, not more than once a second.
func (p *Partition) AckTimedOut(a Appended) string {
	p.stats.acksExpired.Add(1)
	watch := p.watch()
	p.mu.Lock()
	now := p.now()
	l, ok := p.mu.role.(leading)
	if !ok {
		p.mu.Unlock()
		return ""
	}
	e := p.event(journal.ProduceWaited, State{LeaderEpoch: l.core.Epoch(), PartitionEpoch: l.core.PartitionEpoch()})
	e.Leader, e.LogEnd, e.HighWatermark, e.Offset = p.self, p.mu.leo, p.HighWatermark(), a.Last+1
	e.NewISR, e.MinISR = l.core.ISR().CommittedISR(), int32(l.core.EffectiveMinISR())
	h := l.core.Hold(now)
	e.Reason = string(h.Reason)
	var missing []string
	for _, f := range l.core.Followers(watch, now) {
		if f.LEO >= a.Last+1 || !f.InMaximalISR && f.ID != h.Broker {
			continue
		}
		missing = append(missing, lacking(f, a.Last+1))
		e.Replicas = append(e.Replicas, journal.ReplicaSeen{Broker: f.ID, LogEnd: f.LEO, LastCaughtUp: f.LastCaughtUp, LastFetch: f.LastFetch})
		for _, c := range f.Condition.Causes {
			e.Causes = append(e.Causes, string(c))
		}
	}
	speak := now.Sub(p.mu.waited) >= waitedEvery && p.journal != nil
	if speak {
		p.mu.waited = now
	}
	p.mu.Unlock()
	switch {
	case h.Reason != "":
		e.Detail = fmt.Sprintf("in-sync replicas %v, effective min.insync.replicas %d", e.NewISR, e.MinISR)
	case len(missing) > 0:
		e.Reason, e.Detail = "behind", "not yet on "+strings.Join(missing, ", ")
	case h.Broker == p.self:
		e.Reason, e.Detail = "not-flushed", "not yet on the leader's own disk"
	default:
		e.Reason, e.Detail = "late", "committed after the time-out"
	}
	if speak {
		p.journal.Emit(e)
	}
	return e.Detail
}

// lacking says of a follower how far it is from an offset, and why.
func lacking(f replica.FollowerView, end model.Offset) string {
	s := fmt.Sprintf("broker %d (at %d of %d", f.ID, f.LEO, end)
	if f.LEO == model.NoOffset {
		s = fmt.Sprintf("broker %d (hasn't fetched in this leader epoch", f.ID)
	}
	if c := f.Condition; len(c.Causes) > 0 {
		s += ", " + replica.JoinCauses(c.Causes)
	} else if !f.LastFetch.IsZero() {
		s += fmt.Sprintf(", last fetch %s ago", c.SinceFetch.Round(time.Millisecond))
	}
	return s + ")"
}
