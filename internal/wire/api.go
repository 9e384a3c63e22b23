package wire

import (
	"slices"
	"strconv"
)

// Keys that code of this repository names. The rest is in the table.
const (
	KeyProduce          int16 = 0
	KeyFetch            int16 = 1
	KeyMetadata         int16 = 3
	KeySaslHandshake    int16 = 17
	KeyApiVersions      int16 = 18
	KeySaslAuthenticate int16 = 36
	KeyEnvelope         int16 = 58
	KeyDescribeCluster  int16 = 60

	// KeyPrivate is the first key that Kafka doesn't use: from here on an API is
	// between nodes of this product only. It is never advertised, has only
	// version 0, header v1 and a body that kmsg doesn't know.
	KeyPrivate int16 = 10000
)

// API is one row of the table: what Apache Kafka 4.3.1 speaks. A broker
// advertises the rows it has a handler for.
type API struct {
	// Key and Name identify the API.
	Key  int16
	Name string
	// Min and Max are the versions served, inclusive. A version that 4.3.1
	// calls unstable is not counted.
	Min, Max int16
	// Broker and Controller say on which kind of listener it is served.
	Broker, Controller bool
	// Forward means that a broker passes it on to the active controller.
	Forward bool

	flexible int16 // first version with compact types and tagged fields; -1 none
}

// Flexible reports whether version uses compact types and tagged fields.
func (a API) Flexible(version int16) bool { return a.flexible >= 0 && version >= a.flexible }

// Private reports whether the API is this product's own.
func (a API) Private() bool { return a.Key >= KeyPrivate }

// Supports reports whether version lies in the served range.
func (a API) Supports(version int16) bool { return version >= a.Min && version <= a.Max }

// table is ordered by key. It equals what a 4.3.1 node answers to ApiVersions
// on both kinds of listener, but for two things: Kafka claims Produce from v0 on
// without serving it below v3, and lists the telemetry APIs, 71 and 72, only
// with a plugin that takes what clients send.
var table = []API{
	{Key: 0, Name: "Produce", Min: 3, Max: 13, flexible: 9, Broker: true},
	{Key: 1, Name: "Fetch", Min: 4, Max: 18, flexible: 12, Broker: true, Controller: true},
	{Key: 2, Name: "ListOffsets", Min: 1, Max: 11, flexible: 6, Broker: true},
	{Key: 3, Name: "Metadata", Min: 0, Max: 13, flexible: 9, Broker: true},
	{Key: 8, Name: "OffsetCommit", Min: 2, Max: 10, flexible: 8, Broker: true},
	{Key: 9, Name: "OffsetFetch", Min: 1, Max: 10, flexible: 6, Broker: true},
	{Key: 10, Name: "FindCoordinator", Min: 0, Max: 6, flexible: 3, Broker: true},
	{Key: 11, Name: "JoinGroup", Min: 0, Max: 9, flexible: 6, Broker: true},
	{Key: 12, Name: "Heartbeat", Min: 0, Max: 4, flexible: 4, Broker: true},
	{Key: 13, Name: "LeaveGroup", Min: 0, Max: 5, flexible: 4, Broker: true},
	{Key: 14, Name: "SyncGroup", Min: 0, Max: 5, flexible: 4, Broker: true},
	{Key: 15, Name: "DescribeGroups", Min: 0, Max: 6, flexible: 5, Broker: true},
	{Key: 16, Name: "ListGroups", Min: 0, Max: 5, flexible: 3, Broker: true},
	{Key: 17, Name: "SaslHandshake", Min: 0, Max: 1, flexible: -1, Broker: true, Controller: true},
	{Key: 18, Name: "ApiVersions", Min: 0, Max: 4, flexible: 3, Broker: true, Controller: true},
	{Key: 19, Name: "CreateTopics", Min: 2, Max: 7, flexible: 5, Broker: true, Controller: true, Forward: true},
	{Key: 20, Name: "DeleteTopics", Min: 1, Max: 6, flexible: 4, Broker: true, Controller: true, Forward: true},
	{Key: 21, Name: "DeleteRecords", Min: 0, Max: 2, flexible: 2, Broker: true},
	{Key: 22, Name: "InitProducerId", Min: 0, Max: 5, flexible: 2, Broker: true},
	{Key: 23, Name: "OffsetForLeaderEpoch", Min: 2, Max: 4, flexible: 4, Broker: true},
	{Key: 24, Name: "AddPartitionsToTxn", Min: 0, Max: 5, flexible: 3, Broker: true},
	{Key: 25, Name: "AddOffsetsToTxn", Min: 0, Max: 4, flexible: 3, Broker: true},
	{Key: 26, Name: "EndTxn", Min: 0, Max: 5, flexible: 3, Broker: true},
	{Key: 27, Name: "WriteTxnMarkers", Min: 1, Max: 2, flexible: 1, Broker: true},
	{Key: 28, Name: "TxnOffsetCommit", Min: 0, Max: 5, flexible: 3, Broker: true},
	{Key: 29, Name: "DescribeAcls", Min: 1, Max: 3, flexible: 2, Broker: true, Controller: true},
	{Key: 30, Name: "CreateAcls", Min: 1, Max: 3, flexible: 2, Broker: true, Controller: true, Forward: true},
	{Key: 31, Name: "DeleteAcls", Min: 1, Max: 3, flexible: 2, Broker: true, Controller: true, Forward: true},
	{Key: 32, Name: "DescribeConfigs", Min: 1, Max: 4, flexible: 4, Broker: true, Controller: true},
	{Key: 33, Name: "AlterConfigs", Min: 0, Max: 2, flexible: 2, Broker: true, Controller: true, Forward: true},
	{Key: 34, Name: "AlterReplicaLogDirs", Min: 1, Max: 2, flexible: 2, Broker: true},
	{Key: 35, Name: "DescribeLogDirs", Min: 1, Max: 5, flexible: 2, Broker: true},
	{Key: 36, Name: "SaslAuthenticate", Min: 0, Max: 2, flexible: 2, Broker: true, Controller: true},
	{Key: 37, Name: "CreatePartitions", Min: 0, Max: 3, flexible: 2, Broker: true, Controller: true, Forward: true},
	{Key: 38, Name: "CreateDelegationToken", Min: 1, Max: 3, flexible: 2, Broker: true, Controller: true, Forward: true},
	{Key: 39, Name: "RenewDelegationToken", Min: 1, Max: 2, flexible: 2, Broker: true, Controller: true, Forward: true},
	{Key: 40, Name: "ExpireDelegationToken", Min: 1, Max: 2, flexible: 2, Broker: true, Controller: true, Forward: true},
	{Key: 41, Name: "DescribeDelegationToken", Min: 1, Max: 3, flexible: 2, Broker: true, Controller: true},
	{Key: 42, Name: "DeleteGroups", Min: 0, Max: 2, flexible: 2, Broker: true},
	{Key: 43, Name: "ElectLeaders", Min: 0, Max: 2, flexible: 2, Broker: true, Controller: true, Forward: true},
	{Key: 44, Name: "IncrementalAlterConfigs", Min: 0, Max: 1, flexible: 1, Broker: true, Controller: true, Forward: true},
	{Key: 45, Name: "AlterPartitionReassignments", Min: 0, Max: 1, flexible: 0, Broker: true, Controller: true, Forward: true},
	{Key: 46, Name: "ListPartitionReassignments", Min: 0, Max: 0, flexible: 0, Broker: true, Controller: true, Forward: true},
	{Key: 47, Name: "OffsetDelete", Min: 0, Max: 0, flexible: -1, Broker: true},
	{Key: 48, Name: "DescribeClientQuotas", Min: 0, Max: 1, flexible: 1, Broker: true},
	{Key: 49, Name: "AlterClientQuotas", Min: 0, Max: 1, flexible: 1, Broker: true, Controller: true, Forward: true},
	{Key: 50, Name: "DescribeUserScramCredentials", Min: 0, Max: 0, flexible: 0, Broker: true, Controller: true},
	{Key: 51, Name: "AlterUserScramCredentials", Min: 0, Max: 0, flexible: 0, Broker: true, Controller: true, Forward: true},
	{Key: 52, Name: "Vote", Min: 0, Max: 2, flexible: 0, Controller: true},
	{Key: 53, Name: "BeginQuorumEpoch", Min: 0, Max: 1, flexible: 1, Controller: true},
	{Key: 54, Name: "EndQuorumEpoch", Min: 0, Max: 1, flexible: 1, Controller: true},
	{Key: 55, Name: "DescribeQuorum", Min: 0, Max: 2, flexible: 0, Broker: true, Controller: true, Forward: true},
	{Key: 56, Name: "AlterPartition", Min: 2, Max: 3, flexible: 0, Controller: true},
	{Key: 57, Name: "UpdateFeatures", Min: 0, Max: 2, flexible: 0, Broker: true, Controller: true, Forward: true},
	{Key: 58, Name: "Envelope", Min: 0, Max: 0, flexible: 0, Controller: true},
	{Key: 59, Name: "FetchSnapshot", Min: 0, Max: 1, flexible: 0, Controller: true},
	{Key: 60, Name: "DescribeCluster", Min: 0, Max: 2, flexible: 0, Broker: true, Controller: true},
	{Key: 61, Name: "DescribeProducers", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 62, Name: "BrokerRegistration", Min: 0, Max: 4, flexible: 0, Controller: true},
	{Key: 63, Name: "BrokerHeartbeat", Min: 0, Max: 2, flexible: 0, Controller: true},
	{Key: 64, Name: "UnregisterBroker", Min: 0, Max: 0, flexible: 0, Broker: true, Controller: true, Forward: true},
	{Key: 65, Name: "DescribeTransactions", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 66, Name: "ListTransactions", Min: 0, Max: 2, flexible: 0, Broker: true},
	{Key: 67, Name: "AllocateProducerIds", Min: 0, Max: 0, flexible: 0, Controller: true},
	{Key: 68, Name: "ConsumerGroupHeartbeat", Min: 0, Max: 1, flexible: 0, Broker: true},
	{Key: 69, Name: "ConsumerGroupDescribe", Min: 0, Max: 1, flexible: 0, Broker: true},
	{Key: 70, Name: "ControllerRegistration", Min: 0, Max: 0, flexible: 0, Controller: true},
	{Key: 71, Name: "GetTelemetrySubscriptions", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 72, Name: "PushTelemetry", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 73, Name: "AssignReplicasToDirs", Min: 0, Max: 0, flexible: 0, Controller: true},
	{Key: 74, Name: "ListConfigResources", Min: 0, Max: 1, flexible: 0, Broker: true},
	{Key: 75, Name: "DescribeTopicPartitions", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 76, Name: "ShareGroupHeartbeat", Min: 1, Max: 1, flexible: 0, Broker: true},
	{Key: 77, Name: "ShareGroupDescribe", Min: 1, Max: 1, flexible: 0, Broker: true},
	{Key: 78, Name: "ShareFetch", Min: 1, Max: 2, flexible: 0, Broker: true},
	{Key: 79, Name: "ShareAcknowledge", Min: 1, Max: 2, flexible: 0, Broker: true},
	{Key: 80, Name: "AddRaftVoter", Min: 0, Max: 1, flexible: 0, Broker: true, Controller: true, Forward: true},
	{Key: 81, Name: "RemoveRaftVoter", Min: 0, Max: 0, flexible: 0, Broker: true, Controller: true, Forward: true},
	{Key: 82, Name: "UpdateRaftVoter", Min: 0, Max: 0, flexible: 0, Controller: true},
	{Key: 83, Name: "InitializeShareGroupState", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 84, Name: "ReadShareGroupState", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 85, Name: "WriteShareGroupState", Min: 0, Max: 1, flexible: 0, Broker: true},
	{Key: 86, Name: "DeleteShareGroupState", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 87, Name: "ReadShareGroupStateSummary", Min: 0, Max: 1, flexible: 0, Broker: true},
	{Key: 88, Name: "StreamsGroupHeartbeat", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 89, Name: "StreamsGroupDescribe", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 90, Name: "DescribeShareGroupOffsets", Min: 0, Max: 1, flexible: 0, Broker: true},
	{Key: 91, Name: "AlterShareGroupOffsets", Min: 0, Max: 0, flexible: 0, Broker: true},
	{Key: 92, Name: "DeleteShareGroupOffsets", Min: 0, Max: 0, flexible: 0, Broker: true},
}

// byKey finds rows without a search: keys are small and dense.
var byKey = func() (t [96]*API) {
	for i := range table {
		t[table[i].Key] = &table[i]
	}
	return t
}()

// APIs returns a copy of the table, by key. Safe for concurrent use.
func APIs() []API { return slices.Clone(table) }

// Lookup returns the row of key; private keys have one, too.
func Lookup(key int16) (API, bool) {
	if key >= 0 && int(key) < len(byKey) && byKey[key] != nil {
		return *byKey[key], true
	}
	if key >= KeyPrivate {
		return API{Key: key, Name: "Private", Controller: true, flexible: -1}, true
	}
	return API{}, false
}

// APIName is the name for logs; an unknown key prints as its number.
func APIName(key int16) string {
	if a, ok := Lookup(key); ok {
		return a.Name
	}
	return strconv.Itoa(int(key))
}
