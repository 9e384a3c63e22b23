package admin

import (
	"time"

	"tidemark/internal/model"
)

// State is everything that the page shows, as one node sees the cluster. All
// times are the wall clock's; ages are milliseconds.
type State struct {
	At         time.Time   `json:"at"`
	Node       Node        `json:"node"`
	Controller Controller  `json:"controller"`
	Brokers    []Broker    `json:"brokers"`
	Partitions []Partition `json:"partitions"`
	Summary    Summary     `json:"summary"`
	Events     []Event     `json:"events,omitempty"`
}

// Node is the node that answers.
type Node struct {
	ID             model.BrokerID `json:"id"`
	ClusterID      string         `json:"clusterId"`
	Version        string         `json:"version"`
	Roles          []string       `json:"roles"`
	BrokerState    int            `json:"brokerState"` // Kafka's number
	BrokerStateIs  string         `json:"brokerStateIs"`
	Started        time.Time      `json:"started"`
	MetadataOffset model.Offset   `json:"metadataOffset"`
	Dirs           []Dir          `json:"dirs"`
}

// Dir is one log directory of the answering node.
type Dir struct {
	Path    string            `json:"path"`
	ID      model.DirectoryID `json:"id"`
	Online  bool              `json:"online"`
	Full    bool              `json:"full"` // records are refused, reads go on
	Reason  string            `json:"reason,omitempty"`
	Free    uint64            `json:"freeBytes"`
	Total   uint64            `json:"totalBytes"`
	Replica int               `json:"replicas"`
}

// Controller is the state of the metadata quorum.
type Controller struct {
	Leader        model.BrokerID    `json:"leader"` // -1 unknown
	Epoch         model.LeaderEpoch `json:"epoch"`
	HighWatermark model.Offset      `json:"highWatermark"`
	Voters        []model.BrokerID  `json:"voters"`
}

// Broker is one registered broker.
type Broker struct {
	ID        model.BrokerID    `json:"id"`
	Rack      string            `json:"rack"`
	State     string            `json:"state"` // running, fenced, shutting down
	Since     *time.Time        `json:"since,omitempty"`
	Endpoints []string          `json:"endpoints"`
	Epoch     model.BrokerEpoch `json:"epoch"`
	Leaders   int               `json:"leaders"`
	Replicas  int               `json:"replicas"`
	OutOfSync int               `json:"outOfSync"` // replicas of it that no ISR holds
}

// Partition is one partition. The numbers of its log come from its leader; they
// are absent (Known false) when the leader can't be asked.
type Partition struct {
	Topic           string               `json:"topic"`
	Partition       int32                `json:"partition"`
	TopicID         model.TopicID        `json:"topicId"`
	Leader          model.BrokerID       `json:"leader"`
	LeaderEpoch     model.LeaderEpoch    `json:"leaderEpoch"`
	PartitionEpoch  model.PartitionEpoch `json:"partitionEpoch"`
	Replicas        []model.BrokerID     `json:"replicas"`
	ISR             []model.BrokerID     `json:"isr"`
	Adding          []model.BrokerID     `json:"adding,omitempty"`
	Removing        []model.BrokerID     `json:"removing,omitempty"`
	ELR             []model.BrokerID     `json:"elr,omitempty"`
	MinISR          int                  `json:"minIsr"` // effective: min(min.insync.replicas, replicas)
	UnderReplicated bool                 `json:"underReplicated"`
	Missing         []model.BrokerID     `json:"missing,omitempty"` // replicas outside the ISR
	Since           *time.Time           `json:"since,omitempty"`   // of the newest change for the worse
	Reason          string               `json:"reason,omitempty"`
	Known           bool                 `json:"known"`
	HighWatermark   model.Offset         `json:"highWatermark"`
	LogEnd          model.Offset         `json:"logEnd"`
	LogStart        model.Offset         `json:"logStart"`
	Followers       []Follower           `json:"followers,omitempty"`
}

// Follower is what the leader knows of one follower.
type Follower struct {
	Broker        model.BrokerID `json:"broker"`
	LogEnd        model.Offset   `json:"logEnd"` // -1: has not fetched in this epoch
	Lag           int64          `json:"lag"`    // records behind the leader's end; -1 unknown
	LagBytes      int64          `json:"lagBytes"`
	FetchAgeMs    int64          `json:"fetchAgeMs"`        // -1 never
	CaughtUpAgeMs int64          `json:"caughtUpAgeMs"`     // -1 never
	State         string         `json:"state"`             // in-sync, lagging, catching-up, joining, flapping, offline
	Reason        string         `json:"reason,omitempty"`  // the likeliest code
	Reasons       []string       `json:"reasons,omitempty"` // every code that fits
	Detail        string         `json:"detail,omitempty"`  // the numbers that the codes were judged by
	InSync        bool           `json:"inSync"`
	Joined        int            `json:"joined"` // ISR joins and departures in this leader epoch
	Left          int            `json:"left"`

	RecordsPerSecond       float64 `json:"recordsPerSecond"`
	LeaderRecordsPerSecond float64 `json:"leaderRecordsPerSecond"`
	BytesPerSecond         float64 `json:"bytesPerSecond"`   // about: records at the mean size of those behind
	SecondsToCatchUp       float64 `json:"secondsToCatchUp"` // -1: doesn't get closer
}

// Summary counts what an operator looks at first.
type Summary struct {
	Brokers         int `json:"brokers"`
	BrokersFenced   int `json:"brokersFenced"`
	Topics          int `json:"topics"`
	Partitions      int `json:"partitions"`
	UnderReplicated int `json:"underReplicated"`
	UnderMinISR     int `json:"underMinIsr"`
	AtMinISR        int `json:"atMinIsr"`
	Offline         int `json:"offline"`
	NotPreferred    int `json:"leaderNotPreferred"`
}

// Event is one entry of the replication journal.
type Event struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`
	Where  string    `json:"where"` // topic-partition, or broker
	Text   string    `json:"text"`
	Reason string    `json:"reason,omitempty"`
}

// Check is one condition of readiness.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}
