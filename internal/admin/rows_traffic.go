package admin

import "tidemark/internal/partition"

const topicMetrics = "kafka.server:type=BrokerTopicMetrics,name="

// trafficRows: what comes in and goes out, for each topic and, without a topic,
// for all together. The totals also hold what topics counted that are gone.
var trafficRows = []*Metric{
	perTopic("MessagesInPerSec", "records from producers", func(c *partition.Counters) int64 { return c.MessagesIn }),
	perTopic("BytesInPerSec", "bytes of record batches from producers", func(c *partition.Counters) int64 { return c.BytesIn }),
	perTopic("BytesOutPerSec", "bytes of record batches to consumers", func(c *partition.Counters) int64 { return c.BytesOut }),
	perTopic("BytesRejectedPerSec", "bytes of batches above max.message.bytes", func(c *partition.Counters) int64 { return c.BytesRejected }),
	perTopic("TotalProduceRequestsPerSec", "partitions in produce requests", func(c *partition.Counters) int64 { return c.Produces }),
	perTopic("TotalFetchRequestsPerSec", "reads of partitions by consumers and followers", func(c *partition.Counters) int64 { return c.Fetches }),
	perTopic("FailedProduceRequestsPerSec", "partitions in produce requests that failed for a reason that clients don't expect", func(c *partition.Counters) int64 { return c.FailedProduces }),
	perTopic("FailedFetchRequestsPerSec", "reads of partitions that failed for a reason that clients don't expect", func(c *partition.Counters) int64 { return c.FailedFetches }),
	{JMX: topicMetrics + "ReplicationBytesInPerSec", Kind: Counter, Help: "bytes of record batches fetched as a follower",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Totals.ReplicationBytesIn) })},
	{JMX: topicMetrics + "ReplicationBytesOutPerSec", Kind: Counter, Help: "bytes of record batches read for followers",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Totals.ReplicationBytesOut) })},
	{JMX: topicMetrics + "ReassignmentBytesInPerSec", Kind: Counter, Help: "of these, bytes of replicas that a reassignment brings here",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Totals.ReassignmentBytesIn) })},
	{JMX: topicMetrics + "ReassignmentBytesOutPerSec", Kind: Counter, Help: "of these, bytes for replicas that a reassignment brings elsewhere",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Totals.ReassignmentBytesOut) })},
	{JMX: "kafka.server:type=DelayedProduceMetrics,name=ExpiresPerSec", Kind: Counter, Help: "partitions whose acks=all append wasn't committed in time",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Totals.AcksExpired) })},
	{JMX: "kafka.server:type=DelayedOperationPurgatory,name=PurgatorySize", Labels: []string{"delayedOperation"}, Help: "requests that wait",
		each: waitingSize},
	{JMX: "kafka.server:type=DelayedOperationPurgatory,name=NumDelayedOperations", Labels: []string{"delayedOperation"}, Help: "requests that wait",
		each: waitingSize},
	{Name: "tidemark_delayed_operations_expired_total", Kind: Counter, Labels: []string{"operation"}, Help: "requests that waited in vain until their deadline",
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				for _, w := range n.Broker.Waiting {
					out(float64(w.Expired), w.Operation)
				}
			}
		}},
	{JMX: "kafka.server:type=FetchSessionCache,name=NumIncrementalFetchSessions", Help: "incremental fetch sessions",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Sessions) })},
	{JMX: "kafka.server:type=FetchSessionCache,name=NumIncrementalFetchPartitionsCached", Help: "partitions in incremental fetch sessions",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.SessionPartitions) })},
	{JMX: "kafka.server:type=FetchSessionCache,name=IncrementalFetchSessionEvictionsPerSec", Kind: Counter, Help: "sessions that lost their place to another",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.SessionEvictions) })},
}

// perTopic is a meter of BrokerTopicMetrics.
func perTopic(name, help string, f func(*partition.Counters) int64) *Metric {
	return &Metric{JMX: topicMetrics + name, Kind: Counter, Labels: []string{"topic"}, Help: help,
		each: func(n *Numbers, out emit) {
			if n.Broker == nil {
				return
			}
			out(float64(f(&n.Broker.Totals)))
			for i := range n.Broker.Topics {
				t := &n.Broker.Topics[i]
				out(float64(f(&t.Counters)), t.Topic)
			}
		}}
}

func waitingSize(n *Numbers, out emit) {
	if n.Broker != nil {
		for _, w := range n.Broker.Waiting {
			out(float64(w.Size), w.Operation)
		}
	}
}
