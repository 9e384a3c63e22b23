package model

import (
	"cmp"
	"fmt"
	"strings"
)

// Offset is a position in a partition's log. Ranges are half open: [start, end).
type Offset int64

// NoOffset means that an offset is unknown or doesn't exist.
const NoOffset Offset = -1

// LeaderEpoch counts leader changes of one partition. It is stamped into every
// batch and fences requests of an older leadership.
type LeaderEpoch int32

// NoLeaderEpoch means that no epoch is known; requests that carry it are not fenced.
const NoLeaderEpoch LeaderEpoch = -1

// PartitionEpoch counts every committed change of one partition's state. It is
// the compare-and-set value of AlterPartition.
type PartitionEpoch int32

// BrokerEpoch identifies one registration (one process life) of a broker.
type BrokerEpoch int64

// NoBrokerEpoch means that the epoch is unknown; it is never fenced.
const NoBrokerEpoch BrokerEpoch = -1

// BrokerID is a node id, as in node.id. Controllers use the same number space.
type BrokerID int32

// NoBroker means that there is none, for example no leader.
const NoBroker BrokerID = -1

// ProducerID identifies an idempotent or transactional producer.
type ProducerID int64

// NoProducerID marks a batch without idempotence.
const NoProducerID ProducerID = -1

// ProducerEpoch fences older instances of one producer id.
type ProducerEpoch int16

// TopicPartition names a partition by its topic's name.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns "topic-partition", which is also the name of its directory.
func (tp TopicPartition) String() string { return fmt.Sprintf("%s-%d", tp.Topic, tp.Partition) }

// Compare orders by topic name, then partition.
func (tp TopicPartition) Compare(o TopicPartition) int {
	if c := strings.Compare(tp.Topic, o.Topic); c != 0 {
		return c
	}
	return cmp.Compare(tp.Partition, o.Partition)
}

// TopicIDPartition names a partition by its topic's id.
type TopicIDPartition struct {
	TopicID   TopicID
	Partition int32
}

// MetadataTopic is the name of the metadata log's topic.
const MetadataTopic = "__cluster_metadata"

// MetadataTopicID is the fixed id of the metadata log's topic.
var MetadataTopicID = TopicID{15: 1}
