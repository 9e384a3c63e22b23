package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tidemark/internal/model"
)

// Errors of Leader.Fetched. The fetch is refused and leaves no trace (invariant 6).
var (
	// ErrNotAssigned: the fetching broker is not a replica of this partition (KAFKA-13837).
	ErrNotAssigned = errors.New("fetch from a broker that is not a replica")
	// ErrStaleBrokerEpoch: a newer registration of this broker exists (KIP-903).
	ErrStaleBrokerEpoch = errors.New("fetch from an earlier registration of the broker")
	// ErrBeyondEnd: the fetch offset is above the leader's log end.
	ErrBeyondEnd = errors.New("fetch offset beyond the leader's log end")
)

// expandBackoff keeps a leader from proposing the same candidate in a tight
// loop when the controller finds it ineligible and our metadata does not yet.
const expandBackoff = time.Second

// BrokerStatus is what the metadata image says of a broker.
type BrokerStatus struct {
	Epoch model.BrokerEpoch // of its current registration; NoBrokerEpoch if not registered
	// Eligible means registered, unfenced and not in controlled shutdown: only
	// such a broker may join an ISR (KIP-841).
	Eligible bool
	// ShuttingDown means that it is registered and leaves in order.
	ShuttingDown bool
}

// Brokers answers from the current metadata image. One answer is one snapshot.
type Brokers interface {
	BrokerStatus(id model.BrokerID) BrokerStatus
}

// SessionTimes tells when the fetch session through which a follower reads this
// partition was last used. An incremental session names only partitions that
// changed, so for an idle partition this is the only sign of life.
type SessionTimes interface {
	// LastFetch returns the zero time if the follower has no such session.
	LastFetch(id model.BrokerID) time.Time
}

// NoSessions is for callers without fetch sessions.
type NoSessions struct{}

// LastFetch returns the zero time.
func (NoSessions) LastFetch(model.BrokerID) time.Time { return time.Time{} }

// Assignment is a partition's state at the controller, as far as its leader needs it.
type Assignment struct {
	Replicas       []model.BrokerID // in order of preference, including those being added or removed
	ISR            []model.BrokerID
	PartitionEpoch model.PartitionEpoch
	// Removing are the replicas that a reassignment takes away, Dead those whose log
	// directory is offline. Both only explain; no rule depends on them.
	Removing, Dead []model.BrokerID
}

// LeaderOptions make a Leader.
type LeaderOptions struct {
	Self       model.BrokerID
	Epoch      model.LeaderEpoch
	Assignment Assignment
	MinISR     int           // min.insync.replicas as configured
	LagTimeMax time.Duration // replica.lag.time.max.ms
	Brokers    Brokers
	LogEnd     model.Offset // becomes the start of this leader epoch
	Flushed    model.Offset
	// HighWatermark as known locally; it may be behind what the previous leader
	// had committed, never ahead.
	HighWatermark model.Offset
	// FlushGate makes the leader count for the high watermark with its flushed
	// offset instead of its LEO.
	FlushGate bool
	// Previous is the Leader of this broker's directly preceding leadership, if
	// it leads again without having followed in between: positions are kept.
	Previous *Leader
}

// Leader is the leading replica of a partition, for one leader epoch.
type Leader struct {
	self       model.BrokerID
	epoch      model.LeaderEpoch
	pe         model.PartitionEpoch
	epochStart model.Offset
	leo        model.Offset
	flushed    model.Offset
	hw         model.Offset
	minISR     int
	lagMax     time.Duration
	flushGate  bool
	brokers    Brokers
	replicas   []model.BrokerID
	followers  []follower // remote replicas, in replica order
	isr        ISRState
	isrSize    int // committed
	maxSize    int // maximal
	proposals  uint64
	underMin   bool // last reported, for evidence at the edges
	limited    []model.BrokerID
	removing   []model.BrokerID // as in Assignment
	dead       []model.BrokerID
	marks      []ackMark // acks=all appends above hw, by end
	acks       []Ack     // memory of Effects.Acks
}

// follower is the leader's book on one remote replica.
type follower struct {
	id            model.BrokerID
	leo           model.Offset // its last fetch offset, NoOffset if it has not fetched in this epoch
	logStart      model.Offset
	lastFetch     time.Time
	lastFetchLEO  model.Offset // the leader's LEO at that fetch
	lastCaughtUp  time.Time
	lastAdvance   time.Time // when leo last grew
	brokerEpoch   model.BrokerEpoch
	notBefore     time.Time // no proposal to add it before this
	committed     bool      // in the committed ISR
	maximal       bool      // in the maximal ISR
	joined, left  int       // ISR changes in this epoch
	lastJoin      time.Time
	lastLeft      time.Time
	lastLeftCause Reason
	meter         meter     // how fast it moves, for Condition
	withheld      time.Time // when the quota kept records from it last
	seen
}

// NewLeader begins a leadership. Members of the ISR get a fresh grace period
// of LagTimeMax; others have to catch up first.
func NewLeader(o LeaderOptions, now time.Time) (*Leader, Effects) {
	l := &Leader{
		self: o.Self, epoch: o.Epoch, pe: o.Assignment.PartitionEpoch,
		epochStart: o.LogEnd, leo: o.LogEnd, flushed: o.Flushed, hw: o.HighWatermark,
		minISR: o.MinISR, lagMax: o.LagTimeMax, flushGate: o.FlushGate, brokers: o.Brokers,
	}
	if o.Previous != nil {
		l.followers = o.Previous.followers
		l.proposals = o.Previous.proposals
		l.marks = o.Previous.marks
	}
	gone := l.gone(o.Assignment, now)
	l.assign(o.Assignment.Replicas)
	l.removing, l.dead = o.Assignment.Removing, o.Assignment.Dead
	l.setISR(Committed{ISR: slices.Clone(o.Assignment.ISR)})
	for i := range l.followers {
		f := &l.followers[i]
		f.lastCaughtUp, f.notBefore = time.Time{}, time.Time{}
		f.joined, f.left = 0, 0
		f.lastLeft, f.pairs = time.Time{}, [flapPairs]time.Time{}
		if f.committed {
			f.lastCaughtUp = now
		}
	}
	eff := l.advance(now)
	eff.Evidence = append(gone, eff.Evidence...)
	return l, eff
}

// assign sets the replicas and keeps the books of those that stay.
func (l *Leader) assign(replicas []model.BrokerID) {
	old := l.followers
	l.replicas = slices.Clone(replicas)
	l.followers = make([]follower, 0, len(replicas))
	for _, id := range replicas {
		if id == l.self {
			continue
		}
		f := follower{
			id: id, leo: model.NoOffset, logStart: model.NoOffset,
			lastFetchLEO: model.NoOffset, brokerEpoch: model.NoBrokerEpoch,
		}
		if i := slices.IndexFunc(old, func(f follower) bool { return f.id == id }); i >= 0 {
			f = old[i]
		}
		l.followers = append(l.followers, f)
	}
}

func (l *Leader) setISR(s ISRState) {
	committed, maximal := s.CommittedISR(), s.MaximalISR()
	l.isr, l.isrSize, l.maxSize = s, len(committed), len(maximal)
	for i := range l.followers {
		f := &l.followers[i]
		f.committed = slices.Contains(committed, f.id)
		f.maximal = slices.Contains(maximal, f.id)
	}
}

func (l *Leader) find(id model.BrokerID) *follower {
	for i := range l.followers {
		if l.followers[i].id == id {
			return &l.followers[i]
		}
	}
	return nil
}

// Appended tells that the leader's log now ends at leo. Before the end moves,
// a follower that held everything is credited with its session's last fetch:
// an idle partition is not named in an incremental fetch, yet reading the
// session confirmed that there was nothing to read.
func (l *Leader) Appended(leo model.Offset, seen SessionTimes, now time.Time) Effects {
	if leo < l.leo {
		panic(fmt.Sprintf("replica: leader's log end went back from %d to %d in epoch %d", l.leo, leo, l.epoch))
	}
	l.credit(seen)
	l.leo = leo
	return l.advanceBy(mover{id: l.self, phase: AckFlush}, now)
}

func (l *Leader) credit(seen SessionTimes) {
	for i := range l.followers {
		f := &l.followers[i]
		if f.leo != l.leo {
			continue
		}
		if t := seen.LastFetch(f.id); t.After(f.lastCaughtUp) {
			f.lastCaughtUp = t
		}
	}
}

// Flushed tells that everything below upTo is on the leader's disk. Without the
// flush gate it is only remembered.
func (l *Leader) Flushed(upTo model.Offset, now time.Time) Effects {
	if upTo <= l.flushed {
		return Effects{}
	}
	l.flushed = upTo
	if !l.flushGate {
		return Effects{}
	}
	return l.advanceBy(mover{id: l.self, phase: AckFlush}, now)
}

// ReplicaFetch is a follower's fetch that passed the epoch, range and
// divergence checks.
type ReplicaFetch struct {
	Broker   model.BrokerID
	Epoch    model.BrokerEpoch // of its registration; NoBrokerEpoch before Fetch v15
	Offset   model.Offset      // it holds everything below
	LogStart model.Offset
	Report   Report // what it tells of itself; zero: nothing
}

// CheckFetch tells whether Fetched would accept f.
func (l *Leader) CheckFetch(f ReplicaFetch) error {
	if l.find(f.Broker) == nil {
		return fmt.Errorf("broker %d, replicas %s: %w", f.Broker, ids(l.replicas), ErrNotAssigned)
	}
	if f.Offset > l.leo || f.Offset < 0 {
		return fmt.Errorf("broker %d at %d, log end %d: %w", f.Broker, f.Offset, l.leo, ErrBeyondEnd)
	}
	if f.Epoch != model.NoBrokerEpoch {
		if reg := l.brokers.BrokerStatus(f.Broker).Epoch; reg > f.Epoch {
			return fmt.Errorf("broker %d epoch %d, registered %d: %w", f.Broker, f.Epoch, reg, ErrStaleBrokerEpoch)
		}
	}
	return nil
}

// Fetched takes the acknowledgement that a follower's fetch is: it may advance
// the high watermark and may propose to add the follower to the ISR.
// Errors: ErrNotAssigned, ErrStaleBrokerEpoch, ErrBeyondEnd.
func (l *Leader) Fetched(from ReplicaFetch, now time.Time) (Effects, error) {
	if err := l.CheckFetch(from); err != nil {
		return Effects{}, err
	}
	f := l.find(from.Broker)
	var eff Effects
	before := f.leo
	if from.Offset < before {
		eff.Evidence = append(eff.Evidence, l.evidence(ReasonPositionDropped, f, now))
	}
	f.fetched(from, l.leo, now)
	eff.add(l.maybeExpand(f, now))
	if f.leo != before || eff.Propose != nil {
		eff.add(l.advanceBy(mover{id: f.id, f: f}, now))
	}
	return eff, nil
}

// fetched updates the book. Caught up means: read everything that existed at
// the previous fetch. So a follower of a busy partition that is always a little
// behind still counts as caught up, as of its previous fetch (KAFKA-4485).
func (f *follower) fetched(from ReplicaFetch, leo model.Offset, now time.Time) {
	switch {
	case from.Offset >= leo:
		f.lastCaughtUp = latest(f.lastCaughtUp, now)
		f.lostAt = time.Time{}
	case f.lastFetchLEO != model.NoOffset && from.Offset >= f.lastFetchLEO:
		f.lastCaughtUp = latest(f.lastCaughtUp, f.lastFetch)
	}
	switch {
	case from.Offset > f.leo:
		f.lastAdvance, f.sameOffset = now, 0
	case from.Offset < f.leo:
		f.lostAt, f.lostFrom, f.lostTo = now, f.leo, from.Offset
	case from.Offset < leo:
		f.sameOffset++
	}
	f.report, f.trouble = from.Report, Trouble{}
	f.round(from.Offset > f.leo, now)
	f.lastFetchLEO = max(f.lastFetchLEO, leo)
	f.lastFetch = now
	f.leo, f.logStart, f.brokerEpoch = from.Offset, from.LogStart, from.Epoch
	f.meter.saw(f.leo, leo, now)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
