package journal

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidemark/internal/model"
)

// Kind says what happened.
type Kind string

// The kinds of events. The text is what the journal file and the HTTP API show.
const (
	BecameLeader       Kind = "became-leader"
	BecameFollower     Kind = "became-follower"
	ShrinkProposed     Kind = "isr-shrink-proposed"
	ExpandProposed     Kind = "isr-expand-proposed"
	ISRCommitted       Kind = "isr-committed"
	ISRRejected        Kind = "isr-rejected"
	ProduceWaited      Kind = "produce-waited"
	ProduceRefused     Kind = "produce-refused"
	Truncated          Kind = "truncated"
	LogReset           Kind = "log-reset"
	FetchFailed        Kind = "fetch-failed"
	ReplicaFailed      Kind = "replica-failed"
	ReplicaRecovered   Kind = "replica-recovered"
	ReplicaDamaged     Kind = "replica-damaged"
	ReplicaQuarantined Kind = "replica-quarantined"
	ReplicaDeleted     Kind = "replica-deleted"
	ReplicaStray       Kind = "replica-stray"
	ReplicaMoved       Kind = "replica-moved"
	UncleanLogLoss     Kind = "unclean-log-loss"
	LeadershipRefused  Kind = "leadership-refused"
	LeaderElected      Kind = "leader-elected"
	UncleanElection    Kind = "unclean-election"
	Throttled          Kind = "replica-throttled"
	ReplicaCondition   Kind = "replica-condition"
	ReplicaRemoved     Kind = "replica-removed"
	DirOffline         Kind = "log-dir-offline"
	DirFull            Kind = "log-dir-full"
	DirHasSpace        Kind = "log-dir-has-space"
	Registered         Kind = "broker-registered"
	RegistrationFailed Kind = "broker-registration-failed"
	CaughtUp           Kind = "broker-caught-up"
	Unfenced           Kind = "broker-unfenced"
	Fenced             Kind = "broker-fenced"
	ShutdownRequested  Kind = "controlled-shutdown"
	ShutdownGranted    Kind = "controlled-shutdown-granted"
	ShutdownForced     Kind = "controlled-shutdown-forced"
	ControllerChanged  Kind = "controller-changed"
	MetadataError      Kind = "metadata-error"
	Note               Kind = "note"
)

// ReplicaSeen is what the decider knew of one follower at that moment.
type ReplicaSeen struct {
	Broker       model.BrokerID `json:"broker"`
	LogEnd       model.Offset   `json:"logEnd"`
	LastCaughtUp time.Time      `json:"lastCaughtUp,omitzero"`
	LastFetch    time.Time      `json:"lastFetch,omitzero"`
}

// Event is one replication event. Fields that a kind doesn't use keep the
// value that New gives them: NoOffset, NoLeaderEpoch, NoBroker, nil.
type Event struct {
	Seq            uint64               `json:"seq"`
	At             time.Time            `json:"at"`
	Node           model.BrokerID       `json:"node"`   // who saw it
	Broker         model.BrokerID       `json:"broker"` // whom it is about; NoBroker: Node itself, or a partition
	Kind           Kind                 `json:"kind"`
	Topic          string               `json:"topic,omitempty"` // "" for an event of the whole broker
	Partition      int32                `json:"partition"`
	Leader         model.BrokerID       `json:"leader"`
	LeaderEpoch    model.LeaderEpoch    `json:"leaderEpoch"`
	PartitionEpoch model.PartitionEpoch `json:"partitionEpoch"`
	BrokerEpoch    model.BrokerEpoch    `json:"brokerEpoch"`
	OldISR         []model.BrokerID     `json:"oldIsr,omitempty"`
	NewISR         []model.BrokerID     `json:"newIsr,omitempty"`
	Replicas       []ReplicaSeen        `json:"replicas,omitempty"`
	HighWatermark  model.Offset         `json:"highWatermark"`
	LogStart       model.Offset         `json:"logStart"`
	LogEnd         model.Offset         `json:"logEnd"`
	Offset         model.Offset         `json:"offset"` // where a log was cut, or how far it should have reached
	MinISR         int32                `json:"minIsr,omitempty"`
	Dir            string               `json:"dir,omitempty"`
	Health         string               `json:"health,omitempty"` // of Broker, as its leader sees it
	Causes         []string             `json:"causes,omitempty"` // of Health or of a departure, the likeliest first
	Reason         string               `json:"reason,omitempty"` // a short code, stable over releases
	Detail         string               `json:"detail,omitempty"` // a sentence for people, or an error text
}

// New returns an event of the whole broker with every optional number unset.
func New(k Kind) Event {
	return Event{
		Kind: k, Node: model.NoBroker, Broker: model.NoBroker, Leader: model.NoBroker, LeaderEpoch: model.NoLeaderEpoch,
		PartitionEpoch: -1, BrokerEpoch: model.NoBrokerEpoch, HighWatermark: model.NoOffset,
		LogStart: model.NoOffset, LogEnd: model.NoOffset, Offset: model.NoOffset, Partition: -1,
	}
}

// For returns an event of one partition with every optional number unset.
func For(k Kind, tp model.TopicPartition) Event {
	e := New(k)
	e.Topic, e.Partition = tp.Topic, tp.Partition
	return e
}

// TopicPartition is the partition that the event is about; ok is false for an
// event of the whole broker.
func (e Event) TopicPartition() (tp model.TopicPartition, ok bool) {
	return model.TopicPartition{Topic: e.Topic, Partition: e.Partition}, e.Topic != ""
}

// String is the sentence that goes to the log. Where Kafka has a phrase for
// the same thing it is that phrase, since people search for it; the reason
// code follows it.
func (e Event) String() string { // flat switch
	switch e.Kind {
	case ShrinkProposed:
		return e.withReason(fmt.Sprintf("Shrinking ISR from %s to %s. Leader: (highWatermark: %d, endOffset: %d)."+
			" Out of sync replicas: %s.", join(e.OldISR), join(e.NewISR), e.HighWatermark, e.LogEnd, e.outOfSync()))
	case ExpandProposed:
		return e.withReason(fmt.Sprintf("Expanding ISR from %s to %s", join(e.OldISR), join(e.NewISR)))
	case ISRCommitted:
		under := ""
		if int(e.MinISR) > len(e.NewISR) {
			under = " (under-min-isr)"
		}
		return e.withReason(fmt.Sprintf("ISR updated to %s%s and version updated to %d",
			join(e.NewISR), under, e.PartitionEpoch))
	case ISRRejected:
		return e.withReason(fmt.Sprintf("Failed to alter partition to ISR %s at version %d",
			join(e.NewISR), e.PartitionEpoch))
	case BecameLeader:
		return e.withReason(fmt.Sprintf("Leader starts at leader epoch %d from offset %d with partition epoch %d,"+
			" high watermark %d, ISR [%s]", e.LeaderEpoch, e.LogEnd, e.PartitionEpoch, e.HighWatermark, join(e.NewISR)))
	case BecameFollower:
		return e.withReason(fmt.Sprintf("Follower starts at leader epoch %d from offset %d with partition epoch %d,"+
			" high watermark %d. Current leader is %d", e.LeaderEpoch, e.LogEnd, e.PartitionEpoch, e.HighWatermark, e.Leader))
	case Truncated:
		return e.withReason(fmt.Sprintf("Truncating to %d has effect: log end offset is now %d, high watermark %d",
			e.Offset, e.LogEnd, e.HighWatermark))
	case LogReset:
		return e.withReason(fmt.Sprintf("Truncate and start at offset %d, log end offset is now %d", e.Offset, e.LogEnd))
	case UncleanLogLoss:
		return e.withReason(fmt.Sprintf("Log ends at %d, below its own high watermark checkpoint %d", e.LogEnd, e.Offset))
	case DirOffline:
		return e.withReason(fmt.Sprintf("Stopping serving logs in dir %s", e.Dir))
	case DirFull:
		return e.withReason(fmt.Sprintf("Refusing records for dir %s: its disk is full", e.Dir))
	case DirHasSpace:
		return e.withReason(fmt.Sprintf("Taking records for dir %s again", e.Dir))
	case Unfenced:
		return e.withReason(e.who() + " has been unfenced")
	case Fenced:
		return e.withReason(e.who() + " has been fenced")
	case Registered:
		return e.withReason(fmt.Sprintf("Successfully registered broker %d with broker epoch %d", e.subject(), e.BrokerEpoch))
	case ReplicaCondition:
		return e.withReason(fmt.Sprintf("Follower %d is %s at offset %d, log end offset %d", e.Broker, e.Health, e.Offset, e.LogEnd))
	case ReplicaRemoved:
		return e.withReason(fmt.Sprintf("Replica on broker %d was taken away by a reassignment", e.Broker))
	case ControllerChanged:
		return e.withReason(fmt.Sprintf("The active controller is now %d, epoch %d", e.Leader, e.LeaderEpoch))
	default:
		return e.withReason(strings.ReplaceAll(string(e.Kind), "-", " "))
	}
}

func (e Event) subject() model.BrokerID {
	if e.Broker != model.NoBroker {
		return e.Broker
	}
	return e.Node
}

func (e Event) who() string {
	if e.Broker == model.NoBroker || e.Broker == e.Node {
		return "The broker"
	}
	return fmt.Sprintf("Broker %d", e.Broker)
}

func (e Event) withReason(s string) string {
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Reason != "" {
		s += " [" + e.Reason + "]"
	}
	return s
}

func (e Event) outOfSync() string {
	var b strings.Builder
	for i, r := range e.Replicas {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "(brokerId: %d, endOffset: %d, lastCaughtUpTimeMs: %d)", r.Broker, r.LogEnd, millis(r.LastCaughtUp))
	}
	return b.String()
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func join(ids []model.BrokerID) string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = strconv.Itoa(int(id))
	}
	return strings.Join(s, ",")
}
