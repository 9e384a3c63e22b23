package admin

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Counts are the counters of the answering node; each only grows.
type Counts struct {
	ISRShrinks, ISRExpands, FailedISRUpdates          uint64
	MessagesIn, BytesIn, BytesOut                     uint64
	ReplicationBytesIn, ReplicationBytesOut           uint64
	ProduceRequests, FetchRequests                    uint64
	FailedProduceRequests, FailedFetchRequests        uint64
	UncleanElections                                  uint64
	FailedPartitions                                  uint64 // fetcher partitions marked failed, now
	MaxLag                                            int64  // of the followers of this node, records
	LeaderCount, PartitionCount, OfflineReplicas      int
	UnderReplicated, UnderMinISR, AtMinISR, Reassigns int
	ActiveController                                  bool
	ScrubbedBytes, DamagedRuns                        int64 // read and compared with checksums; runs of bad batches found
	DamagedReplicas                                   int   // not healed yet
}

// Counter gives a node's own counters.
type Counter interface{ Counts() Counts }

// NewCollector exports the node's state under the names that dashboards of
// Apache Kafka query (Strimzi's rules); HELP carries the JMX name.
func NewCollector(src Source, c Counter) prometheus.Collector {
	return &collector{src: src, counter: c}
}

type collector struct {
	src     Source
	counter Counter
}

type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(Counts) float64
}

func gauge(name, jmx string, f func(Counts) float64) metric {
	return metric{name, jmx, prometheus.GaugeValue, f}
}

func counter(name, jmx string, f func(Counts) float64) metric {
	return metric{name, jmx, prometheus.CounterValue, f}
}

const replicaManager = "kafka.server:type=ReplicaManager,name="
const topicMetrics = "kafka.server:type=BrokerTopicMetrics,name="

var nodeMetrics = []metric{
	gauge("kafka_server_replicamanager_leadercount", replicaManager+"LeaderCount", func(c Counts) float64 { return float64(c.LeaderCount) }),
	gauge("kafka_server_replicamanager_partitioncount", replicaManager+"PartitionCount", func(c Counts) float64 { return float64(c.PartitionCount) }),
	gauge("kafka_server_replicamanager_offlinereplicacount", replicaManager+"OfflineReplicaCount", func(c Counts) float64 { return float64(c.OfflineReplicas) }),
	gauge("kafka_server_replicamanager_underreplicatedpartitions", replicaManager+"UnderReplicatedPartitions", func(c Counts) float64 { return float64(c.UnderReplicated) }),
	gauge("kafka_server_replicamanager_underminisrpartitioncount", replicaManager+"UnderMinIsrPartitionCount", func(c Counts) float64 { return float64(c.UnderMinISR) }),
	gauge("kafka_server_replicamanager_atminisrpartitioncount", replicaManager+"AtMinIsrPartitionCount", func(c Counts) float64 { return float64(c.AtMinISR) }),
	gauge("kafka_server_replicamanager_reassigningpartitions", replicaManager+"ReassigningPartitions", func(c Counts) float64 { return float64(c.Reassigns) }),
	counter("kafka_server_replicamanager_isrshrinks_total", replicaManager+"IsrShrinksPerSec", func(c Counts) float64 { return float64(c.ISRShrinks) }),
	counter("kafka_server_replicamanager_isrexpands_total", replicaManager+"IsrExpandsPerSec", func(c Counts) float64 { return float64(c.ISRExpands) }),
	counter("kafka_server_replicamanager_failedisrupdates_total", replicaManager+"FailedIsrUpdatesPerSec", func(c Counts) float64 { return float64(c.FailedISRUpdates) }),
	gauge("kafka_server_replicafetchermanager_maxlag", "kafka.server:type=ReplicaFetcherManager,name=MaxLag,clientId=Replica", func(c Counts) float64 { return float64(c.MaxLag) }),
	gauge("kafka_server_replicafetchermanager_failedpartitionscount", "kafka.server:type=ReplicaFetcherManager,name=FailedPartitionsCount,clientId=Replica", func(c Counts) float64 { return float64(c.FailedPartitions) }),
	counter("kafka_server_brokertopicmetrics_messagesin_total", topicMetrics+"MessagesInPerSec", func(c Counts) float64 { return float64(c.MessagesIn) }),
	counter("kafka_server_brokertopicmetrics_bytesin_total", topicMetrics+"BytesInPerSec", func(c Counts) float64 { return float64(c.BytesIn) }),
	counter("kafka_server_brokertopicmetrics_bytesout_total", topicMetrics+"BytesOutPerSec", func(c Counts) float64 { return float64(c.BytesOut) }),
	counter("kafka_server_brokertopicmetrics_replicationbytesin_total", topicMetrics+"ReplicationBytesInPerSec", func(c Counts) float64 { return float64(c.ReplicationBytesIn) }),
	counter("kafka_server_brokertopicmetrics_replicationbytesout_total", topicMetrics+"ReplicationBytesOutPerSec", func(c Counts) float64 { return float64(c.ReplicationBytesOut) }),
	counter("kafka_server_brokertopicmetrics_totalproducerequests_total", topicMetrics+"TotalProduceRequestsPerSec", func(c Counts) float64 { return float64(c.ProduceRequests) }),
	counter("kafka_server_brokertopicmetrics_totalfetchrequests_total", topicMetrics+"TotalFetchRequestsPerSec", func(c Counts) float64 { return float64(c.FetchRequests) }),
	counter("kafka_server_brokertopicmetrics_failedproducerequests_total", topicMetrics+"FailedProduceRequestsPerSec", func(c Counts) float64 { return float64(c.FailedProduceRequests) }),
	counter("kafka_server_brokertopicmetrics_failedfetchrequests_total", topicMetrics+"FailedFetchRequestsPerSec", func(c Counts) float64 { return float64(c.FailedFetchRequests) }),
	gauge("kafka_controller_kafkacontroller_activecontrollercount", "kafka.controller:type=KafkaController,name=ActiveControllerCount", func(c Counts) float64 { return truth(c.ActiveController) }),
	counter("tidemark_scrubbed_bytes_total", "bytes of closed segments read in the background and compared with their checksums", func(c Counts) float64 { return float64(c.ScrubbedBytes) }),
	counter("tidemark_damaged_runs_total", "runs of damaged batches found on the disk", func(c Counts) float64 { return float64(c.DamagedRuns) }),
	gauge("tidemark_damaged_replicas", "replicas with damaged records that have not been fetched again yet", func(c Counts) float64 { return float64(c.DamagedReplicas) }),
	counter("kafka_controller_controllerstats_uncleanleaderelections_total", "kafka.controller:type=ControllerStats,name=UncleanLeaderElectionsPerSec", func(c Counts) float64 { return float64(c.UncleanElections) }),
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe sends nothing: the collector is unchecked, since its series depend on the cluster.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the node's counters, the cluster's summary and the lag of each
// follower of a partition that this node leads.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	counts := c.counter.Counts()
	for _, m := range nodeMetrics {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(m.name, m.help, nil, nil), m.kind, m.value(counts))
	}
	s := c.src.State(ctx)
	collectSummary(ch, s)
	for _, p := range s.Partitions {
		if p.Leader == s.Node.ID && p.Known {
			collectPartition(ch, p)
		}
	}
}

func collectSummary(ch chan<- prometheus.Metric, s State) {
	const kc = "kafka.controller:type=KafkaController,name="
	for _, g := range []struct {
		name, jmx string
		v         int
	}{
		{"kafka_controller_kafkacontroller_activebrokercount", "ActiveBrokerCount", s.Summary.Brokers - s.Summary.BrokersFenced},
		{"kafka_controller_kafkacontroller_fencedbrokercount", "FencedBrokerCount", s.Summary.BrokersFenced},
		{"kafka_controller_kafkacontroller_globaltopiccount", "GlobalTopicCount", s.Summary.Topics},
		{"kafka_controller_kafkacontroller_globalpartitioncount", "GlobalPartitionCount", s.Summary.Partitions},
		{"kafka_controller_kafkacontroller_offlinepartitionscount", "OfflinePartitionsCount", s.Summary.Offline},
		{"kafka_controller_kafkacontroller_preferredreplicaimbalancecount", "PreferredReplicaImbalanceCount", s.Summary.NotPreferred},
	} {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(g.name, kc+g.jmx, nil, nil), prometheus.GaugeValue, float64(g.v))
	}
	offline := 0
	for _, d := range s.Node.Dirs {
		if !d.Online {
			offline++
		}
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("kafka_log_logmanager_offlinelogdirectorycount", "kafka.log:type=LogManager,name=OfflineLogDirectoryCount", nil, nil), prometheus.GaugeValue, float64(offline))
}

var (
	partitionLabels = []string{"topic", "partition"}
	followerLabels  = []string{"topic", "partition", "follower"}
	isrCountDesc    = prometheus.NewDesc("kafka_cluster_partition_insyncreplicascount", "kafka.cluster:type=Partition,name=InSyncReplicasCount", partitionLabels, nil)
	replicasDesc    = prometheus.NewDesc("kafka_cluster_partition_replicascount", "kafka.cluster:type=Partition,name=ReplicasCount", partitionLabels, nil)
	underDesc       = prometheus.NewDesc("kafka_cluster_partition_underreplicated", "kafka.cluster:type=Partition,name=UnderReplicated", partitionLabels, nil)
	underMinDesc    = prometheus.NewDesc("kafka_cluster_partition_underminisr", "kafka.cluster:type=Partition,name=UnderMinIsr", partitionLabels, nil)
	logEndDesc      = prometheus.NewDesc("kafka_log_log_logendoffset", "kafka.log:type=Log,name=LogEndOffset", partitionLabels, nil)
	logStartDesc    = prometheus.NewDesc("kafka_log_log_logstartoffset", "kafka.log:type=Log,name=LogStartOffset", partitionLabels, nil)
	lagDesc         = prometheus.NewDesc("tidemark_replica_lag_records", "records that the follower is behind its leader's log end, as the leader knows it", followerLabels, nil)
	lagBytesDesc    = prometheus.NewDesc("tidemark_replica_lag_bytes", "bytes that the follower is behind its leader's log end", followerLabels, nil)
	lagSecondsDesc  = prometheus.NewDesc("tidemark_replica_lag_seconds", "seconds since the follower was last caught up with its leader", followerLabels, nil)
)

func collectPartition(ch chan<- prometheus.Metric, p Partition) {
	part := strconv.Itoa(int(p.Partition))
	send := func(d *prometheus.Desc, v float64, extra ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{p.Topic, part}, extra...)...)
	}
	send(isrCountDesc, float64(len(p.ISR)))
	send(replicasDesc, float64(len(p.Replicas)))
	send(underDesc, truth(p.UnderReplicated))
	send(underMinDesc, truth(len(p.ISR) < p.MinISR))
	send(logEndDesc, float64(p.LogEnd))
	send(logStartDesc, float64(p.LogStart))
	for _, f := range p.Followers {
		id := strconv.Itoa(int(f.Broker))
		if f.Lag >= 0 {
			send(lagDesc, float64(f.Lag), id)
			send(lagBytesDesc, float64(f.LagBytes), id)
		}
		if f.CaughtUpAgeMs >= 0 {
			send(lagSecondsDesc, float64(f.CaughtUpAgeMs)/1000, id)
		}
	}
}
