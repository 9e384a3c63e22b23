package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/replica"
	"tidemark/internal/vfs"
)

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func want(t *testing.T, what, got, wanted string) {
	t.Helper()
	if got != wanted {
		t.Fatalf("%s:\n got %s\nwant %s", what, got, wanted)
	}
}

// inBubble runs fn with a fresh node in synthetic time and closes it.
func inBubble(t *testing.T, dirs int, set func(*Config), fn func(*testing.T, *node)) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem(), dirs, set)
		defer func() { n.Broker.Close(true, n.epoch) }()
		fn(t, n)
	})
}

func TestLeadsFollowsAndMovesOn(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("whole=%v", whole), func(t *testing.T) {
			inBubble(t, 1, nil, func(t *testing.T, n *node) {
				n.apply(t, true, cluster()...)
				n.apply(t, whole, topic("a"), part("a", 0, 1, 1, 2), part("a", 1, 2, 2, 1), part("a", 2, 2, 2, 3),
					part("a", 3, -1, 1, 2))
				got := n.take()
				for _, line := range []string{"fetch a-1 from 2 at h2:9092 epoch 0", "elected a-0 epoch 0", "unfetch a-0"} {
					if !strings.Contains(got, line) {
						t.Fatalf("story %q lacks %q", got, line)
					}
				}
				want(t, "roles", n.role(t, tpOf("a", 0))+" "+n.role(t, tpOf("a", 1))+" "+n.role(t, tpOf("a", 3)),
					"leader follower follower")
				_, err := n.Partition(tpOf("a", 2))
				if !errors.Is(err, partition.ErrNotHosted) {
					t.Fatalf("a-2: %v", err)
				}
				if _, err = n.Partition(tpOf("a", 4)); !errors.Is(err, partition.ErrUnknownPartition) {
					t.Fatalf("a-4: %v", err)
				}
				_, err = n.PartitionByID(model.TopicIDPartition{TopicID: topicID("z")})
				if !errors.Is(err, partition.ErrUnknownTopicID) {
					t.Fatalf("unknown id: %v", err)
				}
				n.produce(t, tpOf("a", 0), 3)

				// The roles change places: fetchers stop before and start after.
				n.apply(t, whole, leaderIs("a", 0, 2), leaderIs("a", 1, 1))
				fetch := "fetch a-0 from 2 at h2:9092 epoch 1; "
				want(t, "after the change", n.take(), "unfetch a-1; unfetch a-0; "+extra(whole, "unfetch a-3; ")+
					"resigned a-0 epoch 0; "+fetch+extra(whole, fetch)+"elected a-1 epoch 1")

				// A change of the ISR alone leaves the fetcher where it is: adding again is no news to it.
				n.apply(t, false, &metadata.PartitionChangeRecord{TopicID: topicID("a"), ISR: []model.BrokerID{2}})
				want(t, "ISR only", n.take(), "fetch a-0 from 2 at h2:9092 epoch 1")

				// The leader moves to another address without a new epoch.
				n.apply(t, false, &metadata.RegisterBrokerRecord{BrokerID: 2, BrokerEpoch: 900,
					Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: "new", Port: 1}}})
				want(t, "new address", n.take(), "fetch a-0 from 2 at new:1 epoch 1")

				// No leader: keep the log, fetch nothing.
				n.apply(t, false, leaderIs("a", 0, model.NoBroker))
				want(t, "no leader", n.take(), "unfetch a-0")
				want(t, "role", n.role(t, tpOf("a", 0)), "follower")
			})
		})
	}
}

func extra(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}

// A topic is deleted and made again under its name in one batch: the old
// records are gone, also for a reader of the directory.
func TestDeletionComesBeforeCreation(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, n *node) {
		n.apply(t, true, cluster()...)
		n.apply(t, false, topic("a"), part("a", 0, 1, 1))
		n.produce(t, tpOf("a", 0), 5)
		n.take()
		again := topicID("second")
		p := part("second", 0, 1, 1)
		p.TopicID = again
		n.apply(t, false, &metadata.RemoveTopicRecord{TopicID: topicID("a")},
			&metadata.TopicRecord{Name: "a", TopicID: again}, p)
		want(t, "story", n.take(), "unfetch a-0; unfetch a-0; resigned a-0 epoch 0; elected a-0 epoch 0")
		got, err := n.Partition(tpOf("a", 0))
		if err != nil || got.TopicID() != again || got.LogEnd() != 0 {
			t.Fatalf("partition %v %v", got, err)
		}
		if _, err := n.PartitionByID(model.TopicIDPartition{TopicID: topicID("a")}); err == nil {
			t.Fatal("the old topic id still finds a replica")
		}
		want(t, "directories", n.dirs2(t, "d1"), "a-0 a-0.*-delete")
		pass(59 * time.Second)
		want(t, "before the delay", n.dirs2(t, "d1"), "a-0 a-0.*-delete")
		pass(2 * time.Second)
		want(t, "after the delay", n.dirs2(t, "d1"), "a-0")
		// Moved away by a reassignment: the replica goes, the topic stays.
		n.apply(t, false, &metadata.PartitionChangeRecord{TopicID: again, PartitionID: 0, Replicas: []model.BrokerID{2},
			ISR: []model.BrokerID{2}, Leader: ptr(model.BrokerID(2)), Dirs: []model.DirectoryID{dirID(1)}})
		if _, err := n.Partition(tpOf("a", 0)); !errors.Is(err, partition.ErrNotHosted) {
			t.Fatal(err)
		}
	})
}

func ptr[T any](v T) *T { return &v }

// dirs2 lists the replica directories in a log dir, ids replaced by a star.
func (n *node) dirs2(t *testing.T, dir string) string {
	t.Helper()
	entries, err := n.fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir {
			continue
		}
		name := e.Name
		if dot := strings.IndexByte(name, '.'); dot >= 0 {
			name = name[:dot+1] + "*" + name[strings.LastIndexByte(name, '-'):]
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestCleanRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		n := start(t, fs, 2, nil)
		recs := append(cluster(), topic("a"), part("a", 0, 1, 1), part("a", 1, 2, 2, 1), topic("gone"), part("gone", 0, 1, 1))
		n.apply(t, true, recs...)
		n.produce(t, tpOf("a", 0), 7)
		n.Broker.Close(true, n.epoch)

		n = start(t, fs, 2, nil)
		defer func() { n.Broker.Close(true, n.epoch) }()
		if n.PreviousEpoch() != 500 {
			t.Fatalf("previous epoch %d", n.PreviousEpoch())
		}
		n.epoch = 700 // registered anew, but the metadata doesn't show it yet
		recs = recs[:len(recs)-2]
		n.apply(t, true, recs...)
		p, err := n.Partition(tpOf("a", 0))
		if err != nil || p.LogEnd() != 7 || p.HighWatermark() != 7 {
			t.Fatalf("%v, %+v", err, p.State())
		}
		if _, ok := n.last(journal.ReplicaStray); ok {
			t.Fatal("set aside by metadata that doesn't know this registration")
		}
		n.apply(t, false, &metadata.RegisterBrokerRecord{BrokerID: 1, BrokerEpoch: 700})
		if e, ok := n.last(journal.ReplicaStray); !ok || e.Topic != "gone" {
			t.Fatalf("stray: %+v", e)
		}
		if all := n.dirs2(t, "d1") + " " + n.dirs2(t, "d2"); !strings.Contains(all, "gone-0.*-stray") {
			t.Fatal(all)
		}
	})
}

// The marker is gone while the broker runs: a crash is not clean, and neither
// is an unequal end of two directories.
func TestCrashIsNotClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		n := start(t, fs, 2, nil)
		n.apply(t, true, cluster()...)
		n.Broker.Close(true, 500)
		n = start(t, fs, 2, nil)
		n.apply(t, true, cluster()...)
		after := fs.CrashClone(100, 1)
		n.Broker.Close(true, 600)
		n = start(t, after, 2, nil)
		if n.PreviousEpoch() != model.NoBrokerEpoch {
			t.Fatalf("previous epoch %d after a crash", n.PreviousEpoch())
		}
		n.Broker.Close(false, 700)
	})
}

// crashed is a broker that led a-0 with 50 records, of which 20 are on disk and
// all are below the high watermark that it has written down, and then lost power.
func crashed(t *testing.T) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	n := start(t, fs, 1, nil)
	n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1))...)
	n.produce(t, tpOf("a", 0), 20)
	p, err := n.Partition(tpOf("a", 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Log().Flush(20); err != nil {
		t.Fatal(err)
	}
	n.produce(t, tpOf("a", 0), 30)
	n.Checkpoint()
	after := fs.CrashClone(0, 1)
	n.Broker.Close(false, 0)
	return after
}

func TestLossOfCommittedRecords(t *testing.T) {
	a0 := tpOf("a", 0)
	recovering := metadata.Recovering
	replicas := func(leader model.BrokerID) []metadata.Record {
		return append(cluster(), topic("a"), part("a", 0, leader, 1, 2))
	}
	for _, c := range []struct {
		name string
		then func(*testing.T, *node)
	}{
		{"refuses to lead, reports a lost directory", func(t *testing.T, n *node) {
			e, ok := n.last(journal.LeadershipRefused)
			if !ok || e.Offset != 50 || e.LogEnd != 20 || n.role(t, a0) != "follower" {
				t.Fatalf("refusal %+v, role %s", e, n.role(t, a0))
			}
			if s := n.take(); !strings.Contains(s, "assign 0 to 2") || strings.Contains(s, "elected") {
				t.Fatal(s)
			}
			if at, owed := n.Owed(a0); !owed || at != 50 {
				t.Fatalf("owed %d", at)
			}
		}},
		{"another crash does not make it forget", func(t *testing.T, n *node) {
			pass(6 * time.Second) // a checkpoint of high watermarks later
			again := n.fs.(*vfs.Mem).CrashClone(0, 2)
			m := start(t, again, 1, nil)
			defer m.Broker.Close(false, 0)
			m.apply(t, true, replicas(1)...)
			if at, owed := m.Owed(a0); !owed || at != 50 || m.role(t, a0) != "follower" {
				t.Fatalf("owed %d, role %s", at, m.role(t, a0))
			}
		}},
		{"an unclean election accepts it", func(t *testing.T, n *node) {
			r := leaderIs("a", 0, 1)
			r.Recovery = &recovering
			n.apply(t, false, r)
			want(t, "role", n.role(t, a0), "leader")
		}},
		{"so does the topic's setting", func(t *testing.T, n *node) {
			n.apply(t, false, &metadata.ConfigRecord{Type: metadata.TopicResource, Resource: "a",
				Name: "unclean.leader.election.enable", Value: ptr("true")})
			n.apply(t, false, leaderIs("a", 0, 1))
			want(t, "role", n.role(t, a0), "leader")
		}},
		{"so does an operator", func(t *testing.T, n *node) {
			n.take()
			if err := n.AcceptLoss(a0); err != nil {
				t.Fatal(err)
			}
			want(t, "role", n.role(t, a0), "leader")
			if err := n.AcceptLoss(a0); err == nil {
				t.Fatal("nothing is left to accept")
			}
			pass(time.Second)
			if s := n.take(); !strings.Contains(s, "elected a-0") || !strings.Contains(s, "assign 0 to 1") {
				t.Fatal(s)
			}
		}},
		{"somebody else leads without it: it follows, and may come back", func(t *testing.T, n *node) {
			n.apply(t, false, &metadata.PartitionChangeRecord{
				TopicID: topicID("a"), Leader: ptr(model.BrokerID(2)), ISR: []model.BrokerID{2}})
			if s := n.take(); !strings.Contains(s, "fetch a-0 from 2") {
				t.Fatal(s)
			}
			pass(time.Second)
			if s := n.take(); !strings.Contains(s, "assign 0 to 1") {
				t.Fatal(s)
			}
			if _, owed := n.Owed(a0); owed {
				t.Fatal("still owes, though nobody counts on it")
			}
			n.apply(t, false, &metadata.PartitionChangeRecord{TopicID: topicID("a"), ISR: []model.BrokerID{1, 2}})
			n.apply(t, false, leaderIs("a", 0, 1))
			want(t, "role", n.role(t, a0), "leader")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := start(t, crashed(t), 1, nil)
				defer func() { n.Broker.Close(false, 0) }()
				n.apply(t, true, replicas(1)...)
				pass(100 * time.Millisecond)
				c.then(t, n)
			})
		})
	}
}

func TestReplicasGoToTheEmptiestDirectoryAndAreReported(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, n *node) {
		n.apply(t, true, cluster()...)
		recs := []metadata.Record{topic("a")}
		for i := range int32(6) {
			p := part("a", i, 1, 1)
			p.Dirs = []model.DirectoryID{model.UnassignedDir}
			recs = append(recs, p)
		}
		p := part("a", 6, 1, 1) // the metadata already names a directory
		p.Dirs = []model.DirectoryID{dirID(3)}
		n.apply(t, false, append(recs, p)...)
		pass(time.Second)
		want(t, "d1", n.dirs2(t, "d1"), "a-0 a-3")
		want(t, "d2", n.dirs2(t, "d2"), "a-1 a-4")
		want(t, "d3", n.dirs2(t, "d3"), "a-2 a-5 a-6")
		if s := n.take(); strings.Count(s, "assign") != 6 || !strings.Contains(s, "assign 4 to 2") {
			t.Fatal(s)
		}
		// Metadata that says the same things again asks for nothing.
		n.apply(t, true, &metadata.NoOpRecord{})
		pass(time.Second)
		if s := n.take(); strings.Contains(s, "assign") {
			t.Fatal(s)
		}
	})
}

func TestFailedDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken chan struct{} = make(chan struct{})
		fs := vfs.NewFaulty(vfs.NewMem(), func(op vfs.Op) error {
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
		defer func() { n.Broker.Close(true, n.epoch) }()
		one, two := part("a", 0, 1, 1), part("a", 1, 1, 1)
		two.Dirs = []model.DirectoryID{dirID(2)}
		n.apply(t, true, append(cluster(), topic("a"), one, two)...)
		n.take()
		close(broken)
		pass(6 * time.Second) // the next checkpoint meets the error
		if s := n.take(); !strings.Contains(s, "dir 2 failed, 1 left") || !strings.Contains(s, "unfetch a-1") {
			t.Fatal(s)
		}
		want(t, "roles", n.role(t, tpOf("a", 0))+" "+n.role(t, tpOf("a", 1)), "leader offline")
		want(t, "ids", fmt.Sprint(len(n.DirIDs())), "1")
		// A new replica that the metadata puts there is not made elsewhere.
		p := part("a", 2, 2, 2, 1)
		p.Dirs = []model.DirectoryID{dirID(1), dirID(2)}
		n.apply(t, false, p)
		if _, err := n.Partition(tpOf("a", 2)); !errors.Is(err, partition.ErrStorage) {
			t.Fatal(err)
		}
		want(t, "d1", n.dirs2(t, "d1"), "a-0")
	})
}

func TestAlterPartitionIsBatchedAndTriedAgain(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1, 2), part("a", 1, 1, 1, 2),
			part("a", 2, 1, 1, 3))...)
		var asked []string
		answers := []peer.AlterPartitionsResult{{Code: peer.CodeNotController}, {Code: peer.CodeNone}}
		n.story.alter = func(ps []peer.AlterPartition) (peer.AlterPartitionsResult, error) {
			asked = append(asked, fmt.Sprint(len(ps)))
			if len(answers) == 0 {
				res := peer.AlterPartitionsResult{}
				for _, p := range ps {
					a := peer.AlteredPartition{
						Of: p.Of, Leader: 1, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch + 1,
					}
					for _, m := range p.ISR {
						a.ISR = append(a.ISR, m.Broker)
						if m.Broker == self && m.Epoch != 500 {
							return res, fmt.Errorf("own epoch %d", m.Epoch)
						}
					}
					res.Partitions = append(res.Partitions, a)
				}
				return res, nil
			}
			res := answers[0]
			answers = answers[1:]
			return res, nil
		}
		// Nobody fetches: after the lag time every follower is to leave.
		for _, i := range []int32{0, 1, 2} {
			n.produce(t, tpOf("a", i), 1)
		}
		pass(46 * time.Second)
		p, err := n.Partition(tpOf("a", 0))
		if err != nil {
			t.Fatal(err)
		}
		st := p.State()
		want(t, "state", fmt.Sprintf("%v %s %d", st.ISR, st.ISRState, st.PartitionEpoch), "[1] committed 1")
		n.story.mu.Lock()
		got := strings.Join(asked, " ")
		n.story.mu.Unlock()
		if total := strings.Count(got, "3"); total < 1 || len(asked) > 8 {
			t.Fatalf("partitions per request: %s", got)
		}
	})
}

func TestSettlesRefusals(t *testing.T) {
	for code, state := range map[peer.Code]string{
		peer.CodeIneligibleReplica: "committed", peer.CodeInvalidUpdateVersion: "pending-shrink",
		peer.CodeFencedLeaderEpoch: "pending-shrink",
	} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, 1, nil, func(t *testing.T, n *node) {
				asked := 0
				n.story.alter = func(ps []peer.AlterPartition) (peer.AlterPartitionsResult, error) {
					asked++
					return peer.AlterPartitionsResult{Partitions: []peer.AlteredPartition{{Of: ps[0].Of, Code: code}}}, nil
				}
				n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1, 2))...)
				n.produce(t, tpOf("a", 0), 1)
				pass(46 * time.Second)
				p, _ := n.Partition(tpOf("a", 0))
				want(t, "state", p.State().ISRState, state)
				pass(10 * time.Second) // less than the next look for followers that lag
				n.story.mu.Lock()
				defer n.story.mu.Unlock()
				if asked != 1 {
					t.Errorf("asked %d times", asked)
				}
			})
		})
	}
}

func TestEffectiveConfiguration(t *testing.T) {
	set := func(c *Config) { c.Defaults = map[string]string{"retention.ms": "1000", "min.insync.replicas": "2"} }
	inBubble(t, 1, set, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1))...)
		conf := func(typ metadata.ResourceType, name, key, value string) metadata.Record {
			r := &metadata.ConfigRecord{Type: typ, Resource: name, Name: key}
			if value != "" {
				r.Value = &value
			}
			return r
		}
		p, err := n.Partition(tpOf("a", 0))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			rec  metadata.Record
			want time.Duration
		}{
			{conf(metadata.BrokerResource, "", "log.retention.hours", "2"), 2 * time.Hour},
			{conf(metadata.BrokerResource, "", "log.retention.ms", "3000"), 3 * time.Second},
			{conf(metadata.BrokerResource, "2", "log.retention.ms", "4000"), 3 * time.Second}, // another broker's
			{conf(metadata.BrokerResource, "1", "log.retention.minutes", "1"), time.Minute},
			{conf(metadata.TopicResource, "a", "retention.ms", "-1"), -time.Millisecond},
			{conf(metadata.TopicResource, "b", "retention.ms", "9"), -time.Millisecond}, // another topic's
			{conf(metadata.TopicResource, "a", "retention.ms", ""), time.Minute},
		} {
			n.apply(t, false, c.rec)
			if got := p.Log().Config().Retention; got != c.want {
				t.Errorf("after %+v: retention %s, want %s", c.rec, got, c.want)
			}
		}
		if s := p.Settings(); s.MinISR != 2 || s.FlushOnAck || !s.Deletes || s.Compacted || s.MaxBatchBytes != 1048588 {
			t.Errorf("settings %+v", s)
		}
		n.apply(t, false, conf(metadata.TopicResource, "a", "flush.messages", "1"),
			conf(metadata.TopicResource, "a", "cleanup.policy", "compact, delete"),
			conf(metadata.TopicResource, "a", "max.message.bytes", "not a number"))
		if s := p.Settings(); !s.FlushOnAck || !s.Compacted || !s.Deletes || s.MaxBatchBytes != 1048588 {
			t.Errorf("settings %+v", s)
		}
	})
}

// With flush on ack the high watermark waits for the disk, and gets there.
func TestFlushOnAck(t *testing.T) {
	set := func(c *Config) { c.Defaults = map[string]string{"flush.messages": "1"} }
	inBubble(t, 1, set, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1))...)
		n.produce(t, tpOf("a", 0), 10)
		synctest.Wait()
		p, _ := n.Partition(tpOf("a", 0))
		if p.HighWatermark() != 10 || p.Log().Flushed() != 10 {
			t.Fatalf("high watermark %d, flushed %d", p.HighWatermark(), p.Log().Flushed())
		}
	})
}

var _ replica.Brokers = (*Broker)(nil)
var _ partition.Storage = (*Broker)(nil)
var _ partition.Sender = (*Broker)(nil)
