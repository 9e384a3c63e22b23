package quorum

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/model"
)

// The answers of a leader and a follower, in the order in which Kafka checks.
func TestFetchRules(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		l := c.leader()
		for i := range 5 {
			c.propose(l, name(i))
		}
		c.agree()
		v := l.View()
		var f *Node
		for _, n := range c.up() {
			if n != l {
				f = n
			}
		}
		for _, x := range []struct {
			what string
			node *Node
			req  MetadataFetch
			err  error
			diff *EpochEnd
		}{
			{"other cluster", l, MetadataFetch{ClusterID: "x", CurrentEpoch: v.Epoch}, ErrWrongCluster, nil},
			{"negative offset", l, MetadataFetch{Offset: -1, CurrentEpoch: v.Epoch}, ErrInvalidRequest, nil},
			{"last epoch above current", l, MetadataFetch{LastEpoch: 9, CurrentEpoch: 1}, ErrInvalidRequest, nil},
			{"first contact", l, MetadataFetch{}, ErrFencedEpoch, nil},
			{"first contact with a follower", f, MetadataFetch{}, ErrFencedEpoch, nil},
			{"future epoch", l, MetadataFetch{CurrentEpoch: v.Epoch + 1}, ErrUnknownEpoch, nil},
			{"follower", f, MetadataFetch{CurrentEpoch: v.Epoch}, ErrNotLeader, nil},
			{"ahead", l, MetadataFetch{Offset: v.LogEnd + 3, LastEpoch: v.Epoch, CurrentEpoch: v.Epoch}, nil,
				&EpochEnd{v.Epoch, v.LogEnd}},
			{"epoch never seen", l, MetadataFetch{Offset: 4, LastEpoch: v.Epoch - 1, CurrentEpoch: v.Epoch}, nil,
				&EpochEnd{v.Epoch - 1, 0}},
		} {
			r := x.node.Fetch(context.Background(), x.req)
			if !errors.Is(r.Err, x.err) || (x.err == nil) != (r.Err == nil) {
				t.Errorf("%s: error %v, want %v", x.what, r.Err, x.err)
			}
			if r.Leader != l.cfg.NodeID || r.Epoch != v.Epoch || r.Endpoint.Host == "" {
				t.Errorf("%s: leader %d epoch %d at %+v", x.what, r.Leader, r.Epoch, r.Endpoint)
			}
			if (x.diff == nil) != (r.Diverging == nil) || x.diff != nil && *x.diff != *r.Diverging {
				t.Errorf("%s: diverging %+v, want %+v", x.what, r.Diverging, x.diff)
			}
		}
		r := l.Fetch(context.Background(), MetadataFetch{CurrentEpoch: v.Epoch, MaxBytes: 1})
		if bs, err := splitBatches(r.Records); err != nil || len(bs) != 1 || r.HighWatermark != v.LogEnd {
			t.Errorf("from the start with 1 byte: %d batches, hw %d, %v", len(bs), r.HighWatermark, err)
		}
	})
}

// A fetch at the end waits for records, and no longer than it was told.
func TestFetchParks(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		c.start(1)
		l := c.leader()
		at := MetadataFetch{Offset: l.View().LogEnd, LastEpoch: l.View().Epoch, CurrentEpoch: l.View().Epoch,
			MaxWait: 500 * time.Millisecond}
		begin := time.Now()
		if r := l.Fetch(context.Background(), at); r.Err != nil || len(r.Records) > 0 || time.Since(begin) != at.MaxWait {
			t.Fatalf("after %v: %+v", time.Since(begin), r)
		}
		got := make(chan MetadataFetchResult, 1)
		go func() { got <- l.Fetch(context.Background(), at) }()
		synctest.Wait()
		c.propose(l, "x")
		if r := <-got; r.Err != nil || len(r.Records) == 0 {
			t.Fatalf("%+v", r)
		}
	})
}

// A new leader answers nobody until a batch of its own epoch is applied: a
// broker that is ahead would be told to truncate below its high watermark.
func TestNoFetchBeforeReady(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		c.start(1)
		l := c.leader()
		l.board.update(func(p *posted) { p.appliedEpoch = p.epoch - 1 }) // elected, nothing applied yet
		v := l.View()
		if v.Ready || v.HighWatermark != model.NoOffset {
			t.Fatalf("%+v", v)
		}
		begin := time.Now()
		r := l.Fetch(context.Background(), MetadataFetch{CurrentEpoch: v.Epoch, MaxWait: 200 * time.Millisecond})
		if !errors.Is(r.Err, ErrNotLeader) || r.Leader != model.NoBroker || r.Epoch != v.Epoch || time.Since(begin) == 0 {
			t.Fatalf("%+v", r)
		}
		if _, err := l.Propose(context.Background(), v.Epoch, batch("x")); !errors.Is(err, ErrNotLeader) {
			t.Fatalf("proposal before ready: %v", err)
		}
	})
}

// A parked fetch ends with NOT_LEADER when leadership is lost.
func TestParkedFetchEndsWithLeadership(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		l := c.leader()
		got := make(chan MetadataFetchResult, 1)
		go func() {
			got <- l.Fetch(context.Background(), MetadataFetch{Offset: l.View().LogEnd, LastEpoch: l.View().Epoch,
				CurrentEpoch: l.View().Epoch, MaxWait: time.Minute})
		}()
		synctest.Wait()
		c.isolate(l.cfg.NodeID)
		if r := <-got; !errors.Is(r.Err, ErrNotLeader) && !errors.Is(r.Err, ErrFencedEpoch) {
			t.Fatalf("%+v", r)
		}
		c.heal()
	})
}

// From offset 0 the newest snapshot comes first, as Kafka serves it; its file
// rebuilds the image.
func TestFetchSnapshot(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		c.tune = func(cfg *Config) { cfg.SnapshotBytes = 2 << 10 }
		c.start(1)
		l := c.leader()
		for i := range 60 {
			c.propose(l, name(i))
		}
		c.eventually("a snapshot", 10*time.Second, func() bool { _, ok := l.ml.latest(l.View().LogEnd); return ok })
		v := l.View()
		r := l.Fetch(context.Background(), MetadataFetch{CurrentEpoch: v.Epoch})
		if r.Snapshot == nil || len(r.Records) > 0 {
			t.Fatalf("%+v", r)
		}
		var file []byte
		for {
			s := l.FetchSnapshot(SnapshotFetch{CurrentEpoch: v.Epoch, ID: *r.Snapshot, Position: int64(len(file)), MaxBytes: 100})
			if s.Err != nil {
				t.Fatal(s.Err)
			}
			if file = append(file, s.Chunk...); int64(len(file)) == s.Size {
				break
			}
		}
		img, err := parseSnapshot(*r.Snapshot, file)
		if err != nil || img.KRaftVersion != 1 || len(img.Voters) != 1 {
			t.Fatalf("%v: %+v", err, img)
		}
		for _, x := range []struct {
			id  SnapshotID
			pos int64
			err error
		}{
			{SnapshotID{1, 1}, 0, ErrSnapshotNotFound},
			{SnapshotID{}, 0, ErrSnapshotNotFound},
			{*r.Snapshot, int64(len(file)), ErrPositionOutOfRange},
			{*r.Snapshot, -1, ErrPositionOutOfRange},
		} {
			if s := l.FetchSnapshot(SnapshotFetch{CurrentEpoch: v.Epoch, ID: x.id, Position: x.pos}); !errors.Is(s.Err, x.err) {
				t.Errorf("%+v at %d: %v", x.id, x.pos, s.Err)
			}
		}
	})
}

// DescribeQuorum lists voters with their log ends and observers that fetched.
func TestDescribeQuorum(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		l := c.leader()
		c.propose(l, "x")
		c.agree()
		v := l.View()
		l.Fetch(context.Background(), MetadataFetch{Replica: 10, Offset: v.LogEnd, LastEpoch: v.Epoch, CurrentEpoch: v.Epoch})
		c.eventually("acknowledgements", time.Second, waitFor(300*time.Millisecond))
		d, err := l.DescribeQuorum(context.Background())
		if err != nil || len(d.Voters) != 3 || len(d.Observers) != 1 || len(d.Nodes) != 3 {
			t.Fatalf("%v: %+v", err, d)
		}
		for _, s := range append(d.Voters, d.Observers...) {
			if s.LogEnd != v.LogEnd || time.Since(s.LastFetch) > time.Second || s.LastCaughtUp.IsZero() {
				t.Errorf("%+v, log end %d", s, v.LogEnd)
			}
		}
		for _, n := range c.up() {
			if n != l {
				if _, err := n.DescribeQuorum(context.Background()); !errors.Is(err, ErrNotLeader) {
					t.Errorf("follower: %v", err)
				}
			}
		}
	})
}

// A proposal whose proposer's term isn't the entry's is dropped by everyone,
// without an offset.
func TestStaleProposerIsDropped(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		l := c.leader()
		end := l.View().LogEnd
		_ = l.do(context.Background(), func() {
			p := payload{kind: kindData, term: l.raft.term - 1, batch: batch("stale")}
			if err := l.raft.rn.Propose(p.encode()); err != nil {
				t.Error(err)
			}
		})
		if base := c.propose(l, "fresh"); base != end {
			t.Fatalf("offset %d, want %d", base, end)
		}
		c.agree()
	})
}
