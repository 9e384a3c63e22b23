package admin

import (
	"tidemark/internal/latency"
)

const (
	kafkaController = "kafka.controller:type=KafkaController,name="
	eventManager    = "kafka.controller:type=ControllerEventManager,name="
	brokerMetadata  = "kafka.server:type=broker-metadata-metrics"
	metadataLoader  = "kafka.server:type=MetadataLoader,name="
)

// controllerRows: the controller, and the metadata as a broker follows it. Every
// controller counts the committed metadata, so their counts agree.
var controllerRows = []*Metric{
	{JMX: kafkaController + "ActiveControllerCount", Help: "1 on the active controller", each: perController(func(c *ControllerNumbers) float64 { return truth(c.Active) })},
	{JMX: kafkaController + "ActiveBrokerCount", Help: "brokers that serve", each: summary(func(s *Summary) int { return s.Brokers - s.BrokersFenced })},
	{JMX: kafkaController + "FencedBrokerCount", Help: "registered brokers that don't serve", each: summary(func(s *Summary) int { return s.BrokersFenced })},
	{JMX: kafkaController + "GlobalTopicCount", Help: "topics", each: summary(func(s *Summary) int { return s.Topics })},
	{JMX: kafkaController + "GlobalPartitionCount", Help: "partitions", each: summary(func(s *Summary) int { return s.Partitions })},
	{JMX: kafkaController + "OfflinePartitionsCount", Help: "partitions without a leader: no reads and no writes there", each: summary(func(s *Summary) int { return s.Offline })},
	{JMX: kafkaController + "PreferredReplicaImbalanceCount", Help: "partitions that another than their preferred replica leads", each: summary(func(s *Summary) int { return s.NotPreferred })},
	{JMX: kafkaController + "MetadataErrorCount", Kind: Counter, Strimzi: "kafka_controller_kafkacontroller_metadataerrorcount", Help: "metadata records that couldn't be applied",
		each: controllerCount(func(c *Counts) uint64 { return c.MetadataErrors })},
	{JMX: kafkaController + "LastAppliedRecordOffset", Help: "last offset of the metadata log that is applied", each: perController(func(c *ControllerNumbers) float64 { return float64(c.LogEnd - 1) })},
	{JMX: kafkaController + "LastCommittedRecordOffset", Help: "last offset of the metadata log that is committed, as far as known here", each: perController(func(c *ControllerNumbers) float64 { return float64(c.LogEnd - 1) })},
	{JMX: kafkaController + "LastAppliedRecordTimestamp", Help: "time of the last applied record, ms", each: perController(func(c *ControllerNumbers) float64 { return float64(c.Applied) })},
	{JMX: kafkaController + "LastAppliedRecordLagMs", Help: "age of the last applied record; 0 on the active controller",
		each: func(n *Numbers, out emit) {
			if c := n.Controller; c != nil && (c.Active || c.Applied < 0) {
				out(0)
			} else if c != nil {
				out(float64(max(0, n.At.UnixMilli()-c.Applied)))
			}
		}},
	{JMX: kafkaController + "TimedOutBrokerHeartbeatCount", Kind: Counter, Strimzi: "kafka_controller_kafkacontroller_timedoutbrokerheartbeatcount", Help: "brokers that this controller has fenced",
		each: controllerCount(func(c *Counts) uint64 { return c.Fencings })},
	{JMX: kafkaController + "NewActiveControllersCount", Kind: Counter, Strimzi: "kafka_controller_kafkacontroller_newactivecontrollerscount", Help: "changes of the active controller that this node has seen",
		each: controllerCount(func(c *Counts) uint64 { return c.ControllerChanges })},
	{JMX: "kafka.controller:type=ControllerStats,name=UncleanLeaderElectionsPerSec", Kind: Counter, Help: "elections of a replica outside the in-sync set, by this controller",
		each: controllerCount(func(c *Counts) uint64 { return c.UncleanElections })},
	{JMX: eventManager + "EventQueueTimeMs", Kind: Times, Help: "requests to the controller, until it looked at them",
		times: controllerTimes(func(c *ControllerNumbers) latency.Snapshot { return c.Queued })},
	{JMX: eventManager + "EventQueueProcessingTimeMs", Kind: Times, Help: "requests to the controller, until it had decided them; the commit comes after that",
		times: controllerTimes(func(c *ControllerNumbers) latency.Snapshot { return c.Decided })},

	{JMX: brokerMetadata, Attr: "last-applied-record-offset", Help: "last offset of the metadata log that this broker has applied",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.MetadataOffset) })},
	{JMX: brokerMetadata, Attr: "last-applied-record-timestamp", Help: "time of the last record, ms",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.MetadataTime) })},
	{JMX: brokerMetadata, Attr: "last-applied-record-lag-ms", Help: "age of the last record while the broker is behind the metadata log, else 0",
		each: func(n *Numbers, out emit) {
			b := n.Broker
			switch {
			case b == nil:
			case b.MetadataOffset+1 >= b.MetadataEnd || b.MetadataTime <= 0:
				out(0)
			default:
				out(float64(max(0, n.At.UnixMilli()-b.MetadataTime)))
			}
		}},
	{JMX: brokerMetadata, Attr: "metadata-load-error-count", Kind: Counter, Help: "metadata records that couldn't be read", each: brokerCount(func(c *Counts) uint64 { return c.MetadataErrors })},
	{JMX: brokerMetadata, Attr: "metadata-apply-error-count", Kind: Counter, Help: "metadata records that couldn't be applied", each: brokerCount(func(c *Counts) uint64 { return c.MetadataErrors })},
	{JMX: metadataLoader + "CurrentMetadataVersion", Help: "finalised metadata.version", each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.MetadataLevel) })},
}

const (
	raftBean    = "kafka.server:type=raft-metrics"
	raftChannel = "kafka.server:type=raft-channel-metrics"
)

// raftRows: the metadata quorum, on controllers. Offsets are those of the
// materialised metadata log.
var raftRows = []*Metric{
	{JMX: raftBean, Attr: "current-state", Labels: []string{"current_state"}, ConfluentLabels: []string{"state"}, Help: "1 for the state: leader, candidate, voted, follower, unattached, observer",
		each: func(n *Numbers, out emit) {
			if n.Controller != nil {
				out(1, n.Controller.State)
			}
		}},
	{JMX: raftBean, Attr: "current-leader", Help: "id of the leader, -1 unknown", each: perController(func(c *ControllerNumbers) float64 { return float64(c.Leader) })},
	{JMX: raftBean, Attr: "current-vote", Help: "id of whom this controller voted for in this epoch, -1 nobody", each: perController(func(c *ControllerNumbers) float64 { return float64(c.Vote) })},
	{JMX: raftBean, Attr: "current-epoch", Help: "epoch", each: perController(func(c *ControllerNumbers) float64 { return float64(c.Epoch) })},
	{JMX: raftBean, Attr: "high-watermark", Help: "offset below which the metadata log is committed, as far as known here", each: perController(func(c *ControllerNumbers) float64 { return float64(c.LogEnd) })},
	{JMX: raftBean, Attr: "log-end-offset", Help: "end of the materialised log, which holds committed records only", each: perController(func(c *ControllerNumbers) float64 { return float64(c.LogEnd) })},
	{JMX: raftBean, Attr: "log-end-epoch", Help: "epoch of the last record", each: perController(func(c *ControllerNumbers) float64 { return float64(c.LogEpoch) })},
	{JMX: raftBean, Attr: "number-of-voters", Help: "voters", each: perController(func(c *ControllerNumbers) float64 { return float64(c.Voters) })},
	{JMX: raftBean, Attr: "number-of-observers", Help: "others that fetch from this leader", each: perController(func(c *ControllerNumbers) float64 { return float64(c.Observers) })},
	{JMX: raftBean, Attr: "append-records-rate", Help: "records a second that were committed while this controller led", each: perController(func(c *ControllerNumbers) float64 { return c.AppendRate })},
	{JMX: raftBean, Attr: "fetch-records-rate", Help: "records a second that this controller took from another leader", each: perController(func(c *ControllerNumbers) float64 { return c.FetchRate })},
	{JMX: raftBean, Attr: "commit-latency-avg", Help: "ms until a batch of this leader is committed and applied, since the start", each: perController(func(c *ControllerNumbers) float64 { return mean(&c.Commits) })},
	{JMX: raftBean, Attr: "commit-latency-max", Help: "the longest, ms, since the start", each: perController(func(c *ControllerNumbers) float64 { return milliseconds(c.Commits.Quantile(1)) })},
	{JMX: raftBean, Attr: "election-latency-avg", Help: "ms without a known leader, since the start", each: perController(func(c *ControllerNumbers) float64 { return mean(&c.Elections) })},
	{JMX: raftBean, Attr: "election-latency-max", Help: "the longest, ms, since the start", each: perController(func(c *ControllerNumbers) float64 { return milliseconds(c.Elections.Quantile(1)) })},
	{JMX: raftChannel, Attr: "incoming-byte-total", Kind: Counter, Help: "bytes from other controllers", each: perController(func(c *ControllerNumbers) float64 { return float64(c.BytesIn) })},
	{JMX: raftChannel, Attr: "outgoing-byte-total", Kind: Counter, Help: "bytes to other controllers", each: perController(func(c *ControllerNumbers) float64 { return float64(c.BytesOut) })},
	{JMX: raftChannel, Attr: "request-total", Kind: Counter, Help: "requests to other controllers", each: perController(func(c *ControllerNumbers) float64 { return float64(c.Meters.Requests) })},
	{JMX: raftChannel, Attr: "response-total", Kind: Counter, Help: "answers of other controllers", each: perController(func(c *ControllerNumbers) float64 { return float64(c.Answers) })},
	{Name: "tidemark_metadata_commit_seconds", Kind: Buckets, Help: "until a batch of this leader is committed and applied",
		times: controllerTimes(func(c *ControllerNumbers) latency.Snapshot { return c.Commits })},
}

func controllerTimes(f func(*ControllerNumbers) latency.Snapshot) func(*Numbers, emitTimes) {
	return func(n *Numbers, out emitTimes) {
		if n.Controller != nil {
			out(f(n.Controller))
		}
	}
}

func mean(s *latency.Snapshot) float64 {
	n := s.Count()
	if n == 0 {
		return 0
	}
	return milliseconds(s.Sum) / float64(n)
}

func summary(f func(*Summary) int) func(*Numbers, emit) {
	return perController(func(c *ControllerNumbers) float64 { return float64(f(&c.Summary)) })
}

// controllerCount is a counter of the node that a controller alone has.
func controllerCount(f func(*Counts) uint64) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Controller != nil {
			out(float64(f(&n.Counts)))
		}
	}
}
