package peer

import "fmt"

// Code is the error code of a response as another node sent it. Only codes
// that a caller of the typed calls reacts to have a name here; the meaning of
// all of them is Kafka's.
type Code int16

// The codes that brokers react to when they talk to brokers and controllers.
const (
	CodeNone                    Code = 0
	CodeOffsetOutOfRange        Code = 1
	CodeUnknownTopicOrPartition Code = 3
	CodeNotLeader               Code = 6
	CodeRequestTimedOut         Code = 7
	CodeBrokerNotAvailable      Code = 8
	CodeUnsupportedVersion      Code = 35
	CodeNotController           Code = 41
	CodeInvalidRequest          Code = 42
	CodeNotAttempted            Code = 55
	CodeStorageError            Code = 56
	CodeSessionNotFound         Code = 70
	CodeInvalidSessionEpoch     Code = 71
	CodeFencedLeaderEpoch       Code = 74
	CodeUnknownLeaderEpoch      Code = 75
	CodeStaleBrokerEpoch        Code = 77
	CodeInvalidUpdateVersion    Code = 95
	CodeSnapshotNotFound        Code = 98
	CodePositionOutOfRange      Code = 99
	CodeUnknownTopicID          Code = 100
	CodeDuplicateRegistration   Code = 101
	CodeInconsistentTopicID     Code = 103
	CodeInconsistentClusterID   Code = 104
	CodeSessionTopicIDError     Code = 106
	CodeIneligibleReplica       Code = 107
	CodeNewLeaderElected        Code = 108
	CodeOffsetMovedToTiered     Code = 109
	CodeInvalidRegistration     Code = 119
)

var codeNames = map[Code]string{
	CodeNone: "NONE", CodeOffsetOutOfRange: "OFFSET_OUT_OF_RANGE",
	CodeUnknownTopicOrPartition: "UNKNOWN_TOPIC_OR_PARTITION", CodeNotLeader: "NOT_LEADER_OR_FOLLOWER",
	CodeRequestTimedOut: "REQUEST_TIMED_OUT", CodeBrokerNotAvailable: "BROKER_NOT_AVAILABLE",
	CodeUnsupportedVersion: "UNSUPPORTED_VERSION", CodeNotController: "NOT_CONTROLLER",
	CodeInvalidRequest: "INVALID_REQUEST", CodeNotAttempted: "OPERATION_NOT_ATTEMPTED",
	CodeStorageError: "KAFKA_STORAGE_ERROR", CodeSessionNotFound: "FETCH_SESSION_ID_NOT_FOUND",
	CodeInvalidSessionEpoch: "INVALID_FETCH_SESSION_EPOCH", CodeFencedLeaderEpoch: "FENCED_LEADER_EPOCH",
	CodeUnknownLeaderEpoch: "UNKNOWN_LEADER_EPOCH", CodeStaleBrokerEpoch: "STALE_BROKER_EPOCH",
	CodeInvalidUpdateVersion: "INVALID_UPDATE_VERSION", CodeSnapshotNotFound: "SNAPSHOT_NOT_FOUND",
	CodePositionOutOfRange: "POSITION_OUT_OF_RANGE", CodeUnknownTopicID: "UNKNOWN_TOPIC_ID",
	CodeDuplicateRegistration: "DUPLICATE_BROKER_REGISTRATION", CodeInconsistentTopicID: "INCONSISTENT_TOPIC_ID",
	CodeInconsistentClusterID: "INCONSISTENT_CLUSTER_ID", CodeSessionTopicIDError: "FETCH_SESSION_TOPIC_ID_ERROR",
	CodeIneligibleReplica: "INELIGIBLE_REPLICA", CodeNewLeaderElected: "NEW_LEADER_ELECTED",
	CodeOffsetMovedToTiered: "OFFSET_MOVED_TO_TIERED_STORAGE", CodeInvalidRegistration: "INVALID_REGISTRATION",
}

// String is Kafka's name of the code, or its number.
func (c Code) String() string {
	if s, ok := codeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("error code %d", int16(c))
}

// CodeError is an answer whose top-level code is an error.
type CodeError struct {
	API  string
	Code Code
}

// Error names the request and the code.
func (e *CodeError) Error() string { return e.API + ": " + e.Code.String() }
