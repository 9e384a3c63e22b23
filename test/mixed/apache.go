// Package mixed tests clusters of Tidemark and Apache Kafka 4.3.1: brokers of
// either under controllers of the other, and replicas of one partition on both.
package mixed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/internal/admin"
	"tidemark/test/apachekafka"
	"tidemark/test/cluster"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// healed is how long a change may take until everybody has seen it, on a
// machine that is busy with other tests.
const healed = 60 * time.Second

// apacheID is the node id of the Apache Kafka broker; ours count from 1.
const apacheID = 11

// apache is a broker of Apache Kafka in a cluster of ours.
type apache struct {
	*apachekafka.Broker
	t    testing.TB
	id   int32
	port int
	dir  string
}

// join starts an Apache Kafka broker under the cluster's controllers and waits
// until it is in service. Static names them by controller.quorum.voters.
func join(t testing.TB, c *cluster.Cluster, static bool, settings ...string) *apache {
	t.Helper()
	return joinAs(t, c, apacheID, filepath.Join(c.Dir, "apache"), static, settings...)
}

// joinAs is join with another node id and log directory.
func joinAs(t testing.TB, c *cluster.Cluster, id int32, dir string, static bool, settings ...string) *apache {
	t.Helper()
	a := &apache{t: t, id: id, port: cluster.FreePorts(t, 1)[0], dir: dir}
	quorum := "controller.quorum.bootstrap.servers=" + c.Controllers()
	if static {
		var voters []string
		for _, n := range c.Nodes {
			voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", n.ID, n.Control))
		}
		quorum = "controller.quorum.voters=" + strings.Join(voters, ",")
	}
	lines := append([]string{
		"process.roles=broker", fmt.Sprintf("node.id=%d", a.id), "broker.rack=x", quorum, "controller.listener.names=CONTROLLER",
		fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d", a.port), fmt.Sprintf("advertised.listeners=PLAINTEXT://127.0.0.1:%d", a.port),
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", "inter.broker.listener.name=PLAINTEXT",
		"log.dirs=" + a.dir, "offsets.topic.num.partitions=5", "offsets.topic.replication.factor=3", "group.initial.rebalance.delay.ms=0",
		"num.network.threads=2", "num.io.threads=4", "log.cleaner.dedupe.buffer.size=4194304",
	}, settings...)
	a.Broker = apachekafka.StartBroker(t, c.ClusterID, strings.Join(lines, "\n")+"\n")
	t.Cleanup(a.checkLog)
	a.waitServing(c)
	return a
}

func (a *apache) addr() string { return fmt.Sprintf("127.0.0.1:%d", a.port) }

// again starts the stopped broker once more and waits until it is in service.
func (a *apache) again(c *cluster.Cluster) {
	a.t.Helper()
	a.Restart(a.t)
	a.waitServing(c)
}

// waitServing waits until the controllers have unfenced the broker and it
// answers clients itself.
func (a *apache) waitServing(c *cluster.Cluster) {
	a.t.Helper()
	cluster.Eventually(a.t, 2*healed, func() error {
		if !a.Running() {
			a.t.Fatalf("the Apache Kafka broker has ended\n%s", a.Tail(60))
		}
		s, err := state(anyNode(c))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Brokers, func(b admin.Broker) bool { return int32(b.ID) == a.id })
		if i < 0 || s.Brokers[i].State != "running" {
			return fmt.Errorf("broker %d isn't in service: %+v", a.id, s.Brokers)
		}
		return nil
	})
	cl := cluster.Client(a.t, a.addr())
	defer cl.Close()
	cluster.Eventually(a.t, healed, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := kadm.NewClient(cl).BrokerMetadata(ctx)
		return err
	})
}

// severe finds what an Apache Kafka broker says when its peers tell it
// something impossible.
var severe = regexp.MustCompile(`^\[[^]]*\] (ERROR|FATAL) `)

// harmless are errors that belong to what the tests do.
var harmless = []string{
	// Kafka says so of every partition that is added to an existing topic.
	"to exist, but it was missing. Creating...",
}

func (a *apache) checkLog() {
	a.t.Helper()
	b, err := os.ReadFile(a.Log)
	if err != nil {
		a.t.Error(err)
		return
	}
	lines := strings.Split(string(b), "\n")
	for i, l := range lines {
		known := slices.ContainsFunc(harmless, func(h string) bool { return strings.Contains(l, h) })
		if (severe.MatchString(l) && !known) || strings.Contains(l, "metadata loading fault") {
			a.t.Errorf("the Apache Kafka broker logged:\n%s", strings.Join(lines[i:min(i+12, len(lines))], "\n"))
		}
	}
}

// count is how many lines of the broker's log hold the text.
func (a *apache) count(text string) int {
	b, _ := os.ReadFile(a.Log)
	return strings.Count(string(b), text)
}

func state(n *cluster.Node) (admin.State, error) {
	var s admin.State
	_, body, err := n.Get("/v1/state")
	if err == nil {
		err = json.Unmarshal([]byte(body), &s)
	}
	return s, err
}

func anyNode(c *cluster.Cluster) *cluster.Node {
	for _, n := range c.Nodes {
		if n.Running() {
			return n
		}
	}
	c.T.Fatal("no node runs")
	return nil
}

// activeController waits until a running node knows the active controller, and
// returns it.
func activeController(t testing.TB, c *cluster.Cluster) *cluster.Node {
	t.Helper()
	var out *cluster.Node
	cluster.Eventually(t, healed, func() error {
		s, err := state(anyNode(c))
		if err != nil {
			return err
		}
		if s.Controller.Leader < 1 || !c.Node(int(s.Controller.Leader)).Running() {
			return fmt.Errorf("the active controller is %d", s.Controller.Leader)
		}
		out = c.Node(int(s.Controller.Leader))
		return nil
	})
	return out
}

// create makes a topic whose partitions have exactly these replicas; the first
// is the preferred leader.
func create(t testing.TB, bootstrap, topic string, configs map[string]string, replicas ...[]int32) {
	t.Helper()
	if _, err := tryCreate(bootstrap, topic, configs, replicas...); err != nil {
		t.Fatalf("creating %s: %v", topic, err)
	}
}

// tryCreate returns the id of the new topic.
func tryCreate(bootstrap, topic string, configs map[string]string, replicas ...[]int32) (id [16]byte, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...))
	if err != nil {
		return id, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	r := kmsg.NewCreateTopicsRequestTopic()
	r.Topic, r.NumPartitions, r.ReplicationFactor = topic, -1, -1
	for i, ids := range replicas {
		r.ReplicaAssignment = append(r.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: ids})
	}
	for k, v := range configs {
		r.Configs = append(r.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: k, Value: &v})
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis, req.Topics = 30000, append(req.Topics, r)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return id, err
	}
	return resp.Topics[0].TopicID, kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

// metadata asks the brokers at bootstrap, and no others that they name, until
// one answers: one of those may be paused.
func metadata(bootstrap string, topics ...string) (*kmsg.MetadataResponse, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.RequestRetries(0))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	for _, b := range cl.SeedBrokers() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		var resp kmsg.Response
		if resp, err = b.Request(ctx, req); err == nil {
			return resp.(*kmsg.MetadataResponse), nil
		}
	}
	return nil, err
}

// waitBrokers waits until a broker at bootstrap names that many in service.
func waitBrokers(t testing.TB, bootstrap string, n int) {
	t.Helper()
	cluster.Eventually(t, healed, func() error {
		md, err := metadata(bootstrap)
		if err == nil && len(md.Brokers) != n {
			err = fmt.Errorf("brokers %+v, want %d", md.Brokers, n)
		}
		return err
	})
}

// waitPartition waits until a broker at bootstrap shows what is wanted.
func waitPartition(t testing.TB, bootstrap, topic string, partition int32, want string, good func(leader int32, isr []int32) bool) {
	t.Helper()
	cluster.Eventually(t, healed, func() error {
		md, err := metadata(bootstrap, topic)
		if err != nil {
			return err
		}
		for _, p := range md.Topics[0].Partitions {
			if isr := slices.Sorted(slices.Values(p.ISR)); p.Partition == partition && p.Leader >= 0 && good(p.Leader, isr) {
				return nil
			}
		}
		return fmt.Errorf("%s-%d should be %s: %+v", topic, partition, want, md.Topics)
	})
}

// waitTopicID waits until each broker at bootstrap names the topic by this id:
// a producer that meets the id of a deleted topic first gives its records up.
func waitTopicID(t testing.TB, bootstrap, topic string, id [16]byte) {
	t.Helper()
	for addr := range strings.SplitSeq(bootstrap, ",") {
		cluster.Eventually(t, healed, func() error {
			md, err := metadata(addr, topic)
			if err == nil && md.Topics[0].TopicID != id {
				err = fmt.Errorf("%s at %s: %+v, want id %x", topic, addr, md.Topics[0], id)
			}
			return err
		})
	}
}

// waitLeader waits until a broker at bootstrap names this leader.
func waitLeader(t testing.TB, bootstrap, topic string, partition, leader int32) {
	t.Helper()
	waitPartition(t, bootstrap, topic, partition, fmt.Sprint("led by ", leader), func(l int32, _ []int32) bool { return l == leader })
}

// waitISR waits until the partition has exactly these replicas in sync.
func waitISR(t testing.TB, bootstrap, topic string, partition int32, ids ...int32) {
	t.Helper()
	slices.Sort(ids)
	waitPartition(t, bootstrap, topic, partition, fmt.Sprint("in sync on ", ids), func(_ int32, isr []int32) bool { return slices.Equal(isr, ids) })
}

// waitOut waits until the broker isn't in the in-sync set of the partition.
func waitOut(t testing.TB, bootstrap, topic string, partition, id int32) {
	t.Helper()
	waitPartition(t, bootstrap, topic, partition, fmt.Sprint("without ", id), func(_ int32, isr []int32) bool { return !slices.Contains(isr, id) })
}

// elect makes the preferred replica the leader.
func elect(t testing.TB, bootstrap, topic string, partition int32) {
	t.Helper()
	cl := cluster.Client(t, bootstrap)
	defer cl.Close()
	cluster.Eventually(t, healed, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		set := kadm.TopicsSet{}
		set.Add(topic, partition)
		res, err := kadm.NewClient(cl).ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
		if err != nil {
			return err
		}
		if r := res[topic][partition]; r.Err != nil && r.Err != kerr.ElectionNotNeeded {
			return r.Err
		}
		return nil
	})
}

// produce sends n records to one partition, acks=all and idempotent, and
// returns their values.
func produce(t testing.TB, bootstrap, topic string, partition int32, prefix string, n int) []string {
	t.Helper()
	cl := cluster.Client(t, bootstrap, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(healed),
		kgo.UnknownTopicRetries(1000)) // a broker may still name the topic that was deleted
	defer cl.Close()
	var out []string
	var rs []*kgo.Record
	for i := range n {
		v := fmt.Sprintf("%s-%d", prefix, i)
		out = append(out, v)
		rs = append(rs, &kgo.Record{Topic: topic, Partition: partition, Key: []byte(v), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(v)}}})
	}
	if err := cl.ProduceSync(context.Background(), rs...).FirstErr(); err != nil {
		t.Fatalf("producing to %s-%d: %v", topic, partition, err)
	}
	return out
}

// consume reads n records of one partition from its start.
func consume(t testing.TB, bootstrap, topic string, partition int32, n int) []string {
	t.Helper()
	cl := cluster.Client(t, bootstrap, kgo.FetchMaxWait(200*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	var out []string
	for len(out) < n {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s-%d: %d of %d records read: %v", topic, partition, len(out), n, fs.Errors())
		}
		fs.EachRecord(func(r *kgo.Record) { out = append(out, string(r.Value)) })
	}
	return out
}

// secondDir ends the name of a second log directory.
const secondDir = "-second"

// data is the content of the segments of one replica.
func data(t testing.TB, logDir, topic string, partition int32) string {
	t.Helper()
	var names []string
	for _, d := range []string{logDir, logDir + secondDir} {
		found, err := filepath.Glob(filepath.Join(d, fmt.Sprintf("%s-%d", topic, partition), "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	return out.String()
}

// sameBytes waits until all replicas of a partition hold the same bytes.
func sameBytes(t testing.TB, c *cluster.Cluster, a *apache, topic string, partition int32, ours ...int) {
	t.Helper()
	cluster.Eventually(t, healed, func() error {
		want := data(t, a.dir, topic, partition)
		for _, id := range ours {
			if got := data(t, c.Node(id).Dir, topic, partition); got != want {
				return fmt.Errorf("%s-%d: %d bytes at node %d, %d at the Apache Kafka broker (equal up to %d)", topic, partition, len(got), id, len(want), common(got, want))
			}
		}
		return nil
	})
}

func common(a, b string) int {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return i
}

// endOffset is the log end that clients see.
func endOffset(t testing.TB, bootstrap, topic string, partition int32) int64 {
	t.Helper()
	cl := cluster.Client(t, bootstrap)
	defer cl.Close()
	var end int64
	cluster.Eventually(t, healed, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		l, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
		if err == nil {
			err = l[topic][partition].Err
		}
		end = l[topic][partition].Offset
		return err
	})
	return end
}
