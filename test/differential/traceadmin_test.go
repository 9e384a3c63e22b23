package differential

import "github.com/twmb/franz-go/pkg/kmsg"

func (g *trace) metadata() kmsg.Request {
	r := kmsg.NewPtrMetadataRequest()
	r.Version = g.version(3)
	r.AllowAutoTopicCreation, r.IncludeTopicAuthorizedOperations = g.chance(20), g.chance(30)
	r.IncludeClusterAuthorizedOperations = g.chance(30)
	if g.chance(20) && r.Version >= 1 {
		return r // all
	}
	r.Topics = []kmsg.MetadataRequestTopic{}
	byID := r.Version >= 12 && g.chance(50)
	for range g.IntN(4) {
		t := g.any()
		mt := kmsg.NewMetadataRequestTopic()
		mt.Topic = &t.name
		if byID != g.chance(3) {
			mt.TopicID = t.symbol
			if r.Version >= 12 && g.chance(95) {
				mt.Topic = nil
			}
		}
		if mt.Topic == nil && r.Version < 10 {
			mt.Topic = &t.name
		}
		r.Topics = append(r.Topics, mt)
	}
	return r
}

func (g *trace) createTopics() kmsg.Request {
	r := kmsg.NewPtrCreateTopicsRequest()
	r.Version, r.TimeoutMillis, r.ValidateOnly = g.version(19), 10_000, g.chance(25)
	for range 1 + max(0, g.IntN(4)-2) {
		r.Topics = append(r.Topics, g.newTopic())
	}
	if g.chance(5) {
		r.Topics = append(r.Topics, r.Topics[0])
	}
	return r
}

func (g *trace) newTopic() kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = g.freshName(), int32(1+g.IntN(2)), 1
	switch g.IntN(16) {
	case 0:
		t.Topic = g.topics[g.IntN(len(g.topics))].name
	case 1:
		t.Topic = []string{"", ".", "..", "a b", "ü", "__consumer_offsets", string(make([]byte, 250)), "pla_in", "plain.x", "plain_x"}[g.IntN(10)]
	case 2:
		t.NumPartitions = int32(g.pick(-1, 0, -2))
	case 3:
		t.ReplicationFactor = int16(g.pick(-1, 0, 2, -2))
	case 4:
		t.NumPartitions, t.ReplicationFactor = -1, -1
		for i := range 1 + g.IntN(2) {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(i), []int32{1}
			if g.chance(40) {
				a.Partition = int32(g.pick(0, -1, 7))
			}
			if g.chance(40) {
				a.Replicas = [][]int32{{}, {2}, {1, 1}, {-1}, {1, 2}}[g.IntN(5)]
			}
			t.ReplicaAssignment = append(t.ReplicaAssignment, a)
		}
		if g.chance(20) {
			t.NumPartitions = 1
		}
	case 5, 6, 7:
		pairs := [][2]string{{"retention.ms", "1000000"}, {"retention.ms", "x"}, {"retention.ms", "-2"}, {"no.such.config", "1"},
			{"cleanup.policy", "compact,delete"}, {"cleanup.policy", "rest"}, {"segment.bytes", "10"}, {"segment.bytes", "2000000"}, {"compression.type", "zip"},
			{"max.message.bytes", "-1"}, {"min.insync.replicas", "0"}, {"min.insync.replicas", "2"}, {"", "x"}}
		kv := pairs[g.IntN(len(pairs))]
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = kv[0], &kv[1]
		if g.chance(10) {
			c.Value = nil
		}
		t.Configs = append(t.Configs, c)
	}
	return t
}

func (g *trace) freshName() string {
	return "temporary-" + string(rune('a'+g.IntN(12)))
}

func (g *trace) deleteTopics() kmsg.Request {
	r := kmsg.NewPtrDeleteTopicsRequest()
	r.Version, r.TimeoutMillis = g.version(20), 10_000
	for range 1 + g.IntN(2) {
		name, symbol := g.freshName(), topicID{'n', 3}
		for _, t := range g.topics {
			if t.name == name && (!t.gone || g.chance(30)) {
				symbol = t.symbol
			}
		}
		if g.chance(5) {
			name = string("never"[:g.IntN(6)])
		}
		r.TopicNames = append(r.TopicNames, name)
		dt := kmsg.NewDeleteTopicsRequestTopic()
		if dt.Topic = &name; g.chance(50) {
			dt.TopicID = symbol
			if g.chance(90) {
				dt.Topic = nil
			}
		}
		r.Topics = append(r.Topics, dt)
		if g.chance(10) {
			r.TopicNames, r.Topics = append(r.TopicNames, name), append(r.Topics, dt)
		}
	}
	return r
}

func (g *trace) apiVersions() kmsg.Request {
	r := kmsg.NewPtrApiVersionsRequest()
	r.Version = int16(g.pick(0, 1, 2, 3, 4, 4, 5, 99, -1, 32767))
	r.ClientSoftwareName = []string{"differential", "", "a b", "-a", "a.b-c"}[g.IntN(5)]
	r.ClientSoftwareVersion = []string{"1.0", "", "x y", "1.0-a"}[g.IntN(4)]
	return r
}
