package quorum

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// Random histories of proposals, kills, cuts, clean stops, wipes and snapshots:
// everything that was acknowledged is in everybody's log, once, in order, and all
// logs are the same bytes.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			bubble(t, 3, func(c *cluster) { history(c, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func history(c *cluster, rng *rand.Rand) {
	c.tune = func(cfg *Config) {
		cfg.SnapshotBytes, cfg.TrailingEntries, cfg.CheckpointBytes = 3<<10, 8, 2<<10
		cfg.LogConfig.SegmentBytes, cfg.RetentionBytes = 4<<10, 16<<10
	}
	c.start(1, 2, 3)
	var acked []string
	dirs := byte(100)
	for step := range 40 {
		l := c.leader()
		for i := range 1 + rng.IntN(8) {
			what := fmt.Sprintf("s%d-%d", step, i)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_, err := l.Propose(ctx, l.View().Epoch, batch(what))
			cancel()
			if err == nil {
				acked = append(acked, what)
			} else if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrDropped) {
				c.t.Fatalf("step %d: %v", step, err)
			}
		}
		id := model.BrokerID(1 + rng.IntN(3))
		if rng.IntN(3) == 0 {
			id = l.cfg.NodeID
		}
		switch rng.IntN(6) {
		case 0, 1:
			c.kill(id)
			c.start(id)
		case 2:
			c.stop(id)
			c.start(id)
		case 3:
			c.isolate(id)
			c.eventually("some time", 10*time.Second, waitFor(time.Duration(rng.IntN(4000))*time.Millisecond))
			c.heal()
		case 4:
			if rng.IntN(3) == 0 {
				c.kill(id)
				dirs++
				c.format(id, dirs)
				c.start(id)
				c.eventually("the wiped node votes", 60*time.Second, func() bool {
					n := c.node(id)
					p, _ := n.board.look()
					return contains(p.conf.Voters, n.id) && !p.conf.joint()
				})
			}
		}
		c.agree()
	}
	checkHistory(c, acked)
}

// checkHistory looks for what was acknowledged in the oldest whole log there is.
func checkHistory(c *cluster, acked []string) {
	c.t.Helper()
	for _, n := range c.up() {
		if n.Err() != nil {
			c.t.Fatalf("node %d: %v", n.cfg.NodeID, n.Err())
		}
		start := n.View().LogStart
		var got []string
		bs, err := splitBatches(contents(c.t, n, start))
		if err != nil {
			c.t.Fatal(err)
		}
		for i, b := range bs {
			if i > 0 && b.BaseOffset() != bs[i-1].NextOffset() {
				c.t.Fatalf("node %d: gap at %d", n.cfg.NodeID, b.BaseOffset())
			}
			if b.Control() {
				continue
			}
			for r, err := range b.Records(1 << 20) {
				if err != nil {
					c.t.Fatal(err)
				}
				rec, err := metadata.Decode(r.Value)
				if err != nil {
					c.t.Fatal(err)
				}
				got = append(got, *rec.(*metadata.ConfigRecord).Value)
			}
		}
		if start > 0 { // older ones are in the snapshot
			first := 0
			for len(got) > 0 && first < len(acked) && acked[first] != got[0] {
				first++
			}
			if len(got) == 0 || first == len(acked) { // the log begins with one whose answer was lost
				continue
			}
			acked = acked[first:]
		}
		if missing := subsequence(acked, got); missing != "" {
			c.t.Fatalf("node %d, log from %d: %s was acknowledged and isn't there, in order:\n%s",
				n.cfg.NodeID, start, missing, strings.Join(got, " "))
		}
	}
}

// subsequence returns the first of want that isn't in have after the one before.
func subsequence(want, have []string) string {
	for _, w := range want {
		for len(have) > 0 && have[0] != w {
			have = have[1:]
		}
		if len(have) == 0 {
			return w
		}
		have = have[1:]
	}
	return ""
}

// A metadata log that no WAL accounts for isn't cut: the node refuses to start.
func TestForeignLogIsRefused(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		c.start(1)
		c.propose(c.leader(), "theirs")
		c.stop(1)
		disk := c.disks[1]
		names, err := disk.List("/meta/__cluster_metadata-0")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range names {
			if strings.HasSuffix(e.Name, ".wal") {
				if err := disk.Remove("/meta/__cluster_metadata-0/" + e.Name); err != nil {
					t.Fatal(err)
				}
			}
		}
		cfg := Config{NodeID: 1, DirectoryID: c.dirs[1], ClusterID: "test", Dir: "/meta/__cluster_metadata-0",
			FS: disk, Voters: c.voters, Transport: link{c.net, 1}}
		if _, err := Open(cfg); !errors.Is(err, ErrForeignLog) {
			t.Fatal(err)
		}
	})
}

// A controller that comes back on another port is found again, and brokers learn
// of it.
func TestMovedController(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		c.leader()
		c.tune = func(cfg *Config) {
			if cfg.NodeID == 3 {
				cfg.Endpoint.Port = 7777
			}
		}
		c.kill(3)
		c.start(3)
		c.eventually("KRaftVoters name the new port", 10*time.Second, func() bool {
			for _, v := range c.node(1).Image().Voters {
				if v.ID == 3 && v.Endpoints[0].Port == 7777 {
					return true
				}
			}
			return false
		})
		c.agree()
	})
}

// A leader whose disk hangs hands leadership over: its heartbeats alone would
// keep it in office.
func TestStalledDiskHandsOver(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		stalled := make(chan struct{})
		hang := make(map[model.BrokerID]bool)
		c.tune = func(cfg *Config) {
			id := cfg.NodeID
			cfg.FS = vfs.NewFaulty(cfg.FS, func(op vfs.Op) error {
				if op.Kind == vfs.OpSync && hang[id] {
					<-stalled
				}
				return nil
			})
		}
		c.start(1, 2, 3)
		l := c.leader()
		synctest.Wait()
		hang[l.cfg.NodeID] = true
		go func() { _, _ = l.Propose(context.Background(), l.View().Epoch, batch("x")) }()
		c.eventually("another leader", 10*time.Second, func() bool { n := c.serving(); return n != nil && n != l })
		close(stalled)
		c.agree()
	})
}

// A controller that knows only addresses, and belongs to no configured set,
// becomes a learner: it has the log and doesn't vote.
func TestControllerWithAddressesOnly(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		c.propose(c.leader(), "x")
		c.format(4, 4)
		c.tune = func(cfg *Config) {
			if cfg.NodeID == 4 {
				cfg.Voters = nil
				for _, v := range c.voters {
					cfg.Voters = append(cfg.Voters, Voter{ID: model.NoBroker, Endpoint: v.Endpoint})
				}
			}
		}
		c.start(4)
		c.agree()
		p, _ := c.node(4).board.look()
		if contains(p.conf.Voters, c.node(4).id) || !contains(p.conf.Learners, c.node(4).id) {
			t.Fatalf("%+v", p.conf)
		}
	})
}
