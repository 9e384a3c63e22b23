package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
	"tidemark/test/faultproxy"
)

// Keys of the API that the cases look for.
const (
	keyProduce, keyFetch, keyAlterPartition = 0, 1, 56
)

// wires is a cluster behind fault proxies with a topic led by node leader.
type wires struct {
	t                *testing.T
	c                *cluster.Cluster
	w                *cluster.Workload
	leader, follower *cluster.Node
}

// every breaks each nth frame of that key and direction until so many are
// broken, and waits for that.
func (s *wires) every(p *faultproxy.Proxy, key int16, response bool, a faultproxy.Action) {
	s.t.Helper()
	const nth, enough = 20, 5
	var seen, broken atomic.Int64
	p.Intercept(func(f faultproxy.Frame) faultproxy.Action {
		if f.Key != key || f.Response != response || broken.Load() >= enough || seen.Add(1)%nth != 0 {
			return faultproxy.Pass
		}
		broken.Add(1)
		return a
	})
	cluster.Eventually(s.t, healed, func() error {
		if n := broken.Load(); n < enough {
			return fmt.Errorf("%d of %d frames broken", n, enough)
		}
		return nil
	})
}

// Connections break in every way that a network knows. Each produce request has
// an effect once or not at all, and nobody else notices.
func TestConnectionsBreak(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Proxied: true, Settings: append(quick[:len(quick):len(quick)],
		"replica.socket.timeout.ms=2000", "connections.max.idle.ms=4000")})
	for i, tt := range []struct {
		name string
		run  func(s *wires)
	}{
		{"produce cut in the request", func(s *wires) { s.every(s.leader.Net.Clients, keyProduce, false, faultproxy.Chop) }},
		{"produce cut in the response", func(s *wires) { s.every(s.leader.Net.Clients, keyProduce, true, faultproxy.Chop) }},
		{"produce reset before the response", func(s *wires) { s.every(s.leader.Net.Clients, keyProduce, true, faultproxy.Reset) }},
		{"consumer cut in the response", func(s *wires) { s.every(s.leader.Net.Clients, keyFetch, true, faultproxy.Chop) }},
		{"follower cut in the request", func(s *wires) { s.every(s.leader.Net.Brokers, keyFetch, false, faultproxy.Chop) }},
		{"follower cut in the response", func(s *wires) { s.every(s.leader.Net.Brokers, keyFetch, true, faultproxy.Chop) }},
		{"everything reset", func(s *wires) {
			for _, p := range s.leader.Net.All() {
				p.Reset("")
			}
		}},
		{"producer half open", func(s *wires) { s.leader.Net.Clients.HalfOpen(cluster.ProducerID) }},
		{"follower half open", func(s *wires) { s.leader.Net.Brokers.HalfOpen(cluster.BrokerFetcher(s.follower)) }},
		{"leader abandoned by its clients", func(s *wires) { s.leader.Net.Clients.Abandon("") }},
		{"slow readers", slowReaders},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.T = t
			s := &wires{t: t, c: c, leader: c.Others(c.Controller())[0]}
			s.follower = c.Others(s.leader)[0]
			topic := topicName(i)
			cluster.CreateAssigned(t, c.Bootstrap(), topic, s.leader.ID, s.follower.ID, c.Others(s.leader, s.follower)[0].ID)
			s.w = cluster.StartWorkload(t, c.Bootstrap(), topic, 1, cluster.Impatient...)
			s.w.WaitMore(100, healed)
			began := time.Now()
			tt.run(s)
			s.w.WaitMore(100, healed)
			t.Logf("%v, longest gap %v", time.Since(began).Round(time.Millisecond), s.w.LongestGap().Round(time.Millisecond))
			for _, p := range s.leader.Net.All() {
				p.Heal()
			}
			cluster.WaitISR(t, c.Bootstrap(), topic, 3, healed)
			s.w.WaitMore(100, healed)
			s.w.Finish()
			s.leader.Net.Clients.Reset("") // closing a client would wait for those that are half open
		})
	}
	c.T = t
	noLeak(t, c)
}

// slowReaders are consumers of the leader that take nothing of what they asked
// for: others are served as before, and what waits for them is bounded.
func slowReaders(s *wires) {
	s.w.WaitMore(1000, healed)
	before := s.leader.RSS(s.t)
	s.leader.Net.Clients.Set("slow", faultproxy.ToClient, faultproxy.Faults{Stall: true})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer s.leader.Net.Clients.Heal() // before the clients are closed, which else waits
	for range 30 {
		cl := cluster.Client(s.t, s.c.Bootstrap(), kgo.ClientID("slow"), kgo.ConsumePartitions(
			map[string]map[int32]kgo.Offset{s.w.Topic: {0: kgo.NewOffset().AtStart()}}))
		s.t.Cleanup(cl.Close)
		go cl.PollFetches(ctx)
	}
	cluster.Eventually(s.t, healed, func() error {
		if n := s.leader.Net.Clients.Open("slow"); n < 30 {
			return fmt.Errorf("%d slow connections", n)
		}
		return nil
	})
	s.w.NewGap()
	s.w.WaitMore(1000, healed)
	if gap := s.w.LongestGap(); gap > time.Second {
		s.t.Errorf("others waited %v", gap)
	}
	if grown := s.leader.RSS(s.t) - before; grown > 64<<20 {
		s.t.Errorf("%d MiB more for slow readers", grown>>20)
	}
}

// goroutines is how many the node has.
func goroutines(n *cluster.Node) (int, error) {
	_, text, err := n.Get("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`total (\d+)`).FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no total in %.60q", text)
	}
	return strconv.Atoi(m[1])
}

// noLeak waits until the node of the broken connections has hardly more
// goroutines than one has whose connections never broke.
func noLeak(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	leader := c.Others(c.Controller())[0]
	cluster.Eventually(t, healed, func() error {
		least := 1 << 30
		for _, n := range c.Others(leader) {
			g, err := goroutines(n)
			if err != nil {
				return err
			}
			least = min(least, g)
		}
		if g, err := goroutines(leader); err != nil || g > least+15 {
			return fmt.Errorf("node %d has %d goroutines, another one %d: %w", leader.ID, g, least, err)
		}
		return nil
	})
}
