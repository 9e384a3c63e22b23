package observer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/vfs"
)

// quorum is a leader of the metadata log as a Source.
type quorum struct {
	mu       sync.Mutex
	leader   QuorumLeader
	batches  []record.Batch
	hw       model.Offset
	start    model.Offset
	snapshot []byte
	id       SnapshotID
	err      error
	fetches  []MetadataFetch
	chunk    int
}

func newQuorum() *quorum {
	return &quorum{leader: QuorumLeader{ID: 3000, Epoch: 4, Address: "c:9093"}, chunk: 100}
}

func (q *quorum) end() model.Offset {
	if n := len(q.batches); n > 0 {
		return q.batches[n-1].NextOffset()
	}
	return q.start
}

// add appends records in the leader's epoch; commit moves the high watermark.
func (q *quorum) add(commit bool, recs ...metadata.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := metadata.DataBatch(recs, 25, 1000)
	b.Stamp(q.end(), q.leader.Epoch)
	q.batches = append(q.batches, b)
	if commit {
		q.hw = q.end()
	}
}

func (q *quorum) with(fn func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	fn()
}

func (q *quorum) EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset) {
	end := q.end()
	for _, b := range slices.Backward(q.batches) {
		if b.LeaderEpoch() <= e {
			return b.LeaderEpoch(), end
		}
		end = b.BaseOffset()
	}
	if q.id.End > 0 {
		return q.id.Epoch, q.id.End
	}
	return model.NoLeaderEpoch, model.NoOffset
}

func (q *quorum) Fetch(ctx context.Context, f MetadataFetch) (MetadataFetchResult, error) {
	q.mu.Lock()
	q.fetches = append(q.fetches, f)
	res, park := q.answer(f)
	err := q.err
	q.mu.Unlock()
	if err != nil || !park {
		return res, err
	}
	select {
	case <-ctx.Done():
		return res, ctx.Err()
	case <-time.After(f.MaxWait):
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	res, _ = q.answer(f)
	return res, q.err
}

func (q *quorum) answer(f MetadataFetch) (res MetadataFetchResult, park bool) {
	res = MetadataFetchResult{Leader: q.leader, HighWatermark: q.hw, LogStart: q.start}
	switch {
	case f.CurrentEpoch < q.leader.Epoch:
		res.Code = peer.CodeFencedLeaderEpoch
		return res, false
	case f.CurrentEpoch > q.leader.Epoch:
		res.Code = peer.CodeUnknownLeaderEpoch
		return res, false
	case f.Offset < q.start || (f.Offset == 0 && q.id.End > 0):
		res.Snapshot = &q.id
		return res, false
	}
	if f.Offset > 0 {
		if e, end := q.EndOffsetFor(f.LastEpoch); e != f.LastEpoch || end < f.Offset {
			res.Diverging = &EpochOffset{Epoch: e, End: end}
			return res, false
		}
	}
	for _, b := range q.batches {
		if b.BaseOffset() >= f.Offset {
			res.Records = append(res.Records, b...)
		}
	}
	return res, len(res.Records) == 0
}

func (q *quorum) FetchSnapshot(_ context.Context, f SnapshotFetch) (SnapshotChunk, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := SnapshotChunk{Leader: q.leader, Snapshot: q.id, Size: int64(len(q.snapshot)), Position: f.Position}
	if f.Snapshot != q.id {
		c.Code = peer.CodeSnapshotNotFound
		return c, nil
	}
	c.Bytes = q.snapshot[f.Position:min(int(f.Position)+q.chunk, len(q.snapshot))]
	return c, nil
}

// watcher is a subscriber that remembers what it was told.
type watcher struct {
	mu   sync.Mutex
	imgs []*metadata.Image
	full int // publications without a delta
}

func (w *watcher) see(img *metadata.Image, d *metadata.Delta) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d == nil {
		w.full++
	} else if last := w.imgs[len(w.imgs)-1]; d.Base().Offset != last.Offset {
		panic(fmt.Sprintf("delta from %d after image %d", d.Base().Offset, last.Offset))
	}
	w.imgs = append(w.imgs, img)
}

func (w *watcher) count() (all, full int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.imgs), w.full
}

func watch(t *testing.T, q *quorum, s Store, saved Saved) (*Observer, *watcher, *sink) {
	t.Helper()
	w, ev := &watcher{}, &sink{}
	o, err := New(Config{Node: 1, Source: q, Store: s, Saved: saved, ControllerListener: "controller", Events: ev})
	if err != nil {
		t.Fatal(err)
	}
	o.Subscribe(w.see)
	o.Start()
	return o, w, ev
}

func level(n int16) metadata.Record {
	return &metadata.FeatureLevelRecord{Name: metadata.MetadataVersionFeature, Level: n}
}

func topic(name string) metadata.Record {
	return &metadata.TopicRecord{Name: name, TopicID: topicID(name)}
}

func topicID(name string) (id model.TopicID) { copy(id[:], name); return id }

// stores runs fn with both kinds of store.
func stores(t *testing.T, fn func(*testing.T, Store)) {
	for _, kind := range []string{"memory", "disk"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if kind == "memory" {
					fn(t, NewMemoryStore())
					return
				}
				d, _, err := OpenDiskStore(vfs.NewMem(), "d/__cluster_metadata-0", DiskOptions{})
				if err != nil {
					t.Fatal(err)
				}
				fn(t, d)
			})
		})
	}
}

func TestPublishesInOrderBelowTheHighWatermark(t *testing.T) {
	stores(t, func(t *testing.T, s Store) {
		q := newQuorum()
		q.hw = -1 // the leader has not committed a record of its epoch yet
		q.add(false, level(25))
		o, w, _ := watch(t, q, s, Saved{})
		defer o.Close()
		after(time.Second)
		if n, _ := w.count(); n != 0 || o.Applied() != model.NoOffset {
			t.Fatalf("%d images before a high watermark is known", n)
		}
		q.add(true, topic("a"))
		q.add(false, topic("b"))
		after(time.Second)
		// The leader's high watermark is 2: "b" is not committed.
		if n, full := w.count(); n != 1 || full != 1 || o.Image().Topics.ByName["b"] != nil || o.Applied() != 1 {
			t.Fatalf("%d images (%d full), applied %d", n, full, o.Applied())
		}
		<-o.First()
		q.with(func() { q.hw = q.end() })
		after(time.Second)
		if n, full := w.count(); n != 2 || full != 1 || o.Image().Topics.ByName["b"] == nil || o.Applied() != 2 {
			t.Fatalf("%d images (%d full), applied %d", n, full, o.Applied())
		}
		if id, addr, ok := o.Controller(); !ok || id != 3000 || addr != "c:9093" {
			t.Fatalf("controller %d %q", id, addr)
		}
	})
}

func TestFollowsANewLeaderAndCutsWhatItNeverHad(t *testing.T) {
	stores(t, func(t *testing.T, s Store) {
		q := newQuorum()
		q.add(true, level(25), topic("a"))
		q.add(false, topic("lost"))
		o, _, ev := watch(t, q, s, Saved{})
		defer o.Close()
		after(time.Second)
		if end, _ := s.Position(); end != 3 {
			t.Fatalf("log end %d, want the uncommitted record too", end)
		}
		q.with(func() {
			q.batches = q.batches[:1]
			q.leader = QuorumLeader{ID: 3001, Epoch: 6, Address: "d:9093"}
		})
		q.add(true, topic("b"))
		after(2 * time.Second)
		img := o.Image()
		if img.Topics.ByName["lost"] != nil || img.Topics.ByName["b"] == nil {
			t.Fatalf("topics %v", img.Topics.ByName)
		}
		if l := o.Leader(); l.ID != 3001 || l.Epoch != 6 || len(ev.kinds()) != 2 {
			t.Fatalf("leader %+v, events %v", l, ev.kinds())
		}
		// An answer of an older epoch, or one that would cut committed records, changes nothing.
		q.with(func() { q.leader.Epoch = 5 })
		after(time.Second)
		if o.Leader().Epoch != 6 {
			t.Fatal("epoch went back")
		}
		q.with(func() { q.leader.Epoch, q.batches, q.hw = 7, q.batches[:1], 2 })
		after(time.Second)
		if end, _ := s.Position(); end != 3 || o.HighWatermark() != 3 {
			t.Fatalf("log end %d, high watermark %d after a leader that lost committed records", end, o.HighWatermark())
		}
	})
}

// compact makes q serve a snapshot of everything so far instead of the log.
func (q *quorum) compact(img *metadata.Image) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.id = SnapshotID{End: img.Offset + 1, Epoch: img.Epoch}
	q.snapshot = slices.Concat(metadata.WriteSnapshot(img, 0, 0)...)
	q.start, q.batches = q.id.End, nil
}

func TestBeginsFromASnapshot(t *testing.T) {
	stores(t, func(t *testing.T, s Store) {
		d := metadata.NewDelta(metadata.Empty())
		for _, r := range []metadata.Record{level(25), topic("a"), topic("b")} {
			if err := d.Replay(r); err != nil {
				t.Fatal(err)
			}
		}
		q := newQuorum()
		q.compact(d.Apply(40, 4))
		q.hw = 41
		q.add(true, topic("c"))
		o, w, _ := watch(t, q, s, Saved{})
		defer o.Close()
		after(time.Second)
		n, full := w.count()
		if len(o.Image().Topics.ByName) != 3 || o.Applied() != 41 || n != 1 || full != 1 {
			t.Fatalf("topics %d, applied %d, %d images", len(o.Image().Topics.ByName), o.Applied(), n)
		}
		// Later the log is cut above where this node stands: again a snapshot.
		q.with(func() { q.err = errors.New("partitioned") })
		after(time.Second)
		d = metadata.NewDelta(o.Image())
		if err := d.Replay(&metadata.RemoveTopicRecord{TopicID: topicID("a")}); err != nil {
			t.Fatal(err)
		}
		q.compact(d.Apply(90, 4))
		q.with(func() { q.err, q.hw = nil, 91 })
		after(time.Second)
		if _, full = w.count(); full != 2 || o.Image().Topics.ByName["a"] != nil || o.Applied() != 90 {
			t.Fatalf("%d full images, applied %d", full, o.Applied())
		}
	})
}

func TestDiskStoreSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, q := vfs.NewMem(), newQuorum()
		start := func() (*Observer, *watcher, *DiskStore) {
			s, saved, err := OpenDiskStore(fs, "d", DiskOptions{})
			if err != nil {
				t.Fatal(err)
			}
			o, w, _ := watch(t, q, s, saved)
			return o, w, s
		}
		q.add(true, level(25), topic("a"))
		o, _, _ := start()
		after(time.Second)
		o.Close()
		q.add(true, topic("b"))
		q.with(func() { q.fetches = nil })
		o, w, s := start()
		after(time.Second)
		if n, _ := w.count(); n != 1 || len(o.Image().Topics.ByName) != 2 {
			t.Fatalf("%d images, topics %v", n, o.Image().Topics.ByName)
		}
		if f := q.fetches[0]; f.Offset != 2 || f.CurrentEpoch != 4 || f.LastEpoch != 4 {
			t.Fatalf("first fetch after the restart: %+v", f)
		}
		// A snapshot of its own replaces the log; then a damaged one, and the node reads all again.
		s.since = s.o.SnapshotBytes
		q.add(true, topic("c"))
		after(time.Second)
		o.Close()
		if s.snapshot.End != 4 {
			t.Fatalf("snapshot %+v", s.snapshot)
		}
		q.with(func() { q.fetches = nil })
		o, w, s = start()
		after(time.Second)
		if n, _ := w.count(); n != 1 || len(o.Image().Topics.ByName) != 3 || q.fetches[0].Offset != 4 {
			t.Fatalf("from own snapshot: %d images, topics %v, %+v", n, o.Image().Topics.ByName, q.fetches[0])
		}
		o.Close()
		name := "d/" + snapshotName(s.snapshot)
		p, err := vfs.ReadFile(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		p[len(p)/2] ^= 1
		if err := vfs.WriteFileAtomic(fs, name, p); err != nil {
			t.Fatal(err)
		}
		o, _, _ = start()
		after(time.Second)
		if len(o.Image().Topics.ByName) != 3 {
			t.Fatalf("after a damaged snapshot: topics %v", o.Image().Topics.ByName)
		}
		o.Close()
	})
}

func TestACommittedRecordThatDoesNotApplyIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum()
		q.add(true, level(25), topic("a"))
		o, w, _ := watch(t, q, NewMemoryStore(), Saved{})
		defer o.Close()
		after(time.Second)
		q.add(true, &metadata.RemoveTopicRecord{TopicID: topicID("never made")})
		if err := <-o.Failed(); !errors.Is(err, metadata.ErrUnknownTopic) {
			t.Fatal(err)
		}
		if n, _ := w.count(); n != 1 {
			t.Fatalf("%d images", n)
		}
	})
}

// The addresses of controllers come from KRaftVoters, by listener name.
func TestControllerAddress(t *testing.T) {
	o, err := New(Config{
		Source: newQuorum(), Store: NewMemoryStore(), ControllerListener: "ctl",
		StaticVoters: map[model.BrokerID]string{1: "static:1", 2: "static:2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.voters.Store(&[]metadata.Voter{{ID: 2, Endpoints: []metadata.Endpoint{
		{Name: "OTHER", Host: "no", Port: 1}, {Name: "CTL", Host: "::1", Port: 9},
	}}})
	for _, c := range []struct {
		leader QuorumLeader
		want   string
	}{
		{QuorumLeader{ID: 1}, "static:1"}, {QuorumLeader{ID: 2}, "[::1]:9"}, {QuorumLeader{ID: -1}, ""},
		{QuorumLeader{ID: 3, Address: "said:3"}, "said:3"}, {QuorumLeader{ID: 4}, ""},
	} {
		o.leader.Store(&c.leader)
		if _, addr, ok := o.Controller(); addr != c.want || ok != (c.want != "") {
			t.Errorf("leader %+v: %q %v, want %q", c.leader, addr, ok, c.want)
		}
	}
}

// scriptedPeer answers a Remote.
type scriptedPeer struct {
	addr string
	log  *[]string
	res  map[string]MetadataFetchResult
}

func (s *scriptedPeer) MetadataFetch(context.Context, MetadataFetch) (MetadataFetchResult, error) {
	*s.log = append(*s.log, s.addr)
	return s.res[s.addr], nil
}

func (s *scriptedPeer) FetchSnapshot(context.Context, SnapshotFetch) (SnapshotChunk, error) {
	return SnapshotChunk{}, nil
}

func (s *scriptedPeer) Close() error { return nil }

func TestRemoteFindsTheLeader(t *testing.T) {
	none := QuorumLeader{ID: model.NoBroker, Epoch: 4}
	res := map[string]MetadataFetchResult{
		"a": {Code: peer.CodeNotLeader, Leader: none},
		"b": {Code: peer.CodeFencedLeaderEpoch, Leader: QuorumLeader{ID: 7, Epoch: 5, Address: "x"}},
		"x": {Leader: QuorumLeader{ID: 7, Epoch: 5}},
	}
	var log []string
	r := NewRemote(RemoteConfig{
		Servers:      []string{"down", "a", "b"},
		VoterAddress: func(model.BrokerID) (string, bool) { return "", false },
		Dial: func(_ context.Context, addr string) (MetadataPeer, error) {
			if addr == "down" {
				log = append(log, addr)
				return nil, errors.New("refused")
			}
			return &scriptedPeer{addr: addr, log: &log, res: res}, nil
		},
	})
	for range 5 {
		_, _ = r.Fetch(t.Context(), MetadataFetch{})
	}
	res["x"] = MetadataFetchResult{Code: peer.CodeBrokerNotAvailable, Leader: none}
	_, _ = r.Fetch(t.Context(), MetadataFetch{})
	_, _ = r.Fetch(t.Context(), MetadataFetch{})
	if got, want := fmt.Sprint(log), "[down a b x x x down]"; got != want {
		t.Fatalf("asked %s, want %s", got, want)
	}
}

var _ replica.Epochs = (*DiskStore)(nil)
