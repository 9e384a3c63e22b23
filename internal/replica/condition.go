package replica

import (
	"fmt"
	"slices"
	"time"

	"tidemark/internal/model"
)

// Health is the state of one follower as its leader sees it. The words are
// stable: they appear in the API, the metrics and the console.
type Health string

// The states of a follower.
const (
	// InSync: a member of the committed ISR, caught up within the lag time.
	InSync Health = "in-sync"
	// Lagging: behind, and not getting closer; Cause says in what way.
	Lagging Health = "lagging"
	// CatchingUp: outside the ISR, getting closer; SecondsLeft says how long.
	CatchingUp Health = "catching-up"
	// Joining: caught up, its expansion waits for the controller.
	Joining Health = "joining"
	// Flapping: has left and joined the ISR repeatedly within FlapWindow.
	Flapping Health = "flapping"
	// Offline: fenced, shutting down or not registered.
	Offline Health = "offline"
)

// Cause says in what way a follower lags. Where two fit, the first one that
// the numbers show counts.
type Cause string

// The causes.
const (
	NoCause           Cause = ""
	NeverFetched      Cause = "never-fetched"            // not once in this leader epoch
	NotFetching       Cause = "not-fetching"             // it has stopped asking
	NotAdvancing      Cause = "fetching-not-advancing"   // it asks for the same offset (KAFKA-15911)
	SlowerThanLeader  Cause = "slower-than-leader"       // it advances, the leader's end moves away
	WaitsForControl   Cause = "waiting-for-controller"   // a change of the ISR is in flight
	FencedOrLeaving   Cause = "fenced-or-shutting-down"  // the metadata says so
	OlderRegistration Cause = "fetch-of-earlier-process" // it fetched before its broker registered anew (KIP-903)
	LeftRepeatedly    Cause = "left-the-isr-repeatedly"
	Throttled         Cause = "throttled" // by leader. or follower.replication.throttled.rate
)

// FlapWindow is how long a departure from the ISR counts towards flapping.
const FlapWindow = 10 * time.Minute

// flapPairs is how many departures followed by a return make a flapping follower.
const flapPairs = 2

// Condition is a follower's health with the numbers that it was judged by.
type Condition struct {
	Health Health
	Cause  Cause
	// Lag is the distance to the leader's end in records, -1 if it has not
	// fetched in this leader epoch.
	Lag int64
	// Rate and LeaderRate are records a second over the last measured second or
	// more; 0 if not measured yet.
	Rate, LeaderRate float64
	// SecondsLeft until it has caught up at these rates; 0 if it has, -1 if it
	// doesn't get closer.
	SecondsLeft float64
	// SinceFetch and SinceAdvance are 0 if it never happened.
	SinceFetch, SinceAdvance time.Duration
}

// String is one line for interaction files and logs.
func (c Condition) String() string {
	s := string(c.Health)
	if c.Cause != NoCause {
		s += " (" + string(c.Cause) + ")"
	}
	if c.Lag >= 0 {
		s += fmt.Sprintf(" lag=%d", c.Lag)
	}
	if c.Health == CatchingUp || c.Cause == SlowerThanLeader {
		s += fmt.Sprintf(" rate=%.0f/s leader=%.0f/s left=%.0fs", c.Rate, c.LeaderRate, c.SecondsLeft)
	}
	return s
}

// meter measures how fast a position moves, over windows of at least a second.
type meter struct {
	at           time.Time
	own, leader  model.Offset
	rate, ofLead float64
	measured     bool
}

const meterWindow = time.Second

// saw takes in a position; the first one only starts the measurement.
func (m *meter) saw(own, leader model.Offset, now time.Time) {
	if m.at.IsZero() || own < m.own {
		*m = meter{at: now, own: own, leader: leader}
		return
	}
	d := now.Sub(m.at)
	if d < meterWindow {
		return
	}
	s := d.Seconds()
	*m = meter{at: now, own: own, leader: leader, rate: float64(own-m.own) / s, ofLead: float64(leader-m.leader) / s, measured: true}
}

// condition judges one follower now. last is when it fetched last, its session's
// fetches included.
func (l *Leader) condition(f *follower, last, now time.Time) Condition {
	c := Condition{Lag: -1, SinceFetch: since(last, now), SinceAdvance: since(f.lastAdvance, now), Rate: f.meter.rate, LeaderRate: f.meter.ofLead}
	if f.leo != model.NoOffset {
		c.Lag = int64(l.leo - f.leo)
	}
	c.SecondsLeft = secondsLeft(c, f.meter.measured)
	c.Health, c.Cause = l.judge(f, c, now)
	return c
}

func secondsLeft(c Condition, measured bool) float64 {
	switch gain := c.Rate - c.LeaderRate; {
	case c.Lag == 0:
		return 0
	case c.Lag < 0 || !measured || gain <= 0:
		return -1
	default:
		return float64(c.Lag) / gain
	}
}

func (l *Leader) judge(f *follower, c Condition, now time.Time) (Health, Cause) {
	status := l.brokers.BrokerStatus(f.id)
	// Silence of a third of the lag time is worth a word before it costs the ISR.
	silent := l.lagMax / 3
	switch {
	case !status.Eligible:
		return Offline, FencedOrLeaving
	case f.left >= flapPairs && f.joined >= flapPairs && now.Sub(f.lastLeft) < FlapWindow:
		return Flapping, LeftRepeatedly
	case l.throttled(f, c, silent, now) && c.SecondsLeft > 0 && c.SinceFetch <= silent:
		return CatchingUp, Throttled
	case l.throttled(f, c, silent, now):
		return Lagging, Throttled
	case f.leo == model.NoOffset && !f.committed:
		return Lagging, NeverFetched
	case c.SinceFetch > silent:
		return Lagging, NotFetching
	case f.maximal && !f.committed:
		return Joining, WaitsForControl
	case f.committed && (c.Lag <= 0 || l.caughtUp(f, now)):
		return InSync, NoCause
	case f.leo == model.NoOffset:
		return Lagging, NeverFetched
	case c.Lag > 0 && (c.SinceAdvance > silent || f.meter.measured && c.Rate == 0):
		return Lagging, NotAdvancing
	case f.meter.measured && c.SecondsLeft < 0:
		return Lagging, SlowerThanLeader
	case !f.eligible(status):
		return Lagging, OlderRegistration
	case f.committed: // its removal is being asked for
		return Lagging, WaitsForControl
	}
	return CatchingUp, NoCause
}

// throttleMemory is how long an answer without records, for lack of quota, says
// something about its follower: as long as the quota's window. Longer ago, a
// new one is news.
const throttleMemory = 11 * time.Second

// Withheld tells that a follower's fetch was answered without the records that
// there are, because the replication quota is used up.
func (l *Leader) Withheld(id model.BrokerID, now time.Time) (eff Effects) {
	f := l.find(id)
	if f == nil {
		return eff
	}
	if f.withheld.IsZero() || now.Sub(f.withheld) > throttleMemory {
		eff.Evidence = append(eff.Evidence, l.evidence(ReasonThrottled, f, now))
	}
	f.withheld = now
	return eff
}

// Limit names the followers that have a throttle of their own. The slice is the leader's.
func (l *Leader) Limit(followers []model.BrokerID) { l.limited = followers }

// throttled: withheld from it lately, or it limits itself, and is outside the
// ISR or silent. How much of its quota is left only the follower knows.
func (l *Leader) throttled(f *follower, c Condition, silent time.Duration, now time.Time) bool {
	if c.Lag == 0 {
		return false
	}
	if !f.withheld.IsZero() && now.Sub(f.withheld) <= throttleMemory && !f.committed {
		return true
	}
	return slices.Contains(l.limited, f.id) && (!f.committed || c.SinceFetch > silent)
}

// InISR tells whether a broker is in the committed ISR.
func (l *Leader) InISR(id model.BrokerID) bool {
	f := l.find(id)
	return f != nil && f.committed || id == l.self
}
