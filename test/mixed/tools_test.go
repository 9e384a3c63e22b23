package mixed

import (
	"fmt"
	"strings"
	"testing"

	"tidemark/test/apachekafka"
	"tidemark/test/cluster"
)

// Apache's tools, asking Apache's broker, which asks our controllers.
func TestToolsThroughApacheBroker(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3})
	a := join(t, c, false)
	run := func(class string, args ...string) string {
		t.Helper()
		return apachekafka.Run(t, class, append([]string{"--bootstrap-server", a.addr()}, args...)...)
	}
	run(apachekafka.Topics, "--create", "--topic", "made", "--replica-assignment", fmt.Sprintf("%d:1:2,1:2:%d", apacheID, apacheID), "--config", "retention.ms=3600000")
	run(apachekafka.Topics, "--alter", "--topic", "made", "--partitions", "3", "--replica-assignment", fmt.Sprintf("%d:1:2,1:2:%d,%d:2:3", apacheID, apacheID, apacheID))
	cluster.WaitISR(t, a.addr(), "made", 3, healed)
	out := run(apachekafka.Topics, "--describe", "--topic", "made")
	for _, want := range []string{"PartitionCount: 3", "retention.ms=3600000", fmt.Sprintf("Partition: 2\tLeader: %d\tReplicas: %d,2,3", apacheID, apacheID)} {
		if !strings.Contains(out, want) {
			t.Errorf("described without %q:\n%s", want, out)
		}
	}
	run(apachekafka.Configs, "--alter", "--entity-type", "topics", "--entity-name", "made", "--add-config", "max.message.bytes=2000,min.insync.replicas=1")
	run(apachekafka.Configs, "--alter", "--entity-type", "brokers", "--entity-name", fmt.Sprint(apacheID), "--add-config", "log.cleaner.threads=2")
	for _, q := range []struct{ kind, name, want string }{
		{"topics", "made", "max.message.bytes=2000"},
		{"brokers", fmt.Sprint(apacheID), "log.cleaner.threads=2"},
	} {
		if out := run(apachekafka.Configs, "--describe", "--entity-type", q.kind, "--entity-name", q.name); !strings.Contains(out, q.want) {
			t.Errorf("%s %s: want %q:\n%s", q.kind, q.name, q.want, out)
		}
	}
	out = run(apachekafka.MetadataQuorum, "describe", "--replication")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) < 5 || !strings.Contains(out, "Leader") || !strings.Contains(out, "Observer") {
		t.Errorf("quorum:\n%s", out)
	}
	run(apachekafka.Topics, "--delete", "--topic", "made")
	if out := run(apachekafka.Topics, "--list"); strings.Contains(out, "made") {
		t.Errorf("still listed:\n%s", out)
	}
}
