package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidemark/test/cluster"
	"tidemark/test/faultproxy"
	"tidemark/test/faultsys"
)

// causes is a cluster in which broker 1 leads and each follower has something of
// its own in its way. What its leader makes of it is asked from another node.
type causes struct {
	t      *testing.T
	c      *cluster.Cluster
	lead   *cluster.Node
	asked  *cluster.Node
	leader *faultsys.Supervisor // of broker 1's files
	disk   *faultsys.Supervisor // of broker 3's
}

// The followers and what is wrong with them.
const (
	healthy  = 2 // but for one topic, which is throttled
	slowDisk = 3
	farAway  = 4
	smallAsk = 5
	paused   = 6
	crowded  = 7
)

func newCauses(t *testing.T) *causes {
	k := &causes{t: t, leader: faultsys.New(t), disk: faultsys.New(t)}
	k.c = cluster.New(t, cluster.Options{
		Nodes: 7, Proxied: true,
		Settings: []string{"broker.session.timeout.ms=6000", "broker.heartbeat.interval.ms=500", "replica.lag.time.max.ms=2100",
			"replica.fetch.wait.max.ms=500", "auto.leader.rebalance.enable=false", "min.insync.replicas=1"},
		Roles: func(id int) string {
			if id == 1 {
				return "broker,controller"
			}
			return "broker"
		},
		PerNode: func(n *cluster.Node) []string {
			switch n.ID {
			case slowDisk:
				return []string{"log.dirs=" + n.Dir + "-data," + n.Dir, "metadata.log.dir=" + n.Dir}
			case smallAsk:
				return []string{"replica.fetch.max.bytes=65536"}
			case crowded:
				return []string{"replica.fetch.response.max.bytes=65536"}
			}
			return nil
		},
		Wrap: func(n *cluster.Node, command []string) []string {
			switch n.ID {
			case 1:
				return k.leader.Wrap(command)
			case slowDisk:
				return k.disk.Wrap(command)
			}
			return command
		},
	})
	k.lead, k.asked = k.c.Node(1), k.c.Node(healthy)
	return k
}

// follower is one row of a partition's followers.
type follower struct {
	Broker  int      `json:"broker"`
	State   string   `json:"state"`
	Reason  string   `json:"reason"`
	Reasons []string `json:"reasons"`
	Detail  string   `json:"detail"`
	InSync  bool     `json:"inSync"`
}

// follower asks a node that doesn't lead the topic's partitions; of several, one
// whose follower isn't in sync counts.
func (k *causes) follower(topic string, id int) (follower, error) {
	var s struct {
		Partitions []struct {
			Topic     string     `json:"topic"`
			Followers []follower `json:"followers"`
		} `json:"partitions"`
	}
	_, body, err := k.asked.Get("/v1/state")
	if err == nil {
		err = json.Unmarshal([]byte(body), &s)
	}
	if err != nil {
		return follower{}, err
	}
	found := follower{}
	for _, p := range s.Partitions {
		for _, f := range p.Followers {
			if p.Topic == topic && f.Broker == id && (found.Broker == 0 || f.State != "in-sync") {
				found = f
			}
		}
	}
	if found.Broker == 0 {
		return found, fmt.Errorf("node %d knows no follower %d of %s", k.asked.ID, id, topic)
	}
	return found, nil
}

// says waits until the follower is in one of the states for exactly these reasons;
// how far and how fast it is may be named besides.
func (k *causes) says(topic string, id int, state string, want ...string) {
	k.t.Helper()
	var got follower
	var seen []string // what it said meanwhile
	defer func() {
		if k.t.Failed() {
			k.t.Logf("it was:\n%s", strings.Join(seen, "\n"))
		}
	}()
	cluster.Eventually(k.t, healed, func() (err error) {
		if got, err = k.follower(topic, id); err != nil {
			return err
		}
		reasons := slices.DeleteFunc(slices.Clone(got.Reasons), func(r string) bool {
			return !slices.Contains(want, r) && (r == "BACKLOG" || r == "ISR_UPDATE_PENDING" || r == "SLOWER_THAN_LEADER")
		})
		if line := fmt.Sprint(got.State, " ", got.Reasons); len(seen) == 0 || seen[len(seen)-1] != line {
			seen = append(seen, line)
		}
		if !strings.Contains(state, got.State) || !slices.Equal(reasons, want) {
			return fmt.Errorf("%s: follower %d is %s for %v (%s), want %s for %v", topic, id, got.State, got.Reasons, got.Detail, state, want)
		}
		return nil
	})
	k.t.Logf("%s: follower %d is %s for %v: %s", topic, id, got.State, got.Reasons, got.Detail)
}

// back waits until the follower is in the ISR again; it may be told to flap.
func (k *causes) back(topic string, id int) {
	k.t.Helper()
	cluster.Eventually(k.t, healed, func() error {
		got, err := k.follower(topic, id)
		if err == nil && (!got.InSync || got.State != "in-sync" && got.State != "flapping") {
			err = fmt.Errorf("%s: follower %d is %s for %v (%s)", topic, id, got.State, got.Reasons, got.Detail)
		}
		return err
	})
}

// backlog writes so many records of 100 kB without waiting for followers.
func (k *causes) backlog(topic string, n int) { k.write(topic, n, 100_000, 1<<20) }

// write writes records of a size in batches of up to a size. It asks only the
// leader: a paused broker would keep it waiting.
func (k *causes) write(topic string, n, size int, batch int32) {
	k.t.Helper()
	cl := cluster.Client(k.t, k.lead.Addr(), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerLinger(20*time.Millisecond), kgo.ProducerBatchMaxBytes(batch), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	value := bytes.Repeat([]byte("x"), size)
	for range n {
		cl.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				k.t.Errorf("producing to %s: %v", topic, err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		k.t.Errorf("producing to %s: %v", topic, err)
	}
}

// throttle gives one broker a rate and one topic a throttled replica on it.
func (k *causes) throttle(topic string, id int, rate string) {
	k.t.Helper()
	cl := cluster.Client(k.t, k.c.Bootstrap())
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	adm := kadm.NewClient(cl)
	replicas := fmt.Sprintf("0:%d", id)
	if _, err := adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Name: "follower.replication.throttled.rate", Value: &rate}}, int32(id)); err != nil {
		k.t.Fatal(err)
	}
	if _, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "follower.replication.throttled.replicas", Value: &replicas}}, topic); err != nil {
		k.t.Fatal(err)
	}
}

// move gives the topic's partition other replicas.
func (k *causes) move(topic string, replicas ...int32) {
	k.t.Helper()
	cl := cluster.Client(k.t, k.c.Bootstrap())
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	var req kadm.AlterPartitionAssignmentsReq
	req.Assign(topic, 0, replicas)
	resp, err := kadm.NewClient(cl).AlterPartitionAssignments(ctx, req)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// fetchers is the proxy that followers of broker 1 pass, and the client id of one.
func (k *causes) fetchers(id int) (*faultproxy.Proxy, string) {
	return k.lead.Net.Brokers, cluster.BrokerFetcher(k.c.Node(id))
}

// TestCauses puts something in the way of each follower, and wants it named: by
// any node, from the numbers alone.
func TestCauses(t *testing.T) {
	k := newCauses(t)
	for _, tt := range []struct {
		name string
		run  func(k *causes)
	}{
		{"all at once", allAtOnce}, {"slow leader", slowLeader}, {"connections refused", refused}, {"fetches of a stranger", stranger},
		{"waiting for the controller", waitingForController}, {"flapping", flapping}, {"gone", gone},
	} {
		if !t.Run(tt.name, func(t *testing.T) {
			k.t, k.c.T = t, t
			tt.run(k)
		}) {
			break
		}
	}
	k.c.T = t
}

// allAtOnce: followers of one partition, each but one with a trouble of its own.
func allAtOnce(k *causes) {
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "orders", 1, healthy, slowDisk, farAway, smallAsk, paused)
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "moves", 1)
	k.backlog("moves", 50)
	assigned(k, "crowd", 30, 1, crowded)
	k.throttle("moves", healthy, "50000")
	for id := healthy; id <= paused; id++ {
		k.says("orders", id, "in-sync")
	}
	k.disk.Set(faultsys.Rule{Ops: faultsys.Write, Path: filepath.Join(k.c.Dir, "node-3"), Delay: 250 * time.Millisecond})
	proxy, far := k.fetchers(farAway)
	proxy.Set(far, faultproxy.Both, faultproxy.Faults{Delay: 120 * time.Millisecond})
	_, small := k.fetchers(smallAsk)
	proxy.Set(small, faultproxy.Both, faultproxy.Faults{Delay: 120 * time.Millisecond})
	_, many := k.fetchers(crowded)
	proxy.Set(many, faultproxy.Both, faultproxy.Faults{BytesPerSecond: 2 << 20})
	k.c.Node(paused).Pause()
	k.says("orders", paused, "lagging", "FETCH_STOPPED", "PROCESS_PAUSED")
	written := make(chan struct{})
	go func() {
		defer close(written)
		k.backlog("orders", 400)
		k.write("crowd", 15_000, 1000, 16<<10)
	}()
	k.says("orders", slowDisk, "lagging catching-up", "SLOW_DISK_FOLLOWER")
	k.says("orders", farAway, "lagging catching-up", "NETWORK")
	k.says("orders", smallAsk, "lagging catching-up", "OVERSIZED_BATCH", "NETWORK") // both fit
	k.says("crowd", crowded, "lagging catching-up", "OVERWHELMED")
	k.move("moves", 1, healthy)
	k.says("moves", healthy, "lagging catching-up", "THROTTLED")
	k.says("orders", healthy, "in-sync")
	k.says("orders", paused, "offline", "CONTROLLER_FENCED")
	k.onCommandLine()
	k.inJournal("PROCESS_PAUSED", "SLOW_DISK_FOLLOWER", "NETWORK", "THROTTLED", "CONTROLLER_FENCED")

	<-written
	k.c.Node(paused).Continue()
	k.throttle("moves", healthy, "1000000000")
	k.disk.Set()
	proxy.Heal()
	for id := healthy; id <= paused; id++ {
		k.back("orders", id)
	}
	k.back("moves", healthy)
	k.move("moves", 1)
	k.inJournal("ADMIN_REMOVED")
	k.back("crowd", crowded)
}

// assigned makes a topic whose partitions all lie on these brokers.
func assigned(k *causes, topic string, partitions int32, replicas ...int32) {
	k.t.Helper()
	cl := cluster.Client(k.t, k.c.Bootstrap())
	defer cl.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	for p := range partitions {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = p, replicas
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
	}
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 30_000
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	if resp, err := req.RequestWith(ctx, cl); err != nil || resp.Topics[0].ErrorCode != 0 {
		k.t.Fatalf("creating %s: %v %+v", topic, err, resp)
	}
}

// onCommandLine: the same words from a node that leads nothing of it, by its HTTP
// side and by Kafka's protocol alone.
func (k *causes) onCommandLine() {
	k.t.Helper()
	for _, from := range [][]string{{"--http", fmt.Sprintf("%s:%d", k.asked.Host, k.asked.HTTP)}, {"--bootstrap-server", k.asked.Addr()}} {
		k.replicasCommand(from)
	}
}

func (k *causes) replicasCommand(from []string) {
	k.t.Helper()
	text := cluster.Run(k.t, "", slices.Concat([]string{"replicas", "--lagging", "--topic", "orders"}, from)...)
	if !strings.Contains(text, "offline: CONTROLLER_FENCED") || strings.Contains(text, "in-sync") {
		k.t.Errorf("tidemark replicas --lagging %q:\n%s", from, text)
	}
	var rows []struct {
		Broker  int      `json:"broker"`
		Reasons []string `json:"reasons"`
	}
	out := cluster.Run(k.t, "", slices.Concat([]string{"replicas", "--lagging", "--topic", "orders", "--broker", fmt.Sprint(paused), "-o", "json"}, from)...)
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 1 || rows[0].Broker != paused ||
		!slices.Equal(rows[0].Reasons, []string{"CONTROLLER_FENCED"}) {
		k.t.Errorf("tidemark replicas -o json %q: %v\n%s", from, err, out)
	}
}

// inJournal waits until the leader's journal has named each of these in an event.
func (k *causes) inJournal(want ...string) {
	k.t.Helper()
	cluster.Eventually(k.t, healed, func() error {
		named := map[string]bool{}
		b, err := os.ReadFile(filepath.Join(k.lead.Dir+".tidemark", "replication-journal.jsonl"))
		if err != nil {
			return err
		}
		for line := range bytes.Lines(b) {
			var e struct {
				Causes []string `json:"causes"`
			}
			if json.Unmarshal(line, &e) == nil { // the last one may be torn
				for _, c := range e.Causes {
					named[c] = true
				}
			}
		}
		for _, w := range want {
			if !named[w] {
				return fmt.Errorf("no event names %s, only %v", w, slices.Sorted(maps.Keys(named)))
			}
		}
		return nil
	})
}

// slowLeader: the leader's disk takes 300 ms for each read.
func slowLeader(k *causes) {
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "reads", 1, healthy)
	k.back("reads", healthy)
	k.leader.Set(faultsys.Rule{Ops: faultsys.Read, Path: filepath.Join(k.lead.Dir, "reads-0"), Delay: 250 * time.Millisecond})
	k.backlog("reads", 300)
	k.says("reads", healthy, "lagging catching-up", "SLOW_LEADER_READ")
	k.leader.Set()
	k.back("reads", healthy)
}

// refused: a broker that the controller sees and the leader doesn't.
func refused(k *causes) {
	proxy, far := k.fetchers(farAway)
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "cut", 1, farAway)
	k.back("cut", farAway)
	proxy.Refuse(true)
	proxy.Reset(far)
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "never", 1, farAway)
	k.backlog("never", 1)
	k.backlog("cut", 1)
	k.says("cut", farAway, "lagging", "FETCH_STOPPED", "NETWORK")
	k.says("never", farAway, "lagging", "NEVER_FETCHED")
	proxy.Refuse(false)
	k.back("never", farAway)
}

// stranger: the test fetches in the name of a follower that can't.
func stranger(k *causes) {
	proxy, far := k.fetchers(farAway)
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "fake", 1, farAway)
	k.back("fake", farAway)
	proxy.Refuse(true)
	proxy.Reset(far)
	k.backlog("fake", 5)
	f := newStranger(k, "fake", farAway)
	defer f.cl.Close()
	cluster.Eventually(k.t, healed, func() error { // the same offset, again and again
		f.fetch(0, -1, f.epoch)
		got, err := k.follower("fake", farAway)
		if err == nil && !slices.Contains(got.Reasons, "FETCHING_NOT_ADVANCING") {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
	f.fetch(0, -1, f.epoch+7)
	k.says("fake", farAway, "lagging", "EPOCH_MISMATCH")
	f.fetch(0, -1, f.epoch)
	f.fetch(900, f.epoch, f.epoch)
	k.says("fake", farAway, "lagging", "DIVERGED_TRUNCATING")
	proxy.Refuse(false)
	k.back("fake", farAway)
}

// strangeFollower sends fetches of a broker that it isn't.
type strangeFollower struct {
	k           *causes
	cl          *kgo.Client
	id          int
	brokerEpoch int64
	topic       [16]byte
	epoch       int32
}

func newStranger(k *causes, topic string, id int) *strangeFollower {
	k.t.Helper()
	f := &strangeFollower{k: k, cl: cluster.Client(k.t, k.c.Bootstrap()), id: id}
	var s struct {
		Brokers []struct {
			ID    int   `json:"id"`
			Epoch int64 `json:"epoch"`
		} `json:"brokers"`
	}
	_, body, err := k.asked.Get("/v1/state")
	if err == nil {
		err = json.Unmarshal([]byte(body), &s)
	}
	for _, b := range s.Brokers {
		if b.ID == id {
			f.brokerEpoch = b.Epoch
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	topics, merr := kadm.NewClient(f.cl).ListTopics(ctx, topic)
	if err != nil || merr != nil {
		k.t.Fatal(err, merr)
	}
	f.topic, f.epoch = topics[topic].ID, topics[topic].Partitions[0].LeaderEpoch
	return f
}

func (f *strangeFollower) fetch(offset int64, lastEpoch, leaderEpoch int32) {
	f.k.t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaState.ID, req.ReplicaState.Epoch = int32(f.id), f.brokerEpoch
	req.ReplicaID, req.MaxBytes, req.SessionEpoch = int32(f.id), 1000, -1
	t := kmsg.NewFetchRequestTopic()
	t.TopicID = f.topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.LastFetchedEpoch, p.CurrentLeaderEpoch, p.PartitionMaxBytes = offset, lastEpoch, leaderEpoch, 1000
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	if _, err := f.cl.Broker(1).Request(ctx, req); err != nil {
		f.k.t.Fatal(err)
	}
}

// waitingForController: what the leader proposes doesn't reach the controller.
func waitingForController(k *causes) {
	proxy, far := k.fetchers(farAway)
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "joins", 1, farAway)
	k.back("joins", farAway)
	proxy.Set(far, faultproxy.Both, faultproxy.Faults{Delay: 3 * time.Second})
	k.backlog("joins", 5)
	k.lead.WaitPartition("joins", 0, healed, without(k.c.Node(farAway)))
	const alterPartition = 56
	k.lead.Net.Controllers.Intercept(func(f faultproxy.Frame) faultproxy.Action {
		if f.Key == alterPartition && !f.Response {
			return faultproxy.Hold
		}
		return faultproxy.Pass
	})
	proxy.Heal()
	k.says("joins", farAway, "joining", "ISR_UPDATE_PENDING")
	k.lead.Net.Controllers.Heal()
	k.back("joins", farAway)
}

// flapping: out and in again, twice.
func flapping(k *causes) {
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "flaps", 1, farAway)
	k.back("flaps", farAway)
	for range 2 {
		k.c.Node(farAway).Pause()
		k.backlog("flaps", 1)
		k.lead.WaitPartition("flaps", 0, healed, without(k.c.Node(farAway)))
		k.c.Node(farAway).Continue()
		cluster.WaitISR(k.t, k.c.Bootstrap(), "flaps", 2, healed)
	}
	k.says("flaps", farAway, "flapping", "LEFT_REPEATEDLY", "FETCH_STOPPED", "PROCESS_PAUSED")
}

// gone: a directory dies, a broker leaves in order, and one comes back with
// an empty disk.
func gone(k *causes) {
	data, topic := k.c.Node(slowDisk).Dir+"-data", ""
	for i := 0; !k.in(topic, data); i++ { // the other directory is that of its metadata
		topic = fmt.Sprintf("goes-%d", i)
		cluster.CreateAssigned(k.t, k.c.Bootstrap(), topic, 1, slowDisk, smallAsk, paused)
		k.back(topic, slowDisk)
	}
	k.disk.Set(faultsys.Rule{Ops: faultsys.Write, Path: data, Errno: syscall.EIO})
	k.backlog(topic, 100)
	k.says(topic, slowDisk, "offline", "LOG_DIR_OFFLINE")
	left, wiped := k.c.Node(smallAsk), k.c.Node(paused)
	// One that leads nothing may go at once, and is fenced like one that died.
	cluster.CreateAssigned(k.t, k.c.Bootstrap(), "led", smallAsk, 1)
	left.Terminate()
	k.says(topic, smallAsk, "offline", "SHUTDOWN_CONTROLLED")
	k.back(topic, paused)
	wiped.Kill()
	k.says(topic, paused, "offline", "CONTROLLER_FENCED")
	wiped.Wipe()
	proxy, fetcher := k.fetchers(paused)
	proxy.Set(fetcher, faultproxy.Both, faultproxy.Faults{BytesPerSecond: 1 << 20})
	wiped.Start()
	cluster.Eventually(k.t, healed, func() error { // and the network, which is slow, too
		got, err := k.follower(topic, paused)
		if err == nil && (got.State != "catching-up" || !slices.Contains(got.Reasons, "LOG_LOST")) {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
	proxy.Heal()
	k.back(topic, paused)
}

// in tells whether a directory has the topic's partition.
func (k *causes) in(topic, dir string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, topic+"-0"))
	return len(found) > 0
}
