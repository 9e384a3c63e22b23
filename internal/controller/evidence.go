package controller

import (
	"fmt"
	"strings"
	"time"

	"tidemark/internal/model"
)

// Kind says what a piece of evidence is about.
type Kind uint8

// The kinds of evidence.
const (
	PartitionChanged Kind = iota + 1 // leader, ISR or ELR of a partition
	BrokerFenced
	BrokerUnfenced
	BrokerRegistered
	BrokerUnregistered
	ControlledShutdown
	PartitionOffline // a partition stays without a leader although a replica's broker came back
)

var kindNames = [...]string{
	PartitionChanged: "partition-changed", BrokerFenced: "broker-fenced", BrokerUnfenced: "broker-unfenced",
	BrokerRegistered: "broker-registered", BrokerUnregistered: "broker-unregistered",
	ControlledShutdown: "controlled-shutdown", PartitionOffline: "partition-offline",
}

// String returns the kind's name.
func (k Kind) String() string { return codeName(kindNames[:], int(k)) }

// Reason says why something was decided.
type Reason uint8

// The reasons.
const (
	SessionExpired    Reason = iota + 1 // no heartbeat for longer than the session time-out
	ConnectionRefused                   // connections broke and a probe was refused at once
	BrokerAsked                         // the broker asked for it in a heartbeat
	ShuttingDown                        // controlled shutdown
	NewIncarnation                      // the broker registered a new process life
	UncleanRestart                      // the same, after an unclean stop
	DirectoryOffline                    // the broker reported the replica's directory offline
	DirectoryLost                       // the replica's directory is no longer registered
	Unregistered                        // an operator removed the broker
	CaughtUp                            // the broker applied its own registration
	LeaderProposed                      // the leader proposed this ISR
	PreferredElection                   // leadership returns to the first replica
	UncleanElection                     // an operator or the config accepts data loss
	ReassignmentStep                    // a reassignment began, completed or was cancelled
	DirectoryAssigned                   // a broker placed the replica
	MinISRChanged                       // min.insync.replicas changed
)

var reasonNames = [...]string{
	SessionExpired: "session-expired", ConnectionRefused: "connection-refused", BrokerAsked: "broker-asked",
	ShuttingDown: "shutting-down", NewIncarnation: "new-incarnation", UncleanRestart: "unclean-restart",
	DirectoryOffline: "directory-offline", DirectoryLost: "directory-lost", Unregistered: "unregistered",
	CaughtUp: "caught-up", LeaderProposed: "leader-proposed", PreferredElection: "preferred-election",
	UncleanElection: "unclean-election", ReassignmentStep: "reassignment", DirectoryAssigned: "directory-assigned",
	MinISRChanged: "min-isr-changed",
}

// String returns the reason's name.
func (r Reason) String() string { return codeName(reasonNames[:], int(r)) }

// Verdict says why a replica can or can't lead.
type Verdict uint8

// The verdicts on a candidate.
const (
	Eligible Verdict = iota + 1
	NotInISR
	CandidateFenced
	CandidateShuttingDown
	CandidateUnregistered
	CandidateDirectoryLost // its directory isn't registered by its broker
	CandidateExcluded      // the broker that this change removes
)

var verdictNames = [...]string{
	Eligible: "eligible", NotInISR: "not-in-isr", CandidateFenced: "fenced",
	CandidateShuttingDown: "shutting-down", CandidateUnregistered: "unregistered",
	CandidateDirectoryLost: "directory-lost", CandidateExcluded: "excluded",
}

// String returns the verdict's name.
func (v Verdict) String() string { return codeName(verdictNames[:], int(v)) }

// Candidate is one replica that an election looked at, in replica order.
type Candidate struct {
	Broker  model.BrokerID
	Verdict Verdict
}

// ElectionKind says by which rule the new leader was chosen.
type ElectionKind uint8

// The ways to a leader.
const (
	NoElection ElectionKind = iota
	FromISR
	FromELR
	FromLastKnown
	FromUnclean
	NoneEligible
)

var electionNames = [...]string{
	NoElection: "none", FromISR: "isr", FromELR: "elr", FromLastKnown: "last-known-leader",
	FromUnclean: "unclean", NoneEligible: "no-eligible-replica",
}

// String returns the rule's name.
func (e ElectionKind) String() string { return codeName(electionNames[:], int(e)) }

// Evidence is what a decision saw, in numbers. Fields that a kind doesn't need
// are zero. Values are copies; a reader may keep them.
type Evidence struct {
	Kind   Kind
	Reason Reason
	Broker model.BrokerID // whose event caused it; NoBroker if none
	Epoch  model.BrokerEpoch

	// Fencing: how long the broker was silent, and the limit.
	Silent, Limit time.Duration

	// Partition changes.
	Topic                string
	Partition            model.TopicIDPartition
	OldLeader, NewLeader model.BrokerID
	OldISR, NewISR       []model.BrokerID
	LeaderEpoch          model.LeaderEpoch    // after the change
	PartitionEpoch       model.PartitionEpoch // after the change
	Election             ElectionKind
	Candidates           []Candidate // filled in when the leader changed
}

// String is one line for logs and interaction tests.
func (e Evidence) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Kind, e.Reason)
	if e.Broker != model.NoBroker {
		fmt.Fprintf(&b, " broker=%d", e.Broker)
	}
	if e.Silent > 0 {
		fmt.Fprintf(&b, " silent=%s", e.Silent)
	}
	if e.Limit > 0 {
		fmt.Fprintf(&b, " limit=%s", e.Limit)
	}
	if e.Topic == "" {
		return b.String()
	}
	fmt.Fprintf(&b, " %s-%d epoch=%d/%d", e.Topic, e.Partition.Partition, e.LeaderEpoch, e.PartitionEpoch)
	if e.OldLeader != e.NewLeader || e.Election != NoElection {
		fmt.Fprintf(&b, " leader %d->%d by=%s", e.OldLeader, e.NewLeader, e.Election)
	}
	fmt.Fprintf(&b, " isr %v->%v", e.OldISR, e.NewISR)
	if len(e.Candidates) > 0 {
		b.WriteString(" candidates")
		for _, c := range e.Candidates {
			fmt.Fprintf(&b, " %d:%s", c.Broker, c.Verdict)
		}
	}
	return b.String()
}

func codeName(names []string, i int) string {
	if i >= 0 && i < len(names) && names[i] != "" {
		return names[i]
	}
	return fmt.Sprintf("code(%d)", i)
}
