package quorum

import (
	"context"
	"errors"
	"testing"
	"time"

	"tidemark/internal/model"
)

// One voter forms at once, writes the first control batch, and has everything
// again after a crash.
func TestSingleVoter(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		c.start(1)
		l := c.leader()
		img := l.Image()
		if img.KRaftVersion != 1 || len(img.Voters) != 1 || img.Voters[0].Dir != c.dirs[1] ||
			img.Voters[0].Endpoints[0].Name != "CONTROLLER" {
			t.Fatalf("kraft.version %d, voters %+v", img.KRaftVersion, img.Voters)
		}
		for i := range 20 {
			if base := c.propose(l, name(i)); base != model.Offset(3+i) {
				t.Fatalf("proposal %d at offset %d", i, base)
			}
		}
		before := contents(t, l, 0)
		c.kill(1)
		c.start(1)
		l = c.leader()
		if after := contents(t, l, 0); string(after[:len(before)]) != string(before) {
			t.Fatal("the log changed over a crash")
		}
		if v := configOf(l); v != name(19) {
			t.Fatalf("k = %s", v)
		}
	})
}

// Three nodes that don't know each other's directories form one quorum, and a
// batch committed by one leader is the same bytes everywhere.
func TestThreeFormAndReplicate(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2)
		c.eventually("two of three wait", 3*time.Second, func() bool { return true })
		if n := c.serving(); n != nil {
			t.Fatal("a quorum formed without the third voter")
		}
		c.start(3)
		l := c.leader()
		for i := range 50 {
			c.propose(l, name(i))
		}
		c.agree()
	})
}

// A killed leader is replaced well below a second: its connections break and a
// probe is refused, so nobody waits for an election time-out.
func TestKilledLeaderIsReplacedQuickly(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		for round := range 5 {
			l := c.leader()
			c.propose(l, name(round))
			id, epoch := l.cfg.NodeID, l.View().Epoch
			c.kill(id)
			took := c.eventually("a new leader", 5*time.Second, func() bool { return c.serving() != nil })
			if n := c.serving(); n.View().Epoch <= epoch {
				t.Fatalf("epoch %d after %d", n.View().Epoch, epoch)
			}
			if took > 400*time.Millisecond {
				t.Errorf("round %d: %v without a leader", round, took)
			}
			c.start(id)
			c.agree()
		}
	})
}

// A clean stop hands leadership over.
func TestCloseHandsOver(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		l := c.leader()
		c.propose(l, "a")
		c.stop(l.cfg.NodeID)
		if took := c.eventually("a new leader", 5*time.Second, func() bool { return c.serving() != nil }); took > 200*time.Millisecond {
			t.Errorf("%v without a leader", took)
		}
	})
}

// An isolated leader stops serving within the election time-out (CheckQuorum),
// fails its waiting proposals, and follows after the partition heals.
func TestIsolatedLeaderSteps(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		old := c.leader()
		c.propose(old, "committed")
		c.isolate(old.cfg.NodeID)
		_, err := old.Propose(context.Background(), old.View().Epoch, batch("lost"))
		if !errors.Is(err, ErrNotLeader) {
			t.Fatalf("proposal of an isolated leader: %v", err)
		}
		if v := old.View(); v.Ready || v.Leading {
			t.Fatalf("isolated: %+v", v)
		}
		c.eventually("the others elect", 10*time.Second, func() bool { return c.serving() != nil })
		l := c.serving()
		c.propose(l, "new")
		c.heal()
		c.agree()
		if v := configOf(c.up()[0]); v != "new" {
			t.Fatalf("k = %s", v)
		}
	})
}

// One leader per epoch, and nobody ever names another, over kills, partitions
// and restarts.
func TestOneLeaderPerEpoch(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		named := map[model.LeaderEpoch]model.BrokerID{}
		ends := map[model.LeaderEpoch]model.Offset{} // highest high watermark seen
		look := func() {
			for _, n := range c.up() {
				v := n.View()
				if v.Leader == model.NoBroker {
					continue
				}
				if was, ok := named[v.Epoch]; ok && was != v.Leader {
					t.Fatalf("epoch %d: leaders %d and %d", v.Epoch, was, v.Leader)
				}
				named[v.Epoch] = v.Leader
			}
			for _, n := range c.up() {
				v := n.View()
				if !v.Ready {
					continue
				}
				// An isolated leader may serve an old epoch for a while; observers
				// never go back to it.
				for epoch, end := range ends {
					if epoch <= v.Epoch && v.HighWatermark < end {
						t.Fatalf("high watermark %d in epoch %d after %d in %d", v.HighWatermark, v.Epoch, end, epoch)
					}
				}
				ends[v.Epoch] = v.HighWatermark
			}
		}
		c.start(1, 2, 3)
		for round := range 12 {
			c.eventually("a leader", 20*time.Second, func() bool { look(); return c.serving() != nil })
			l := c.serving()
			c.propose(l, name(round))
			id := l.cfg.NodeID
			switch round % 3 {
			case 0:
				c.kill(id)
				c.start(id)
			case 1:
				c.isolate(id)
				c.eventually("another leader", 20*time.Second, func() bool {
					look()
					n := c.serving()
					return n != nil && n != l
				})
				c.heal()
			case 2:
				c.stop(id)
				c.start(id)
			}
			c.agree()
			look()
		}
	})
}

// A node whose disk was lost comes back with another identity: it learns, and
// replaces its old self in one joint change. Meanwhile two others decide.
func TestWipedNodeReplacesItsOldSelf(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		c.propose(c.leader(), "a")
		c.kill(2)
		c.format(2, 99)
		c.propose(c.leader(), "b")
		c.start(2)
		c.eventually("the new directory votes", 30*time.Second, func() bool {
			n := c.node(2)
			p, _ := n.board.look()
			return contains(p.conf.Voters, n.id) && len(p.conf.Voters) == 3
		})
		c.eventually("KRaftVoters say so", 10*time.Second, func() bool {
			for _, n := range c.up() {
				ok := false
				for _, v := range n.Image().Voters {
					ok = ok || v.ID == 2 && v.Dir == c.dirs[2]
				}
				if !ok || len(n.Image().Voters) != 3 {
					return false
				}
			}
			return true
		})
		c.agree()
		// The old voters 1 and 3 are no majority of one any more: 1 may go.
		c.kill(1)
		c.propose(c.leader(), "c")
	})
}

// The same directory id on an empty disk is still another identity.
func TestReusedDirectoryID(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		c.propose(c.leader(), "a")
		old := c.node(3).id
		dir := c.dirs[3]
		c.kill(3)
		c.format(3, 0)
		c.dirs[3] = dir
		c.start(3)
		if c.node(3).id == old {
			t.Fatal("an empty disk has the Raft id of the lost one")
		}
		c.eventually("it votes again", 30*time.Second, func() bool {
			n := c.node(3)
			p, _ := n.board.look()
			return contains(p.conf.Voters, n.id) && !contains(p.conf.Voters, old)
		})
	})
}

// One node wiped and the two others killed around it: as long as one member of
// the quorum has its disk, no second quorum forms.
func TestNoSecondQuorum(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		c.propose(c.leader(), "kept")
		group := c.node(1).group.Load()
		for _, id := range []model.BrokerID{1, 2, 3} {
			c.kill(id)
		}
		c.format(1, 50) // the coordinator's disk is lost
		c.start(1)
		c.start(2)
		c.eventually("nothing", 15*time.Second, waitFor(10*time.Second))
		if n := c.serving(); n != nil {
			t.Fatalf("node %d serves with one old voter and one empty disk", n.cfg.NodeID)
		}
		c.start(3)
		l := c.leader()
		if l.group.Load() != group || configOf(l) != "kept" {
			t.Fatal("another quorum")
		}
		c.eventually("the wiped node is taken in", 30*time.Second, func() bool {
			n := c.node(1)
			p, _ := n.board.look()
			return contains(p.conf.Voters, n.id)
		})
	})
}

func waitFor(d time.Duration) func() bool {
	begin := time.Now()
	return func() bool { return time.Since(begin) >= d }
}

// A lagging controller whose entries have been trimmed pulls a snapshot.
func TestSnapshotInstall(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.tune = func(cfg *Config) { cfg.SnapshotBytes, cfg.TrailingEntries = 4<<10, 1 }
		c.start(1, 2, 3)
		l := c.leader()
		var down model.BrokerID = 1
		if l.cfg.NodeID == 1 {
			down = 2
		}
		c.kill(down)
		for i := range 200 {
			c.propose(l, name(i))
		}
		c.eventually("a snapshot", 10*time.Second, func() bool { _, ok := l.ml.latest(l.View().LogEnd); return ok && l.wal.state().base.Index > 50 })
		c.start(down)
		c.agree()
		if n := c.node(down); n.View().LogStart == 0 {
			t.Error("the log was replayed, not installed")
		}
		c.kill(down)
		c.propose(l, "after")
		c.start(down)
		c.agree()
		if v := configOf(c.node(down)); v != "after" {
			t.Fatalf("k = %s", v)
		}
	})
}

func configOf(n *Node) string { return n.Image().TopicConfig("t")["k"] }

// A killed node's log is cut at its next start and built again. Until it is as
// long as it was, the node's own observer is told no high watermark: its broker
// would take each step of its own past for the present (invariant 10).
func TestOwnPastIsNotThePresent(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		c.start(1)
		l := c.leader()
		for i := range 20 {
			c.propose(l, name(i))
		}
		was := l.View().LogEnd
		c.disks[1] = c.disks[1].CrashClone(100, 1) // as kill -9: all that was written is there
		l.cancel()
		l.wg.Wait()
		n := c.open(1)
		if end := n.View().LogEnd; end >= was {
			t.Fatalf("the log wasn't cut: it ends at %d, before at %d; the test tests nothing", end, was)
		}
		local := MetadataFetch{Local: true, CurrentEpoch: n.View().Epoch}
		if r := n.Fetch(context.Background(), local); r.HighWatermark != model.NoOffset {
			t.Errorf("high watermark %d of a log that ends at %d, before at %d: %v", r.HighWatermark, n.View().LogEnd, was, r.Err)
		}
		c.net.mu.Lock()
		c.net.nodes[1] = n
		c.net.mu.Unlock()
		n.Start()
		c.eventually("the whole log", 5*time.Second, func() bool {
			r := n.Fetch(context.Background(), MetadataFetch{Local: true, CurrentEpoch: n.View().Epoch})
			if r.HighWatermark != model.NoOffset && r.HighWatermark < was {
				t.Fatalf("high watermark %d, before %d", r.HighWatermark, was)
			}
			return r.HighWatermark >= was
		})
	})
}
