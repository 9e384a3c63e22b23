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
var keys = []int16{0, 1, 2, 3, 19, 20, 21, 23, 61}

// settings are the same on both nodes, beside those of package cluster.
var settings = []string{"auto.create.topics.enable=false", "log.retention.ms=-1", "num.partitions=2",
	"broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500"}

// The fixed trace, and the fresh ones of the long form.
const (
	fixedSeed     = 1
	fixedRequests = 5000
	freshSeeds    = 6
	freshRequests = 10_000

	// After these requests both nodes are started anew: new leader epochs, logs
	// that were read from disk, and what is left of sessions and producers.
	cleanRestart  = 2000
	killedRestart = 3500
)

// TestSameAnswers plays a trace to both nodes: one with a fixed seed, under
// TIDEMARK_LONG several with fresh ones, which the log names. TIDEMARK_SEED and
// TIDEMARK_REQUESTS play a trace again, up to the request that failed.
func TestSameAnswers(t *testing.T) {
	apachekafka.Require(t)
	seeds, requests := []uint64{fixedSeed}, fixedRequests
	if os.Getenv("TIDEMARK_LONG") != "" {
		requests = freshRequests
		for range freshSeeds {
			seeds = append(seeds, rand.Uint64N(1e9))
		}
	}
	if v, err := strconv.ParseUint(os.Getenv("TIDEMARK_SEED"), 10, 64); err == nil {
		seeds = []uint64{v}
	}
	if v, err := strconv.Atoi(os.Getenv("TIDEMARK_REQUESTS")); err == nil {
		requests = v
	}
	allowed := make([]int, len(allowList))
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			r := start(t, seed)
			begun := time.Now()
			for range requests {
				r.step()
				switch r.g.step {
				case cleanRestart:
					r.restart(true)
				case killedRestart:
					r.restart(false)
				}
				if len(r.found) >= 40 || t.Failed() {
					break
				}
			}
			r.report(begun)
			for i, n := range r.allowed {
				allowed[i] += n
			}
		})
	}
	for i, a := range allowList {
		if allowed[i] > 0 {
			t.Logf("allowed %d times: %s", allowed[i], a.name)
		} else if t.Logf("never needed: %s", a.name); len(seeds) > 1 {
			t.Errorf("no request of %v needs the row %q: it may go", seeds, a.name)
		}
	}
}

// runner plays the trace.
type runner struct {
	testing.TB
	seed        uint64
	g           *trace
	kafka, ours *peer
	kafkaNode   *apachekafka.Broker
	ourNode     *cluster.Node

	found   map[string]*finding
	order   []string
	allowed []int            // how often each row of the allow-list applied
	covered map[[2]int16]int // by API and version
	results map[string]int   // Apache Kafka's error codes, by API
	mangled map[string]int
	born    int      // the slot of the session that the request made, 0 for none
	dirty   []*topic // the peers' logs differ from here on
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
		TB: t, seed: seed, g: newTrace(seed, time.Now().UnixMilli()), kafkaNode: node, ourNode: c.Node(1),
		kafka: newPeer("Apache Kafka", cluster.Loopback(ports[0])), ours: newPeer("Tidemark", c.Node(1).Addr()),
		found: map[string]*finding{}, covered: map[[2]int16]int{}, mangled: map[string]int{}, results: map[string]int{}, allowed: make([]int, len(allowList)),
	}
	cluster.Eventually(t, time.Minute, func() error {
		if !node.LogHas("Kafka Server started") {
			return fmt.Errorf("Apache Kafka isn't up\n%s", node.Tail(5))
		}
		return nil
	})
	r.agreeOnVersions()
	r.registerSecond(r.kafka, cluster.Loopback(ports[1]), c.ClusterID)
	r.registerSecond(r.ours, cluster.Loopback(c.Node(1).Control), c.ClusterID)
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
	m := r.g.mangle(req)
	kafka, ours := r.kafka.ask(r, req, client, m), r.ours.ask(r, req, client, m)
	if m != nil {
		r.mangled[m.name]++
	}
	r.born = 0
	r.remember(req, kafka, ours)
	settle := r.learn(req, kafka, ours)
	diffs := compare(req, kafka, ours)
	for _, d := range diffs {
		r.note(r.situate(d, req), client, m)
	}
	if len(diffs) > 0 || repeats(req) || kafka.resp == nil && r.g.spoiled {
		r.distrust(req)
	}
	if settle != nil {
		settle()
	}
	for _, t := range r.dirty {
		if !r.sameLogs(t) {
			r.renew(t)
		}
	}
	r.dirty = nil
}

// diverged notes of which partitions an answer says that they diverge.
func diverged(a *kmsg.FetchResponse) map[string]bool {
	out := map[string]bool{}
	for _, t := range a.Topics {
		for _, p := range t.Partitions {
			if p.DivergingEpoch.EndOffset >= 0 {
				out[fmt.Sprint(t.Topic, t.TopicID, p.Partition)] = true
			}
		}
	}
	return out
}

// remember keeps what happened in a session, for the report.
func (r *runner) remember(req kmsg.Request, kafka, ours answer) {
	f, ok := req.(*kmsg.FetchRequest)
	if !ok || f.SessionID <= 0 || int(f.SessionID) > len(r.g.sessions) || !testing.Verbose() {
		return
	}
	s := &r.g.sessions[f.SessionID-1]
	s.past = append(s.past, shorten(fmt.Sprintf("%d: %+v", r.g.step, f), 1500),
		shorten(fmt.Sprintf("  Kafka %+v", kafka.resp), 1500), shorten(fmt.Sprintf("  ours  %+v", ours.resp), 1500))
	s.past = s.past[max(0, len(s.past)-30):]
}

func (r *runner) note(s situation, client string, m *mangle) {
	d, req := s.diff, s.req
	for i, a := range allowList {
		if a.covers(s) {
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
		if m != nil {
			f.first += "\n  spoilt: " + m.name
		}
		if s.known != nil && d.partition >= 0 && int(d.partition) < s.known.partitions {
			f.first += fmt.Sprintf("\n  %s-%d: %s", s.known.name, d.partition, shorten(r.contents(r.kafka, s.known, d.partition), 12000))
		}
		if _, ok := req.(*kmsg.ProduceRequest); ok && s.known != nil {
			for _, p := range []*peer{r.kafka, r.ours} {
				f.first += "\n  " + p.name + "'s producers: " + r.producers(p, s.known.name, s.partition)
			}
		}
		if s.session != nil {
			f.first += "\n  the session:\n    " + strings.Join(s.session.past, "\n    ")
		}
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
	if s := int(req.SessionID) - 1; req.SessionEpoch > 0 && s >= 0 && s < len(r.g.sessions) {
		maps.Copy(r.g.sessions[s].diverged, diverged(a))
	}
	small := limited(req, nil)
	if req.SessionEpoch > 0 {
		if s := int(req.SessionID) - 1; s >= 0 && s < len(r.g.sessions) {
			r.g.sessions[s].epoch++
			r.g.sessions[s].limited = r.g.sessions[s].limited || small
		}
	}
	if id := ours.resp.(*kmsg.FetchResponse).SessionID; req.SessionEpoch == 0 && a.SessionID != 0 && id != 0 {
		r.g.sessions = append(r.g.sessions, fetchSession{epoch: 1, byID: req.Version >= 13, limited: small, named: named(req), diverged: diverged(a), past: []string{shorten(fmt.Sprintf("%d: %+v", r.g.step, req), 1500), shorten(fmt.Sprintf("  Kafka %+v", a), 1500)}})
		r.born = len(r.kafka.sessions)
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
		for _, s := range []int{int(q.SessionID), r.born} {
			if s > 0 && s < len(r.kafka.sessions) {
				r.kafka.sessions[s], r.ours.sessions[s] = 7, 7
			}
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
	spoilt := 0
	for _, n := range r.mangled {
		spoilt += n
	}
	r.Logf("seed %d: %d requests, %d of them spoilt, in %v: %s", r.seed, r.g.step, spoilt, time.Since(begun).Round(time.Millisecond), strings.Join(lines, ", "))
	if testing.Verbose() {
		for _, k := range slices.Sorted(maps.Keys(r.results)) {
			r.Logf("  %s: %d", k, r.results[k])
		}
	}
}
