package partition

import (
	"errors"
	"slices"
	"testing"

	"tidemark/internal/journal"
	"tidemark/internal/record"
)

// Two replicas: what one leads the other copies, byte for byte; then leadership
// changes and the old leader's unreplicated tail is cut.
func TestFollowerCopiesAndTruncates(t *testing.T) {
	leader, f := newHost(t), newHost(t)
	leader.lead(0, 1, 2, 3)
	f.follow(0)
	leader.append(Append{}, "a", "b")
	leader.append(Append{}, "c")
	f.fetchFrom(leader)
	if f.p.LogEnd() != 3 || f.p.HighWatermark() != 0 {
		t.Fatalf("follower at %d, hw %d", f.p.LogEnd(), f.p.HighWatermark())
	}
	leader.acked(3, 3)
	f.fetchFrom(leader)
	f.wantHW(3)

	// f writes two records as leader of epoch 1 that never reach the other.
	f.lead(1, 1)
	f.append(Append{}, "lost", "lost")
	leader.lead(2, 1)
	leader.append(Append{}, "d")
	f.follow(2)
	for range 3 {
		f.fetchFrom(leader)
	}
	if f.p.LogEnd() != 4 || !slices.Equal(f.contents(), leader.contents()) {
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

// fullDisk is a Space that has none left.
type fullDisk struct{}

func (fullDisk) Take(int) error { return ErrNoSpace }

// The same on a full disk: what is refused leaves the log as it was.
func TestRefusedBatchThatHoldsTheStart(t *testing.T) {
	h := newHost(t)
	h.follow(0)
	if err := h.p.RestartAt(0, 12); err != nil {
		t.Fatal(err)
	}
	h.p.space = fullDisk{}
	b := batch("a", "b", "c", "d")
	b.Stamp(10, 0)
	err := h.p.AppendAsFollower(Replicated{Epoch: 0, Offset: 12, Records: b, LeaderHW: 14, LogStart: 12})
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("%v, want %v", err, ErrNoSpace)
	}
	if start, end := h.p.LogStart(), h.p.Log().End(); start != 12 || end != 12 || h.p.HighWatermark() != 12 {
		t.Fatalf("log is [%d, %d), high watermark %d, want [12, 12) and 12", start, end, h.p.HighWatermark())
	}
}

// A log that was cut to where the leader's begins, in the middle of a batch: that
// a divergence was older than anything the leader has kept doesn't keep a replica
// from following.
func TestLogThatEndsInsideTheLeadersFirstBatch(t *testing.T) {
	h := newHost(t)
	h.follow(0)
	old, b := batch("a", "b"), batch("B", "c", "d")
	old.Stamp(0, 0)
	b.Stamp(1, 0)
	if err := h.p.AppendAsFollower(Replicated{Epoch: 0, Offset: 0, Records: old}); err != nil {
		t.Fatal(err)
	}
	if err := h.p.AppendAsFollower(Replicated{Epoch: 0, Offset: 2, Records: b, LogStart: 1}); !errors.Is(err, ErrBadReplication) {
		t.Fatalf("a batch over one that the leader has: %v, want %v", err, ErrBadReplication)
	}
	if err := h.p.AppendAsFollower(Replicated{Epoch: 0, Offset: 2, Records: b, LeaderHW: 4, LogStart: 2}); err != nil {
		t.Fatal(err)
	}
	if start, end := h.p.LogStart(), h.p.LogEnd(); start != 2 || end != 4 || h.p.HighWatermark() != 4 {
		t.Fatalf("log is [%d, %d), high watermark %d, want [2, 4) and 4", start, end, h.p.HighWatermark())
	}
}
