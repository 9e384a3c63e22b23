package dashboards

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
)

// questions are the expressions of the list, by style.
func questions(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open("testdata/dashboards.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string][]string{}
	style := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			style, _, _ = strings.Cut(line[1:], "]")
		default:
			out[style] = append(out[style], line)
		}
	}
	return out
}

var paths = map[string]string{
	"own": "/metrics", "strimzi": "/metrics/kafka?style=strimzi", "confluent": "/metrics/kafka?style=confluent", "exporter": "/metrics/kafka?style=exporter",
}

// Every question of the well-known dashboards has an answer on a cluster with
// producers, consumers and a group, of which a follower was away for a while; and
// some of the answers are what the cluster is known to be.
func TestDashboards(t *testing.T) {
	program(t, "prometheus")
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: []string{"auto.leader.rebalance.enable=false"}})
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 6, 3, nil)
	asked := questions(t)
	watches := map[string]*prometheus{}
	for style, path := range paths {
		if len(asked[style]) < 10 {
			t.Fatalf("%d questions for %s", len(asked[style]), style)
		}
		watches[style] = watch(t, c, path, "")
	}
	w := cluster.StartWorkload(t, c.Bootstrap(), "orders", 6)
	joinGroup(t, c, "readers", "orders")
	w.WaitMore(200, 30*time.Second)
	away := c.Node(c.Controller().ID%3 + 1) // the quorum's leader keeps its numbers
	away.Kill()
	w.WaitMore(500, 30*time.Second)
	away.Start()
	away.WaitReady()
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, 30*time.Second)
	w.WaitMore(500, 30*time.Second)
	for style, p := range watches {
		p.scraped(3)
		for _, expr := range asked[style] {
			var got []sample
			cluster.Eventually(t, 10*time.Second, func() (err error) {
				if got, err = p.query(expr); err == nil && len(got) == 0 {
					err = fmt.Errorf("%s has no answer to %s", style, expr)
				}
				return err
			})
		}
	}
	for expr, want := range map[string]string{
		"sum(kafka_server_replicamanager_leadercount{})":                                                      "11", // six, and five of __consumer_offsets
		"sum(kafka_server_replicamanager_partitioncount)":                                                     "33",
		"sum(kafka_controller_kafkacontroller_activecontrollercount)":                                         "1",
		"max(kafka_controller_kafkacontroller_globaltopiccount)":                                              "2",
		"sum(kafka_server_replicamanager_underreplicatedpartitions)":                                          "0",
		"count(kafka_cluster_partition_insyncreplicascount == 3)":                                             "11",
		"sum(kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"}) > bool 500":                  "1",
		"sum(kafka_server_replicamanager_isrexpands_total) > bool 5":                                          "1",
		"count(kafka_server_raftmetrics_current_state{current_state=\"leader\"})":                             "1",
		"count(count by (kafka_server_raftmetrics_current_leader) (kafka_server_raftmetrics_current_leader))": "1",
	} {
		cluster.Eventually(t, 10*time.Second, func() error {
			got, err := watches["strimzi"].query(expr)
			if err == nil && (len(got) != 1 || got[0].Value[1] != want) {
				err = fmt.Errorf("%s is %v, want %s", expr, got, want)
			}
			return err
		})
	}
	w.Finish()
}

// joinGroup runs a member of a group until the test ends, and waits for its first commit.
func joinGroup(t *testing.T, c *cluster.Cluster, group, topic string) {
	t.Helper()
	cl := cluster.Client(t, c.Bootstrap(), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitInterval(300*time.Millisecond), kgo.FetchMaxWait(200*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	first := make(chan struct{})
	go func() {
		defer close(done)
		for seen := false; ctx.Err() == nil; {
			if fs := cl.PollFetches(ctx); !seen && fs.NumRecords() > 0 {
				seen = true
				close(first)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		cl.Close()
	})
	select {
	case <-first:
	case <-time.After(30 * time.Second):
		t.Fatal("the group reads nothing")
	}
}
