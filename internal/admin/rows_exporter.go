package admin

const coordinatorBean = "kafka.coordinator.group:type=GroupMetadataManager,name="

// groupRows: consumer groups.
var groupRows = []*Metric{
	{JMX: coordinatorBean + "NumGroups", Help: "groups that this broker coordinates", each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.GroupCount) })},
	{JMX: coordinatorBean + "NumOffsets", Help: "committed offsets of those groups", each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.GroupOffsets) })},
	{Name: "tidemark_groups_loading", Help: "partitions of __consumer_offsets that are being read before their groups are served", each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.GroupsLoading) })},
	{Name: "tidemark_group_members", Help: "members of the groups that this broker coordinates", each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.GroupMembers) })},
}

// exporterRows: what kafka_exporter shows of a cluster. Each series is served once
// in the cluster: by the leader of its partition, the coordinator of its group, and
// the active controller for brokers and what has no leader.
var exporterRows = []*Metric{
	{Exporter: "kafka_brokers", Help: "brokers that serve", each: activeOnly(func(c *ControllerNumbers, out emit) { out(float64(c.Summary.Brokers - c.Summary.BrokersFenced)) })},
	{Exporter: "kafka_broker_info", Labels: []string{"address", "id"}, Help: "brokers", each: activeOnly(func(c *ControllerNumbers, out emit) {
		for _, b := range c.Brokers {
			if len(b.Endpoints) > 0 {
				out(float64(b.ID), b.Endpoints[0], id(b.ID))
			}
		}
	})},
	{Exporter: "kafka_topic_partitions", Labels: []string{"topic"}, Help: "partitions of a topic", each: activeOnly(func(c *ControllerNumbers, out emit) {
		for _, t := range c.Topics {
			out(float64(t.Partitions), t.Name)
		}
	})},
	exported("current_offset", "offset after the last committed record", nil, func(p *PartitionNumbers) float64 { return float64(p.HighWatermark) }),
	exported("oldest_offset", "first offset that can be read", nil, func(p *PartitionNumbers) float64 { return float64(p.LogStart) }),
	exported("leader", "id of the leader, -1 without one", func(ClusterPartition) float64 { return -1 }, nil),
	exported("leader_is_preferred", "1 if the preferred replica leads", func(ClusterPartition) float64 { return 0 }, func(p *PartitionNumbers) float64 { return truth(p.Preferred) }),
	exported("replicas", "replicas", func(p ClusterPartition) float64 { return float64(p.Replicas) }, func(p *PartitionNumbers) float64 { return float64(p.Replicas) }),
	exported("in_sync_replica", "in-sync replicas", func(p ClusterPartition) float64 { return float64(p.ISR) }, func(p *PartitionNumbers) float64 { return float64(p.ISR) }),
	exported("under_replicated_partition", "1 if replicas are missing from the in-sync set", func(p ClusterPartition) float64 { return truth(p.ISR < p.Replicas) },
		func(p *PartitionNumbers) float64 { return truth(p.ISR < p.Replicas) }),
	{Exporter: "kafka_consumergroup_members", Labels: []string{"consumergroup"}, Help: "members of a group", each: eachGroup(func(g *GroupNumbers, out emit) { out(float64(g.Members), g.Group) })},
	{Exporter: "kafka_consumergroup_current_offset", Labels: groupLabels, Help: "committed offset", each: eachGroup(func(g *GroupNumbers, out emit) {
		for _, o := range g.Offsets {
			out(float64(o.Offset), g.Group, o.TP.Topic, id(o.TP.Partition))
		}
	})},
	{Exporter: "kafka_consumergroup_lag", Name: "tidemark_consumergroup_lag", Labels: groupLabels, Help: "committed records behind which the group is", each: eachGroup(func(g *GroupNumbers, out emit) {
		for _, o := range g.Offsets {
			if o.Lag >= 0 {
				out(float64(o.Lag), g.Group, o.TP.Topic, id(o.TP.Partition))
			}
		}
	})},
	{Exporter: "kafka_consumergroup_current_offset_sum", Labels: groupLabels[:2], Help: "committed offsets of a topic", each: eachGroup(func(g *GroupNumbers, out emit) {
		sumByTopic(g, out, func(o GroupOffset) float64 { return float64(o.Offset) })
	})},
	{Exporter: "kafka_consumergroup_lag_sum", Labels: groupLabels[:2], Help: "committed records of a topic behind which the group is", each: eachGroup(func(g *GroupNumbers, out emit) {
		sumByTopic(g, out, func(o GroupOffset) float64 { return float64(max(0, o.Lag)) })
	})},
}

var groupLabels = []string{"consumergroup", "topic", "partition"}

func activeOnly(f func(*ControllerNumbers, emit)) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Controller != nil && n.Controller.Active {
			f(n.Controller, out)
		}
	}
}

// exported is one of kafka_exporter's metrics of a partition. Without led it is the
// leader's id; without offline, partitions that have no leader lack it.
func exported(name, help string, offline func(ClusterPartition) float64, led func(*PartitionNumbers) float64) *Metric {
	return &Metric{Exporter: "kafka_topic_partition_" + name, Labels: partitionLabels, Help: help,
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				for i := range n.Broker.Partitions {
					p := &n.Broker.Partitions[i]
					switch {
					case !p.Leads:
					case led == nil:
						out(float64(n.Node), p.TP.Topic, id(p.TP.Partition))
					default:
						out(led(p), p.TP.Topic, id(p.TP.Partition))
					}
				}
			}
			if n.Controller != nil && n.Controller.Active && offline != nil {
				for _, p := range n.Controller.Offline {
					out(offline(p), p.Topic, id(p.Partition))
				}
			}
		}}
}

func eachGroup(f func(*GroupNumbers, emit)) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Broker != nil {
			for i := range n.Broker.Groups {
				f(&n.Broker.Groups[i], out)
			}
		}
	}
}

// sumByTopic adds up the offsets of a group, which are sorted by partition.
func sumByTopic(g *GroupNumbers, out emit, f func(GroupOffset) float64) {
	for i := 0; i < len(g.Offsets); {
		topic, sum := g.Offsets[i].TP.Topic, 0.0
		for ; i < len(g.Offsets) && g.Offsets[i].TP.Topic == topic; i++ {
			sum += f(g.Offsets[i])
		}
		out(sum, g.Group, topic)
	}
}
