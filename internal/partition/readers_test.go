package partition

import (
	"errors"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/producer"
	"tidemark/internal/record"
	"tidemark/internal/session"
)

// read_committed sees a transaction only when it is decided and replicated, and
// is told which ones were aborted.
func TestReadCommitted(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2)
	send := func(b record.Batch, o producer.Origin) {
		t.Helper()
		if _, err := h.p.AppendAsLeader(b, Append{Epoch: -1, Origin: o}); err != nil {
			t.Fatal(err)
		}
	}
	data := func(seq int32) record.Batch {
		var b record.Builder
		b.SetTransactional()
		b.SetProducer(9, 0, seq)
		b.Add(1, nil, []byte("v"))
		return b.Build()
	}
	marker := func(commit bool) record.Batch {
		return record.Marker(9, 0, record.EndTxn{Commit: commit, CoordinatorEpoch: 1})
	}
	want := func(hw, lso model.Offset) {
		t.Helper()
		if h.p.HighWatermark() != hw || h.p.LastStable() != lso {
			t.Fatalf("hw %d lso %d, want %d and %d", h.p.HighWatermark(), h.p.LastStable(), hw, lso)
		}
		for isolation, end := range []model.Offset{ReadUncommitted: hw, ReadCommitted: lso} {
			f, err := h.p.Fetch(Fetch{
				Replica: -1, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Isolation: Isolation(isolation),
			})
			if err != nil {
				t.Fatal(err)
			}
			if f.Slice.Next != end {
				t.Fatalf("isolation %d reads up to %d, want %d", isolation, f.Slice.Next, end)
			}
			f.Slice.Release()
		}
	}
	h.append(Append{}, "plain") // 0
	send(data(0), producer.Client)
	h.acked(2, 2)
	want(2, 1)
	send(marker(false), producer.Coordinator) // 2
	want(2, 1)                                // written, not replicated
	h.acked(2, 3)
	want(3, 3)
	send(data(1), producer.Client)
	send(marker(true), producer.Coordinator)
	h.acked(2, 5)
	want(5, 5)
	f, err := h.p.Fetch(Fetch{
		Replica: -1, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Isolation: ReadCommitted,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Slice.Release()
	if len(f.Aborted) != 1 || f.Aborted[0].ProducerID != 9 || f.Aborted[0].First != 1 {
		t.Fatalf("aborted %+v", f.Aborted)
	}
}

// A consumer may read a follower (KIP-392), up to what that knows is committed,
// and is woken when that grows.
func TestConsumerReadsAFollower(t *testing.T) {
	h := newHost(t)
	h.follow(0)
	b := batch("a")
	b.Stamp(0, 0)
	read := func(fromFollower bool) (Fetched, error) {
		f, err := h.p.Fetch(Fetch{
			Replica: -1, FromFollower: fromFollower, CurrentEpoch: 0, LastFetchedEpoch: -1, MaxBytes: 1 << 20,
		})
		f.Slice.Release()
		return f, err
	}
	if _, err := read(false); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("before Fetch v11: %v", err)
	}
	s := session.New(-1, true, h.now)
	h.p.Subscribe(s.Name(session.Key{Partition: 3}, session.Position{}))
	s.Take(nil)
	if err := h.p.AppendAsFollower(Replicated{Records: b, LeaderHW: 0}); err != nil {
		t.Fatal(err)
	}
	h.perform()
	if f, err := read(true); err != nil || f.Slice.Len() != 0 || f.HW != 0 {
		t.Fatalf("%+v %v", f, err)
	}
	if err := h.p.AppendAsFollower(Replicated{Offset: 1, LeaderHW: 1}); err != nil {
		t.Fatal(err)
	}
	h.perform()
	if f, err := read(true); err != nil || f.Slice.Len() == 0 || f.HW != 1 {
		t.Fatalf("%+v %v", f, err)
	}
	if len(s.Take(nil)) != 1 {
		t.Fatal("the consumer was not marked")
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

// A follower knows what was aborted and what is still open, from the batches that
// it copies (KAFKA-8542): read_committed consumers may read it. What it doesn't
// have, or has deleted, is out of its range.
func TestReadCommittedFromAFollower(t *testing.T) {
	l, f := newHost(t), newHost(t)
	l.lead(1, 1, 2)
	f.follow(1)
	data := func(pid model.ProducerID) record.Batch {
		var b record.Builder
		b.SetTransactional()
		b.SetProducer(pid, 0, 0)
		b.Add(1, nil, []byte("v"))
		return b.Build()
	}
	for _, b := range []record.Batch{
		data(9), record.Marker(9, 0, record.EndTxn{CoordinatorEpoch: 1}), data(10), batch("plain"),
	} {
		if _, err := l.p.AppendAsLeader(b, Append{Epoch: -1, Origin: producer.Coordinator}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		f.fetchFrom(l)
	}
	read := func(at model.Offset, i Isolation) (Fetched, error) {
		got, err := f.p.Fetch(Fetch{
			Replica: -1, FromFollower: true, Offset: at, CurrentEpoch: 1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Isolation: i,
		})
		got.Slice.Release()
		return got, err
	}
	for i, end := range []model.Offset{ReadUncommitted: 4, ReadCommitted: 2} {
		got, err := read(0, Isolation(i))
		if err != nil || got.Slice.Next != end || got.HW != 4 || got.LSO != 2 {
			t.Fatalf("isolation %d: up to %d, hw %d, lso %d, %v", i, got.Slice.Next, got.HW, got.LSO, err)
		}
		if aborted := got.Aborted; i == int(ReadCommitted) && (len(aborted) != 1 || aborted[0].ProducerID != 9) {
			t.Fatalf("aborted %+v", aborted)
		}
	}
	if _, err := l.p.DeleteRecords(2); err != nil {
		t.Fatal(err)
	}
	f.fetchFrom(l)
	if got, err := read(3, ReadCommitted); err != nil || got.Slice.Len() != 0 {
		t.Fatalf("between its last stable offset and its end: %d bytes, %v", got.Slice.Len(), err)
	}
	for _, at := range []model.Offset{1, 5} {
		if _, err := read(at, ReadCommitted); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("at %d of [%d, %d): %v", at, f.p.LogStart(), f.p.LogEnd(), err)
		}
	}
}
