package dashboards

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
	"tidemark/test/faultproxy"
)

var alertName = regexp.MustCompile(`(?m)^ +- alert: (\S+)$`)

// rules are what tidemark generate alerts prints, and the names of the alerts.
func rules(t *testing.T) (text string, names []string) {
	t.Helper()
	text = cluster.Run(t, "", "generate", "alerts")
	for _, m := range alertName.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	if len(names) < 8 {
		t.Fatalf("%d alerts", len(names))
	}
	return text, names
}

// trouble is a cluster whose alerts a Prometheus evaluates twice a second, without
// waiting for how long each has to hold.
type trouble struct {
	*testing.T
	c     *cluster.Cluster
	p     *prometheus
	left  []string // alerts that have not fired yet
	began time.Time
}

// fires waits until each of the alerts fires.
func (tr *trouble) fires(names ...string) {
	tr.Helper()
	cluster.Eventually(tr, 30*time.Second, func() error {
		now, err := tr.p.firing()
		for _, name := range names {
			if err == nil && !slices.Contains(now, name) {
				err = fmt.Errorf("%s doesn't fire, only %v", name, now)
			}
		}
		return err
	})
	tr.Logf("%6.1f s: %s", time.Since(tr.began).Seconds(), strings.Join(names, ", "))
	tr.left = slices.DeleteFunc(tr.left, func(s string) bool { return slices.Contains(names, s) })
}

// quiet waits until none fires.
func (tr *trouble) quiet() {
	tr.Helper()
	cluster.Eventually(tr, 30*time.Second, func() error {
		now, err := tr.p.firing()
		if err == nil && len(now) > 0 {
			err = fmt.Errorf("%v fire", now)
		}
		return err
	})
}

// inSync waits until a broker is, or isn't, in the ISR of a topic's only partition.
func (tr *trouble) inSync(topic string, id int, want bool) {
	tr.Helper()
	tr.c.Node(2).WaitPartition(topic, 0, 30*time.Second, func(s cluster.PartitionState) bool { return slices.Contains(s.ISR, id) == want })
}

// send produces to a topic's only partition without waiting for the followers.
func (tr *trouble) send(topic string, records, bytes int) {
	tr.Helper()
	cl := cluster.Client(tr, tr.c.Node(2).Addr(), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var rs []*kgo.Record
	for range records {
		rs = append(rs, &kgo.Record{Value: make([]byte, bytes)})
	}
	if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		tr.Fatal(err)
	}
}

// Each alert fires when what it is about happens: brokers are paused, killed and
// cut off, a disk goes away, and too few controllers are left.
func TestAlertsFire(t *testing.T) {
	program(t, "prometheus")
	text, names := rules(t)
	c := cluster.New(t, cluster.Options{Nodes: 4, Proxied: true, Roles: func(id int) string {
		if id == 4 {
			return "broker"
		}
		return "broker,controller"
	}, Settings: []string{"auto.leader.rebalance.enable=false", "replica.lag.time.max.ms=1000",
		"unclean.leader.election.enable=true", "replica.high.watermark.checkpoint.interval.ms=1000"},
		PerNode: func(n *cluster.Node) []string {
			if n.ID != 4 {
				return nil
			}
			return []string{"log.dirs=" + n.Dir + "," + n.Dir + "-b", "metadata.log.dir=" + n.Dir}
		}})
	for topic, replicas := range map[string][]int{"single": {4}, "pair": {2, 4}, "three": {3, 2, 4}, "risky": {1, 4}} {
		cluster.CreateAssigned(t, c.Bootstrap(), topic, replicas...)
	}
	// With two replicas, brokers 1 and 4 of the same rack may take turns in such a
	// way that one leads nearly all that its rack leads.
	cluster.CreateTopic(t, c.Bootstrap(), "spread", 48, 3, nil)
	tr := &trouble{t, c, watch(t, c, "/metrics", regexp.MustCompile(` +for: .*\n`).ReplaceAllString(text, "")), names, time.Now()}
	tr.p.scraped(4)
	tr.quiet()
	tr.paused()
	tr.killed()
	tr.cutOff()
	tr.diskGone()
	tr.leaderless()
	if len(tr.left) > 0 {
		t.Errorf("never provoked: %v", tr.left)
	}
}

// paused: broker 4 stands still again and again, once while much is produced.
func (tr *trouble) paused() {
	n := tr.c.Node(4)
	for i := range 2 {
		n.Pause()
		tr.send("pair", 1, 10) // or it would lack nothing
		tr.inSync("pair", 4, false)
		if i == 1 {
			tr.send("pair", 16, 900<<10)
			tr.fires("PersistentReplicaLag", "UnderReplicatedPartitions")
		}
		n.Continue()
		tr.inSync("pair", 4, true)
	}
	tr.fires("FlappingReplicas")
	for _, way := range []string{"isrshrinks", "isrexpands"} { // a leader's own, twice each
		cluster.Eventually(tr, 10*time.Second, func() error {
			got, err := tr.p.query("sum(kafka_server_replicamanager_" + way + "_total) >= 2")
			if err == nil && len(got) == 0 {
				err = fmt.Errorf("not two %s", way)
			}
			return err
		})
	}
}

// killed: broker 4, and then the only one that has what is newest of a topic.
func (tr *trouble) killed() {
	tr.c.Node(4).Kill()
	tr.fires("UnderReplicatedPartitions", "UnderMinIsrPartitions", "OfflinePartitions")
	tr.send("risky", 1, 10)
	tr.c.Node(1).Kill()
	tr.c.Controller()
	tr.c.Node(4).Start()
	tr.c.Node(4).WaitReady()
	tr.fires("UncleanLeaderElection")
	tr.c.Node(1).Start()
	tr.c.Node(1).WaitReady()
	tr.inSync("risky", 1, true)
	tr.fires("LeaderImbalance")
}

// cutOff: broker 4 doesn't hear from the controllers while a leader changes, and
// follows the old one.
func (tr *trouble) cutOff() {
	four := tr.c.Node(4)
	tr.inSync("three", 4, true)
	was := tr.c.Node(2).WaitPartition("three", 0, 30*time.Second, func(s cluster.PartitionState) bool { return s.Leader > 0 && len(s.ISR) == 3 })
	cut := func(f faultproxy.Faults) {
		for _, n := range tr.c.Nodes[:3] {
			for _, client := range []string{cluster.BrokerClient(four), cluster.RaftClient(four)} {
				n.Net.Controllers.Set(client, faultproxy.Both, f)
			}
		}
	}
	cut(faultproxy.Faults{Stall: true})
	old := tr.c.Node(was.Leader)
	old.Kill()
	other := tr.c.Nodes[old.ID%3]
	other.WaitPartition("three", 0, 30*time.Second, func(s cluster.PartitionState) bool { return s.Leader > 0 && s.Leader != old.ID })
	old.Start()
	old.WaitReady()
	tr.fires("FailedReplicaFetches")
	cut(faultproxy.Faults{})
}

// diskGone: one of the two directories of broker 4 disappears.
func (tr *trouble) diskGone() {
	tr.c.Node(4).WaitReady()
	if err := os.RemoveAll(tr.c.Node(4).Dir + "-b"); err != nil {
		tr.Fatal(err)
	}
	tr.fires("LogDirectoryOffline")
}

// leaderless: one of three controllers is left.
func (tr *trouble) leaderless() {
	lead := tr.c.Controller().ID
	tr.c.Node(lead).Kill()
	tr.c.Node(lead%3 + 1).Kill()
	tr.fires("NoActiveController")
}

// The rules are what promtool accepts, and hold for as long as they say before they
// fire, no longer and no shorter.
func TestAlertRules(t *testing.T) {
	tool := program(t, "promtool")
	text, names := rules(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "alerts.yml"), text)
	if out, err := exec.Command(tool, "check", "rules", filepath.Join(dir, "alerts.yml")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cases, err := os.ReadFile("testdata/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if n := strings.Count(string(cases), "alertname: "+name+"\n"); n < 2 {
			t.Errorf("testdata/alerts.yml asks %d times for %s: once before it holds long enough, once after", n, name)
		}
	}
	write(t, filepath.Join(dir, "bare.yml"), regexp.MustCompile(` +annotations:\n( {10}.*\n)+`).ReplaceAllString(text, ""))
	write(t, filepath.Join(dir, "cases.yml"), string(cases))
	if out, err := exec.Command(tool, "test", "rules", filepath.Join(dir, "cases.yml")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
