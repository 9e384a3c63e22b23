package replica

import (
	"fmt"
	"time"

	"tidemark/internal/model"
)

// Reason is a code for why a decision was taken. The words of a Reason are
// stable: they appear in the journal, the API, metrics and the console.
type Reason string

const (
	// ReasonLagging: a member was behind the leader's LEO for longer than
	// replica.lag.time.max.ms.
	ReasonLagging Reason = "lagging"
	// ReasonNeverFetched: as ReasonLagging, but the member has not fetched once
	// in this leader epoch.
	ReasonNeverFetched Reason = "never-fetched"
	// ReasonCaughtUp: a follower reached the high watermark and the start of
	// the leader epoch, so it asks to join.
	ReasonCaughtUp Reason = "caught-up"
	// ReasonISRCommitted: the controller agreed to a change.
	ReasonISRCommitted Reason = "isr-committed"
	// ReasonISRReverted: the controller refused a change; the committed set stays.
	ReasonISRReverted Reason = "isr-reverted"
	// ReasonISRStale: the controller is ahead; the change waits for metadata.
	ReasonISRStale Reason = "isr-stale"
	// ReasonISRMetadata: the controller changed the ISR by itself.
	ReasonISRMetadata Reason = "isr-metadata"
	// ReasonUnderMinISR: the high watermark stands still, the committed ISR is
	// smaller than the effective min ISR.
	ReasonUnderMinISR Reason = "under-min-isr"
	// ReasonMinISRRestored: the high watermark may move again.
	ReasonMinISRRestored Reason = "min-isr-restored"
	// ReasonDiverged: a follower's log leaves the leader's; it must be cut.
	ReasonDiverged Reason = "diverged"
	// ReasonLeaderBehind: the leader's log ends below the follower's own end
	// and shares no epoch with it (unclean election).
	ReasonLeaderBehind Reason = "leader-behind"
	// ReasonBelowLogStart: the leader no longer has the offset that the
	// follower needs; the follower starts anew at the leader's log start.
	ReasonBelowLogStart Reason = "below-log-start"
	// ReasonDamaged: a follower's own disk doesn't hold any more what was written
	// to it; from there on it fetches again.
	ReasonDamaged Reason = "damaged"
	// ReasonPositionDropped: a follower fetched from further back than before
	// in the same leader epoch.
	ReasonPositionDropped Reason = "position-dropped"
	// ReasonHighWatermarkRegressed: a follower took over a lower high watermark
	// from a new leader.
	ReasonHighWatermarkRegressed Reason = "hw-regressed"
	// ReasonThrottled: a follower outside the ISR got no records, because
	// leader.replication.throttled.rate is used up.
	ReasonThrottled Reason = "throttled"
	// ReasonCondition: a follower's health or what explains it has changed.
	ReasonCondition Reason = "condition"
	// ReasonRemoved: a reassignment took the replica away.
	ReasonRemoved Reason = "removed"
)

// Evidence is what a decision was based on, recorded when it was taken.
// Numbers that do not belong to the reason are NoOffset or zero.
type Evidence struct {
	Reason         Reason
	At             time.Time
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch
	Broker         model.BrokerID // whom it is about, NoBroker if about the partition
	LEO            model.Offset   // of the deciding replica
	HighWatermark  model.Offset
	Position       model.Offset  // of Broker: where it fetched last, or where the log was cut
	Lag            time.Duration // since Broker was last caught up
	SinceFetch     time.Duration // since Broker last fetched
	Limit          time.Duration // replica.lag.time.max.ms, when it decided
	ISR            []model.BrokerID
	MinISR         int     // effective
	Health         Health  // of Broker, with ReasonCondition
	Causes         []Cause // of what is told of Broker, the likeliest first
	Why            string  // the numbers of Causes
}

// String is one line for logs and interaction files.
func (e Evidence) String() string {
	s := fmt.Sprintf("%s epoch=%d/%d", e.Reason, e.LeaderEpoch, e.PartitionEpoch)
	if e.Broker != model.NoBroker {
		s += fmt.Sprintf(" broker=%d", e.Broker)
	}
	if e.Position != model.NoOffset {
		s += fmt.Sprintf(" at=%d", e.Position)
	}
	s += fmt.Sprintf(" leo=%d hw=%d", e.LEO, e.HighWatermark)
	if e.Limit > 0 {
		s += fmt.Sprintf(" lag=%s last-fetch=%s limit=%s", e.Lag, e.SinceFetch, e.Limit)
	}
	if e.ISR != nil {
		s += " isr=" + ids(e.ISR)
	}
	if e.MinISR > 0 {
		s += fmt.Sprintf(" min=%d", e.MinISR)
	}
	if e.Health != "" {
		s += " health=" + string(e.Health)
	}
	if len(e.Causes) > 0 {
		s += " cause=" + JoinCauses(e.Causes)
	}
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

// Effects is what the caller must do after a transition. The zero value means
// nothing.
type Effects struct {
	HighWatermark model.Offset // the new high watermark, valid if Advanced
	Advanced      bool
	Propose       *ISRChange // AlterPartition to send
	Acks          []Ack      // acks=all appends that are committed now; valid until the Leader's next method
	Evidence      []Evidence // why, in numbers; goes to the journal
}

func (e *Effects) add(o Effects) {
	if o.Advanced {
		e.Advanced, e.HighWatermark = true, o.HighWatermark
		e.Acks = o.Acks
	}
	if o.Propose != nil {
		e.Propose = o.Propose
	}
	e.Evidence = append(e.Evidence, o.Evidence...)
}
