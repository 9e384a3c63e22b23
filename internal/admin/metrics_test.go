package admin

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"tidemark/internal/fetcher"
	"tidemark/internal/latency"
	tm "tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/quorum"
)

// source is a node with given numbers.
type source struct {
	Source
	n *Numbers
}

func (s source) Numbers(context.Context, bool) *Numbers { c := *s.n; return &c }

func someTimes(d ...time.Duration) (s latency.Snapshot) {
	var h latency.Histogram
	for _, d := range d {
		h.Observe(d)
	}
	h.AddTo(&s)
	return s
}

// numbers are those of a node with both roles that leads half of its partitions.
func numbers(partitions int) *Numbers {
	b := &BrokerNumbers{Topics: []TopicNumbers{{Topic: "t", Counters: partition.Counters{MessagesIn: 3}}}, Totals: partition.Counters{MessagesIn: 5},
		Flushes: someTimes(time.Millisecond), Waiting: []WaitingNumbers{{"Produce", 2, 1}},
		Dirs:     []Dir{{Path: "/d", Online: true}},
		Loading:  []LoadingNumbers{{"/d", 4, 9}},
		Followed: []FollowedNumbers{{TP: tm.TopicPartition{Topic: "t"}, Leader: 2, Lag: 7}},
		Fetchers: []FetcherNumbers{{LoopStatus: fetcher.LoopStatus{Leader: 2, Partitions: 1, Requests: 11}}},
		Groups:   []GroupNumbers{{"g", 1, []GroupOffset{{tm.TopicPartition{Topic: "t"}, 5, 2}, {tm.TopicPartition{Topic: "t", Partition: 1}, 6, 3}}}},
	}
	var acks partition.AckStats
	b.Acks = acks.Snapshot()
	for i := range partitions {
		m := partition.Measures{TP: tm.TopicPartition{Topic: "t", Partition: int32(i)}, Leads: i%2 == 0, Follows: i%2 == 1, LogEnd: 10, HighWatermark: 8, Size: 1 << 20,
			Replicas: 3, ISR: 2, MinISR: 2, Followers: []partition.FollowerMeasures{{ID: 2, Health: "lagging", Records: 2, Bytes: 100, Behind: time.Second}, {ID: 3, Records: -1, Bytes: -1, Behind: -1}}}
		if !m.Leads {
			m.Followers = nil
		}
		b.Partitions = append(b.Partitions, PartitionNumbers{Measures: m})
	}
	return &Numbers{At: time.Unix(1000, 0), Node: 1, BrokerState: 3, CPUs: 2, Broker: b,
		Controller: &ControllerNumbers{Meters: quorum.Meters{State: "leader", Voters: 3}, Active: true, Summary: Summary{Brokers: 3, Topics: 1},
			Topics: []ClusterTopic{{"t", partitions}}, Offline: []ClusterPartition{{"gone", 0, 3, 1}}, Brokers: []Broker{{ID: 1, Endpoints: []string{"h:1"}}}},
		Listeners: []ListenerNumbers{{"PLAINTEXT", 4, 9}},
		Requests: []RequestNumbers{{Request: "Produce", Versions: []Labelled{{"13", 2}}, Errors: []Labelled{{"NONE", 2}},
			Total: someTimes(time.Millisecond, 100*time.Millisecond), Local: someTimes(time.Millisecond)}},
	}
}

func scrape(t testing.TB, n *Numbers, path string) (int, string) {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector())
	h := NewHandler(source{n: n}, reg, http.NotFoundHandler())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// value finds a sample by its whole name, with labels in order.
func value(body, series string) (string, bool) {
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

func TestEachStyleHasItsNames(t *testing.T) {
	for _, c := range []struct{ path, series, want string }{
		{"/metrics", "kafka_server_replicamanager_underreplicatedpartitions", "2"},
		{"/metrics", `tidemark_replica_lag_bytes{topic="t",partition="0",follower="2"}`, "100"},
		{"/metrics", `tidemark_followers{follower="2",state="lagging"}`, "2"},
		{"/metrics", `tidemark_request_seconds_bucket{request="Produce",phase="local",le="0.001024"}`, "1"},
		{"/metrics", `tidemark_consumergroup_lag{consumergroup="g",topic="t",partition="1"}`, "3"},
		{"/metrics/kafka?style=strimzi", "kafka_server_replicamanager_atminisrpartitioncount", "2"},
		{"/metrics/kafka?style=strimzi", `kafka_server_brokertopicmetrics_messagesin_total{topic="t"}`, "3"},
		{"/metrics/kafka?style=strimzi", "kafka_server_brokertopicmetrics_messagesin_total", "5"},
		{"/metrics/kafka?style=strimzi", "kafka_server_replicamanager_isrshrinks_total", "0"},
		{"/metrics/kafka?style=strimzi", "kafka_network_socketserver_networkprocessoravgidle_percent", "1"},
		{"/metrics/kafka?style=strimzi", `kafka_network_requestmetrics_totaltimems_count{request="Produce"}`, "2"},
		{"/metrics/kafka?style=strimzi", `kafka_network_requestmetrics_requests_total{request="Produce",version="13"}`, "2"},
		{"/metrics/kafka?style=strimzi", `kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation="Produce"}`, "2"},
		{"/metrics/kafka?style=strimzi", `kafka_server_fetcherlagmetrics_consumerlag{clientId="ReplicaFetcherThread-0-2",topic="t",partition="0"}`, "7"},
		{"/metrics/kafka?style=strimzi", `kafka_server_raftmetrics_current_state{current_state="leader"}`, "1"},
		{"/metrics/kafka?style=strimzi", "kafka_server_raftmetrics_number_of_voters", "3"},
		{"/metrics/kafka?style=strimzi", "kafka_server_raftchannelmetrics_incoming_byte_total", "0"},
		{"/metrics/kafka?style=strimzi", "kafka_server_brokermetadatametrics_last_applied_record_offset", "0"},
		{"/metrics/kafka?style=strimzi", `kafka_server_socket_server_metrics_connection_count{listener="PLAINTEXT"}`, "4"},
		{"/metrics/kafka?style=strimzi", `kafka_log_log_size{topic="t",partition="1"}`, "1048576"},
		{"/metrics/kafka?style=confluent", "kafka_server_replicamanager_isrshrinkspersec", "0"},
		{"/metrics/kafka?style=confluent", `kafka_server_brokertopicmetrics_messagesinpersec{topic="t"}`, "3"},
		{"/metrics/kafka?style=confluent", "kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent", "1"},
		{"/metrics/kafka?style=confluent", `kafka_network_requestmetrics_totaltimems{request="Produce"}`, "2"},
		{"/metrics/kafka?style=confluent", `kafka_server_delayedoperationpurgatory_purgatorysize{delayedoperation="Produce"}`, "2"},
		{"/metrics/kafka?style=confluent", "kafka_server_raft_metrics_number_of_voters", "3"},
		{"/metrics/kafka?style=confluent", `kafka_server_raft_metrics_current_state{state="leader"}`, "1"},
		{"/metrics", `tidemark_fetcher_requests_total{leader="2",fetcher="0"}`, "11"},
		{"/metrics/kafka?style=confluent", `kafka_server_socketservermetrics_connection_count{listener="PLAINTEXT"}`, "4"},
		{"/metrics/kafka?style=exporter", "kafka_brokers", "3"},
		{"/metrics/kafka?style=exporter", `kafka_topic_partition_current_offset{topic="t",partition="2"}`, "8"},
		{"/metrics/kafka?style=exporter", `kafka_topic_partition_leader{topic="gone",partition="0"}`, "-1"},
		{"/metrics/kafka?style=exporter", `kafka_topic_partition_under_replicated_partition{topic="gone",partition="0"}`, "1"},
		{"/metrics/kafka?style=exporter", `kafka_consumergroup_lag_sum{consumergroup="g",topic="t"}`, "5"},
		{"/metrics/kafka?style=exporter", `kafka_topic_partitions{topic="t"}`, "4"},
	} {
		code, body := scrape(t, numbers(4), c.path)
		if got, ok := value(body, c.series); code != http.StatusOK || !ok || got != c.want {
			t.Errorf("%s: %s is %q (%v), want %s", c.path, c.series, got, ok, c.want)
		}
	}
}

// A style has its own names and no others'.
func TestStylesAreApart(t *testing.T) {
	for path, not := range map[string][]string{
		"/metrics/kafka?style=strimzi":   {"tidemark_", "persec", "kafka_consumergroup"},
		"/metrics/kafka?style=confluent": {"tidemark_", "bytesin_total", "kafka_consumergroup"},
		"/metrics/kafka?style=exporter":  {"tidemark_", "kafka_server"},
		"/metrics":                       {"persec ", "kafka_consumergroup"},
	} {
		_, body := scrape(t, numbers(4), path)
		for _, s := range not {
			for line := range strings.Lines(body) {
				if strings.Contains(line, s) && !strings.HasPrefix(line, "#") {
					t.Errorf("%s has %s", path, line)
				}
			}
		}
		if !strings.Contains(body, "go_goroutines") {
			t.Errorf("%s lacks the process's own", path)
		}
	}
}

func TestUnknownStyle(t *testing.T) {
	for _, path := range []string{"/metrics/kafka", "/metrics/kafka?style=datadog"} {
		code, body := scrape(t, numbers(0), path)
		if code != http.StatusBadRequest || !strings.Contains(body, "strimzi, confluent, exporter") {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
}

// What is served is what the text format says, in every style; HELP begins with
// the JMX name where there is one, and no series comes twice.
func TestTextFormat(t *testing.T) {
	for _, path := range []string{"/metrics", "/metrics/kafka?style=strimzi", "/metrics/kafka?style=exporter"} {
		_, body := scrape(t, numbers(4), path)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(families) < 10 {
			t.Errorf("%s has %d families", path, len(families))
		}
		seen := map[string]bool{}
		for line := range strings.Lines(body) {
			series, _, _ := strings.Cut(line, "} ")
			if !strings.HasPrefix(line, "#") && strings.Contains(line, "}") && seen[series] {
				t.Errorf("%s: twice: %s", path, series)
			}
			seen[series] = true
		}
	}
	_, body := scrape(t, numbers(1), "/metrics/kafka?style=confluent")
	if want := "# HELP kafka_server_replicamanager_isrshrinkspersec kafka.server:type=ReplicaManager,name=IsrShrinksPerSec: "; !strings.Contains(body, want) {
		t.Errorf("no %q", want)
	}
}

// Every row has a source, a help text and a name in some style.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, m := range Table() {
		sources := 0
		for _, has := range []bool{m.each != nil, m.per != nil, m.times != nil, m.hist != nil} {
			if has {
				sources++
			}
		}
		where := m.Name + m.JMX + m.Attr + m.Exporter
		if sources != 1 || where == "" || m.Text() == "" || names[where] {
			t.Errorf("row %q: %d sources, help %q", where, sources, m.Text())
		}
		names[where] = true
		for _, s := range Styles() {
			if n := m.In(s); n != strings.ToLower(n) || strings.ContainsAny(n, "-. ") {
				t.Errorf("%s calls %s %q", s, where, n)
			}
		}
	}
}

// Percentiles are those of late: a slow hour doesn't show for ever.
func TestPercentilesAreOfLate(t *testing.T) {
	w := newWindows()
	var h latency.Histogram
	at := time.Unix(1000, 0)
	p99 := func() time.Duration {
		var s latency.Snapshot
		h.AddTo(&s)
		late := w.of("x", s, at)
		return late.Quantile(0.99)
	}
	h.Observe(10 * time.Second)
	if p99() < 8*time.Second {
		t.Error("the first scrape doesn't see everything")
	}
	for range 3 {
		at = at.Add(windowFor)
		h.Observe(time.Millisecond)
		p99()
	}
	h.Observe(time.Millisecond)
	if got := p99(); got > 2*time.Millisecond {
		t.Errorf("minutes later the percentile is %v", got)
	}
	if w.perSecond("c", 10, at); w.perSecond("c", 40, at.Add(10*time.Second)) != 3 {
		t.Error("30 in 10 s aren't 3 a second")
	}
}

func TestCompressed(t *testing.T) {
	h := NewHandler(source{n: numbers(4)}, prometheus.NewRegistry(), http.NotFoundHandler())
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/metrics?partitions=off", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	h.ServeHTTP(w, r)
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(z)
	if err != nil || !bytes.Contains(body, []byte("kafka_server_replicamanager_leadercount 2\n")) {
		t.Errorf("%v", err)
	}
	if bytes.Contains(body, []byte("partition=")) {
		t.Error("partitions=off has series of partitions")
	}
}

// A node with 2,000 replicas, half of them led: milliseconds, and no allocation
// for each of the series that grow with their number.
func BenchmarkScrape(b *testing.B) {
	n := numbers(2000)
	w := newWindows()
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		p := &page{b: make([]byte, 0, 4<<20), windows: w, numbers: n}
		for _, s := range []Style{Own, Strimzi} {
			p.style = s
			p.write(Table())
		}
		size = len(p.b)
	}
	b.ReportMetric(float64(size), "bytes")
}

func ExampleStyles() {
	fmt.Println(Styles())
	// Output: [strimzi confluent exporter]
}

// A node has the metrics of its roles alone: sums over a cluster would count what
// it doesn't know as 0, and "no controller" as one.
func TestRoles(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(*Numbers)
		has, lack []string
	}{
		"controller": {func(n *Numbers) { n.Broker = nil }, []string{"kafka_controller_", "kafka_server_raftmetrics_", "kafka_network_"}, []string{"kafka_server_replicamanager_", "kafka_log_", "tidemark_replica_"}},
		"broker":     {func(n *Numbers) { n.Controller = nil }, []string{"kafka_server_replicamanager_", "kafka_log_"}, []string{"kafka_controller_", "kafka_server_raft"}},
		"opening":    {func(n *Numbers) { n.Controller, n.Broker = nil, nil }, []string{"kafka_network_"}, []string{"kafka_controller_", "kafka_server_replicamanager_"}},
	} {
		n := numbers(2)
		c.change(n)
		code, body := scrape(t, n, "/metrics")
		for _, prefix := range c.has {
			if code != http.StatusOK || !strings.Contains(body, "\n"+prefix) {
				t.Errorf("%s: %d, no %s", name, code, prefix)
			}
		}
		for _, prefix := range c.lack {
			if strings.Contains(body, "\n"+prefix) {
				t.Errorf("%s has %s", name, prefix)
			}
		}
	}
}
