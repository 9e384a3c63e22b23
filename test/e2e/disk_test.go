package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
)

// smallDisk runs the node with its directory on a file system of that size, in a
// mount namespace of its own, so that any user can.
func smallDisk(size string) func(n *cluster.Node, command []string) []string {
	return func(n *cluster.Node, command []string) []string {
		script := `mkdir -p "$0" && mount -t tmpfs -o size=` + size + ` tidemark "$0" && exec "$@"`
		return append([]string{"unshare", "-Urm", "sh", "-c", script, n.Dir}, command...)
	}
}

// inside is a path in the node's view of the file system.
func inside(n *cluster.Node, path string) string {
	return fmt.Sprintf("/proc/%d/root%s", n.Pid(), path)
}

// A disk fills up: records are refused with KAFKA_STORAGE_ERROR, what is there
// can be read, the node goes on, and so do producers once there is space.
func TestFullDisk(t *testing.T) {
	id := strings.TrimSpace(cluster.Run(t, "", "storage", "random-uuid"))
	c := cluster.New(t, cluster.Options{Nodes: 1, Unformatted: true, Env: []string{"CLUSTER_ID=" + id},
		Settings: []string{"log.segment.delete.delay.ms=100", "log.initial.task.delay.ms=100"}, Wrap: smallDisk("48m")})
	n := c.Node(1)
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 1, 1, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("orders"), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordRetries(1), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(1))
	defer cl.Close()
	value := make([]byte, 500<<10)
	acked := 0
	var refused error
	for ; refused == nil && acked < 200; acked++ {
		if refused = cl.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr(); refused != nil {
			break
		}
	}
	t.Logf("%d records of %d bytes, then: %v", acked, len(value), refused)
	if !errors.Is(refused, kerr.KafkaStorageError) || acked < 60 {
		t.Fatalf("after %d records: %v, want KAFKA_STORAGE_ERROR", acked, refused)
	}
	if code, text, err := n.Get("/readyz?verbose"); err != nil || code != 200 || !strings.Contains(text, "records are refused, reads go on") {
		t.Errorf("readyz: %d %v\n%s", code, err, text)
	}
	parts := map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().AtStart()}}
	reader := cluster.Client(t, c.Bootstrap(), kgo.ConsumePartitions(parts))
	defer reader.Close()
	for got := 0; got < acked; {
		fs := reader.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d could be read: %v", got, acked, err)
		}
		got += fs.NumRecords()
	}
	cluster.CreateTopic(t, c.Bootstrap(), "more", 1, 1, nil) // the metadata log has its reserve
	if _, err := os.Stat(inside(n, filepath.Join(n.Dir, "more-0"))); err != nil {
		t.Error(err)
	}
	// Space comes back: a topic is deleted.
	cluster.DeleteTopic(t, c.Bootstrap(), "orders")
	cluster.Eventually(t, healed, func() error {
		return cl.ProduceSync(ctx, &kgo.Record{Topic: "more", Value: value}).FirstErr()
	})
	if log := n.LogTail(1 << 20); !strings.Contains(log, "its disk is full") {
		t.Errorf("the log doesn't say that the disk is full\n%s", n.LogTail(20))
	}
	n.Stop()
}
