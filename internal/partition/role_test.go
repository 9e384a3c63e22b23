package partition

import (
	"errors"
	"slices"
	"testing"

	"tidemark/internal/model"
)

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
