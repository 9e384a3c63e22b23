package sim

import (
	"fmt"
	"strings"
)

// Event is something rare that the faults are there to bring about. A run of
// many seeds in which one of them never happens tests less than it seems to.
type Event int

// The rare events.
const (
	Diverged Event = iota
	TruncatedBelowOldHW
	WipedRejoined
	LossyRejoined
	StaleBrokerEpoch
	CandidateIneligible
	AlterRetried
	AlterStale
	OutOfRangeReset
	ElectionDuringExpansion
	ExpansionTrapped
	LeaderCutFromController
	FetchFenced
	ControllerFailover
	ProposalCommittedAnswerLost
	ProposalLost
	SnapshotInstalled
	DuplicateAnswered
	OutOfOrderRetried
	UnderMinISR
	ISRShrunk
	ISRExpanded
	ZombieLeader
	LeaderEpochSkipped
	RegistrationRefusedAsDuplicate
	ControlledShutdown
	Reassigned
	ConsumerOfFollower
	DiskFailed
	DiskFailedInRecovery
	DiskFullRefused
	Blackout
	ClockJumped
	ELRElected
	LastKnownElected
	DuplicateSent
	TopicMadeAgain
	StrayRemoved
	UncleanElected
	CommittedLost
	events
)

var eventNames = [events]string{
	"diverged", "truncated-below-old-hw", "wiped-rejoined", "lossy-rejoined", "stale-broker-epoch-fetch",
	"candidate-ineligible", "alter-partition-retried", "alter-partition-stale", "out-of-range-reset",
	"election-during-expansion", "expansion-trapped", "leader-cut-from-controller", "fetch-fenced", "controller-failover",
	"proposal-committed-answer-lost", "proposal-lost", "snapshot-installed", "duplicate-answered",
	"out-of-order-retried", "under-min-isr", "isr-shrunk", "isr-expanded", "zombie-leader", "leader-epoch-skipped",
	"registration-refused-duplicate", "controlled-shutdown", "reassigned", "consumer-of-follower", "disk-failed",
	"disk-failed-in-recovery", "disk-full-refused", "blackout", "clock-jumped", "elr-elected", "last-known-elected", "duplicate-sent", "topic-made-again",
	"stray-removed", "unclean-elected", "committed-lost",
}

// Rare counts rare events.
type Rare [events]int

func (r *Rare) hit(e Event) { r[e]++ }

// Add adds the counts of o.
func (r *Rare) Add(o Rare) {
	for i := range o {
		r[i] += o[i]
	}
}

// Missing names the events that never happened.
func (r *Rare) Missing() (names []string) {
	for i, n := range r {
		if n == 0 {
			names = append(names, eventNames[i])
		}
	}
	return names
}

func (r Rare) String() string {
	var b strings.Builder
	for i, n := range r {
		fmt.Fprintf(&b, "%-32s %d\n", eventNames[i], n)
	}
	return b.String()
}
