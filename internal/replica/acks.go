package replica

import (
	"time"

	"tidemark/internal/model"
)

// AckPhase is a part of the time that an acks=all append waited for. The words
// are stable: they are labels of metrics.
type AckPhase uint8

// The phases of a wait. A follower's wait has the first three, in this order;
// the others stand alone.
const (
	// AckFetch: the records lay on the leader until the follower's next fetch
	// took them along: it was busy with earlier ones, or slow to ask.
	AckFetch AckPhase = iota
	// AckAppend: the follower wrote and, with flush on ack, synced them, as it
	// says itself. 0 for one that doesn't say.
	AckAppend
	// AckReturn: the rest between the answer and the next fetch: both ways over the
	// network, and whatever the follower doesn't count as its own append.
	AckReturn
	// AckFlush: the leader's own sync, with flush on ack.
	AckFlush
	// AckLeft: until the controller let the leader go on without the replica, or
	// until enough replicas were in sync.
	AckLeft
	ackPhases
)

// AckPhases lists all phases.
func AckPhases() []AckPhase { return []AckPhase{AckFetch, AckAppend, AckReturn, AckFlush, AckLeft} }

func (p AckPhase) String() string { // flat switch
	switch p {
	case AckFetch:
		return "fetch"
	case AckAppend:
		return "append"
	case AckReturn:
		return "return"
	case AckFlush:
		return "flush"
	case AckLeft:
		return "left"
	}
	return "?"
}

// Ack is the end of one acks=all append's wait, and who was the last to complete it.
type Ack struct {
	// Last is the replica whose position crossed the append last: a follower, the
	// leader itself, or a member that left the ISR instead. NoBroker: none did,
	// the ISR was below the effective min ISR.
	Last model.BrokerID
	End  model.Offset  // of the append, exclusive
	Wait time.Duration // from the append until the high watermark passed it
	// Phases add up to Wait.
	Phases [ackPhases]time.Duration
}

// ackMark is an acks=all append above the high watermark.
type ackMark struct {
	end model.Offset
	at  time.Time
}

// ackMarksMax bounds the appends of one partition whose waits are measured at a
// time; the ones beyond complete unmeasured.
const ackMarksMax = 1024

// Await measures how long the append that ends at end waits for the high
// watermark. Call it before Appended, in the order of the appends; whose wait is
// over is in Effects.Acks.
func (l *Leader) Await(end model.Offset, now time.Time) {
	if len(l.marks) < ackMarksMax {
		l.marks = append(l.marks, ackMark{end, now})
	}
}

// mover is whose change may move the high watermark.
type mover struct {
	id    model.BrokerID
	f     *follower // the one that fetched, nil otherwise
	phase AckPhase  // unless f is set
}

// completed ends the waits below the high watermark. The result is valid until
// the next call.
func (l *Leader) completed(by mover, now time.Time) []Ack {
	n := 0
	for n < len(l.marks) && l.marks[n].end <= l.hw {
		n++
	}
	if n == 0 {
		return nil
	}
	l.acks = l.acks[:0]
	for _, m := range l.marks[:n] {
		a := Ack{Last: by.id, End: m.end, Wait: max(0, now.Sub(m.at))}
		if by.f != nil {
			a.Phases = by.f.split(m, now)
		} else {
			a.Phases[by.phase] = a.Wait
		}
		l.acks = append(l.acks, a)
	}
	rest := copy(l.marks, l.marks[n:])
	l.marks = l.marks[:rest]
	return l.acks
}

// split divides the wait of an append that the follower's fetch completes now.
func (f *follower) split(m ackMark, now time.Time) (p [ackPhases]time.Duration) {
	taken := f.servedAt // when the records left for it
	if taken.Before(m.at) {
		taken = m.at
	}
	if taken.After(now) {
		taken = now
	}
	p[AckFetch] = taken.Sub(m.at)
	rest := now.Sub(taken)
	p[AckAppend] = min(rest, f.report.Append)
	p[AckReturn] = rest - p[AckAppend]
	return p
}
