package controller

import (
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// Config is what the core needs to know about this node; Kafka's names beside it.
type Config struct {
	NodeID    model.BrokerID
	ClusterID string

	SessionTimeout time.Duration // broker.session.timeout.ms

	NumPartitions     int32 // num.partitions
	ReplicationFactor int16 // default.replication.factor
	DeleteTopics      bool  // delete.topic.enable

	AutoRebalance     bool          // auto.leader.rebalance.enable
	RebalanceInterval time.Duration // leader.imbalance.check.interval.seconds
	UncleanInterval   time.Duration // unclean.leader.election.interval.ms
	NoOpInterval      time.Duration // metadata.max.idle.interval.ms; 0 writes none

	// Static holds this node's static values of topic configs, under the topic
	// config's name, for example "min.insync.replicas". Absent means default.
	Static map[string]string

	// Features are the levels that a new cluster finalises; level 0 is off.
	Features map[string]int16
	// Supported are the levels that this build can finalise.
	Supported map[string]metadata.VersionRange
	// Bootstrap holds further records for a new log, for example SCRAM users.
	Bootstrap []metadata.Record
}

// DefaultConfig returns Kafka's defaults for a cluster that has no settings.
func DefaultConfig() Config {
	return Config{
		SessionTimeout:    9 * time.Second,
		NumPartitions:     1,
		ReplicationFactor: 1,
		DeleteTopics:      true,
		AutoRebalance:     true,
		RebalanceInterval: 300 * time.Second,
		UncleanInterval:   300 * time.Second,
		NoOpInterval:      500 * time.Millisecond,
		Features:          DefaultFeatures(),
		Supported:         SupportedFeatures(),
	}
}

const (
	maxRecords       = 10_000 // records of one decision of a user's
	maxRebalance     = 1_000  // elections of one balancing pass
	producerIDBlock  = 1_000  // producer ids handed out at once
	rebalanceQuickly = 10 * time.Millisecond
)
