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
	// Offline: fenced, shutting down, not registered, or on a dead log directory.
	Offline Health = "offline"
)

// FlapWindow is how long a departure from the ISR counts towards flapping.
const FlapWindow = 10 * time.Minute

// flapPairs is how many departures followed by a return make a flapping follower.
const flapPairs = 2

// Condition is a follower's health with the numbers that it was judged by.
type Condition struct {
	Health Health
	Causes []Cause // the likeliest first; none if it is in sync
	Cause  Cause   // the likeliest one, "" if there is none
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
	Signs                    Signs
}

// String is one line for interaction files and logs.
func (c Condition) String() string {
	s := string(c.Health)
	if len(c.Causes) > 0 {
		s += " (" + JoinCauses(c.Causes) + ")"
	}
	if c.Lag >= 0 {
		s += fmt.Sprintf(" lag=%d", c.Lag)
	}
	if c.Health == CatchingUp || slices.Contains(c.Causes, CauseSlowerThanLeader) {
		s += fmt.Sprintf(" rate=%.0f/s leader=%.0f/s left=%.0fs", c.Rate, c.LeaderRate, c.SecondsLeft)
	}
	if w := c.Why(); w != "" {
		s += ": " + w
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

// condition judges one follower now. sessions tells when it fetched last, and
// of its connection.
func (l *Leader) condition(f *follower, sessions SessionTimes, now time.Time) Condition {
	last := latest(f.lastFetch, sessions.LastFetch(f.id))
	c := Condition{
		Lag: -1, SinceFetch: since(last, now), SinceAdvance: since(f.lastAdvance, now),
		Rate: f.meter.rate, LeaderRate: f.meter.ofLead, Signs: f.signs(now),
	}
	if links, ok := sessions.(Links); ok {
		c.Signs.Link = links.Link(f.id)
	}
	if f.leo != model.NoOffset {
		c.Lag = int64(l.leo - f.leo)
	}
	c.SecondsLeft = secondsLeft(c, f.meter.measured)
	c.Health, c.Causes = l.judge(f, c, now)
	if len(c.Causes) > 0 {
		c.Cause = c.Causes[0]
	}
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

// judge is the order of the rules: what the metadata knows, what the follower or
// the controller said, what the fetches show.
func (l *Leader) judge(f *follower, c Condition, now time.Time) (Health, []Cause) {
	status := l.brokers.BrokerStatus(f.id)
	if h, causes := l.absent(f, status); h != "" {
		return h, causes
	}
	// Silence of a third of the lag time is worth a word before it costs the ISR.
	silent := l.lagMax / 3
	if f.flaps(now) {
		return Flapping, append([]Cause{CauseLeftRepeatedly}, f.leftCauses...)
	}
	if causes := f.said(now); causes != nil && !(f.committed && c.Lag == 0) {
		return Lagging, causes
	}
	switch particular := c.Signs.particular(); {
	case l.throttled(f, c, silent, now) && c.SecondsLeft > 0 && c.SinceFetch <= silent:
		return CatchingUp, []Cause{CauseThrottled}
	case l.throttled(f, c, silent, now):
		return Lagging, []Cause{CauseThrottled}
	case f.leo == model.NoOffset && !f.committed:
		return Lagging, []Cause{CauseNeverFetched}
	case c.SinceFetch > silent:
		return Lagging, c.Signs.silence(particular)
	case f.maximal && !f.committed:
		return Joining, []Cause{CauseISRUpdatePending}
	case !f.committed && c.Lag == 0 && now.Sub(f.rejectedAt) <= signsFor:
		return Joining, []Cause{CauseISRUpdateRejected}
	case f.committed && (c.Lag <= 0 || l.caughtUp(f, now)):
		return InSync, nil
	case f.leo == model.NoOffset:
		return Lagging, []Cause{CauseNeverFetched}
	case c.Lag > 0 && (c.SinceAdvance > silent || f.meter.measured && c.Rate == 0):
		return Lagging, append([]Cause{CauseNotAdvancing}, particular...)
	case f.meter.measured && c.SecondsLeft < 0:
		return Lagging, append(particular, CauseSlowerThanLeader)
	case !f.eligible(status):
		return Lagging, []Cause{CauseEpochMismatch}
	case f.committed: // about to be dropped, or its removal is being asked for
		causes := f.behind(particular)
		if l.isr.Proposal() != nil {
			causes = append(causes, CauseISRUpdatePending)
		}
		return Lagging, causes
	default:
		return CatchingUp, f.behind(particular)
	}
}

// absent judges a follower that can't fetch, as far as the metadata tells.
func (l *Leader) absent(f *follower, s BrokerStatus) (Health, []Cause) {
	switch {
	case slices.Contains(l.dead, f.id):
		return Offline, []Cause{CauseLogDirOffline}
	case s.ShuttingDown:
		return Offline, []Cause{CauseShutdownControlled}
	case !s.Eligible:
		return Offline, []Cause{CauseControllerFenced}
	case slices.Contains(l.removing, f.id) && !f.committed:
		return Lagging, []Cause{CauseAdminRemoved}
	}
	return "", nil
}

// said is what the follower told of its trouble, or what its last fetch was told;
// both count until a fetch succeeds.
func (f *follower) said(now time.Time) []Cause {
	switch f.trouble.Code {
	case TroubleAppend:
		return []Cause{CauseAppendFailed}
	case TroubleNoSpace:
		return []Cause{CauseDiskFull}
	case TroubleBadRecords:
		return []Cause{CauseDamagedRecords}
	case TroubleOversized:
		return []Cause{CauseOversizedBatch}
	}
	if !f.refusedAt.IsZero() && now.Sub(f.refusedAt) <= signsFor && !f.lastFetch.After(f.refusedAt) {
		return []Cause{CauseEpochMismatch}
	}
	if !f.divergedAt.IsZero() && now.Sub(f.divergedAt) <= signsFor && !f.lastFetch.After(f.divergedAt) {
		return []Cause{CauseDivergedTruncating}
	}
	return nil
}

// silence names why a follower may have stopped to fetch.
func (s Signs) silence(particular []Cause) []Cause {
	out := []Cause{CauseFetchStopped}
	switch {
	case !s.Link.Known:
	case !s.Link.Open || s.Link.Retransmits > 0:
		out = append(out, CauseNetwork)
	default:
		out = append(out, CauseProcessPaused)
	}
	for _, c := range particular {
		out = withCause(out, c)
	}
	return out
}

// behind names why a follower that gets closer isn't there yet.
func (f *follower) behind(particular []Cause) []Cause {
	if !f.lostAt.IsZero() {
		particular = append(particular, CauseLogLost)
	}
	return append(particular, CauseBacklog)
}

// flaps: left the ISR and came back flapPairs times within FlapWindow.
func (f *follower) flaps(now time.Time) bool {
	oldest := f.pairs[flapPairs-1]
	return !oldest.IsZero() && now.Sub(oldest) < FlapWindow
}

// returned notes that a follower that had left is back.
func (f *follower) returned() {
	if f.lastLeft.IsZero() || f.pairs[0].Equal(f.lastLeft) {
		return
	}
	copy(f.pairs[1:], f.pairs[:flapPairs-1])
	f.pairs[0] = f.lastLeft
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

// key is what the journal is told once.
func (c Condition) key() string { return string(c.Health) + " " + string(c.Cause) }

// tell reports the followers whose condition has become noteworthy, or has
// changed since it was, or is no longer. One that went offline while it was in
// the ISR was told of by that change, one that just catches up is by its return.
func (l *Leader) tell(sessions SessionTimes, now time.Time) (out []Evidence) {
	for i := range l.followers {
		f := &l.followers[i]
		if f.told == "" && f.committed && f.leo == l.leo {
			continue
		}
		c := l.condition(f, sessions, now)
		key := ""
		if c.Health == Lagging || c.Health == Flapping || c.Health == Offline || c.Cause == CauseISRUpdateRejected {
			key = c.key()
		}
		if key == f.told {
			continue
		}
		if f.told = key; key == "" && c.Health != InSync && c.Health != CatchingUp {
			continue
		}
		e := l.evidence(ReasonCondition, f, now)
		e.Health, e.Causes, e.Why = c.Health, c.Causes, c.Why()
		out = append(out, e)
	}
	return out
}
