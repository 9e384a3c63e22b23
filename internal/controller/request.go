package controller

import (
	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// RegisterBroker asks to register one process life of a broker (KIP-631).
type RegisterBroker struct {
	Broker        model.BrokerID
	ClusterID     string
	Incarnation   model.UUID // random per process start
	Endpoints     []metadata.Endpoint
	Features      map[string]metadata.VersionRange // what the broker supports
	Rack          string
	HasRack       bool
	Dirs          []model.DirectoryID // online log directories
	PreviousEpoch model.BrokerEpoch   // from a clean shutdown, else NoBrokerEpoch
}

// RegisterBrokerResponse carries the broker epoch, NoBrokerEpoch on failure.
type RegisterBrokerResponse struct {
	Result
	Epoch model.BrokerEpoch
}

// BrokerHeartbeat keeps a broker's session and asks for a state.
type BrokerHeartbeat struct {
	Broker         model.BrokerID
	Epoch          model.BrokerEpoch
	MetadataOffset model.Offset // highest offset the broker has applied
	WantFence      bool
	WantShutdown   bool
	OfflineDirs    []model.DirectoryID
}

// BrokerHeartbeatResponse is the broker's state after the change was committed.
type BrokerHeartbeatResponse struct {
	Result
	CaughtUp       bool // the broker has applied its own registration
	Fenced         bool
	ShouldShutdown bool
}

// AlterPartitions asks, as leader, to change ISRs (KIP-497, KIP-903).
type AlterPartitions struct {
	Broker     model.BrokerID
	Epoch      model.BrokerEpoch
	Partitions []AlterPartition
}

// AlterPartition is one leader's proposal.
type AlterPartition struct {
	Partition      model.TopicIDPartition
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch // compare-and-set
	ISR            []ISRMember
	Recovery       metadata.RecoveryState
}

// ISRMember is a proposed member and the life of its broker that the leader saw
// fetching; NoBrokerEpoch isn't checked.
type ISRMember struct {
	Broker model.BrokerID
	Epoch  model.BrokerEpoch
}

// AlterPartitionsResponse answers each partition in request order.
type AlterPartitionsResponse struct {
	Result
	Partitions []AlteredPartition
}

// AlteredPartition is the state after the change, valid when the code is OK.
type AlteredPartition struct {
	Partition model.TopicIDPartition
	Result
	Leader         model.BrokerID
	LeaderEpoch    model.LeaderEpoch
	ISR            []model.BrokerID
	Recovery       metadata.RecoveryState
	PartitionEpoch model.PartitionEpoch
}

// CreateTopics creates topics; each succeeds or fails on its own.
type CreateTopics struct {
	Topics       []NewTopic
	ValidateOnly bool
}

// NewTopic describes one topic. Partitions and ReplicationFactor are -1 for the
// default or when Assignments is given.
type NewTopic struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16
	Assignments       []Assignment
	Configs           []ConfigEntry
}

// Assignment places one partition by hand; the first replica is preferred.
type Assignment struct {
	Partition int32
	Replicas  []model.BrokerID
}

// ConfigEntry is a name and a value; a nil value means none.
type ConfigEntry struct {
	Name  string
	Value *string
}

// CreateTopicsResponse answers each distinct name in request order.
type CreateTopicsResponse struct{ Topics []CreatedTopic }

// CreatedTopic describes what was created. Partitions and ReplicationFactor are
// -1 on failure.
type CreatedTopic struct {
	Name string
	ID   model.TopicID
	Result
	Partitions        int32
	ReplicationFactor int16
	Configs           []EffectiveConfig // every topic config, sorted by name
}

// EffectiveConfig is a config with the place its value comes from.
type EffectiveConfig struct {
	Name   string
	Value  string
	Source ConfigSource
}

// ConfigSource says where an effective value comes from.
type ConfigSource int8

// The sources, from the most to the least specific.
const (
	SourceTopic ConfigSource = iota + 1
	SourceBroker
	SourceCluster
	SourceStatic
	SourceDefault
)

// TopicRef names a topic by id or, when the id is zero, by name.
type TopicRef struct {
	Name string
	ID   model.TopicID
}

// DeleteTopics removes topics; each succeeds or fails on its own.
type DeleteTopics struct{ Topics []TopicRef }

// DeleteTopicsResponse answers in request order; name and id are both filled in
// when the topic was found.
type DeleteTopicsResponse struct{ Topics []DeletedTopic }

// DeletedTopic is the outcome for one topic.
type DeletedTopic struct {
	Name string
	ID   model.TopicID
	Result
}

// CreatePartitions grows topics.
type CreatePartitions struct {
	Topics       []MorePartitions
	ValidateOnly bool
}

// MorePartitions asks for Count partitions in total. Assignments, if not nil,
// has one replica list per new partition.
type MorePartitions struct {
	Name        string
	Count       int32
	Assignments [][]model.BrokerID
}

// CreatePartitionsResponse answers in request order.
type CreatePartitionsResponse struct{ Topics []TopicResult }

// TopicResult is the outcome for one topic.
type TopicResult struct {
	Name string
	Result
}

// ConfigOpKind is how an incremental change treats the present value.
type ConfigOpKind int8

// The operations, numbered as on the wire.
const (
	ConfigSet ConfigOpKind = iota
	ConfigDelete
	ConfigAppend
	ConfigSubtract
)

// IncrementalAlterConfigs changes single configs and leaves the others.
type IncrementalAlterConfigs struct {
	Resources    []ConfigChange
	ValidateOnly bool
}

// ConfigChange lists the operations on one resource.
type ConfigChange struct {
	Resource metadata.Resource
	Ops      []ConfigOp
}

// ConfigOp is one operation; Value is nil for a delete.
type ConfigOp struct {
	Name  string
	Op    ConfigOpKind
	Value *string
}

// AlterConfigs replaces all configs of a resource.
type AlterConfigs struct {
	Resources    []ConfigReplace
	ValidateOnly bool
}

// ConfigReplace is the complete new set of one resource.
type ConfigReplace struct {
	Resource metadata.Resource
	Configs  []ConfigEntry
}

// AlterConfigsResponse answers both kinds of config change, in request order.
type AlterConfigsResponse struct{ Resources []ConfigResult }

// ConfigResult is the outcome for one resource.
type ConfigResult struct {
	Resource metadata.Resource
	Result
}

// ElectionType is what an ElectLeaders request asks for.
type ElectionType int8

// The election types, numbered as on the wire.
const (
	ElectPreferred ElectionType = iota
	ElectUnclean
)

// ElectLeaders asks for elections. All, with Partitions nil, means every
// partition, and leaves out of the answer those that need none.
type ElectLeaders struct {
	Type       ElectionType
	All        bool
	Partitions []model.TopicPartition
}

// ElectLeadersResponse answers in request order, or sorted by topic name when all
// were asked for.
type ElectLeadersResponse struct {
	Result
	Partitions []PartitionResult
}

// PartitionResult is the outcome for one partition.
type PartitionResult struct {
	Partition model.TopicPartition
	Result
}

// AllocateProducerIDs asks for a block of producer ids that nobody else gets.
type AllocateProducerIDs struct {
	Broker model.BrokerID
	Epoch  model.BrokerEpoch
}

// AllocateProducerIDsResponse is the block [First, First+Count).
type AllocateProducerIDsResponse struct {
	Result
	First model.ProducerID
	Count int32
}

// AssignReplicasToDirs reports in which directory of its broker a replica lives
// (KIP-858). Assigning LostDir reports that the replica's data is lost: it leaves
// the ISR and isn't elected without an explicit unclean election.
type AssignReplicasToDirs struct {
	Broker      model.BrokerID
	Epoch       model.BrokerEpoch
	Assignments []DirAssignment
}

// DirAssignment places one replica.
type DirAssignment struct {
	Dir       model.DirectoryID
	Partition model.TopicIDPartition
}

// AssignReplicasToDirsResponse answers in request order.
type AssignReplicasToDirsResponse struct {
	Result
	Assignments []DirAssigned
}

// DirAssigned is the outcome for one replica.
type DirAssigned struct {
	DirAssignment
	Code Code
}

// RegisterController records a controller's endpoints and features (KIP-919).
type RegisterController struct {
	Controller  model.BrokerID
	Incarnation model.UUID
	Endpoints   []metadata.Endpoint
	Features    map[string]metadata.VersionRange
}

// RegisterControllerResponse is the outcome.
type RegisterControllerResponse struct{ Result }

// UpgradeType says which direction a feature may move.
type UpgradeType int8

// The upgrade types, numbered as on the wire.
const (
	FeatureUpgrade UpgradeType = iota + 1
	FeatureSafeDowngrade
	FeatureUnsafeDowngrade
)

// UpdateFeatures finalises feature levels, all or none.
type UpdateFeatures struct {
	Updates      []FeatureUpdate
	ValidateOnly bool
}

// FeatureUpdate is one new level; 0 removes the feature.
type FeatureUpdate struct {
	Name  string
	Level int16
	Type  UpgradeType
}

// UpdateFeaturesResponse is the outcome; if any update fails, none is made.
type UpdateFeaturesResponse struct {
	Result
	Features []FeatureResult
}

// FeatureResult is the outcome for one feature.
type FeatureResult struct {
	Name string
	Result
}

// UnregisterBroker removes a broker's registration; its replicas stay assigned.
type UnregisterBroker struct{ Broker model.BrokerID }

// UnregisterBrokerResponse is the outcome.
type UnregisterBrokerResponse struct{ Result }

// AlterPartitionReassignments moves replicas (KIP-455).
type AlterPartitionReassignments struct {
	AllowRFChange bool // KIP-860; older clients mean true
	Partitions    []Reassign
}

// Reassign is the target of one partition.
type Reassign struct {
	Partition model.TopicPartition
	Cancel    bool
	Replicas  []model.BrokerID // target; ignored if Cancel
}

// AlterPartitionReassignmentsResponse answers in request order.
type AlterPartitionReassignmentsResponse struct {
	Result
	Partitions []PartitionResult
}

// ListPartitionReassignments asks for running reassignments.
type ListPartitionReassignments struct {
	All        bool
	Partitions []model.TopicPartition // used unless All
}

// ListPartitionReassignmentsResponse is sorted by topic name and partition.
type ListPartitionReassignmentsResponse struct {
	Result
	Partitions []Reassignment
}

// Reassignment is one running reassignment.
type Reassignment struct {
	Partition                  model.TopicPartition
	Replicas, Adding, Removing []model.BrokerID
}
