package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
)

// rawLog is all that a replica's segments hold, in order.
func rawLog(t *testing.T, n *cluster.Node) []byte {
	t.Helper()
	files := glob(t, n, "orders-0", "*.log")
	slices.Sort(files)
	var out []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// rot flips one bit in the middle of the second closed segment.
func rot(t *testing.T, n *cluster.Node) {
	t.Helper()
	files := glob(t, n, "orders-0", "*.log")
	slices.Sort(files)
	if len(files) < 3 {
		t.Fatalf("only the segments %v", files)
	}
	f, err := os.OpenFile(files[1], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(400_000)
	var b [1]byte
	if _, err = f.ReadAt(b[:], at); err == nil {
		_, err = f.WriteAt([]byte{b[0] ^ 0x10}, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// kept asks the command line for what the node has in lost and found.
func kept(t *testing.T, n *cluster.Node) []struct{ ID, Topic, Reason string } {
	t.Helper()
	var items []struct{ ID, Topic, Reason string }
	if err := json.Unmarshal([]byte(cluster.Run(t, "", "lost-found", "list", "--config", n.Properties, "-o", "json")), &items); err != nil {
		t.Fatal(err)
	}
	return items
}

// A bit flips in a closed segment of a running node, below the high watermark:
// the scrub finds it, the replica leaves the ISR, fetches the segment again and
// comes back, byte by byte the same. A leader hands over first. Nothing is lost.
func TestDamagedSegmentIsFetchedAgain(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: append([]string{"tidemark.scrub.bytes.per.second=1073741824"}, quick...)})
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 1, 3, map[string]string{"segment.bytes": "1048576", "min.insync.replicas": "2"})
	values := produceLarge(t, c)
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	good := rawLog(t, c.LeaderNode("orders", 0))
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			leader := c.LeaderNode("orders", 0)
			n := leader
			if who == "follower" {
				n = c.Others(leader)[0]
			}
			before := len(kept(t, n))
			if !bytes.Equal(rawLog(t, n), good) {
				t.Fatal("the replicas differ from the start")
			}
			rot(t, n)
			cluster.Eventually(t, healed, func() error {
				if items := kept(t, n); len(items) <= before {
					return fmt.Errorf("nothing kept yet\n%s", n.LogTail(10))
				}
				return nil
			})
			cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
			if !bytes.Equal(rawLog(t, n), good) {
				t.Errorf("the replica of node %d is not the same again\n%s", n.ID, n.LogTail(30))
			}
			log := n.LogTail(2000)
			for _, want := range []string{"replica damaged", "leaving-isr", "refetching", "replica recovered"} {
				if !strings.Contains(log, want) {
					t.Errorf("node %d doesn't say %q", n.ID, want)
				}
			}
			if now := c.LeaderNode("orders", 0); who == "leader" && now == n {
				t.Errorf("node %d still leads", n.ID)
			}
			items := kept(t, n)
			item := items[len(items)-1]
			if item.Topic != "orders" || item.Reason != "damaged" {
				t.Errorf("%+v", item)
			}
			has(t, cluster.Run(t, "", "lost-found", "show", item.ID, "--dir", n.Dir+".tidemark"), `orders-0`, `damaged on the disk`)
			if out := cluster.Run(t, "", "lost-found", "export", item.ID, "--dir", n.Dir+".tidemark"); len(out) < 900_000 {
				t.Errorf("%d bytes exported", len(out))
			}
			if out, err := cluster.TryRun(t, "", "lost-found", "export", item.ID, "--dir", n.Dir+".tidemark", "-o", "json"); err == nil ||
				!strings.Contains(out, `"topic":"orders"`) || !strings.Contains(out, "damaged batches") {
				t.Errorf("%v\n%.300s", err, out)
			}
		})
	}
	readBack(t, c, values)
}

// produceLarge fills several segments, and returns what it wrote by offset.
func produceLarge(t *testing.T, c *cluster.Cluster) [][]byte {
	t.Helper()
	cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic("orders"))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var values [][]byte
	for range 60 {
		v := make([]byte, 50_000)
		_, _ = rand.Read(v)
		if err := cl.ProduceSync(ctx, &kgo.Record{Value: v}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

func readBack(t *testing.T, c *cluster.Cluster, values [][]byte) {
	t.Helper()
	cl := cluster.Client(t, c.Bootstrap(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for next := 0; next < len(values); {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatal(err)
		}
		for r := range fs.RecordsAll() {
			if r.Offset != int64(next) || !bytes.Equal(r.Value, values[next]) {
				t.Fatalf("offset %d, want %d, or another value", r.Offset, next)
			}
			next++
		}
	}
}
