package admin

const (
	replicaManager = "kafka.server:type=ReplicaManager,name="
	partitionBean  = "kafka.cluster:type=Partition,name="
	fetcherManager = "kafka.server:type=ReplicaFetcherManager,name="
	replicaClient  = ",clientId=Replica"
)

// replicaRows: the health of replication.
var replicaRows = []*Metric{
	{JMX: replicaManager + "UnderReplicatedPartitions", Help: "partitions led here with fewer in-sync replicas than replicas",
		each: countLed(func(p *PartitionNumbers) bool { return p.ISR < p.Replicas })},
	{JMX: replicaManager + "UnderMinIsrPartitionCount", Help: "partitions led here with fewer in-sync replicas than min.insync.replicas: acks=all is refused",
		each: countLed(func(p *PartitionNumbers) bool { return p.ISR < p.MinISR })},
	{JMX: replicaManager + "AtMinIsrPartitionCount", Help: "partitions led here with exactly min.insync.replicas in-sync replicas",
		each: countLed(func(p *PartitionNumbers) bool { return p.ISR == p.MinISR })},
	{JMX: replicaManager + "LeaderCount", Help: "partitions led here",
		each: countLed(func(*PartitionNumbers) bool { return true })},
	{JMX: replicaManager + "PartitionCount", Help: "replicas hosted here",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(len(b.Partitions)) })},
	{JMX: replicaManager + "OfflineReplicaCount", Help: "replicas in log directories that failed",
		each: perBroker(func(b *BrokerNumbers) (n float64) {
			for i := range b.Partitions {
				n += truth(b.Partitions[i].Offline)
			}
			return n
		})},
	{JMX: replicaManager + "ReassigningPartitions", Help: "partitions led here that are being moved",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Reassigns) })},
	{JMX: replicaManager + "IsrShrinksPerSec", Kind: Counter, Help: "replicas that a leader here took out of its in-sync set",
		each: brokerCount(func(c *Counts) uint64 { return c.ISRShrinks })},
	{JMX: replicaManager + "IsrExpandsPerSec", Kind: Counter, Help: "replicas that a leader here took into its in-sync set",
		each: brokerCount(func(c *Counts) uint64 { return c.ISRExpands })},
	{JMX: replicaManager + "FailedIsrUpdatesPerSec", Kind: Counter, Help: "changes of an in-sync set that the controller refused",
		each: brokerCount(func(c *Counts) uint64 { return c.FailedISRUpdates })},
	{JMX: replicaManager + "ProducerIdCount", Help: "idempotent producers that are remembered, over all replicas",
		each: perBroker(func(b *BrokerNumbers) (n float64) {
			for i := range b.Partitions {
				n += float64(b.Partitions[i].Producers)
			}
			return n
		})},
	{JMX: replicaManager + "PartitionsWithLateTransactionsCount", Help: "partitions with a transaction that is open for too long",
		each: countLed(func(p *PartitionNumbers) bool { return p.LateTxns > 0 })},

	{JMX: partitionBean + "UnderReplicated", Labels: partitionLabels, per: led(func(p *PartitionNumbers) float64 { return truth(p.ISR < p.Replicas) })},
	{JMX: partitionBean + "UnderMinIsr", Labels: partitionLabels, per: led(func(p *PartitionNumbers) float64 { return truth(p.ISR < p.MinISR) })},
	{JMX: partitionBean + "AtMinIsr", Labels: partitionLabels, per: led(func(p *PartitionNumbers) float64 { return truth(p.ISR == p.MinISR) })},
	{JMX: partitionBean + "InSyncReplicasCount", Labels: partitionLabels, per: led(func(p *PartitionNumbers) float64 { return float64(p.ISR) })},
	{JMX: partitionBean + "ReplicasCount", Labels: partitionLabels, per: led(func(p *PartitionNumbers) float64 { return float64(p.Replicas) })},
	{JMX: partitionBean + "LastStableOffsetLag", Labels: partitionLabels, Help: "committed records above the last stable offset",
		per: led(func(p *PartitionNumbers) float64 { return float64(p.HighWatermark - p.LastStable) })},

	{JMX: fetcherManager + "MaxLag", Labels: clientLabels, Help: "records that the followed partition which is farthest behind lacks to its leader's high watermark",
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				out(float64(maxLag(n.Broker)), "Replica")
			}
		}},
	{JMX: fetcherManager + "MinFetchRate", Labels: clientLabels, Help: "fetches a second of the slowest loop",
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				out(minFetchRate(n.Broker), "Replica")
			}
		}},
	{JMX: fetcherManager + "FailedPartitionsCount", Labels: clientLabels, Help: "followed partitions that wait for new metadata after a failure",
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				out(float64(failedFollowed(n.Broker)), "Replica")
			}
		}},
	{JMX: fetcherManager + "DeadThreadCount", Labels: clientLabels, Help: "always 0: a loop doesn't die, it tries again",
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				out(0, "Replica")
			}
		}},
	{JMX: "kafka.server:type=FetcherLagMetrics,name=ConsumerLag", Labels: []string{"clientId", "topic", "partition"},
		Help: "records that a followed partition lacks to its leader's high watermark",
		each: func(n *Numbers, out emit) {
			if n.Broker == nil {
				return
			}
			for _, f := range n.Broker.Followed {
				if f.Lag >= 0 {
					out(float64(f.Lag), "ReplicaFetcherThread-"+id(f.Loop)+"-"+id(f.Leader), f.TP.Topic, id(f.TP.Partition))
				}
			}
		}},
}

var (
	partitionLabels = []string{"topic", "partition"}
	clientLabels    = []string{"clientId"}
)

// brokerCount is a counter of the node that a broker alone has.
func brokerCount(f func(*Counts) uint64) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Broker != nil {
			out(float64(f(&n.Counts)))
		}
	}
}

func maxLag(b *BrokerNumbers) (lag int64) {
	for _, f := range b.Followed {
		lag = max(lag, f.Lag)
	}
	return lag
}

func minFetchRate(b *BrokerNumbers) (rate float64) {
	for i, f := range b.Fetchers {
		if i == 0 || f.Rate < rate {
			rate = f.Rate
		}
	}
	return rate
}

func failedFollowed(b *BrokerNumbers) (n int) {
	for _, f := range b.Followed {
		if f.Failed {
			n++
		}
	}
	return n
}
