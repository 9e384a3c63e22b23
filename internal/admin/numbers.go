package admin

import (
	"time"

	"tidemark/internal/fetcher"
	"tidemark/internal/latency"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/quorum"
)

// Counts are the counters of the answering node; each only grows.
type Counts struct {
	ISRShrinks, ISRExpands, FailedISRUpdates uint64
	UncleanElections                         uint64
	Fencings                                 uint64 // brokers fenced by this node as the active controller
	ControllerChanges                        uint64
	MetadataErrors                           uint64
	ScrubbedBytes, DamagedRuns               int64 // read and compared with checksums; runs of bad batches found
	DamagedReplicas                          int   // not healed yet
}

// Numbers are everything that one node can say in numbers at one moment. What
// belongs to a role that the node doesn't have is nil or empty.
type Numbers struct {
	At          time.Time
	Node        model.BrokerID
	BrokerState int
	Counts      Counts
	Broker      *BrokerNumbers     // nil without the role
	Controller  *ControllerNumbers // nil without the role
	Requests    []RequestNumbers
	Listeners   []ListenerNumbers
	IdleClosed  uint64 // connections closed for being idle
	CPUs        int
	CPU, Uptime time.Duration // processor time of the process, and its age
	Idle        float64       // share of the processors' time that was left unused of late; filled in by the handler
	ReadBytes   int64         // by the process from its disks; -1 unknown
	WriteBytes  int64
}

// BrokerNumbers are those of the broker role.
type BrokerNumbers struct {
	Totals                                                partition.Counters // also of replicas that left
	Topics                                                []TopicNumbers
	Partitions                                            []PartitionNumbers // hosted here, sorted
	Reassigns                                             int                // led here and being reassigned
	Followed                                              []FollowedNumbers
	Fetchers                                              []FetcherNumbers
	Waiting                                               []WaitingNumbers // purgatories
	Sessions, SessionPartitions                           int
	SessionEvictions                                      uint64
	Acks                                                  []partition.AckCounts
	Dirs                                                  []Dir
	Loading                                               []LoadingNumbers
	Flushes                                               latency.Snapshot
	Compactions                                           int64
	Uncleanable                                           int
	Groups                                                []GroupNumbers
	GroupCount, GroupsLoading, GroupMembers, GroupOffsets int
	Brokers                                               int          // active ones, as far as this node knows
	MetadataOffset                                        model.Offset // last applied
	MetadataEnd                                           model.Offset // the quorum's, as far as known
	MetadataTime                                          int64        // ms, newest timestamp of the last batch
	MetadataLevel                                         int
}

// ControllerNumbers are those of the controller role.
type ControllerNumbers struct {
	quorum.Meters
	Queued, Decided       latency.Snapshot // requests to the controller: before it looked at them, and in its hands
	AppendRate, FetchRate float64          // records a second; filled in by the handler
	Active                bool             // and serving
	Summary               Summary
	Topics                []ClusterTopic     // of the whole cluster
	Offline               []ClusterPartition // partitions without a leader
	Brokers               []Broker
}

// ClusterTopic is a topic as the metadata shows it.
type ClusterTopic struct {
	Name       string
	Partitions int
}

// ClusterPartition is a partition as the metadata shows it.
type ClusterPartition struct {
	Topic         string
	Partition     int32
	Replicas, ISR int
}

// TopicNumbers sum up what this node hosts of a topic.
type TopicNumbers struct {
	Topic string
	partition.Counters
}

// PartitionNumbers are those of one replica.
type PartitionNumbers struct {
	partition.Measures
	Preferred bool // this node leads, and is the preferred leader
	labels    string
}

// FollowedNumbers are those of one replica as its fetcher sees it.
type FollowedNumbers struct {
	TP     model.TopicPartition
	Leader model.BrokerID
	Loop   int32
	Lag    int64 // records behind the leader's high watermark, -1 unknown
	Failed bool
}

// FetcherNumbers are those of one loop that fetches from a leader.
type FetcherNumbers struct {
	fetcher.LoopStatus
	Rate float64 // fetches a second; filled in by the handler
}

// WaitingNumbers are those of one purgatory.
type WaitingNumbers struct {
	Operation string // Kafka's delayedOperation
	Size      int
	Expired   uint64
}

// LoadingNumbers are what is left to recover of one log directory.
type LoadingNumbers struct {
	Dir            string
	Logs, Segments int
}

// GroupNumbers are those of one consumer group that this node coordinates.
type GroupNumbers struct {
	Group   string
	Members int
	Offsets []GroupOffset
}

// GroupOffset is one committed offset; Lag is -1 if the log's end isn't known here.
type GroupOffset struct {
	TP     model.TopicPartition
	Offset model.Offset
	Lag    int64
}

// ListenerNumbers are those of one listener.
type ListenerNumbers struct {
	Name     string
	Open     int
	Accepted uint64
}

// RequestNumbers are those of one kind of request. Times are cumulative.
type RequestNumbers struct {
	Request                                   string // Kafka's name; FetchConsumer and FetchFollower for the kinds of Fetch
	Bytes                                     uint64
	Versions                                  []Labelled
	Errors                                    []Labelled
	Queue, Local, Remote, Answer, Send, Total latency.Snapshot
}

// Labelled is a count with one label's value.
type Labelled struct {
	Value string
	Count uint64
}
