package broker

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/lostfound"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/vfs"
)

// rot flips one bit of a segment's file, as a disk may.
func rot(t *testing.T, n *node, p *partition.Partition, segment int, at int64) {
	t.Helper()
	f, err := n.fs.Open(path.Join(p.Log().Dir(), fmt.Sprintf("%020d.log", p.Log().Segments()[segment].Base)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err = f.ReadAt(b[:], at); err == nil {
		_, err = f.WriteAt([]byte{b[0] ^ 4}, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func raw(t *testing.T, p *partition.Partition) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := p.Log().Copy(0, 1<<30, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// damaged is two brokers with three segments of a topic, the middle one with
// a flipped bit at one of them.
func damaged(t *testing.T, at model.BrokerID) (n map[model.BrokerID]*node, apply func(...metadata.Record), p map[model.BrokerID]*partition.Partition, good []byte) {
	n, apply = wired(t, func(c *Config) {
		c.ScrubRate = 1 << 30 // a pass a second
		store, err := lostfound.Open(c.FS, "state/lost-found", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		c.LostFound = store
	})
	n[1].apply(t, true, cluster()...)
	n[2].apply(t, true, cluster()...)
	apply(topic("a"), part("a", 0, 1, 1, 2))
	p = map[model.BrokerID]*partition.Partition{}
	for id := range n {
		var err error
		if p[id], err = n[id].Partition(tpOf("a", 0)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		n[1].produce(t, tpOf("a", 0), 10)
		pass(time.Second)
		for id := range p {
			if err := p[id].Log().Roll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	good = raw(t, p[1])
	if !bytes.Equal(good, raw(t, p[2])) {
		t.Fatal("the logs differ")
	}
	n[1].take()
	n[2].take()
	rot(t, n[at], p[at], 1, 300)
	pass(3 * time.Second)
	return n, apply, p, good
}

func closeBoth(n map[model.BrokerID]*node) {
	n[1].Broker.Close(true, 1)
	n[2].Broker.Close(true, 1)
}

// leaves is what the controller does about a lost replica.
func leaves(id, leader model.BrokerID) metadata.Record {
	dirs := []model.DirectoryID{dirID(1), dirID(1)}
	dirs[id-1] = model.LostDir
	return &metadata.PartitionChangeRecord{
		TopicID: topicID("a"), Leader: &leader, ISR: []model.BrokerID{leader}, Dirs: dirs}
}

// healed checks that the replica has everything again, byte by byte, has told
// the controller, and that the damaged bytes were kept.
func healed(t *testing.T, n *node, p *partition.Partition, good []byte) {
	t.Helper()
	pass(5 * time.Second)
	if got := raw(t, p); !bytes.Equal(got, good) {
		t.Fatalf("%d bytes, want the %d of before", len(got), len(good))
	}
	if s := n.take(); !strings.Contains(s, "assign 0 to 1") {
		t.Errorf("the directory wasn't reported again: %s", s)
	}
	if _, _, sick := n.Scrubbed(); sick != 0 || p.Damage() != nil {
		t.Errorf("%d still sick, damage %v", sick, p.Damage())
	}
	items, err := lostfound.List(n.fs, "state/lost-found")
	if err != nil || len(items) != 1 || items[0].From != 10 || items[0].Reason != "damaged" {
		t.Errorf("%v, kept %+v", err, items)
	}
}

// A follower with a damaged segment leaves the ISR first; only then it cuts its
// log, and fetches the segment again.
func TestDamagedFollowerFetchesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, apply, p, good := damaged(t, 2)
		defer closeBoth(n)
		if s := n[2].take(); !strings.Contains(s, "assign 0 to 2") || p[2].LogEnd() != 30 {
			t.Fatalf("%s, log end %d", s, p[2].LogEnd())
		}
		if e, ok := n[2].last(journal.ReplicaDamaged); !ok || e.Reason != "scrub" {
			t.Errorf("%+v", e)
		}
		apply(leaves(2, 1))
		healed(t, n[2], p[2], good)
		if hw := p[1].HighWatermark(); hw != 30 {
			t.Errorf("the leader's high watermark went back to %d", hw)
		}
	})
}

// A leader hands over, follows, and then does the same.
func TestDamagedLeaderHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, apply, p, good := damaged(t, 1)
		defer closeBoth(n)
		if s := n[1].take(); !strings.Contains(s, "assign 0 to 2") || p[1].LogEnd() != 30 {
			t.Fatalf("%s, log end %d", s, p[1].LogEnd())
		}
		apply(leaves(1, 2))
		healed(t, n[1], p[1], good)
	})
}

// A damaged leader reports itself just as the last other member of the ISR goes:
// the controller takes the leadership away, and there is nobody to give it to.
// The report is taken back, so that it may be elected again.
func TestDamagedLeaderTakesItsReportBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, p, _ := damaged(t, 1)
		defer closeBoth(n)
		if s := n[1].take(); !strings.Contains(s, "assign 0 to 2") {
			t.Fatal(s)
		}
		none := model.NoBroker
		n[1].apply(t, false, &metadata.PartitionChangeRecord{TopicID: topicID("a"), Leader: &none,
			ISR: []model.BrokerID{1}, Dirs: []model.DirectoryID{model.LostDir, dirID(1)}})
		pass(3 * time.Second)
		if s := n[1].take(); !strings.Contains(s, "assign 0 to 1") {
			t.Fatalf("the directory wasn't reported again: %s", s)
		}
		n[1].apply(t, false, &metadata.PartitionChangeRecord{TopicID: topicID("a"), Leader: ptr(model.BrokerID(1)),
			Dirs: []model.DirectoryID{dirID(1), dirID(1)}})
		pass(3 * time.Second)
		if s := n[1].take(); strings.Contains(s, "assign") || n[1].role(t, tpOf("a", 0)) != "leader" || p[1].LogEnd() != 30 {
			t.Errorf("%s, role %s, log end %d", s, n[1].role(t, tpOf("a", 0)), p[1].LogEnd())
		}
	})
}

// The only in-sync replica cuts nothing: it refuses what is damaged, says so,
// and once somebody else is in the ISR it hands over.
func TestDamagedLastReplicaStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem(), 1, func(c *Config) { c.ScrubRate = 1 << 30 })
		defer n.Broker.Close(true, 1)
		n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1))...)
		p, err := n.Partition(tpOf("a", 0))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			n.produce(t, tpOf("a", 0), 10)
			if err := p.Log().Roll(); err != nil {
				t.Fatal(err)
			}
		}
		n.take()
		rot(t, n, p, 0, 340)
		pass(5 * time.Second)
		if e, ok := n.last(journal.ReplicaQuarantined); !ok || e.Reason != "only-in-sync-replica" {
			t.Errorf("%+v", e)
		}
		d := p.Damage()
		if s := n.take(); strings.Contains(s, "assign") || p.LogEnd() != 20 || len(d) != 1 || d[0].To-d[0].From != 1 {
			t.Errorf("%s, log end %d, damage %v", s, p.LogEnd(), d)
		}
		for off := model.Offset(0); off < 20; off++ {
			f, err := p.Fetch(partition.Fetch{Replica: -1, Offset: off, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1, MinOne: true})
			f.Slice.Release()
			if (err != nil) != (off == d[0].From) {
				t.Errorf("at %d: %v", off, err)
			}
		}
		_, found, sick := n.Scrubbed()
		if found != 1 || sick != 1 {
			t.Errorf("found %d, sick %d", found, sick)
		}
	})
}

// What a leader wrote that nobody else had is cut when it follows its
// successor, and kept in lost and found, with the reason.
func TestDivergedRecordsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, apply := wired(t, func(c *Config) {
			store, err := lostfound.Open(c.FS, "state/lost-found", 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			c.LostFound = store
		})
		defer closeBoth(n)
		n[1].apply(t, true, cluster()...)
		n[2].apply(t, true, cluster()...)
		apply(topic("a"), part("a", 0, 1, 1, 2))
		n[1].produce(t, tpOf("a", 0), 10)
		pass(2 * time.Second)
		n[2].apply(t, false, leaderIs("a", 0, 2)) // 1 hasn't heard of it
		n[1].produce(t, tpOf("a", 0), 3)
		n[2].produce(t, tpOf("a", 0), 5)
		p, err := n[1].Partition(tpOf("a", 0))
		if err != nil {
			t.Fatal(err)
		}
		gone := raw(t, p)
		n[1].apply(t, false, leaderIs("a", 0, 2))
		pass(3 * time.Second)
		items, err := lostfound.List(n[1].fs, "state/lost-found")
		if err != nil || len(items) != 1 {
			t.Fatalf("%v %+v", err, items)
		}
		i := items[0]
		if i.From != 10 || i.To != 13 || i.Cut != 10 || i.HighWatermark != 10 || i.Reason != "diverged" || !i.Whole ||
			i.TopicID != topicID("a") || len(i.Epochs) != 1 {
			t.Errorf("%+v", i)
		}
		b, err := lostfound.Read(n[1].fs, "state/lost-found", i)
		if err != nil || len(b) == 0 || !bytes.HasSuffix(gone, b) {
			t.Errorf("%v, %d bytes kept", err, len(b))
		}
		if e, ok := n[1].last(journal.Note); !ok || e.Reason != "kept-in-lost-found" || e.Detail != i.ID {
			t.Errorf("%+v", e)
		}
	})
}

// A cut goes on when lost and found is broken.
func TestCutWithoutLostAndFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, apply := wired(t, func(c *Config) {
			store, err := lostfound.Open(c.FS, "state/lost-found", 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.FS.RemoveAll("state"); err != nil {
				t.Fatal(err)
			}
			c.LostFound = store
		})
		defer closeBoth(n)
		n[1].apply(t, true, cluster()...)
		n[2].apply(t, true, cluster()...)
		apply(topic("a"), part("a", 0, 1, 1, 2))
		n[2].apply(t, false, leaderIs("a", 0, 2))
		n[1].produce(t, tpOf("a", 0), 3)
		n[2].produce(t, tpOf("a", 0), 5)
		n[1].apply(t, false, leaderIs("a", 0, 2))
		pass(3 * time.Second)
		if p, err := n[1].Partition(tpOf("a", 0)); err != nil || p.LogEnd() != 5 {
			t.Errorf("%v, log end %d", err, p.LogEnd())
		}
	})
}

// A bit of the newest segment flips below the recovery point, and then the node
// loses its power. What recovery has to cut off was on disk and may be committed,
// though the high watermark that was written down doesn't say so: the replica
// doesn't lead, and the bytes are kept.
func TestRecoveryBelowTheRecoveryPointOwes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		records := append(cluster(), topic("a"), part("a", 0, 1, 1, 2))
		n := start(t, fs, 1, nil)
		n.apply(t, true, records...)
		n.produce(t, tpOf("a", 0), 20)
		p := n.at(t, "a", 0)
		if err := p.Log().Flush(20); err != nil {
			t.Fatal(err)
		}
		n.Checkpoint()
		if p.HighWatermark() != 0 {
			t.Fatalf("high watermark %d", p.HighWatermark())
		}
		rot(t, n, p, 0, p.Log().Size()/2)
		after := fs.CrashClone(100, 1)
		n.Broker.Close(false, 0)

		store, err := lostfound.Open(after, "state/lost-found", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		n = start(t, after, 1, func(c *Config) { c.LostFound = store })
		defer func() { n.Broker.Close(false, 0) }()
		n.apply(t, true, records...)
		if owed, ok := n.Owed(tpOf("a", 0)); !ok || owed != 20 {
			t.Errorf("owes %d %t, want 20", owed, ok)
		}
		if role := n.role(t, tpOf("a", 0)); role == "leader" {
			t.Error("it leads without the records")
		}
		items, err := lostfound.List(after, "state/lost-found")
		if err != nil || len(items) != 1 {
			t.Fatalf("kept %v (%v)", items, err)
		}
		end := n.at(t, "a", 0).LogEnd()
		if i := items[0]; i.Cut != end || end == 0 || end >= 20 || i.Bytes == 0 || !i.Whole || i.Reason != keptByRecovery {
			t.Errorf("kept %+v, the log ends at %d", i, end)
		}
	})
}
