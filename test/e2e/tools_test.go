package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"tidemark/test/apachekafka"
	"tidemark/test/cluster"
)

// complaint is what Kafka's DumpLogSegments prints about a bad file.
var complaint = regexp.MustCompile(`(?i)mismatch|isvalid: false|corrupt|invalid bytes|exception|non-monotonic|could not deserialize`)

// Kafka's own tools read the quorum's state over both listeners, and the files
// of a node while it runs.
func TestKafkaToolsReadTheCluster(t *testing.T) {
	apachekafka.Require(t)
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: []string{"metadata.log.max.record.bytes.between.snapshots=2000"}})
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 3, 3, map[string]string{"segment.bytes": "1048576"})
	for i := range 20 {
		cluster.CreateTopic(t, c.Bootstrap(), fmt.Sprintf("filler-%d", i), 2, 3, nil)
	}
	w := cluster.StartWorkload(t, c.Bootstrap(), "orders", 3)
	w.WaitMore(1000, healed)
	w.Finish()
	ctl := c.Controller()
	n := c.LeaderNode("orders", 0)
	snapshots := newest(t, n)

	outs := make([]string, 6)
	var all sync.WaitGroup
	run := func(i int, class string, args ...string) {
		all.Go(func() {
			out, err := apachekafka.Try(t, "", class, args...)
			if err != nil {
				t.Errorf("%s %v: %v", class, args, err)
			}
			outs[i] = out
		})
	}
	run(0, apachekafka.MetadataQuorum, "--bootstrap-server", c.Bootstrap(), "describe", "--status")
	run(1, apachekafka.MetadataQuorum, "--bootstrap-controller", c.Controllers(), "describe", "--status")
	all.Wait()
	run(2, apachekafka.MetadataQuorum, "--bootstrap-server", c.Bootstrap(), "describe", "--replication")
	run(3, apachekafka.MetadataQuorum, "--bootstrap-controller", c.Controllers(), "describe", "--replication")
	all.Wait()
	run(4, apachekafka.DumpLogSegments, "--print-data-log", "--deep-iteration", "--files", strings.Join(glob(t, n, "orders-0", "*.log", "*.index", "*.timeindex"), ","))
	run(5, apachekafka.DumpLogSegments, "--cluster-metadata-decoder", "--files", strings.Join(append(glob(t, n, "__cluster_metadata-0", "*.log"), snapshots), ","))
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i := range 2 {
		has(t, outs[i], "ClusterId: +"+regexp.QuoteMeta(c.ClusterID), fmt.Sprintf(`LeaderId: +%d\n`, ctl.ID), `CurrentVoters: .*"id": 1.*"id": 2.*"id": 3`, `CurrentObservers: +\[\]`)
		has(t, outs[2+i], fmt.Sprintf(`(?m)^%d\s.*Leader\s*$`, ctl.ID), `(?s)Follower.*Follower`)
	}
	records := len(regexp.MustCompile(`(?m)^\| offset: \d+`).FindAllString(outs[4], -1))
	p := n.WaitPartition("orders", 0, healed, func(cluster.PartitionState) bool { return true })
	if int64(records) != p.LogEnd || records == 0 {
		t.Errorf("Kafka's tool finds %d records in orders-0, its log ends at %d", records, p.LogEnd)
	}
	has(t, outs[4], `isvalid: true`, `producerId: \d+ `, `payload: 0:0`)
	has(t, outs[5], `REGISTER_BROKER_RECORD`, `TOPIC_RECORD.*"filler-19"`, `PARTITION_RECORD`, `FEATURE_LEVEL_RECORD`, `(?i)SnapshotHeader`, `(?i)SnapshotFooter`, `(?i)KRaftVoters`, `LeaderChange`)
	for i, out := range outs[4:] {
		if bad := complaint.FindAllString(out, -1); bad != nil {
			t.Errorf("DumpLogSegments %d complains: %q\n%.4000s", i, bad, out)
		}
	}
}

func has(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(out) {
			t.Errorf("no %s in\n%.3000s", p, out)
		}
	}
}

func glob(t *testing.T, n *cluster.Node, dir string, patterns ...string) []string {
	t.Helper()
	var out []string
	for _, p := range patterns {
		files, err := filepath.Glob(filepath.Join(n.Dir, dir, p))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, files...)
	}
	if len(out) == 0 {
		t.Fatalf("node %d has no %v in %s", n.ID, patterns, dir)
	}
	return out
}

// newest is the last snapshot of the metadata, once there is one besides the
// file that formatting wrote.
func newest(t *testing.T, n *cluster.Node) string {
	t.Helper()
	var last string
	cluster.Eventually(t, healed, func() error {
		files, _ := filepath.Glob(filepath.Join(n.Dir, "__cluster_metadata-0", "*.checkpoint"))
		if len(files) > 0 {
			last = files[len(files)-1]
		}
		if len(files) == 0 || strings.HasPrefix(filepath.Base(last), "00000000000000000000-") {
			return fmt.Errorf("node %d has only the snapshots %v", n.ID, files)
		}
		return nil
	})
	return last
}
