package differential

import (
	"math"
	"math/rand/v2"

	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const hour = int64(3_600_000)

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
	epoch    int32
	byID     bool
	past     []string                          // its last requests and answers
	named    []kmsg.FetchRequestForgottenTopic // what it was made for
	diverged map[string]bool                   // partitions that a follower or consumer was told to cut
	limited  bool                              // a partition was named with less room than there may be data
}

func newTrace(seed uint64, now int64) *trace {
	return &trace{
		Rand: rand.New(rand.NewPCG(seed, 431)), now: now,
		versions: map[int16][2]int16{}, producers: map[string]*sequence{},
	}
}

func (g *trace) chance(percent int) bool { return g.IntN(100) < percent }

func (g *trace) pick(from ...int64) int64 { return from[g.IntN(len(from))] }

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

// epoch is a leader's epoch in a request: none, the right one, or wrong.
func (g *trace) epoch(t *topic) int32 {
	if g.chance(10) {
		return int32(g.pick(int64(t.epoch)+1, int64(t.epoch)-1, 0, 1, -2, 5, math.MaxInt32, math.MinInt32))
	}
	return int32(g.pick(-1, -1, int64(t.epoch)))
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
	case n < 390:
		return g.produce(), client
	case n < 690:
		return g.fetch(), client
	case n < 700:
		return g.apiVersions(), client
	case n < 820:
		return g.listOffsets(), client
	case n < 880:
		return g.epochEnds(), client
	case n < 910:
		return g.deleteRecords(), client
	case n < 920:
		return g.describeProducers(), client
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
	if r.Version >= 3 && g.chance(3) {
		id := "transaction" // of which no coordinator knows
		r.TransactionID = &id
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
			if r.TransactionID != nil && g.chance(30) {
				g.transactional(p.Records)
			}
			rt.Partitions = append(rt.Partitions, p)
		}
		r.Topics = append(r.Topics, rt)
	}
	if n != 1 || len(r.Topics[0].Partitions) != 1 {
		g.pending = nil
	}
	return r
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
			p.Partition, p.CurrentLeaderEpoch = g.partition(t), g.epoch(t)
			p.Timestamp = g.pick(-1, -2, -3, -4, -5, -6, -7, 0, 1, g.now, g.now-30_000, g.now-hour, g.now+hour, math.MaxInt64, math.MinInt64)
			if t.stamped() && (p.Timestamp == -3 || p.Timestamp >= 0) {
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
			p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = g.partition(t), g.epoch(t), g.epoch(t)
			et.Partitions = append(et.Partitions, p)
		}
		r.Topics = append(r.Topics, et)
	}
	return r
}

// transactional makes a whole batch one of a transaction, of a producer of its
// own: Kafka remembers the sequences of those that it couldn't verify.
func (g *trace) transactional(p []byte) {
	if b, _, err := record.Next(p); err == nil {
		put16(b, atAttributes, b.Attributes()|0x10)
		put64(b, atProducer, 5000)
		put16(b, atPEpoch, 0)
		put32(b, atSequence, 0)
		b.UpdateCRC()
		g.spoiled, g.pending = true, nil
	}
}

func (g *trace) describeProducers() kmsg.Request {
	r := kmsg.NewPtrDescribeProducersRequest()
	for range g.IntN(3) {
		t := g.any()
		dt := kmsg.NewDescribeProducersRequestTopic()
		dt.Topic = t.name
		for range g.IntN(3) {
			dt.Partitions = append(dt.Partitions, g.partition(t))
		}
		r.Topics = append(r.Topics, dt)
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
