package mixed

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/test/apachekafka"
	"tidemark/test/cluster"
)

// Apache's tools, asking Apache's broker, which asks our controllers.
func toolsThrough(t *testing.T, c *cluster.Cluster, a *apache) {
	run := func(class string, args ...string) string {
		t.Helper()
		return apachekafka.Run(t, class, append([]string{"--bootstrap-server", a.addr()}, args...)...)
	}
	run(apachekafka.Topics, "--create", "--topic", "made", "--replica-assignment", fmt.Sprintf("%d:1:2,1:2:%d", apacheID, apacheID), "--config", "retention.ms=3600000")
	run(apachekafka.Topics, "--alter", "--topic", "made", "--partitions", "3", "--replica-assignment", fmt.Sprintf("%d:1:2,1:2:%d,%d:2:3", apacheID, apacheID, apacheID))
	cluster.WaitISR(t, a.addr(), "made", 3, healed)
	run(apachekafka.Configs, "--alter", "--entity-type", "topics", "--entity-name", "made", "--add-config", "max.message.bytes=2000,min.insync.replicas=1")
	out := run(apachekafka.Topics, "--describe", "--topic", "made")
	for _, want := range []string{"PartitionCount: 3", "retention.ms=3600000", "max.message.bytes=2000", fmt.Sprintf("Partition: 2\tLeader: %d\tReplicas: %d,2,3", apacheID, apacheID)} {
		if !strings.Contains(out, want) {
			t.Errorf("described without %q:\n%s", want, out)
		}
	}
	run(apachekafka.Configs, "--alter", "--entity-type", "brokers", "--entity-name", fmt.Sprint(apacheID), "--add-config", "log.cleaner.threads=2")
	out = run(apachekafka.Configs, "--describe", "--entity-type", "brokers", "--entity-name", fmt.Sprint(apacheID))
	if !strings.Contains(out, "log.cleaner.threads=2") {
		t.Errorf("settings of the broker:\n%s", out)
	}
	out = run(apachekafka.MetadataQuorum, "describe", "--replication")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) < 5 || !strings.Contains(out, "Leader") || !strings.Contains(out, "Observer") {
		t.Errorf("quorum:\n%s", out)
	}
	run(apachekafka.Topics, "--delete", "--topic", "made")
	waitGone(t, filepath.Join(c.Node(1).Dir, "made-0"))
}
