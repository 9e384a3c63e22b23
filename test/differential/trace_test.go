package differential

import (
	"math"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const hour = int64(3_600_000)

// topic is one topic of the trace, the same on both peers.
type topic struct {
	name       string
	symbol     topicID
	partitions int
	configs    map[string]string
	ends       []int64 // of each log, as far as the answers told
	starts     []int64
	gone       bool // deleted
}

// trace draws requests. It learns only what Apache Kafka answered, so that a
// seed gives one trace as long as Kafka decides the same way.
type trace struct {
	*rand.Rand
	now      int64 // ms; the time of its records
	step     int
	topics   []*topic
	births   int
	versions map[int16][2]int16 // that both peers serve

	producers map[string]*sequence
	pending   *sequence
	spoiled   bool   // the request holds a broken payload
	target    string // of the records being drawn

	sessions []fetchSession
}

// fetchSession is one incremental session; its slot in peer.sessions is its
// index + 1.
type fetchSession struct {
	epoch int32
	byID  bool
}

func newTrace(seed uint64, now int64) *trace {
	return &trace{
		Rand: rand.New(rand.NewPCG(seed, 431)), now: now,
		versions: map[int16][2]int16{}, producers: map[string]*sequence{},
	}
}

func (g *trace) chance(percent int) bool { return g.IntN(100) < percent }

func (g *trace) pick(from ...int64) int64 { return from[g.IntN(len(from))] }

// layout is what the trace starts with.
func layout() []*topic {
	return []*topic{
		{name: "plain", partitions: 3},
		{name: "compact", partitions: 1, configs: map[string]string{"cleanup.policy": "compact"}},
		{name: "stamped", partitions: 1, configs: map[string]string{"message.timestamp.type": "LogAppendTime"}},
		{name: "small", partitions: 2, configs: map[string]string{"max.message.bytes": "2000"}},
		{name: "timed", partitions: 1, configs: map[string]string{
			"message.timestamp.before.max.ms": "3600000", "message.timestamp.after.max.ms": "3600000"}},
		{name: "gzip", partitions: 1, configs: map[string]string{"compression.type": "gzip"}},
		{name: "uncompressed", partitions: 1, configs: map[string]string{"compression.type": "uncompressed"}},
		{name: "segments", partitions: 1, configs: map[string]string{
			"segment.bytes": "1048576", "max.message.bytes": "2500000"}},
	}
}

func (g *trace) add(t *topic) {
	g.births++
	t.symbol = topicID{'t', byte(g.births >> 8), byte(g.births)}
	t.ends, t.starts = make([]int64, t.partitions), make([]int64, t.partitions)
	g.topics = append(g.topics, t)
}

// any is a topic: seldom one that has gone, never did exist, or is internal.
func (g *trace) any() *topic {
	switch g.IntN(40) {
	case 0:
		return &topic{name: "never", symbol: topicID{'n', 1}, partitions: 1, ends: []int64{0}, starts: []int64{0}}
	case 1:
		return &topic{name: "", partitions: 1, ends: []int64{0}, starts: []int64{0}}
	case 2:
		return &topic{name: "bad name!", symbol: topicID{'n', 2}, partitions: 1, ends: []int64{0}, starts: []int64{0}}
	}
	return g.topics[g.IntN(len(g.topics))]
}

func (g *trace) partition(t *topic) int32 {
	if g.chance(4) {
		return int32(g.pick(-1, int64(t.partitions), math.MaxInt32, math.MinInt32))
	}
	return int32(g.IntN(t.partitions))
}

func (t *topic) span(p int32) (start, end int64) {
	if p < 0 || int(p) >= len(t.ends) {
		return 0, 0
	}
	return t.starts[p], t.ends[p]
}

// offset is a place in a log, or beside it.
func (g *trace) offset(t *topic, p int32) int64 {
	start, end := t.span(p)
	switch g.IntN(12) {
	case 0:
		return g.pick(-1, -2, math.MinInt64, math.MaxInt64)
	case 1:
		return end + g.pick(1, 100)
	case 2, 3:
		return end
	case 4:
		return start - 1
	case 5, 6:
		return start
	}
	return start + g.Int64N(max(1, end-start))
}

// epoch is a leader's epoch in a request: none, the right one (0), or wrong.
func (g *trace) epoch() int32 {
	if g.chance(10) {
		return int32(g.pick(1, -2, 5, math.MaxInt32, math.MinInt32))
	}
	return int32(g.pick(-1, -1, 0))
}

func (g *trace) isolation() int8 {
	if g.chance(1) {
		return 2 // there is none
	}
	return int8(g.IntN(2))
}

func (g *trace) version(key int16) int16 {
	v := g.versions[key]
	if key == 0 && g.chance(1) {
		return int16(g.IntN(3))
	}
	low := v[0]
	if key == 0 {
		low = 3
	}
	return low + int16(g.IntN(int(v[1]-low)+1))
}

// request draws the next request and the client id that sends it.
func (g *trace) request() (kmsg.Request, string) {
	g.step++
	g.pending, g.spoiled = nil, false
	client := "differential"
	if g.chance(5) {
		client = "__admin_client"
	}
	switch n := g.IntN(1000); {
	case n < 400:
		return g.produce(), client
	case n < 700:
		return g.fetch(), client
	case n < 820:
		return g.listOffsets(), client
	case n < 880:
		return g.epochEnds(), client
	case n < 920:
		return g.deleteRecords(), client
	case n < 980:
		return g.metadata(), client
	case n < 990:
		return g.createTopics(), client
	}
	return g.deleteTopics(), client
}

func (g *trace) produce() kmsg.Request {
	r := kmsg.NewPtrProduceRequest()
	r.Version = g.version(0)
	r.Acks, r.TimeoutMillis = int16(g.pick(-1, -1, -1, 1, 1, 1, 0)), 5000
	if g.chance(3) {
		r.Acks = int16(g.pick(5, -2, 2))
	}
	if g.chance(1) {
		r.TimeoutMillis = int32(g.pick(0, -1))
	}
	n := 1
	if g.chance(10) {
		n = g.IntN(4)
	}
	for range n {
		t := g.any()
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic, rt.TopicID = t.name, t.symbol
		if n > 1 && g.chance(10) && len(r.Topics) > 0 { // the same topic again
			rt.Topic, rt.TopicID = r.Topics[0].Topic, r.Topics[0].TopicID
		}
		parts := 1
		if g.chance(15) && t.partitions > 1 {
			parts = g.IntN(3)
		}
		for range parts {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition = g.partition(t)
			g.target = string(t.symbol[:]) + string(rune(p.Partition))
			p.Records = g.records(t)
			rt.Partitions = append(rt.Partitions, p)
		}
		r.Topics = append(r.Topics, rt)
	}
	if n != 1 || len(r.Topics[0].Partitions) != 1 {
		g.pending = nil
	}
	return r
}

func (g *trace) fetch() kmsg.Request {
	r := kmsg.NewPtrFetchRequest()
	r.Version = g.version(1)
	r.MaxWaitMillis, r.MinBytes = 0, int32(g.pick(0, 1, 1, 1000))
	if g.chance(4) {
		r.MaxWaitMillis = int32(g.pick(1, 10, -1))
	}
	r.MaxBytes = int32(g.pick(math.MaxInt32, math.MaxInt32, math.MaxInt32, 1<<20, 1000, 100, 1, 0))
	r.IsolationLevel = g.isolation()
	if g.chance(10) {
		r.Rack = "a"
	}
	r.SessionID, r.SessionEpoch = 0, -1
	if r.Version >= 7 {
		g.session(r)
	}
	r.ReplicaID, r.ReplicaState.ID = -1, -1
	if r.SessionEpoch != 0 && g.chance(4) {
		id := int32(g.pick(1, 2, -2, -3))
		if r.ReplicaID = id; r.Version >= 15 {
			r.ReplicaState.ID, r.ReplicaState.Epoch = id, g.pick(-1, 0, 5)
		}
	}
	n := 1 + max(0, g.IntN(6)-3)
	if r.SessionEpoch > 0 && g.chance(60) {
		n = 0
	}
	for range n {
		t := g.any()
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic, ft.TopicID = t.name, t.symbol
		for range 1 + max(0, g.IntN(5)-3) {
			ft.Partitions = append(ft.Partitions, g.fetchPartition(t, r))
		}
		r.Topics = append(r.Topics, ft)
	}
	for _, t := range r.Topics {
		if t.Topic == "gzip" || t.Topic == "uncompressed" { // sizes differ by the compressor
			r.MaxBytes = math.MaxInt32
		}
	}
	if r.Version >= 7 && g.chance(10) {
		t := g.any()
		f := kmsg.NewFetchRequestForgottenTopic()
		f.Topic, f.TopicID, f.Partitions = t.name, t.symbol, []int32{g.partition(t)}
		r.ForgottenTopics = append(r.ForgottenTopics, f)
	}
	return r
}

func (g *trace) fetchPartition(t *topic, r *kmsg.FetchRequest) kmsg.FetchRequestTopicPartition {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition = g.partition(t)
	p.FetchOffset, p.CurrentLeaderEpoch = g.offset(t, p.Partition), g.epoch()
	p.LogStartOffset, p.LastFetchedEpoch = -1, -1
	if r.Version >= 12 && g.chance(20) {
		p.LastFetchedEpoch = g.epoch()
	}
	p.PartitionMaxBytes = int32(g.pick(math.MaxInt32, 1<<20, 1<<20, 500, 10, 0))
	if r.SessionEpoch == -1 && g.chance(1) {
		p.PartitionMaxBytes = -1
	}
	if t.name == "gzip" || t.name == "uncompressed" {
		p.PartitionMaxBytes = math.MaxInt32
	}
	return p
}

// session makes r part of an incremental session, or of none.
func (g *trace) session(r *kmsg.FetchRequest) {
	switch g.IntN(10) {
	case 0:
		r.SessionID, r.SessionEpoch = 0, 0
		return
	case 1:
		r.SessionID, r.SessionEpoch = int32(g.pick(-5, 1_000_001, 0)), int32(g.pick(1, 2, 0, -1, -2))
		return
	case 2, 3, 4, 5:
		return
	}
	if len(g.sessions) == 0 {
		r.SessionEpoch = 0
		return
	}
	slot := max(0, len(g.sessions)-1-g.IntN(4))
	s := &g.sessions[slot]
	r.SessionID, r.SessionEpoch = int32(slot+1), s.epoch
	if g.chance(90) && s.byID != (r.Version >= 13) {
		r.Version = map[bool]int16{true: max(13, r.Version), false: min(12, r.Version)}[s.byID]
	}
	if g.chance(8) {
		r.SessionEpoch = int32(g.pick(int64(s.epoch)+1, 0, -1, -2, math.MaxInt32))
	}
}

func (g *trace) listOffsets() kmsg.Request {
	r := kmsg.NewPtrListOffsetsRequest()
	r.Version = g.version(2)
	r.ReplicaID, r.IsolationLevel = int32(g.pick(-1, -1, -1, -1, -2, 1, 2, -3)), g.isolation()
	r.TimeoutMillis = 1000
	for range g.IntN(3) {
		t := g.any()
		lt := kmsg.NewListOffsetsRequestTopic()
		lt.Topic = t.name
		for range 1 + max(0, g.IntN(5)-3) {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.CurrentLeaderEpoch = g.partition(t), g.epoch()
			p.Timestamp = g.pick(-1, -2, -3, -4, -5, -6, -7, 0, 1, g.now, g.now-30_000, g.now-hour, g.now+hour, math.MaxInt64, math.MinInt64)
			if t.name == "stamped" && (p.Timestamp == -3 || p.Timestamp >= 0) {
				p.Timestamp = -1 // the clocks of two nodes
			}
			lt.Partitions = append(lt.Partitions, p)
		}
		r.Topics = append(r.Topics, lt)
	}
	return r
}

func (g *trace) epochEnds() kmsg.Request {
	r := kmsg.NewPtrOffsetForLeaderEpochRequest()
	r.Version = g.version(23)
	r.ReplicaID = int32(g.pick(-2, -1, 1, 2))
	for range g.IntN(3) {
		t := g.any()
		et := kmsg.NewOffsetForLeaderEpochRequestTopic()
		et.Topic = t.name
		for range 1 + max(0, g.IntN(5)-3) {
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = g.partition(t), g.epoch(), g.epoch()
			et.Partitions = append(et.Partitions, p)
		}
		r.Topics = append(r.Topics, et)
	}
	return r
}

func (g *trace) deleteRecords() kmsg.Request {
	r := kmsg.NewPtrDeleteRecordsRequest()
	r.Version, r.TimeoutMillis = g.version(21), 5000
	for range g.IntN(3) {
		t := g.any()
		dt := kmsg.NewDeleteRecordsRequestTopic()
		dt.Topic = t.name
		for range 1 + max(0, g.IntN(5)-3) {
			p := kmsg.NewDeleteRecordsRequestTopicPartition()
			p.Partition = g.partition(t)
			start, end := t.span(p.Partition)
			p.Offset = start + g.Int64N(max(1, (end-start)/4+1))
			if g.chance(20) {
				p.Offset = g.offset(t, p.Partition)
			}
			dt.Partitions = append(dt.Partitions, p)
		}
		r.Topics = append(r.Topics, dt)
	}
	return r
}

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
