package dashboards

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
	"tidemark/test/faultproxy"
)

// number is the value of one series on a node, 0 without it.
func number(t *testing.T, n *cluster.Node, series string) float64 {
	t.Helper()
	code, body, err := n.Get("/metrics")
	if err != nil || code != http.StatusOK {
		t.Fatal(code, err)
	}
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// The metrics blame the follower that acks=all waits for, and the part of its way
// that is slow: here answers to it take 40 ms, first to one follower, then to the other.
func TestAcksBlameTheSlowFollower(t *testing.T) {
	const records, slow = 50, 40 * time.Millisecond
	c := cluster.New(t, cluster.Options{Nodes: 3, Proxied: true})
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", 1, 2, 3)
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, 30*time.Second)
	lead := c.Node(1)
	cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("orders"))
	defer cl.Close()
	send := func(n int) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		for range n {
			if err := cl.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, id := range []int{3, 2} {
		lead.Net.Brokers.Set(cluster.BrokerFetcher(c.Node(id)), faultproxy.ToClient, faultproxy.Faults{Delay: slow})
		send(5) // until the loop is in step
		last := fmt.Sprintf(`tidemark_replication_ack_last_total{follower="%d"}`, id)
		phase := func(p string) float64 {
			return number(t, lead, fmt.Sprintf(`tidemark_replication_ack_wait_seconds_sum{follower="%d",phase="%s"}`, id, p))
		}
		blamed, back, other := number(t, lead, last), phase("return"), phase("fetch")+phase("append")
		send(records)
		blamed, back, other = number(t, lead, last)-blamed, phase("return")-back, phase("fetch")+phase("append")-other
		if blamed < 0.9*records {
			t.Errorf("follower %d is slow and was blamed for %v of %d", id, blamed, records)
		}
		if want := records * slow.Seconds(); back < 0.7*want || back < 2*other {
			t.Errorf("follower %d: %.2f s on the way back, %.2f s elsewhere; %d answers took %v each", id, back, other, records, slow)
		}
		lead.Net.Brokers.Set(cluster.BrokerFetcher(c.Node(id)), faultproxy.Both, faultproxy.Faults{})
	}
}
