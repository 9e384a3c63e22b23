package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidemark/test/cluster"
	"tidemark/test/faultproxy"
)

// The pictures with which replication is usually explained, on real processes.
// Their exact numbers and rules are the stories in internal/replica/testdata.

// send produces numbered records one at a time.
func send(t *testing.T, c *cluster.Cluster, acks kgo.Acks, from, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("orders"), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(acks),
		kgo.RequestTimeoutOverhead(time.Second))
	defer cl.Close()
	for i := range n {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(from+i))).FirstErr(); err != nil {
			t.Fatalf("record %d: %v", from+i, err)
		}
	}
}

// The high watermark: the leader has 0 to 5, its followers 0 to 3, and it
// crashes. No consumer ever saw 4 and 5; what comes next takes their offsets.
func TestPictureHighWatermark(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Proxied: true, Settings: []string{"broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500"}})
	leader := c.Others(c.Controller())[0]
	others := c.Others(leader)
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", leader.ID, others[0].ID, others[1].ID)
	send(t, c, kgo.AllISRAcks(), 0, 4)
	leader.Net.Brokers.Set("", faultproxy.ToClient, faultproxy.Faults{Drop: true}) // what is fetched from now on is lost
	send(t, c, kgo.LeaderAck(), 4, 2)

	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	cl := cluster.Client(t, c.Bootstrap(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchMaxWait(200*time.Millisecond))
	defer cl.Close()
	var seen []string
	read := func(until int, limit time.Duration) {
		short, stop := context.WithTimeout(ctx, limit)
		defer stop()
		for len(seen) < until && short.Err() == nil {
			for r := range cl.PollFetches(short).RecordsAll() {
				if int(r.Offset) != len(seen) {
					t.Errorf("offset %d after %v", r.Offset, seen)
				}
				seen = append(seen, string(r.Value))
			}
		}
	}
	read(5, time.Second)
	if fmt.Sprint(seen) != "[0 1 2 3]" {
		t.Errorf("before the crash a consumer saw %v", seen)
	}
	leader.Kill()
	others[0].WaitPartition("orders", 0, healed, func(p cluster.PartitionState) bool { return p.Leader > 0 && p.Leader != leader.ID })
	send(t, c, kgo.AllISRAcks(), 104, 2)
	leader.Net.Brokers.Heal()
	leader.Start()
	leader.WaitReady()
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	read(6, healed)
	if fmt.Sprint(seen) != "[0 1 2 3 104 105]" {
		t.Errorf("a consumer saw %v", seen)
	}
}

// The follower's loop: fetch at 450, 454, 456, and a long poll at 456 that is
// answered empty after replica.fetch.wait.max.ms, or as soon as a record comes.
func TestPictureFetchLoop(t *testing.T) {
	const wait = 600 * time.Millisecond
	c := cluster.New(t, cluster.Options{Nodes: 2, Proxied: true, Settings: []string{"replica.fetch.wait.max.ms=600"}})
	leader := c.Controller()
	follower := c.Others(leader)[0]
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", leader.ID, follower.ID)
	type fetched struct {
		at     int64 // offset asked for; -1 if unnamed: as before
		asked  time.Time
		bytes  int
		waited time.Duration
	}
	rounds, pending := make(chan fetched, 1000), map[int32]fetched{}
	leader.Net.Brokers.Intercept(func(f faultproxy.Frame) faultproxy.Action {
		if f.Key != keyFetch || f.From != cluster.BrokerFetcher(follower)+"0" {
			return faultproxy.Pass
		}
		if f.Response { // both directions belong to one connection with one request in flight
			round := pending[0]
			round.bytes, round.waited = len(f.Bytes), time.Since(round.asked)
			rounds <- round
			return faultproxy.Pass
		}
		round := fetched{at: -1, asked: time.Now()}
		if r, ok := request(f).(*kmsg.FetchRequest); ok && len(r.Topics) > 0 {
			round.at = r.Topics[0].Partitions[0].FetchOffset
		}
		pending[0] = round
		return faultproxy.Pass
	})
	next := func(at int64) fetched {
		t.Helper()
		for deadline := time.After(healed); ; {
			select {
			case r := <-rounds:
				if r.at == at {
					return r
				}
			case <-deadline:
				t.Fatalf("no fetch at %d", at)
			}
		}
	}
	batch := func(from, n int) { // one batch
		t.Helper()
		cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("orders"), kgo.ProducerLinger(100*time.Millisecond))
		defer cl.Close()
		var rs []*kgo.Record
		for i := range n {
			rs = append(rs, kgo.StringRecord(fmt.Sprint(from+i)))
		}
		ctx, cancel := context.WithTimeout(context.Background(), healed)
		defer cancel()
		if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	batch(0, 450)
	next(450) // its answer brings 450 to 453
	batch(450, 4)
	next(454)
	batch(454, 2)
	at := next(456)
	if at.waited < wait/2 {
		t.Errorf("the fetch at 456 was answered after %v, before anything came", at.waited)
	}
	if empty := next(-1); empty.waited < wait*8/10 || empty.waited > wait*3 {
		t.Errorf("an empty long poll took %v, want about %v", empty.waited, wait)
	}
}

// Falling behind the ISR, and the way back: stopped at t=0, out of it after
// replica.lag.time.max.ms and not before, in again when it has caught up.
func TestPictureFallingBehind(t *testing.T) {
	const lag = 2 * time.Second
	c := cluster.New(t, cluster.Options{Nodes: 2, Settings: []string{"replica.lag.time.max.ms=2000", "replica.fetch.wait.max.ms=200",
		"broker.session.timeout.ms=60000", "min.insync.replicas=1"}, Roles: controllerOn(1)})
	leader, follower := c.Node(1), c.Node(2)
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", leader.ID, follower.ID)
	send(t, c, kgo.AllISRAcks(), 0, 100)
	follower.Pause()
	began := time.Now()
	send(t, c, kgo.LeaderAck(), 100, 50)                      // without new records it would not be late
	cluster.Stays(t, lag-500*time.Millisecond, func() error { // still a member while it isn't late
		s, err := leader.State()
		if err != nil {
			return err
		}
		if p, err := s.Partition("orders", 0); err != nil || len(p.ISR) != 2 && time.Since(began) < lag {
			return fmt.Errorf("%v after it stopped: %+v %w", time.Since(began), p, err)
		}
		return nil
	})
	leader.WaitPartition("orders", 0, healed, without(follower))
	if took := time.Since(began); took > 3*lag {
		t.Errorf("left the ISR after %v", took)
	}
	send(t, c, kgo.AllISRAcks(), 150, 50) // the leader alone is enough
	follower.Continue()
	cluster.WaitISR(t, c.Bootstrap(), "orders", 2, healed)
	leader.Kill()
}

// controllerOn makes every node a broker and one of them the controller, too.
func controllerOn(id int) func(int) string {
	return func(n int) string {
		if n == id {
			return "broker,controller"
		}
		return "broker"
	}
}

// Recovery: a follower crashes at 3500 and comes back when the leader is at
// 5000. Until it has caught up, acks=all needs the leader alone (min ISR 1).
func TestPictureRecovery(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 2, Proxied: true, Roles: controllerOn(1), Settings: append(quick[:len(quick):len(quick)], "min.insync.replicas=1")})
	leader, follower := c.Node(1), c.Node(2)
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", leader.ID, follower.ID)
	fill := func(from, n int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), healed)
		defer cancel()
		cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("orders"), kgo.RequiredAcks(kgo.AllISRAcks()))
		defer cl.Close()
		var rs []*kgo.Record
		for i := range n {
			rs = append(rs, &kgo.Record{Value: fmt.Appendf(nil, "%01000d", from+i)})
		}
		if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	fill(0, 3500)
	follower.Kill()
	leader.WaitPartition("orders", 0, healed, without(follower))
	fill(3500, 1500)
	leader.Net.Brokers.Set("", faultproxy.ToClient, faultproxy.Faults{BytesPerSecond: 150_000}) // 1.5 MB take ten seconds
	follower.Start()
	follower.WaitReady()
	began := time.Now()
	send(t, c, kgo.AllISRAcks(), 5000, 5)
	took := time.Since(began)
	s, err := leader.State()
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Partition("orders", 0); err != nil || len(p.ISR) != 1 || took > 5*time.Second {
		t.Errorf("acks=all took %v while the follower caught up; now %+v %v", took, p, err)
	}
	leader.Net.Brokers.Heal()
	cluster.WaitISR(t, c.Bootstrap(), "orders", 2, healed)
	leader.Net.Brokers.Set("", faultproxy.ToClient, faultproxy.Faults{Delay: 300 * time.Millisecond})
	began = time.Now()
	send(t, c, kgo.AllISRAcks(), 5005, 1) // from now on it needs both
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("acks=all took %v and did not wait for the follower", took)
	}
}
