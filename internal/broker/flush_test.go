package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/vfs"
)

// disk is a file system whose syncs a test can slow down or fail.
type disk struct {
	mem   *vfs.Mem
	mu    sync.Mutex
	delay map[string]time.Duration // of the syncs of files whose name contains the key
	fail  string
	syncs map[string]int
}

var errDisk = errors.New("input/output error")

func newDisk() *disk {
	return &disk{mem: vfs.NewMem(), delay: map[string]time.Duration{}, syncs: map[string]int{}}
}

func (d *disk) fs() vfs.FS {
	return vfs.NewFaulty(d.mem, func(op vfs.Op) error {
		if op.Kind != vfs.OpSync || !strings.HasSuffix(op.Name, ".log") {
			return nil
		}
		d.mu.Lock()
		d.syncs[op.Name]++
		var wait time.Duration
		for part, v := range d.delay {
			if strings.Contains(op.Name, part) {
				wait = v
			}
		}
		fail := d.fail != "" && strings.Contains(op.Name, d.fail)
		d.mu.Unlock()
		if wait > 0 {
			<-time.After(wait)
		}
		if fail {
			return errDisk
		}
		return nil
	})
}

func (d *disk) slow(part string, by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay[part] = by
}

// onDisks starts brokers 1 and 2 over two disks, each with two log dirs.
func onDisks(t *testing.T) (map[model.BrokerID]*node, map[model.BrokerID]*disk, func(...metadata.Record)) {
	disks := map[model.BrokerID]*disk{1: newDisk(), 2: newDisk()}
	n, apply := wired(t, func(c *Config) { c.FS = disks[c.Self].fs() })
	for id := range n {
		n[id].apply(t, true, cluster()...)
	}
	return n, disks, apply
}

// closeAll first lets syncs in flight end: a lock that waits for one would stop
// synthetic time.
func closeAll(n map[model.BrokerID]*node) {
	pass(time.Minute)
	n[1].Broker.Close(true, 1)
	n[2].Broker.Close(true, 1)
}

func (n *node) at(t *testing.T, name string, index int32) *partition.Partition {
	t.Helper()
	p, err := n.Partition(tpOf(name, index))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What is committed with flush.messages=1 is on the disk of every replica in the
// ISR: both machines lose their power at the same instant, at any instant, and
// have it all.
func TestCommittedSurvivesThePowerLossOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, disks, apply := onDisks(t)
		defer closeAll(n)
		disks[1].slow(".log", 3*time.Millisecond)
		disks[2].slow(".log", 7*time.Millisecond)
		apply(topic("a"), topicSet("a", "flush.messages", "1"), part("a", 0, 1, 1, 2))
		checked := model.Offset(0)
		for round := range 100 {
			n[1].produce(t, tpOf("a", 0), 1+round%5)
			pass(time.Duration(round%13) * time.Millisecond)
			hw := n[1].at(t, "a", 0).HighWatermark()
			checked = max(checked, hw)
			for id, d := range disks {
				after := d.mem.CrashClone(round%3*30, uint64(round))
				l, err := commitlog.Open(commitlog.Options{FS: after, Dir: "d1/a-0", Config: commitlog.DefaultConfig()})
				if err != nil {
					t.Fatal(err)
				}
				if l.End() < hw {
					t.Fatalf("round %d: broker %d has [0, %d), committed is %d", round, id, l.End(), hw)
				}
			}
		}
		if checked < 100 {
			t.Fatalf("only %d records were committed", checked)
		}
	})
}

// Neither the leader's nor a follower's disk may be left out.
func TestAckWaitsForEverySync(t *testing.T) {
	for id := model.BrokerID(1); id <= 2; id++ {
		t.Run(fmt.Sprintf("broker %d is slow", id), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, disks, apply := onDisks(t)
				defer closeAll(n)
				apply(topic("a"), topicSet("a", "flush.messages", "1"), part("a", 0, 1, 1, 2))
				disks[id].slow(".log", 5*time.Second)
				n[1].produce(t, tpOf("a", 0), 1) // of several, the first would have a sync of its own
				pass(4 * time.Second)
				if hw := n[1].at(t, "a", 0).HighWatermark(); hw != 0 || n[2].at(t, "a", 0).LogEnd() != 1 {
					t.Fatalf("high watermark %d before the sync, the follower ends at %d", hw, n[2].at(t, "a", 0).LogEnd())
				}
				pass(2 * time.Second)
				if hw := n[1].at(t, "a", 0).HighWatermark(); hw != 1 {
					t.Fatalf("high watermark %d after it", hw)
				}
			})
		})
	}
}

// The files that one answer touched are synced together, and one disk that
// hangs holds up nobody on another.
func TestSyncsRunTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, disks, apply := onDisks(t)
		defer closeAll(n)
		apply(topic("a"), topicSet("a", "flush.messages", "1"), part("a", 0, 1, 1, 2), part("a", 1, 1, 1, 2),
			part("a", 2, 1, 1, 2), part("a", 3, 1, 1, 2))
		pass(time.Second)
		disks[2].slow(".log", 100*time.Millisecond)
		for i := range int32(4) {
			n[1].produce(t, tpOf("a", i), 1)
		}
		pass(250 * time.Millisecond) // two rounds at most: the fetch was under way when the first was appended
		for i := range int32(4) {
			if hw := n[1].at(t, "a", i).HighWatermark(); hw != 1 {
				t.Fatalf("high watermark of %d is %d", i, hw)
			}
		}

		other := part("b", 0, 1, 1)
		other.Dirs = []model.DirectoryID{dirID(2)}
		apply(topic("b"), topicSet("b", "flush.messages", "1"), other)
		disks[1].slow("d1/", 20*time.Second)
		for i := range int32(4) {
			n[1].produce(t, tpOf("a", i), 1)
		}
		n[1].produce(t, tpOf("b", 0), 5)
		synctest.Wait()
		if hw := n[1].at(t, "b", 0).HighWatermark(); hw != 5 {
			t.Fatalf("high watermark %d while another disk hangs", hw)
		}
		disks[1].slow("d1/", 0)
		pass(time.Minute)
	})
}

// A sync that failed takes the directory offline, and is never tried again:
// what the kernel has thrown away, a second one would report as written.
func TestFailedSyncIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, disks, apply := onDisks(t)
		defer closeAll(n)
		apply(topic("a"), topicSet("a", "flush.messages", "1"), part("a", 0, 1, 1, 2), part("a", 1, 2, 2, 1))
		disks[1].fail = "a-0"
		before := disks[1].syncs["d1/a-0/00000000000000000000.log"]
		n[1].produce(t, tpOf("a", 0), 1)
		pass(time.Minute)
		if e, ok := n[1].last(journal.DirOffline); !ok || e.Dir != "d1" || !strings.Contains(e.Detail, errDisk.Error()) {
			t.Fatalf("event %+v", e)
		}
		if got := disks[1].syncs["d1/a-0/00000000000000000000.log"] - before; got != 1 {
			t.Fatalf("synced %d times", got)
		}
		for i := range int32(2) {
			want(t, "role", n[1].role(t, tpOf("a", i)), "offline")
		}
	})
}

// flush.messages counts records, flush.ms time, on leaders and followers alike.
func TestFlushIntervals(t *testing.T) {
	for _, c := range []struct {
		name, key, value string
		records          int
		after            time.Duration
		flushed          model.Offset
	}{
		{"neither", "flush.ms", "9223372036854775807", 10, 10 * time.Minute, 0},
		{"fewer than flush.messages", "flush.messages", "8", 7, time.Hour, 0},
		{"flush.messages", "flush.messages", "8", 8, 0, 8},
		{"too early", "flush.ms", "2000", 3, 900 * time.Millisecond, 0},
		{"flush.ms", "flush.ms", "2000", 3, 3 * time.Second, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _, apply := onDisks(t)
				defer closeAll(n)
				apply(topic("a"), topicSet("a", c.key, c.value), part("a", 0, 1, 1, 2))
				pass(time.Minute)
				n[1].produce(t, tpOf("a", 0), c.records)
				pass(c.after + 50*time.Millisecond)
				for id := range n {
					p := n[id].at(t, "a", 0)
					if p.LogEnd() != model.Offset(c.records) || p.Log().Flushed() != c.flushed {
						t.Errorf("broker %d: flushed %d of %d, want %d", id, p.Log().Flushed(), p.LogEnd(), c.flushed)
					}
				}
			})
		})
	}
}

// Switched on and off while data flows, flush.messages=1 neither stops a
// follower nor lets it acknowledge what isn't on disk.
func TestFlushOnAckSwitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, apply := onDisks(t)
		defer closeAll(n)
		apply(topic("a"), part("a", 0, 1, 1, 2))
		end := 0
		for i, leader := range []model.BrokerID{1, 1, 2, 2, 1, 1} {
			apply(topicSet("a", "flush.messages", []string{"1", "1000000"}[i%2]))
			apply(leaderIs("a", 0, leader))
			n[leader].produce(t, tpOf("a", 0), 5)
			end += 5
			pass(3 * time.Second)
			for id := range n {
				if p := n[id].at(t, "a", 0); p.HighWatermark() != model.Offset(end) {
					t.Fatalf("step %d: broker %d has high watermark %d of %d", i, id, p.HighWatermark(), end)
				}
			}
		}
	})
}
