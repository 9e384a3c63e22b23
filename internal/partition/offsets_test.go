package partition

import (
	"errors"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/replica"
)

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
