package replica

import (
	"time"

	"tidemark/internal/model"
)

// EffectiveMinISR is min.insync.replicas, but no more than there are replicas:
// a partition with one replica works under min.insync.replicas=2.
func (l *Leader) EffectiveMinISR() int { return max(1, min(l.minISR, len(l.replicas))) }

// AdmitsAcksAll tells whether an acks=all append may be written: the committed
// ISR must have reached the effective min ISR. A candidate does not count.
func (l *Leader) AdmitsAcksAll() bool { return l.isrSize >= l.EffectiveMinISR() }

// EnoughAfterAppend tells which answer a completed acks=all append gets: false
// means NOT_ENOUGH_REPLICAS_AFTER_APPEND.
func (l *Leader) EnoughAfterAppend() bool { return l.maxSize >= l.EffectiveMinISR() }

// caughtUp: at the leader's end now, or within the lag time.
func (l *Leader) caughtUp(f *follower, now time.Time) bool {
	return f.leo == l.leo || now.Sub(f.lastCaughtUp) <= l.lagMax
}

// eligible may join the ISR as far as this broker knows.
func (f *follower) eligible(s BrokerStatus) bool {
	return s.Eligible && (f.brokerEpoch == model.NoBrokerEpoch || f.brokerEpoch == s.Epoch)
}

// own is how far the leader itself counts.
func (l *Leader) own() model.Offset {
	if l.flushGate {
		return min(l.flushed, l.leo)
	}
	return l.leo
}

// Hold names what keeps the high watermark where it is.
type Hold struct {
	Broker model.BrokerID // who is furthest back; NoBroker if nobody is or min ISR is the cause
	LEO    model.Offset   // of Broker, NoOffset if it has not fetched yet
	Reason Reason         // ReasonUnderMinISR, or "" when Broker or nobody holds it
}

// candidate computes the high watermark that the books allow, and who bounds it.
func (l *Leader) candidate(now time.Time) (model.Offset, model.BrokerID) {
	at, by := l.own(), model.NoBroker
	if at < l.leo {
		by = l.self
	}
	for i := range l.followers {
		f := &l.followers[i]
		if f.leo >= at {
			continue
		}
		// A replica outside the ISR that is about to join holds the high
		// watermark too: joining asks for LEO >= HW, and an HW that runs ahead
		// of it would never let it in.
		if f.maximal || l.caughtUp(f, now) && f.eligible(l.brokers.BrokerStatus(f.id)) {
			at, by = f.leo, f.id
		}
	}
	return at, by
}

// advance moves the high watermark as far as the rules allow, after a change
// that is no replica's progress.
func (l *Leader) advance(now time.Time) Effects {
	return l.advanceBy(mover{id: model.NoBroker, phase: AckLeft}, now)
}

// advanceBy is advance after a change of one replica.
func (l *Leader) advanceBy(by mover, now time.Time) Effects {
	var eff Effects
	under := l.isrSize < l.EffectiveMinISR() // invariant 3
	if under != l.underMin {
		l.underMin = under
		reason := ReasonMinISRRestored
		if under {
			reason = ReasonUnderMinISR
		}
		e := l.evidence(reason, nil, now)
		e.ISR, e.MinISR = l.isr.CommittedISR(), l.EffectiveMinISR()
		eff.Evidence = append(eff.Evidence, e)
	}
	if under {
		return eff
	}
	if at, _ := l.candidate(now); at > l.hw { // invariant 1
		l.hw = at
		eff.Advanced, eff.HighWatermark = true, at
		eff.Acks = l.completed(by, now)
	}
	l.check()
	return eff
}

// Hold tells what keeps the high watermark from reaching the log end.
func (l *Leader) Hold(now time.Time) Hold {
	if l.isrSize < l.EffectiveMinISR() {
		return Hold{Broker: model.NoBroker, LEO: model.NoOffset, Reason: ReasonUnderMinISR}
	}
	at, by := l.candidate(now)
	if by == model.NoBroker {
		at = model.NoOffset
	}
	return Hold{Broker: by, LEO: at}
}

// LowWatermark is the smallest log start among the leader, whose own is given,
// and its live remote replicas. DeleteRecords waits for it. A replica whose log
// start is unknown counts as NoOffset.
func (l *Leader) LowWatermark(own model.Offset) model.Offset {
	low := own
	for i := range l.followers {
		f := &l.followers[i]
		if l.brokers.BrokerStatus(f.id).Eligible {
			low = min(low, f.logStart)
		}
	}
	return low
}
