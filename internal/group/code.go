package group

import "fmt"

// Code is the outcome of a request, or of a part of one. The api package maps it
// to the wire's error code.
type Code uint8

// The outcomes, named as Kafka names them.
const (
	OK Code = iota
	UnknownServerError
	CoordinatorLoading
	CoordinatorNotAvailable
	NotCoordinator
	InvalidGroupID
	GroupIDNotFound
	NonEmptyGroup
	GroupMaxSizeReached
	MemberIDRequired
	UnknownMemberID
	FencedInstanceID
	IllegalGeneration
	InconsistentProtocol
	InvalidSessionTimeout
	RebalanceInProgress
	OffsetMetadataTooLarge
	GroupSubscribedToTopic
	InvalidRequest
	GroupAuthorizationFailed
)

var codeNames = [...]string{
	OK: "OK", UnknownServerError: "UNKNOWN_SERVER_ERROR", CoordinatorLoading: "COORDINATOR_LOAD_IN_PROGRESS",
	CoordinatorNotAvailable: "COORDINATOR_NOT_AVAILABLE", NotCoordinator: "NOT_COORDINATOR",
	InvalidGroupID: "INVALID_GROUP_ID", GroupIDNotFound: "GROUP_ID_NOT_FOUND", NonEmptyGroup: "NON_EMPTY_GROUP",
	GroupMaxSizeReached: "GROUP_MAX_SIZE_REACHED", MemberIDRequired: "MEMBER_ID_REQUIRED",
	UnknownMemberID: "UNKNOWN_MEMBER_ID", FencedInstanceID: "FENCED_INSTANCE_ID",
	IllegalGeneration: "ILLEGAL_GENERATION", InconsistentProtocol: "INCONSISTENT_GROUP_PROTOCOL",
	InvalidSessionTimeout: "INVALID_SESSION_TIMEOUT", RebalanceInProgress: "REBALANCE_IN_PROGRESS",
	OffsetMetadataTooLarge: "OFFSET_METADATA_TOO_LARGE", GroupSubscribedToTopic: "GROUP_SUBSCRIBED_TO_TOPIC",
	InvalidRequest: "INVALID_REQUEST", GroupAuthorizationFailed: "GROUP_AUTHORIZATION_FAILED",
}

// String returns Kafka's name of the outcome.
func (c Code) String() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}
