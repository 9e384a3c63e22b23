package replica

import (
	"fmt"
	"slices"
	"time"

	"tidemark/internal/invariants"
	"tidemark/internal/model"
)

// Epoch is the leader epoch that this Leader was made for.
func (l *Leader) Epoch() model.LeaderEpoch { return l.epoch }

// PartitionEpoch is the last one that the controller committed.
func (l *Leader) PartitionEpoch() model.PartitionEpoch { return l.pe }

// EpochStart is the log end at the moment this leadership began.
func (l *Leader) EpochStart() model.Offset { return l.epochStart }

// LogEnd is the offset after the last record.
func (l *Leader) LogEnd() model.Offset { return l.leo }

// HighWatermark is the first offset that is not yet committed.
func (l *Leader) HighWatermark() model.Offset { return l.hw }

// KnowsCommitted tells whether the high watermark has reached the start of this
// epoch. Before that, records that the previous leader committed may lie above
// it, and "latest" must not be answered (KIP-207).
func (l *Leader) KnowsCommitted() bool { return l.hw >= l.epochStart }

// ISR is the state of the in-sync set. The slices in it must not be changed.
func (l *Leader) ISR() ISRState { return l.isr }

// Replicas in order of preference. Must not be changed.
func (l *Leader) Replicas() []model.BrokerID { return l.replicas }

func (l *Leader) evidence(why Reason, f *follower, now time.Time) Evidence {
	e := Evidence{
		Reason: why, At: now, LeaderEpoch: l.epoch, PartitionEpoch: l.pe,
		Broker: model.NoBroker, LEO: l.leo, HighWatermark: l.hw, Position: model.NoOffset,
	}
	if f != nil {
		e.Broker, e.Position = f.id, f.leo
		e.Lag, e.SinceFetch = since(f.lastCaughtUp, now), since(f.lastFetch, now)
	}
	return e
}

// since is 0 for a time that never was.
func since(t, now time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return now.Sub(t)
}

// FollowerView is what the leader knows of one remote replica.
type FollowerView struct {
	ID           model.BrokerID
	LEO          model.Offset // NoOffset: has not fetched in this epoch
	LogStart     model.Offset
	BrokerEpoch  model.BrokerEpoch
	InISR        bool // committed
	InMaximalISR bool
	Eligible     bool // as far as this broker's metadata knows
	CaughtUp     bool // at the end, or was within the lag time
	LastFetch    time.Time
	LastCaughtUp time.Time
	// LastAdvance is when its position last grew. A follower that fetches but
	// does not advance is stuck, however alive it looks (KAFKA-15911).
	LastAdvance time.Time
	Joined      int // ISR joins and departures in this leader epoch: flapping shows here
	Left        int
	LastJoin    time.Time
	LastLeft    time.Time
	LeftBecause Reason
	Condition   Condition
}

// Followers lists the remote replicas in replica order.
func (l *Leader) Followers(seen SessionTimes, now time.Time) []FollowerView {
	out := make([]FollowerView, 0, len(l.followers))
	for i := range l.followers {
		f := &l.followers[i]
		last := latest(f.lastFetch, seen.LastFetch(f.id))
		caught := f.lastCaughtUp
		if f.leo == l.leo {
			caught = latest(caught, last)
		}
		out = append(out, FollowerView{
			ID: f.id, LEO: f.leo, LogStart: f.logStart, BrokerEpoch: f.brokerEpoch,
			InISR: f.committed, InMaximalISR: f.maximal,
			Eligible: f.eligible(l.brokers.BrokerStatus(f.id)), CaughtUp: l.caughtUp(f, now),
			LastFetch: last, LastCaughtUp: caught, LastAdvance: f.lastAdvance,
			Joined: f.joined, Left: f.left, LastJoin: f.lastJoin, LastLeft: f.lastLeft, LeftBecause: f.lastLeftCause,
			Condition: l.condition(f, seen, now),
		})
	}
	return out
}

// check panics on a broken invariant when built with the invariants tag.
func (l *Leader) check() {
	if !invariants.Enabled {
		return
	}
	if l.hw > l.leo { // invariant 1
		panic(fmt.Sprintf("replica: high watermark %d above log end %d", l.hw, l.leo))
	}
	if !slices.Contains(l.isr.CommittedISR(), l.self) { // invariant 5
		panic(fmt.Sprintf("replica: leader %d not in its ISR %s", l.self, l.isr))
	}
}
