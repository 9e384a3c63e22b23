package controller

import "fmt"

// Code classifies an outcome. The api package maps it to the wire's error code;
// nothing here depends on those numbers.
type Code uint8

// The outcomes, named after what is wrong.
const (
	OK Code = iota
	Unknown
	NotController
	InvalidRequest
	InconsistentClusterID
	DuplicateRegistration
	InvalidRegistration
	UnsupportedVersion
	StaleBrokerEpoch
	BrokerNotRegistered
	UnknownTopic
	UnknownTopicID
	TopicExists
	InvalidTopic
	InvalidPartitions
	InvalidReplicationFactor
	InvalidAssignment
	InvalidConfig
	PolicyViolation
	TopicDeletionDisabled
	TopicAuthorization
	FencedLeaderEpoch
	InvalidUpdateVersion
	IneligibleReplica
	NewLeaderElected
	ElectionNotNeeded
	PreferredLeaderUnavailable
	EligibleLeadersUnavailable
	NoReassignment
	FeatureUpdateFailed
	UnknownControllerID
)

var codeNames = [...]string{
	OK: "ok", Unknown: "unknown", NotController: "not-controller", InvalidRequest: "invalid-request",
	InconsistentClusterID: "inconsistent-cluster-id", DuplicateRegistration: "duplicate-registration",
	InvalidRegistration: "invalid-registration", UnsupportedVersion: "unsupported-version",
	StaleBrokerEpoch: "stale-broker-epoch", BrokerNotRegistered: "broker-not-registered",
	UnknownTopic: "unknown-topic", UnknownTopicID: "unknown-topic-id", TopicExists: "topic-exists",
	InvalidTopic: "invalid-topic", InvalidPartitions: "invalid-partitions",
	InvalidReplicationFactor: "invalid-replication-factor", InvalidAssignment: "invalid-assignment",
	InvalidConfig: "invalid-config", PolicyViolation: "policy-violation",
	TopicDeletionDisabled: "topic-deletion-disabled", TopicAuthorization: "topic-authorization",
	FencedLeaderEpoch: "fenced-leader-epoch", InvalidUpdateVersion: "invalid-update-version",
	IneligibleReplica: "ineligible-replica", NewLeaderElected: "new-leader-elected",
	ElectionNotNeeded: "election-not-needed", PreferredLeaderUnavailable: "preferred-leader-unavailable",
	EligibleLeadersUnavailable: "eligible-leaders-unavailable", NoReassignment: "no-reassignment",
	FeatureUpdateFailed: "feature-update-failed", UnknownControllerID: "unknown-controller-id",
}

// String returns the code's name, as used in logs and tests.
func (c Code) String() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}

// Result is the outcome of a request or of one of its parts. The zero value is
// success.
type Result struct {
	Code    Code
	Message string // for people; empty on success
}

// Failed reports whether the outcome is an error.
func (r Result) Failed() bool { return r.Code != OK }

// String returns "code" or "code: message".
func (r Result) String() string {
	if r.Message == "" {
		return r.Code.String()
	}
	return r.Code.String() + ": " + r.Message
}

func fail(c Code, format string, args ...any) Result {
	return Result{Code: c, Message: fmt.Sprintf(format, args...)}
}
