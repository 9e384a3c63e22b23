package differential

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/internal/record"
	"tidemark/test/apachekafka"
	"tidemark/test/cluster"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The trace's APIs.
var keys = []int16{0, 1, 2, 3, 19, 20, 21, 23}

// settings are the same on both nodes, beside those of package cluster.
var settings = []string{"auto.create.topics.enable=false", "log.retention.ms=-1", "num.partitions=2"}

// TestSameAnswers plays one trace to both nodes. TIDEMARK_LONG=1 takes a fresh
// seed and 50,000 requests; TIDEMARK_SEED and TIDEMARK_REQUESTS play
// a trace again, up to the request that failed.
func TestSameAnswers(t *testing.T) {
	seed, requests := uint64(1), 4000
	if os.Getenv("TIDEMARK_LONG") != "" {
		seed, requests = rand.Uint64N(1e9), 50_000
	}
	if v, err := strconv.ParseUint(os.Getenv("TIDEMARK_SEED"), 10, 64); err == nil {
		seed = v
	}
	if v, err := strconv.Atoi(os.Getenv("TIDEMARK_REQUESTS")); err == nil {
		requests = v
	}
	apachekafka.Require(t)
	r := start(t, seed)
	begun := time.Now()
	for range requests {
		r.step()
		if len(r.found) >= 40 || t.Failed() {
			break
		}
	}
	r.report(begun)
}

// runner plays the trace.
type runner struct {
	testing.TB
	seed        uint64
	g           *trace
	kafka, ours *peer
	kafkaNode   *apachekafka.Broker

	found   map[string]*finding
	order   []string
	allowed []int            // how often each row of the allow-list applied
	covered map[[2]int16]int // by API and version
	results map[string]int   // Apache Kafka's error codes, by API
	dirty   []*topic         // the peers' logs differ from here on
}

// finding is one kind of difference.
type finding struct {
	first string
	count int
}

func start(t *testing.T, seed uint64) *runner {
	t.Helper()
	ports := cluster.FreePorts(t, 2)
	dir := filepath.Join(t.TempDir(), "kafka")
	lines := append([]string{
		"process.roles=broker,controller", "node.id=1", "broker.rack=a", fmt.Sprintf("controller.quorum.voters=1@127.0.0.1:%d", ports[1]),
		"controller.listener.names=CONTROLLER", fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", ports[0], ports[1]),
		fmt.Sprintf("advertised.listeners=PLAINTEXT://127.0.0.1:%d", ports[0]), "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + dir, "num.network.threads=1", "num.io.threads=2", "log.cleaner.dedupe.buffer.size=4194304",
		"default.replication.factor=1", "min.insync.replicas=1", "offsets.topic.replication.factor=1",
	}, settings...)
	c := cluster.New(t, cluster.Options{Nodes: 1, Settings: settings})
	node := apachekafka.StartBroker(t, c.ClusterID, strings.Join(lines, "\n")+"\n")
	r := &runner{
		TB: t, seed: seed, g: newTrace(seed, time.Now().UnixMilli()), kafkaNode: node,
		kafka: newPeer("Apache Kafka", cluster.Loopback(ports[0])), ours: newPeer("Tidemark", c.Node(1).Addr()),
		found: map[string]*finding{}, covered: map[[2]int16]int{}, results: map[string]int{}, allowed: make([]int, len(allowList)),
	}
	cluster.Eventually(t, time.Minute, func() error {
		if !node.LogHas("Kafka Server started") {
			return fmt.Errorf("Apache Kafka isn't up\n%s", node.Tail(5))
		}
		return nil
	})
	r.agreeOnVersions()
	for _, topic := range layout() {
		r.g.add(topic)
		r.create(topic)
	}
	return r
}

// agreeOnVersions finds the versions that both serve and kmsg knows.
func (r *runner) agreeOnVersions() {
	r.Helper()
	ranges := func(p *peer) map[int16][2]int16 {
		out := map[int16][2]int16{}
		for _, k := range must[*kmsg.ApiVersionsResponse](r, p, kmsg.NewPtrApiVersionsRequest()).ApiKeys {
			out[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
		}
		return out
	}
	kafka, ours := ranges(r.kafka), ranges(r.ours)
	for _, key := range keys {
		if kafka[key] != ours[key] {
			r.Errorf("%s: Apache Kafka serves versions %v, Tidemark %v", kmsg.Key(key).Name(), kafka[key], ours[key])
		}
		r.g.versions[key] = [2]int16{max(kafka[key][0], ours[key][0]), min(kafka[key][1], ours[key][1], kmsg.RequestForKey(key).MaxVersion())}
	}
}

// step plays one request.
func (r *runner) step() {
	req, client := r.g.request()
	r.covered[[2]int16{req.Key(), req.GetVersion()}]++
	kafka, ours := r.kafka.ask(r, req, client), r.ours.ask(r, req, client)
	settle := r.learn(req, kafka, ours)
	diffs := compare(req, kafka, ours)
	for _, d := range diffs {
		r.note(d, req, client)
	}
	if len(diffs) > 0 || twice(req) || kafka.resp == nil && r.g.spoiled {
		r.distrust(req)
	}
	if settle != nil {
		settle()
	}
	for _, t := range r.dirty {
		r.renew(t)
	}
	r.dirty = nil
}

func (r *runner) note(d diff, req kmsg.Request, client string) {
	for i, a := range allowList {
		if a.covers(d, req) {
			r.allowed[i]++
			return
		}
	}
	f := r.found[d.signature()]
	if f == nil {
		wire := kmsg.NewRequestFormatter(kmsg.FormatterClientID(client)).AppendRequest(nil, req, 1)
		shown := hex.EncodeToString(wire)
		f = &finding{first: fmt.Sprintf("%v\n  topic %q; again: TIDEMARK_SEED=%d TIDEMARK_REQUESTS=%d go test ./test/differential -run TestSameAnswers\n  %T %s\n  %s",
			d, d.topic, r.seed, r.g.step, req, shorten(fmt.Sprintf("%+v", req), 900), shorten(shown, 900))}
		r.found[d.signature()] = f
		r.order = append(r.order, d.signature())
	}
	f.count++
}

func shorten(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// learn takes over what Apache Kafka answered. What it returns runs after the
// comparison: it waits for both peers to have done what was asked.
func (r *runner) learn(req kmsg.Request, kafka, ours answer) (settle func()) {
	if kafka.resp == nil {
		return nil
	}
	switch a := kafka.resp.(type) {
	case *kmsg.ProduceResponse:
		r.learnProduce(req.(*kmsg.ProduceRequest), a)
	case *kmsg.DeleteRecordsResponse:
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				if known := r.topic(t.Topic); known != nil && p.ErrorCode == 0 {
					known.starts[p.Partition] = p.LowWatermark
				}
			}
		}
	case *kmsg.FetchResponse:
		r.results[fmt.Sprintf("Fetch %d", a.ErrorCode)]++
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				r.results[fmt.Sprintf("Fetch/partition %d", p.ErrorCode)]++
			}
		}
		r.learnSession(req.(*kmsg.FetchRequest), a, ours)
	case *kmsg.CreateTopicsResponse:
		return func() { r.reconcile() }
	case *kmsg.DeleteTopicsResponse:
		return func() { r.reconcile() }
	}
	return nil
}

func (r *runner) learnProduce(req *kmsg.ProduceRequest, a *kmsg.ProduceResponse) {
	for i, t := range a.Topics {
		name := t.Topic
		for _, known := range r.g.topics {
			if req.Version >= 13 && known.symbol == t.TopicID && !known.gone {
				name = known.name
			}
		}
		known := r.topic(name)
		for k, p := range t.Partitions {
			r.results[fmt.Sprintf("Produce %d", p.ErrorCode)]++
			if p.ErrorCode != 0 || known == nil || int(p.Partition) >= len(known.ends) || p.Partition < 0 {
				continue
			}
			if i < len(req.Topics) && k < len(req.Topics[i].Partitions) && len(req.Topics[i].Partitions[k].Records) > record.HeaderSize {
				b := record.Batch(req.Topics[i].Partitions[k].Records)
				known.ends[p.Partition] = max(known.ends[p.Partition], p.BaseOffset+int64(b.Count()))
			}
			if r.g.pending != nil {
				r.g.pending.accepted()
			}
		}
	}
}

func (r *runner) learnSession(req *kmsg.FetchRequest, a *kmsg.FetchResponse, ours answer) {
	if a.ErrorCode != 0 || ours.resp == nil {
		return
	}
	if req.SessionEpoch > 0 {
		if s := int(req.SessionID) - 1; s >= 0 && s < len(r.g.sessions) {
			r.g.sessions[s].epoch++
		}
	}
	if id := ours.resp.(*kmsg.FetchResponse).SessionID; req.SessionEpoch == 0 && a.SessionID != 0 && id != 0 {
		r.g.sessions = append(r.g.sessions, fetchSession{epoch: 1, byID: req.Version >= 13})
		r.kafka.sessions = append(r.kafka.sessions, a.SessionID)
		r.ours.sessions = append(r.ours.sessions, id)
	}
}

// distrust throws away what may differ after a difference, so that one cause
// isn't reported many times: logs, and the session.
func (r *runner) distrust(req kmsg.Request) {
	switch q := req.(type) {
	case *kmsg.ProduceRequest:
		for _, t := range q.Topics {
			for _, known := range r.g.topics {
				if !known.gone && (q.Version >= 13 && known.symbol == t.TopicID || q.Version < 13 && known.name == t.Topic) && !slices.Contains(r.dirty, known) {
					r.dirty = append(r.dirty, known)
				}
			}
		}
	case *kmsg.DeleteRecordsRequest:
		for _, t := range q.Topics {
			if known := r.topic(t.Topic); known != nil && !slices.Contains(r.dirty, known) {
				r.dirty = append(r.dirty, known)
			}
		}
	case *kmsg.FetchRequest:
		if s := int(q.SessionID); s > 0 && s < len(r.kafka.sessions) {
			r.kafka.sessions[s], r.ours.sessions[s] = 7, 7
		}
	}
}

func (r *runner) topic(name string) *topic {
	for _, t := range r.g.topics {
		if t.name == name && !t.gone {
			return t
		}
	}
	return nil
}

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
		q.Partition, q.Timestamp, q.CurrentLeaderEpoch = int32(i), -1, 0
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

// renew replaces a topic whose logs differ by an empty one.
func (r *runner) renew(t *topic) {
	r.Helper()
	if t.gone {
		return
	}
	r.remove(t.name)
	t.gone = true
	fresh := &topic{name: t.name, partitions: t.partitions, configs: t.configs}
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
		out[*t.Topic] = listed{id, len(t.Partitions)}
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

func (r *runner) report(begun time.Time) {
	r.Helper()
	for _, s := range r.order {
		r.Errorf("%d times: %s", r.found[s].count, r.found[s].first)
	}
	if p, err := os.ReadFile(r.kafkaNode.Log); err == nil && len(r.order) > 0 {
		lines := strings.Split(string(p), "\n")
		seen := map[string]bool{}
		for i, l := range lines {
			if (strings.Contains(l, "Exception:") || strings.Contains(l, "] ERROR")) && !seen[l] {
				seen[l] = true
				r.Log(strings.Join(lines[i:min(i+4, len(lines))], "\n"))
			}
		}
	}
	var lines []string
	for _, key := range keys {
		v := r.g.versions[key]
		missing := 0
		for n := v[0]; n <= v[1]; n++ {
			if r.covered[[2]int16{key, n}] == 0 {
				missing++
			}
		}
		lines = append(lines, fmt.Sprintf("%s v%d-%d (%d versions not asked)", kmsg.Key(key).Name(), v[0], v[1], missing))
	}
	r.Logf("seed %d: %d requests in %v: %s", r.seed, r.g.step, time.Since(begun).Round(time.Millisecond), strings.Join(lines, ", "))
	for i, a := range allowList {
		r.Logf("allowed %d times: %s", r.allowed[i], a.reason)
	}
	if testing.Verbose() {
		for _, k := range slices.Sorted(maps.Keys(r.results)) {
			r.Logf("  %s: %d", k, r.results[k])
		}
	}
}
