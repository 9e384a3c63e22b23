package broker

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// KAFKA-1647: a partition whose leader is down while its follower restarts, twice,
// keeps its high watermark: the replica is there without a leader, and with it its
// line in the checkpoint.
func TestHighWatermarkSurvivesWithoutALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		n := start(t, fs, 1, nil)
		recs := append(cluster(), topic("a"), part("a", 0, 1, 1), part("a", 1, 1, 1))
		n.apply(t, true, recs...)
		n.produce(t, tpOf("a", 0), 5)
		n.Broker.Close(true, n.epoch)
		for range 2 {
			n = start(t, fs, 1, nil)
			n.apply(t, true, append(recs, leaderIs("a", 0, model.NoBroker))...)
			p, err := n.Partition(tpOf("a", 0))
			if err != nil || p.HighWatermark() != 5 {
				t.Fatalf("%v, %+v", err, p.State())
			}
			want(t, "role", n.role(t, tpOf("a", 0)), "follower")
			pass(time.Minute)
			n.Broker.Close(false, 0)
		}
	})
}

// KAFKA-16157: a topic is deleted and made again while one of its old directories
// is broken. The new one doesn't take after the old, and when the disk is mended,
// what it held isn't taken for the new topic's.
func TestRecreatedTopicBesideAFailedDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, broken := vfs.NewMem(), make(chan struct{})
		fs := vfs.NewFaulty(mem, func(op vfs.Op) error {
			select {
			case <-broken:
				if strings.HasPrefix(op.Name, "d2") {
					return errors.New("input/output error")
				}
			default:
			}
			return nil
		})
		n := start(t, fs, 2, nil)
		old := part("a", 0, 1, 1)
		old.Dirs = []model.DirectoryID{dirID(2)}
		n.apply(t, true, append(cluster(), topic("a"), old)...)
		n.produce(t, tpOf("a", 0), 5)
		close(broken)
		pass(6 * time.Second)
		want(t, "role", n.role(t, tpOf("a", 0)), "offline")

		p := part("second", 0, 1, 1)
		p.Dirs = []model.DirectoryID{model.UnassignedDir}
		n.apply(t, false, &metadata.RemoveTopicRecord{TopicID: topicID("a")},
			&metadata.TopicRecord{Name: "a", TopicID: topicID("second")}, p)
		want(t, "the new one", n.role(t, tpOf("a", 0)), "leader")
		n.produce(t, tpOf("a", 0), 2)
		want(t, "d1", n.dirs2(t, "d1"), "a-0")
		img := n.img
		n.Broker.Close(true, n.epoch)

		n = start(t, mem, 2, nil)
		defer func() { n.Broker.Close(true, n.epoch) }()
		n.Apply(img, nil)
		got, err := n.Partition(tpOf("a", 0))
		if err != nil || got.TopicID() != topicID("second") || got.LogEnd() != 2 {
			t.Fatalf("%v, %+v", err, got.State())
		}
		want(t, "the mended disk", n.dirs2(t, "d2"), "a-0.*-stray")
	})
}

// A topic that is made again under its name inherits nothing of the old one's
// checkpoints, not even if the broker dies before it writes them the next time:
// with the old log start the first records would be gone, with the old high
// watermark consumers would see what isn't committed, with the old recovery point
// nobody would look at what was not synced.
func TestRecreatedTopicInheritsNoCheckpoint(t *testing.T) {
	for _, dies := range []bool{false, true} { // between the deletion and the new topic
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem()
			n := start(t, mem, 1, nil)
			a0 := tpOf("a", 0)
			n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1))...)
			n.produce(t, a0, 20)
			if _, err := n.at(t, "a", 0).DeleteRecords(10); err != nil {
				t.Fatal(err)
			}
			n.Checkpoint()
			if dies {
				n.Broker.Close(false, 0)
				mem = mem.CrashClone(100, 1)
				if err := mem.RemoveAll("d1/a-0"); err != nil { // as if it died after that
					t.Fatal(err)
				}
				n = start(t, mem, 1, nil)
			}
			recs := []metadata.Record{&metadata.TopicRecord{Name: "a", TopicID: topicID("second")}, part("second", 0, 1, 1)}
			if dies {
				n.apply(t, true, append(cluster(), recs...)...)
			} else {
				n.apply(t, false, append([]metadata.Record{&metadata.RemoveTopicRecord{TopicID: topicID("a")}}, recs...)...)
			}
			n.produce(t, a0, 15)
			img := n.img
			n.Broker.Close(false, 0)

			n = start(t, mem.CrashClone(100, 1), 1, nil)
			defer func() { n.Broker.Close(true, n.epoch) }()
			d := n.dirs[0]
			if hw, at, point := d.highWatermarks[a0], d.logStarts[a0], d.recoveryPoints[a0]; hw+at+point != 0 {
				t.Fatalf("high watermark %d, log start %d, recovery point %d of the old topic", hw, at, point)
			}
			n.Apply(img, nil)
			if p := n.at(t, "a", 0); p.LogStart() != 0 || p.LogEnd() != 15 {
				t.Fatalf("log is [%d, %d), want [0, 15)", p.LogStart(), p.LogEnd())
			}
		})
	}
}

func checkpointed(t *testing.T, fs vfs.FS, name string) model.Offset {
	t.Helper()
	m, err := commitlog.ReadCheckpoint(fs, "d1/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return m[tpOf("a", 0)]
}

// What is written down is the high watermark and not the log end: a replica that
// comes back shorter would owe records that nobody was promised.
func TestCheckpointHoldsTheHighWatermark(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1, 2))...)
		n.produce(t, tpOf("a", 0), 5)
		n.Checkpoint()
		if at := checkpointed(t, n.fs, highWatermarksName); at != 0 {
			t.Fatalf("%d with nobody else at 5", at)
		}
		n.apply(t, false, &metadata.PartitionChangeRecord{
			TopicID: topicID("a"), Replicas: []model.BrokerID{1}, ISR: []model.BrokerID{1}, Leader: ptr(self),
			Dirs: []model.DirectoryID{dirID(1)},
		})
		n.Checkpoint()
		if at := checkpointed(t, n.fs, highWatermarksName); at != 5 {
			t.Fatalf("%d alone", at)
		}
	})
}

// A cut below what was flushed lowers the recovery point on disk at once: what is
// written above the cut next isn't flushed, and a crash must not trust it.
func TestCutLowersTheRecoveryPointAtOnce(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1, 2))...)
		n.produce(t, tpOf("a", 0), 20)
		p, err := n.Partition(tpOf("a", 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Log().Flush(20); err != nil {
			t.Fatal(err)
		}
		n.Checkpoint()
		if at := checkpointed(t, n.fs, recoveryPointsName); at != 20 {
			t.Fatalf("%d after a flush of 20", at)
		}
		n.apply(t, false, leaderIs("a", 0, 2))
		if err := p.TruncateTo(1, 5); err != nil {
			t.Fatal(err)
		}
		if at := checkpointed(t, n.fs, recoveryPointsName); at != 5 {
			t.Fatalf("%d after a cut at 5", at)
		}
	})
}
