package metadata

import "fmt"

// RecoveryState says whether a partition's leader was elected uncleanly and has
// not yet repaired its state.
type RecoveryState int8

// The states of leader recovery (KIP-704).
const (
	Recovered  RecoveryState = 0
	Recovering RecoveryState = 1
)

// FenceChange is what BrokerRegistrationChangeRecord does to the fenced flag.
type FenceChange int8

// The changes of the fenced flag.
const (
	Unfence       FenceChange = -1
	FenceNoChange FenceChange = 0
	Fence         FenceChange = 1
)

// ResourceType is what a configuration belongs to.
type ResourceType int8

// The resource types that configurations exist for.
const (
	TopicResource         ResourceType = 2
	BrokerResource        ResourceType = 4
	BrokerLoggerResource  ResourceType = 8
	ClientMetricsResource ResourceType = 16
	GroupResource         ResourceType = 32
)

// String returns Kafka's name of the type.
func (t ResourceType) String() string {
	switch t {
	case TopicResource:
		return "topic"
	case BrokerResource:
		return "broker"
	case BrokerLoggerResource:
		return "broker-logger"
	case ClientMetricsResource:
		return "client-metrics"
	case GroupResource:
		return "group"
	}
	return fmt.Sprintf("resource-%d", int8(t))
}

// Features with a level of their own.
const (
	MetadataVersionFeature    = "metadata.version"
	KRaftVersionFeature       = "kraft.version" // never in a FeatureLevelRecord
	GroupVersionFeature       = "group.version"
	TransactionVersionFeature = "transaction.version"
	ELRVersionFeature         = "eligible.leader.replicas.version"
	ShareVersionFeature       = "share.version"
	StreamsVersionFeature     = "streams.version"
)

// The range of metadata.version that this package understands: from 3.3-IV3,
// the first that a KRaft cluster of Kafka 4 may have, to 4.3-IV0.
const (
	MinMetadataVersion int16 = 7
	MaxMetadataVersion int16 = 30
)
