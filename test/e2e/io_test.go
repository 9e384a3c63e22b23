package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/cluster"
	"tidemark/test/faultsys"
)

// badDisk is a cluster of three whose node 1 has two log directories besides the
// one of its metadata, and a supervisor of its file operations.
type badDisk struct {
	t    *testing.T
	c    *cluster.Cluster
	n    *cluster.Node
	dirs []string
	sys  *faultsys.Supervisor
}

func newBadDisk(t *testing.T, settings ...string) *badDisk {
	t.Helper()
	d := &badDisk{t: t, sys: faultsys.New(t)}
	d.c = cluster.New(t, cluster.Options{Nodes: 3, Settings: append(slices.Clone(quick), settings...),
		PerNode: func(n *cluster.Node) []string {
			if n.ID != 1 {
				return nil
			}
			d.dirs = []string{n.Dir + "-a", n.Dir + "-b"}
			return []string{"log.dirs=" + d.dirs[0] + "," + d.dirs[1], "metadata.log.dir=" + n.Dir}
		},
		Wrap: func(n *cluster.Node, command []string) []string {
			if n.ID != 1 {
				return command
			}
			return d.sys.Wrap(command)
		}})
	d.n = d.c.Node(1)
	return d
}

// dirOf is the directory of node 1 that holds the topic's partition.
func (d *badDisk) dirOf(topic string) string {
	d.t.Helper()
	for _, dir := range d.dirs {
		if _, err := os.Stat(filepath.Join(dir, topic+"-0")); err == nil {
			return dir
		}
	}
	d.t.Fatalf("node 1 has no replica of %s", topic)
	return ""
}

// onlyOff checks that the node runs, and that this one of its directories is offline.
func (d *badDisk) onlyOff(dir string) error {
	s, err := d.n.State()
	if err != nil {
		return err
	}
	for _, at := range s.Node.Dirs {
		if at.Online == (at.Path == dir) {
			return fmt.Errorf("directory %s: online is %v", at.Path, at.Online)
		}
	}
	return nil
}

// readAgain makes a consumer of its own read the topic from its start.
func readAgain(t *testing.T, c *cluster.Cluster, topic string) {
	t.Helper()
	parts := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}
	cl := cluster.Client(t, c.Bootstrap(), kgo.ConsumePartitions(parts))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), healed)
	defer cancel()
	for got := 0; got < 200; got += cl.PollFetches(ctx).NumRecords() {
		if ctx.Err() != nil {
			t.Fatalf("%d records of %s could be read", got, topic)
		}
	}
}

// A failed write, sync or read takes that directory away at once and for good,
// however well the disk does afterwards: nothing is acknowledged that the disk
// refused, others lead, the node and its other directory go on. A restart ends it.
func TestDiskErrors(t *testing.T) {
	eio := func(op faultsys.Op, times int) faultsys.Rule {
		return faultsys.Rule{Ops: op, Errno: syscall.EIO, Times: times}
	}
	d := newBadDisk(t, "log.flush.interval.messages=1")
	for i, tt := range []struct {
		name  string
		leads bool
		rule  faultsys.Rule
	}{
		{"write once", true, eio(faultsys.Write, 1)},
		{"sync once", true, eio(faultsys.Sync, 1)},
		{"sync for ever", true, eio(faultsys.Sync, 0)},
		{"read once", true, eio(faultsys.Read, 1)},
		{"write once as a follower", false, eio(faultsys.Write, 1)},
		{"sync once as a follower", false, eio(faultsys.Sync, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.t, d.c.T = t, t
			topic, order := topicName(i), []int{1, 2, 3}
			if !tt.leads {
				order = []int{2, 1, 3}
			}
			cluster.CreateAssigned(t, d.c.Bootstrap(), topic, order...)
			w := cluster.StartWorkload(t, d.c.Bootstrap(), topic, 1)
			w.WaitMore(200, healed)
			dir := d.dirOf(topic)
			tt.rule.Path = filepath.Join(dir, topic+"-0")
			d.sys.Set(tt.rule)
			if tt.rule.Ops == faultsys.Read {
				readAgain(t, d.c, topic)
			}
			d.c.Node(2).WaitPartition(topic, 0, healed, without(d.n))
			if tt.rule.Times == 1 && d.sys.Hits() != 1 {
				t.Errorf("%d calls failed, want 1", d.sys.Hits())
			}
			d.sys.Set()
			w.WaitMore(200, healed)
			cluster.Stays(t, time.Second/2, func() error { return d.onlyOff(dir) })
			d.n.Stop()
			d.n.Start()
			d.n.WaitReady()
			cluster.WaitISR(t, d.c.Bootstrap(), topic, 3, healed)
			w.WaitMore(200, healed)
			w.Finish()
		})
	}
	d.c.T = t
}
