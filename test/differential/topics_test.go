package differential

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemark/test/cluster"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// topic is one topic of the trace, the same on both peers.
type topic struct {
	name       string
	symbol     topicID
	partitions int
	configs    map[string]string
	replicas   []int32 // nil: as the node likes
	epoch      int32   // of its leaders
	crashed    bool    // it was there when the nodes were killed
	forgot     bool    // Kafka forgot producers: it was started with records cut away, and not replayed
	reverted   bool    // a crash undid a DeleteRecords
	ends       []int64 // of each log, as far as the answers told
	starts     []int64
	gone       bool // deleted
}

// Settings of the topics.
const (
	compression = "compression.type"
	stamps      = "message.timestamp.type"
	policy      = "cleanup.policy"
	maxBytes    = "max.message.bytes"
	minISR      = "min.insync.replicas"
	oldest      = "message.timestamp.before.max.ms"
	newest      = "message.timestamp.after.max.ms"
)

// layout is what the trace starts with.
func layout() []*topic {
	one := func(name string, kv ...string) *topic {
		t := &topic{name: name, partitions: 1, configs: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			t.configs[kv[i]] = kv[i+1]
		}
		return t
	}
	all := []*topic{
		one("plain"), one("small", maxBytes, "2000"), one("compact", policy, "compact"), one("both", policy, "compact,delete"),
		one("stamped", stamps, "LogAppendTime"), one("timed", oldest, "3600000", newest, "3600000"),
		one("stampedtimed", stamps, "LogAppendTime", oldest, "3600000", newest, "3600000"),
		one("gzip", compression, "gzip"), one("gzipstamped", compression, "gzip", stamps, "LogAppendTime"),
		one("uncompressed", compression, "uncompressed"), one("uncompressedstamped", compression, "uncompressed", stamps, "LogAppendTime"),
		one("lz4timed", compression, "lz4", oldest, "3600000", newest, "3600000"),
		one("zstdcompact", compression, "zstd", policy, "compact"), one("snappysmall", compression, "snappy", maxBytes, "1000"),
		one("segments", "segment.bytes", "1048576", maxBytes, "2500000"), one("strict", minISR, "2"),
		one("pair", minISR, "2"), one("open", minISR, "1"),
	}
	all[0].partitions, all[1].partitions = 3, 2
	for _, t := range all[len(all)-2:] { // the second broker never fetches by itself, and stays out of the ISR
		t.replicas = []int32{1, second}
	}
	return all
}

func (t *topic) compacted() bool { return strings.HasPrefix(t.configs[policy], "compact") }

// stamped: the clocks of two nodes are in it.
func (t *topic) stamped() bool { return t.configs[stamps] == "LogAppendTime" }

// recompresses: its batches' sizes differ by the compressor.
func (t *topic) recompresses() bool { return t.configs[compression] != "" }

// known returns the topic of that name.
func (g *trace) known(name string) *topic {
	for _, t := range g.topics {
		if t.name == name && !t.gone {
			return t
		}
	}
	return nil
}

func (g *trace) add(t *topic) {
	g.births++
	t.symbol = topicID{'t', byte(g.births >> 8), byte(g.births)}
	t.ends, t.starts = make([]int64, t.partitions), make([]int64, t.partitions)
	g.topics = append(g.topics, t)
}

func (r *runner) topic(name string) *topic { return r.g.known(name) }

// create makes the topic on both peers and waits until it serves.
func (r *runner) create(t *topic) {
	r.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	ct := kmsg.NewCreateTopicsRequestTopic()
	ct.Topic, ct.NumPartitions, ct.ReplicationFactor = t.name, int32(t.partitions), 1
	for _, name := range slices.Sorted(maps.Keys(t.configs)) {
		v := t.configs[name]
		ct.Configs = append(ct.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: &v})
	}
	if t.replicas != nil {
		ct.NumPartitions, ct.ReplicationFactor = -1, -1
		for i := range t.partitions {
			ct.ReplicaAssignment = append(ct.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: t.replicas})
		}
	}
	req.Topics = append(req.Topics, ct)
	for _, p := range []*peer{r.kafka, r.ours} {
		resp := must[*kmsg.CreateTopicsResponse](r, p, req)
		if c := resp.Topics[0]; c.ErrorCode != 0 {
			r.Fatalf("%s: topic %s: %d %s", p.name, t.name, c.ErrorCode, deref(c.ErrorMessage))
		}
		p.know(t.symbol, resp.Topics[0].TopicID)
		r.waitServing(p, t)
	}
}

// waitServing waits until the peer leads every partition of the topic.
func (r *runner) waitServing(p *peer, t *topic) {
	r.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 7, -1
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic = t.name
	for i := range t.partitions {
		q := kmsg.NewListOffsetsRequestTopicPartition()
		q.Partition, q.Timestamp, q.CurrentLeaderEpoch = int32(i), -2, -1 // the end may not be known
		lt.Partitions = append(lt.Partitions, q)
	}
	req.Topics = append(req.Topics, lt)
	cluster.Eventually(r, answerLimit, func() error {
		for _, part := range must[*kmsg.ListOffsetsResponse](r, p, req).Topics[0].Partitions {
			if part.ErrorCode != 0 {
				return fmt.Errorf("%s: %s-%d: error %d", p.name, t.name, part.Partition, part.ErrorCode)
			}
		}
		return nil
	})
}

// sameLogs reports whether both peers hold the same records of the topic.
func (r *runner) sameLogs(t *topic) bool {
	r.Helper()
	if t.gone || t.replicas != nil { // what isn't committed can't be seen
		return false
	}
	for i := range t.partitions {
		if r.contents(r.kafka, t, int32(i)) != r.contents(r.ours, t, int32(i)) {
			return false
		}
	}
	return true
}

// contents describes one log of a peer: where it starts and ends, and all of
// its batches.
func (r *runner) contents(p *peer, t *topic, partition int32) string {
	r.Helper()
	start, end := r.bounds(p, t, partition)
	out := fmt.Sprintf("[%d, %d) ", start, end)
	if start == end {
		return out
	}
	f := kmsg.NewPtrFetchRequest()
	f.Version, f.ReplicaID, f.SessionEpoch, f.MaxBytes = 11, -1, -1, 1<<30
	q := kmsg.NewFetchRequestTopicPartition()
	q.Partition, q.FetchOffset, q.CurrentLeaderEpoch, q.LogStartOffset, q.PartitionMaxBytes = partition, start, -1, -1, 1<<30
	f.Topics = []kmsg.FetchRequestTopic{{Topic: t.name, Partitions: []kmsg.FetchRequestTopicPartition{q}}}
	for _, rt := range must[*kmsg.FetchResponse](r, p, f).Topics {
		out += batches(rt.Partitions[0].RecordBatches)
	}
	return out
}

// bounds tells where a log of a peer starts and ends.
func (r *runner) bounds(p *peer, t *topic, partition int32) (start, end int64) {
	r.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 7, -1
	at := func(ts int64) int64 {
		q := kmsg.ListOffsetsRequestTopicPartition{Partition: partition, Timestamp: ts, CurrentLeaderEpoch: -1}
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: t.name, Partitions: []kmsg.ListOffsetsRequestTopicPartition{q}}}
		return must[*kmsg.ListOffsetsResponse](r, p, req).Topics[0].Partitions[0].Offset
	}
	return at(-2), at(-1)
}

// producers describes what a peer knows of the producers of a partition.
func (r *runner) producers(p *peer, name string, partition int32) string {
	r.Helper()
	out := ""
	for _, a := range r.active(p, name, partition) {
		out += fmt.Sprintf("%d/%d last sequence %d at %d; ", a.ProducerID, a.ProducerEpoch, a.LastSequence, a.LastTimestamp)
	}
	return out
}

// active lists the producers that a peer knows in a partition.
func (r *runner) active(p *peer, name string, partition int32) (out []kmsg.DescribeProducersResponseTopicPartitionActiveProducer) {
	r.Helper()
	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: name, Partitions: []int32{partition}}}
	for _, t := range must[*kmsg.DescribeProducersResponse](r, p, req).Topics {
		for _, part := range t.Partitions {
			out = append(out, part.ActiveProducers...)
		}
	}
	return out
}

// renew replaces a topic whose logs differ by an empty one.
func (r *runner) renew(t *topic) {
	r.Helper()
	if t.gone {
		return
	}
	r.remove(t.name)
	t.gone = true
	fresh := &topic{name: t.name, partitions: t.partitions, configs: t.configs, replicas: t.replicas}
	r.g.topics = slices.DeleteFunc(r.g.topics, func(o *topic) bool { return o == t })
	r.g.add(fresh)
	r.create(fresh)
}

// remove deletes the topic wherever it is.
func (r *runner) remove(name string) {
	r.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis = 6, 10_000
	req.Topics = append(req.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
	for _, p := range []*peer{r.kafka, r.ours} {
		must[*kmsg.DeleteTopicsResponse](r, p, req)
		cluster.Eventually(r, answerLimit, func() error {
			if _, ok := r.listing(p)[name]; ok {
				return fmt.Errorf("%s still has %s", p.name, name)
			}
			return nil
		})
	}
}

type listed struct {
	id         topicID
	partitions int
	epoch      int32 // of the first partition's leader
}

func (r *runner) listing(p *peer) map[string]listed {
	r.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	out := map[string]listed{}
	for _, t := range must[*kmsg.MetadataResponse](r, p, req).Topics {
		id := t.TopicID
		if known, ok := p.real[id]; ok {
			id = known
		}
		one := listed{id: id, partitions: len(t.Partitions)}
		for _, p := range t.Partitions {
			if p.Partition == 0 {
				one.epoch = p.LeaderEpoch
			}
		}
		out[*t.Topic] = one
	}
	return out
}

// reconcile waits until both peers list the same topics, and takes them over.
// Topics that only one of them has go again.
func (r *runner) reconcile() {
	r.Helper()
	var kafka, ours map[string]listed
	same := func() error {
		kafka, ours = r.listing(r.kafka), r.listing(r.ours)
		for name := range kafka {
			if ours[name].partitions != kafka[name].partitions {
				return fmt.Errorf("%s differs", name)
			}
		}
		for name := range ours {
			if kafka[name].partitions != ours[name].partitions {
				return fmt.Errorf("%s differs", name)
			}
		}
		return nil
	}
	for deadline := time.Now().Add(2 * time.Second); same() != nil && time.Now().Before(deadline); {
	}
	names := map[string]string{}
	for name := range kafka {
		names[name] = ""
	}
	for name := range ours {
		names[name] = ""
	}
	for _, t := range slices.Clone(r.g.topics) {
		k, o := kafka[t.name], ours[t.name]
		if !t.gone && (k.id != r.kafka.real[t.symbol] || o.id != r.ours.real[t.symbol]) {
			t.gone = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		k, o := kafka[name], ours[name]
		if k.partitions != o.partitions || strings.HasPrefix(name, "__") {
			r.remove(name)
		} else if r.topic(name) == nil {
			t := &topic{name: name, partitions: k.partitions}
			r.g.add(t)
			r.kafka.know(t.symbol, k.id)
			r.ours.know(t.symbol, o.id)
			r.waitServing(r.kafka, t)
			r.waitServing(r.ours, t)
		}
	}
	r.prune()
}

// prune keeps a few deleted topics to ask for.
func (r *runner) prune() {
	gone := 0
	for i := len(r.g.topics) - 1; i >= 0; i-- {
		if !r.g.topics[i].gone {
			continue
		}
		if gone++; gone > 2 {
			r.g.topics = slices.Delete(r.g.topics, i, i+1)
		}
	}
}
