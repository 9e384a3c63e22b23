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

// The syncs of one directory become slow, with flush on every message. Acks of
// its partitions wait, those of the other directory don't; a follower that syncs
// too slowly leaves the in-sync set there, and only there, and comes back.
func TestSlowDisk(t *testing.T) {
	d := newBadDisk(t, "log.flush.interval.messages=1")
	for i, tt := range []struct {
		name          string
		order, others []int // replicas of the slow topic and of the one beside it
		delay         time.Duration
	}{
		{"of a leader", []int{1, 2, 3}, []int{1, 2, 3}, 2 * time.Second},
		// What follows the same leader shares a fetcher, and waits with it.
		{"of a follower", []int{2, 1, 3}, []int{3, 1, 2}, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.t, d.c.T = t, t
			topics, loads := []string{topicName(2 * i), topicName(2*i + 1)}, []*cluster.Workload(nil)
			for i, topic := range topics {
				cluster.CreateAssigned(t, d.c.Bootstrap(), topic, [][]int{tt.order, tt.others}[i]...)
				w := cluster.StartWorkload(t, d.c.Bootstrap(), topic, 1)
				w.WaitMore(200, healed)
				loads = append(loads, w)
			}
			slow, beside := loads[0], loads[1]
			if d.dirOf(topics[0]) == d.dirOf(topics[1]) {
				t.Fatalf("both topics are in %s", d.dirOf(topics[0]))
			}
			d.sys.Set(faultsys.Rule{Ops: faultsys.Sync, Path: filepath.Join(d.dirOf(topics[0]), topics[0]+"-0"), Delay: tt.delay})
			slow.NewGap()
			beside.NewGap()
			if tt.order[0] == 1 {
				slow.WaitMore(500, healed) // it works, a sync at a time
				if gap := slow.LongestGap(); gap < tt.delay/2 {
					t.Errorf("acks of the slow directory waited %v at most", gap)
				}
			} else {
				d.c.Node(2).WaitPartition(topics[0], 0, healed, without(d.n))
			}
			d.c.Node(2).WaitPartition(topics[1], 0, healed, func(p cluster.PartitionState) bool { return len(p.ISR) == 3 })
			slow.WaitMore(200, healed)
			if gap := beside.LongestGap(); gap > tt.delay/2 {
				t.Errorf("acks of the other directory waited %v", gap)
			}
			t.Logf("longest gap %v, of the other directory %v", slow.LongestGap().Round(time.Millisecond), beside.LongestGap().Round(time.Millisecond))
			d.sys.Set()
			for i, w := range loads {
				cluster.WaitISR(t, d.c.Bootstrap(), topics[i], 3, healed)
				w.Finish()
			}
		})
	}
	d.c.T = t
}
