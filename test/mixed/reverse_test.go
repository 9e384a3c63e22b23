package mixed

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tidemark/test/apachekafka"
	"tidemark/test/cluster"
)

// A broker of ours under Apache Kafka's controller, which also is a broker.
func TestBrokerUnderApacheController(t *testing.T) {
	t.Run("metadata of 4.0", func(t *testing.T) { underApache(t, "--release-version", "4.0") })
	if os.Getenv("TIDEMARK_LONG") != "" {
		t.Run("metadata of 4.3 without share and streams groups", func(t *testing.T) {
			underApache(t, "--feature", "metadata.version=30", "--feature", "group.version=1", "--feature", "transaction.version=2",
				"--feature", "eligible.leader.replicas.version=1", "--feature", "share.version=0", "--feature", "streams.version=0")
		})
	}
}

func underApache(t *testing.T, format ...string) {
	c, a, n := apacheCluster(t, format...)
	all := n.Addr() + "," + a.addr()
	create(t, all, "shared", map[string]string{"min.insync.replicas": "1"}, []int32{apacheID, 1}, []int32{1, apacheID})
	cluster.WaitISR(t, all, "shared", 2, healed)
	for p := range int32(2) {
		var want []string
		want = append(want, produce(t, n.Addr(), "shared", p, "through-tidemark", 200)...)
		want = append(want, produce(t, a.addr(), "shared", p, "through-apache", 200)...)
		for _, from := range []string{n.Addr(), a.addr()} {
			if got := consume(t, from, "shared", p, len(want)); !slices.Equal(got, want) {
				t.Errorf("shared-%d through %s: %d records, want %d", p, from, len(got), len(want))
			}
		}
		sameBytes(t, c, a, "shared", p, 1)
	}

	create(t, all, "lives", map[string]string{"min.insync.replicas": "1"}, []int32{apacheID, 1}, []int32{1, apacheID})
	w := cluster.StartWorkload(t, all, "lives", 2)
	w.WaitMore(200, healed)
	n.Kill()
	waitLeader(t, a.addr(), "lives", 1, apacheID)
	for i := range 20 { // beyond the next snapshot
		create(t, a.addr(), fmt.Sprintf("meanwhile-%d", i), nil, []int32{apacheID})
	}
	w.WaitMore(200, healed)
	n.Start()
	n.WaitReady()
	cluster.WaitISR(t, all, "lives", 2, healed)
	elect(t, all, "lives", 1)
	waitLeader(t, all, "lives", 1, 1)
	w.WaitMore(200, healed)

	n.Stop() // a controlled shutdown
	if l := cluster.Leader(t, a.addr(), "lives", 1); l != apacheID {
		t.Errorf("after the controlled shutdown of node 1 the leader is %d", l)
	}
	n.Start()
	n.WaitReady()
	cluster.WaitISR(t, all, "lives", 2, healed)

	a.Kill() // with it the only controller
	a.Restart(t)
	waitBrokers(t, a.addr(), 2)
	cluster.WaitISR(t, all, "lives", 2, healed)
	w.WaitMore(200, healed)
	w.Finish()
	for p := range int32(2) {
		sameBytes(t, c, a, "lives", p, 1)
	}
}

// apacheCluster is one Apache Kafka node with both roles and one broker of ours.
func apacheCluster(t *testing.T, format ...string) (*cluster.Cluster, *apache, *cluster.Node) {
	t.Helper()
	c := &cluster.Cluster{T: t, Dir: t.TempDir(), ClusterID: strings.TrimSpace(cluster.Run(t, "", "storage", "random-uuid"))}
	ports := cluster.FreePorts(t, 2)
	a := &apache{t: t, id: apacheID, port: ports[0], dir: filepath.Join(c.Dir, "apache")}
	controllers := fmt.Sprintf("controller.quorum.bootstrap.servers=127.0.0.1:%d", ports[1])
	a.Broker = apachekafka.StartBroker(t, c.ClusterID, strings.Join([]string{
		"process.roles=broker,controller", fmt.Sprintf("node.id=%d", a.id), "controller.listener.names=CONTROLLER", controllers,
		fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", ports[0], ports[1]),
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", "inter.broker.listener.name=PLAINTEXT",
		"log.dirs=" + a.dir, "offsets.topic.num.partitions=5", "offsets.topic.replication.factor=2",
		"group.initial.rebalance.delay.ms=0", "num.network.threads=2", "num.io.threads=4", "log.cleaner.dedupe.buffer.size=4194304",
		"metadata.log.max.record.bytes.between.snapshots=3000", "metadata.max.retention.bytes=1", "broker.session.timeout.ms=4000",
	}, "\n")+"\n", append([]string{"--standalone"}, format...)...)
	t.Cleanup(a.checkLog)
	n := c.Join(1, controllers)
	n.WaitReady()
	waitBrokers(t, n.Addr(), 2)
	waitBrokers(t, a.addr(), 2)
	return c, a, n
}
