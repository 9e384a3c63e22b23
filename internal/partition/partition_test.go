package partition

import (
	"errors"
	"slices"
	"testing"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/producer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/vfs"
)

var tp = model.TopicPartition{Topic: "orders", Partition: 3}

// host is a broker around one partition: it records what it is asked to do.
type host struct {
	t         *testing.T
	p         *Partition
	fs        *vfs.Mem
	now       time.Time
	proposals []*replica.ISRChange
	events    []journal.Event
	failed    error
	lowered   int
	ready     purgatory.Ready
	fail      func(vfs.Op) error
}

func (h *host) BrokerStatus(model.BrokerID) replica.BrokerStatus {
	return replica.BrokerStatus{Epoch: 1, Eligible: true}
}
func (h *host) Propose(_ *Partition, c *replica.ISRChange) { h.proposals = append(h.proposals, c) }
func (h *host) Emit(e journal.Event)                       { h.events = append(h.events, e) }
func (h *host) Rolled(*Partition, model.Offset)            {}
func (h *host) FlushedLowered(*Partition)                  { h.lowered++ }
func (h *host) Failed(_ *Partition, err error)             { h.failed = err }

func (h *host) open(clean bool, hw model.Offset) {
	h.t.Helper()
	cfg := commitlog.DefaultConfig()
	fs := vfs.NewFaulty(h.fs, func(op vfs.Op) error {
		if h.fail != nil {
			return h.fail(op)
		}
		return nil
	})
	p, err := Open(Options{
		TP: tp, Self: 1, HighWatermark: hw,
		Settings: Settings{
			MaxBatchBytes: 1 << 20, SegmentBytes: 1 << 30, Deletes: true, MinISR: 2, LagTimeMax: 10 * time.Second,
			TimestampBeforeMax: 1 << 62, TimestampAfterMax: 1 << 62,
		},
		LogOptions: commitlog.Options{FS: fs, Dir: "d/orders-3", Config: cfg, Clean: clean, Now: h.clock},
		Now:        h.clock, Brokers: h, Sender: h, Journal: h, Storage: h,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.p = p
}

func (h *host) clock() time.Time { return h.now }

func newHost(t *testing.T) *host {
	h := &host{t: t, fs: vfs.NewMem(), now: time.Unix(100_000, 0)}
	if err := h.fs.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	h.open(false, 0)
	return h
}

func (h *host) perform() {
	h.p.Perform(&h.ready)
	h.ready.Run()
}

func (h *host) lead(epoch model.LeaderEpoch, isr ...model.BrokerID) {
	h.t.Helper()
	err := h.p.BecomeLeader(State{
		Leader: 1, LeaderEpoch: epoch, PartitionEpoch: model.PartitionEpoch(epoch),
		Replicas: []model.BrokerID{1, 2, 3}, ISR: isr,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.perform()
}

func (h *host) follow(epoch model.LeaderEpoch) {
	h.t.Helper()
	_, err := h.p.BecomeFollower(State{
		Leader: 2, LeaderEpoch: epoch, PartitionEpoch: model.PartitionEpoch(epoch),
		Replicas: []model.BrokerID{1, 2, 3}, ISR: []model.BrokerID{2},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.perform()
}

func batch(values ...string) record.Batch {
	var b record.Builder
	for _, v := range values {
		b.Add(1, []byte("k"), []byte(v))
	}
	return b.Build()
}

func (h *host) append(a Append, values ...string) Appended {
	h.t.Helper()
	a.Epoch = model.NoLeaderEpoch
	res, err := h.p.AppendAsLeader(batch(values...), a)
	if err != nil {
		h.t.Fatal(err)
	}
	return res
}

func (h *host) fetch(id model.BrokerID, at model.Offset) (Fetched, error) {
	f, err := h.p.Fetch(Fetch{
		Replica: id, ReplicaEpoch: 1, Acknowledge: true, Offset: at, CurrentEpoch: model.NoLeaderEpoch,
		LastFetchedEpoch: model.NoLeaderEpoch, MaxBytes: 1 << 20, MinOne: true,
	})
	h.perform()
	return f, err
}

func (h *host) acked(id model.BrokerID, at model.Offset) {
	h.t.Helper()
	f, err := h.fetch(id, at)
	if err != nil {
		h.t.Fatal(err)
	}
	f.Slice.Release()
}

func (h *host) wantHW(want model.Offset) {
	h.t.Helper()
	if hw := h.p.HighWatermark(); hw != want {
		h.t.Fatalf("high watermark %d, want %d", hw, want)
	}
}

func bytesOf(t *testing.T, s commitlog.Slice) []byte {
	t.Helper()
	b := make([]byte, s.Len())
	if _, err := s.ReadInto(b); err != nil {
		t.Fatal(err)
	}
	s.Release()
	return b
}

// await parks an acks=all request for one append.
func (h *host) await(a Appended, p *purgatory.Purgatory) *purgatory.Outcome {
	h.t.Helper()
	out := new(purgatory.Outcome)
	r := p.NewRequest(1, time.Now().Add(time.Hour), func(r *purgatory.Request) { *out = r.Outcome(0) })
	h.p.AwaitCommitted(a, r, 0, &h.ready)
	if err := r.Park(&h.ready); err != nil {
		h.t.Fatal(err)
	}
	h.ready.Run()
	return out
}

func TestAcksAllWaitsForTheISR(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	a := h.append(Append{AcksAll: true}, "a", "b", "c")
	if a.Base != 0 || a.Last != 2 || a.Epoch != 0 {
		t.Fatalf("%+v", a)
	}
	out := h.await(a, pg)
	h.acked(2, 3)
	if *out != purgatory.Waiting {
		t.Fatal("answered before 3 has it")
	}
	h.acked(3, 3)
	h.wantHW(3)
	if *out != purgatory.Reached || h.p.Committed() != nil || pg.Len() != 0 {
		t.Fatalf("outcome %d", *out)
	}
}

func TestNotEnoughReplicas(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1)
	_, err := h.p.AppendAsLeader(batch("a"), Append{AcksAll: true, Epoch: -1})
	if !errors.Is(err, ErrNotEnoughReplicas) || h.p.LogEnd() != 0 {
		t.Fatalf("%v, log end %d", err, h.p.LogEnd())
	}
	h.append(Append{}, "a") // acks=1
	h.wantHW(0)
}

func TestRoleAndEpochFencing(t *testing.T) {
	h := newHost(t)
	if _, err := h.p.AppendAsLeader(batch("a"), Append{Epoch: -1}); !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	h.lead(4, 1, 2, 3)
	for epoch, want := range map[model.LeaderEpoch]error{3: ErrFencedEpoch, 5: ErrUnknownEpoch, 4: nil, -1: nil} {
		f, err := h.p.Fetch(Fetch{Replica: -1, CurrentEpoch: epoch, LastFetchedEpoch: -1, MaxBytes: 100})
		f.Slice.Release()
		if !errors.Is(err, want) {
			t.Errorf("epoch %d: %v, want %v", epoch, err, want)
		}
	}
	if err := h.p.BecomeLeader(State{Leader: 1, LeaderEpoch: 3}); !errors.Is(err, ErrFencedEpoch) {
		t.Fatal(err)
	}
	if _, err := h.fetch(9, 0); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("fetch of a stranger: %v", err)
	}
	h.follow(5)
	if _, err := h.fetch(2, 0); !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
}

// After a restart the metadata's past must not make a replica lead in an epoch
// that its log is beyond: the beginning of every later epoch would be forgotten,
// and followers that hold its records cut off for ever.
func TestNoLeadershipOfThePast(t *testing.T) {
	h := newHost(t)
	h.lead(3, 1)
	h.append(Append{Epoch: 3}, "a")
	h.lead(5, 1)
	h.append(Append{Epoch: 5}, "b")
	want := h.p.Log().Epochs()
	if err := h.p.Close(true); err != nil {
		t.Fatal(err)
	}
	h.open(true, 0)
	if err := h.p.BecomeLeader(State{Leader: 1, LeaderEpoch: 4, Replicas: []model.BrokerID{1}, ISR: []model.BrokerID{1}}); !errors.Is(err, ErrFencedEpoch) {
		t.Errorf("leader in epoch 4: %v", err)
	}
	h.lead(5, 1)
	if got := h.p.Log().Epochs(); !slices.Equal(got, want) {
		t.Errorf("epochs %v, want %v", got, want)
	}
}

// What waits under a leadership is lost with it, and what is added too late,
// too, even if this replica leads again by then.
func TestLeadershipLostWhileWaiting(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	a := h.append(Append{AcksAll: true}, "a")
	late := h.append(Append{AcksAll: true}, "b")
	out := h.await(a, pg)
	h.follow(1)
	if *out != purgatory.Lost {
		t.Fatalf("outcome %d", *out)
	}
	h.lead(2, 1)
	if out := h.await(late, pg); *out != purgatory.Lost {
		t.Fatalf("outcome %d of an append of epoch 0", *out)
	}
}

// The same leader under a new epoch keeps its records: what waits goes on waiting.
func TestReelectedLeaderKeepsWaiting(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	out := h.await(h.append(Append{AcksAll: true}, "a"), pg)
	h.lead(1, 1, 2)
	h.acked(2, 1)
	if *out != purgatory.Reached {
		t.Fatalf("outcome %d", *out)
	}
}

func TestConsumerReadsBelowTheHighWatermark(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2)
	h.append(Append{}, "a")
	h.append(Append{}, "b")
	read := func() int {
		f, err := h.p.Fetch(Fetch{Replica: -1, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rest := bytesOf(t, f.Slice); len(rest) > 0; n++ {
			_, more, err := record.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = more
		}
		return n
	}
	if n := read(); n != 0 {
		t.Fatalf("%d batches above the high watermark", n)
	}
	h.acked(2, 1)
	if n := read(); n != 1 {
		t.Fatalf("%d batches, high watermark 1", n)
	}
	h.acked(2, 2)
	if n := read(); n != 2 {
		t.Fatalf("%d batches, high watermark 2", n)
	}
	_, err := h.p.Fetch(Fetch{Replica: -1, Offset: 3, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20})
	if !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
}

// Two replicas: what one leads the other copies, byte for byte; then leadership
// changes and the old leader's unreplicated tail is cut.
func TestFollowerCopiesAndTruncates(t *testing.T) {
	leader, f := newHost(t), newHost(t)
	leader.lead(0, 1, 2, 3)
	f.follow(0)
	copyOnce := func() {
		t.Helper()
		at, ok := f.p.FollowPosition()
		if !ok {
			t.Fatal("does not follow")
		}
		got, err := leader.p.Fetch(Fetch{
			Replica: 2, ReplicaEpoch: 1, Acknowledge: true, Offset: at.Offset, CurrentEpoch: at.Epoch,
			LastFetchedEpoch: at.LastFetchedEpoch, MaxBytes: 1 << 20, MinOne: true,
		})
		leader.perform()
		if err != nil {
			t.Fatal(err)
		}
		if got.Diverging {
			if _, err := f.p.TruncateFor(at.Epoch, got.Divergence, at.Offset); err != nil {
				t.Fatal(err)
			}
			f.perform()
			return
		}
		err = f.p.AppendAsFollower(Replicated{
			Epoch: at.Epoch, Offset: at.Offset, Records: bytesOf(t, got.Slice), LeaderHW: got.HW, LogStart: got.LogStart,
		})
		if err != nil {
			t.Fatal(err)
		}
		f.perform()
	}
	leader.append(Append{}, "a", "b")
	leader.append(Append{}, "c")
	copyOnce()
	if f.p.LogEnd() != 3 || f.p.HighWatermark() != 0 {
		t.Fatalf("follower at %d, hw %d", f.p.LogEnd(), f.p.HighWatermark())
	}
	leader.acked(3, 3)
	copyOnce()
	f.wantHW(3)

	// f writes two records as leader of epoch 1 that never reach the other.
	f.lead(1, 1)
	f.append(Append{}, "lost", "lost")
	leader.lead(2, 1)
	leader.append(Append{}, "d")
	f.follow(2)
	for range 3 {
		copyOnce()
	}
	read := func(h *host) []byte {
		s, err := h.p.Log().Read(0, h.p.LogEnd(), 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		return bytesOf(t, s)
	}
	if f.p.LogEnd() != 4 || !slices.Equal(read(f), read(leader)) {
		t.Fatalf("logs differ: ends %d and %d", f.p.LogEnd(), leader.p.LogEnd())
	}
	if !slices.ContainsFunc(f.events, func(e journal.Event) bool { return e.Kind == journal.Truncated && e.Offset == 3 }) {
		t.Fatalf("no event tells of the cut: %+v", f.events)
	}
}

func TestReplicatedRecordsAreChecked(t *testing.T) {
	h := newHost(t)
	h.follow(2)
	good := batch("a")
	good.Stamp(0, 2)
	broken := slices.Clone(good)
	broken[len(broken)-1] ^= 1
	newer := slices.Clone(good)
	newer.Stamp(0, 3)
	for _, v := range []struct {
		name string
		r    Replicated
		want error
	}{
		{"bad crc", Replicated{Epoch: 2, Records: broken}, record.ErrCorrupt},
		{"of an epoch above the leader's", Replicated{Epoch: 2, Records: newer}, ErrBadReplication},
		{"out of order", Replicated{Epoch: 2, Records: slices.Concat(good, good)}, ErrBadReplication},
		{"of an earlier leadership", Replicated{Epoch: 1}, ErrFencedEpoch},
		{"for another position", Replicated{Epoch: 2, Offset: 5, Records: good}, ErrBadReplication},
		{"good, with an incomplete batch after it", Replicated{Epoch: 2, Records: append(slices.Clone(good), good[:20]...)}, nil},
	} {
		if err := h.p.AppendAsFollower(v.r); !errors.Is(err, v.want) {
			t.Errorf("%s: %v, want %v", v.name, err, v.want)
		}
	}
	if h.p.LogEnd() != 1 {
		t.Fatalf("log end %d", h.p.LogEnd())
	}
}

// KAFKA-6975: the leader's log start lies inside a batch.
func TestEmptyLogBeginsWithTheBatchThatHoldsTheStart(t *testing.T) {
	h := newHost(t)
	h.follow(0)
	if err := h.p.RestartAt(0, 12); err != nil {
		t.Fatal(err)
	}
	b := batch("a", "b", "c", "d")
	b.Stamp(10, 0)
	err := h.p.AppendAsFollower(Replicated{Epoch: 0, Offset: 12, Records: b, LeaderHW: 14, LogStart: 12})
	if err != nil {
		t.Fatal(err)
	}
	if h.p.LogStart() != 12 || h.p.LogEnd() != 14 {
		t.Fatalf("log is [%d, %d)", h.p.LogStart(), h.p.LogEnd())
	}
}

func TestDuplicateAcrossARestart(t *testing.T) {
	h := newHost(t)
	send := func(seq int32) (Appended, error) {
		var b record.Builder
		b.SetProducer(77, 0, seq)
		b.Add(1, nil, []byte("v"))
		return h.p.AppendAsLeader(b.Build(), Append{Epoch: -1, Origin: producer.Client})
	}
	h.lead(0, 1, 2, 3)
	for seq := range int32(3) {
		if _, err := send(seq); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.p.Close(true); err != nil {
		t.Fatal(err)
	}
	h.open(true, 0)
	h.lead(1, 1, 2, 3)
	if a, err := send(2); err != nil || !a.Duplicate || a.Base != 2 || h.p.LogEnd() != 3 {
		t.Fatalf("%+v %v", a, err)
	}
	if _, err := send(5); !errors.Is(err, producer.ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
}

func TestListOffsetAfterAnElection(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	h.append(Append{}, "a", "b")
	h.follow(1)
	h.lead(2, 1, 2)
	look := func(ts int64) (Found, error) {
		return h.p.ListOffset(Lookup{Timestamp: ts, CurrentEpoch: -1})
	}
	for _, ts := range []int64{Latest, MaxTimestamp, 1} {
		if _, err := look(ts); !errors.Is(err, ErrOffsetNotAvailable) {
			t.Errorf("%d: %v", ts, err)
		}
	}
	if f, err := look(Earliest); err != nil || f.Offset != 0 {
		t.Fatalf("%+v %v", f, err)
	}
	if f, err := h.p.ListOffset(Lookup{Timestamp: Latest, CurrentEpoch: -1, Replica: true}); err != nil || f.Offset != 2 {
		t.Fatalf("a replica sees the log end: %+v %v", f, err)
	}
	h.acked(2, 2)
	if f, err := look(Latest); err != nil || f.Offset != 2 || f.Epoch != 2 {
		t.Fatalf("%+v %v", f, err)
	}
	if f, err := look(1); err != nil || f.Offset != 0 || f.Timestamp != 1 || f.Epoch != 0 {
		t.Fatalf("%+v %v", f, err)
	}
	if f, err := look(5000); err != nil || f.Offset != model.NoOffset {
		t.Fatalf("%+v %v", f, err)
	}
}

// An epoch begins when its leader is elected, not with its first record: before
// that it answers where the one before it ended (KAFKA-7415).
func TestEpochWithoutRecords(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1)
	h.append(Append{}, "a", "b")
	h.lead(2, 1)
	for e, want := range map[model.LeaderEpoch]replica.EpochEnd{0: {Epoch: 0, End: 2}, 1: {Epoch: 0, End: 2}, 2: {Epoch: 2, End: 2}} {
		if got, err := h.p.EpochEnd(e, -1, false); err != nil || got != want {
			t.Errorf("epoch %d: %+v, %v, want %+v", e, got, err, want)
		}
	}
}

func TestEpochEnds(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1)
	h.append(Append{}, "a", "b")
	h.follow(1)
	h.lead(3, 1)
	h.append(Append{}, "c")
	for e, want := range map[model.LeaderEpoch]replica.EpochEnd{0: {Epoch: 0, End: 2}, 1: {Epoch: 0, End: 2}, 3: {Epoch: 3, End: 3}, 9: {Epoch: -1, End: -1}} {
		if got, err := h.p.EpochEnd(e, -1, false); err != nil || got != want {
			t.Errorf("epoch %d: %+v %v, want %+v", e, got, err, want)
		}
	}
}

func TestDeleteRecordsWaitsForTheFollowers(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	h.append(Append{}, "a", "b")
	if _, err := h.p.DeleteRecords(1); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("above the high watermark: %v", err)
	}
	h.acked(2, 2)
	h.acked(3, 2)
	d, err := h.p.DeleteRecords(model.NoOffset)
	if err != nil || d.Before != 2 || h.p.LogStart() != 2 {
		t.Fatalf("%+v %v", d, err)
	}
	done := false
	r := purgatory.New(1).NewRequest(1, time.Now().Add(time.Hour), func(*purgatory.Request) { done = true })
	h.p.AwaitDeleted(d, r, 0, &h.ready)
	if err := r.Park(&h.ready); err != nil {
		t.Fatal(err)
	}
	for _, id := range []model.BrokerID{2, 3} {
		if done {
			t.Fatal("done before all replicas have deleted")
		}
		_, err := h.p.Fetch(Fetch{
			Replica: id, ReplicaEpoch: 1, Acknowledge: true, Offset: 2, CurrentEpoch: -1, LastFetchedEpoch: -1, LogStart: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		h.perform()
	}
	if !done || h.p.LowWatermark() != 2 {
		t.Fatalf("done=%v low=%d", done, h.p.LowWatermark())
	}
}

// KAFKA-10778: after a failed write the replica is offline, and offsets are not reused.
func TestFailedWriteTakesTheReplicaOffline(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	out := h.await(h.append(Append{AcksAll: true}, "a"), pg)
	h.fail = func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite {
			return errors.New("no space left on device")
		}
		return nil
	}
	if _, err := h.p.AppendAsLeader(batch("b"), Append{Epoch: -1}); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	h.perform()
	if h.failed == nil || *out != purgatory.Lost {
		t.Fatalf("failed=%v outcome=%d", h.failed, *out)
	}
	h.fail = nil
	if _, err := h.p.AppendAsLeader(batch("c"), Append{Epoch: -1}); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if err := h.p.BecomeLeader(State{Leader: 1, LeaderEpoch: 9}); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if s := h.p.State(); s.Role != "offline" || s.Error == "" {
		t.Fatalf("%+v", s)
	}
}

// Metadata is applied in steps that may cover many records. A leader of epoch 1
// that hears only of epoch 3 has missed that another replica led in epoch 2, and
// that its followers may have cut their logs then.
func TestSkippedLeaderEpochForgetsPositions(t *testing.T) {
	for epoch, want := range map[model.LeaderEpoch]model.Offset{2: 2, 3: 0} {
		h := newHost(t)
		h.lead(1, 1, 2, 3)
		h.append(Append{}, "a", "b")
		h.acked(2, 2)
		h.wantHW(0)
		h.lead(epoch, 1, 2) // 3 has left: only 2 is waited for
		h.wantHW(want)
		h.acked(2, 2)
		h.wantHW(2)
	}
}

// A reassignment takes replica 2 away and another brings it back, empty. A leader
// that hears of both at once must not take 2 for what it was.
func TestSkippedPartitionEpochForgetsPositions(t *testing.T) {
	for pe, want := range map[model.PartitionEpoch]model.Offset{2: 2, 3: 0} {
		h := newHost(t)
		h.lead(1, 1, 2, 3)
		h.append(Append{}, "a", "b")
		h.acked(2, 2)
		err := h.p.BecomeLeader(State{
			Leader: 1, LeaderEpoch: 2, PartitionEpoch: pe, Replicas: []model.BrokerID{1, 2}, ISR: []model.BrokerID{1, 2},
		})
		if err != nil {
			t.Fatal(err)
		}
		h.perform()
		h.wantHW(want)
	}
}
