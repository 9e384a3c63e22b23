package partition

import (
	"errors"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/purgatory"
)

// The ISR falls below the minimum while an acks=all append waits: nobody is told
// NOT_ENOUGH_REPLICAS for what was admitted. It goes on waiting (until its own
// time-out), and commits when the ISR is large enough again, without another
// produce.
func TestISRShrinksWhileAnAppendWaits(t *testing.T) {
	h := newHost(t)
	h.lead(1, 1, 2, 3)
	pg := purgatory.New(10)
	out := h.await(h.append(Append{AcksAll: true}, "a"), pg)
	isr := func(pe model.PartitionEpoch, isr ...model.BrokerID) {
		t.Helper()
		err := h.p.BecomeLeader(State{
			Leader: 1, LeaderEpoch: 1, PartitionEpoch: pe, Replicas: []model.BrokerID{1, 2, 3}, ISR: isr,
		})
		if err != nil {
			t.Fatal(err)
		}
		h.perform()
	}
	h.now = h.now.Add(h.p.Settings().LagTimeMax + 1)
	isr(2, 1)
	if *out != purgatory.Waiting {
		t.Fatalf("outcome %d with a short ISR", *out)
	}
	h.wantHW(0)
	h.acked(2, 1) // asks to join
	if *out != purgatory.Waiting || h.p.HighWatermark() != 0 {
		t.Fatalf("a candidate completes nothing: outcome %d, high watermark %d", *out, h.p.HighWatermark())
	}
	isr(3, 1, 2)
	if *out != purgatory.Reached || h.p.Committed() != nil {
		t.Fatalf("outcome %d, %v", *out, h.p.Committed())
	}
}

// A proposal to drop a replica that lags completes nothing; that the controller
// agrees does, at once (KAFKA-13091).
func TestAgreedShrinkCompletesAppends(t *testing.T) {
	h := newHost(t)
	h.lead(1, 1, 2, 3)
	pg := purgatory.New(10)
	out := h.await(h.append(Append{AcksAll: true}, "a"), pg)
	h.now = h.now.Add(h.p.Settings().LagTimeMax + 1)
	h.acked(2, 1)
	h.p.Tick()
	h.perform()
	if len(h.proposals) != 1 || *out != purgatory.Waiting {
		t.Fatalf("%d proposals, outcome %d", len(h.proposals), *out)
	}
	c := h.proposals[0]
	h.p.ISRCommitted(answerTo(c, 2))
	h.perform()
	h.wantHW(1)
	if *out != purgatory.Reached {
		t.Fatalf("outcome %d", *out)
	}
}

// A new leader may know a lower high watermark than the old one. The follower's
// goes down with it, and its consumers in between wait: they aren't told that
// they are out of range.
func TestFollowerHighWatermarkGoesBack(t *testing.T) {
	h := newHost(t)
	h.write(run{1, []int{1, 1, 1, 1}})
	h.follow(2)
	told := func(hw model.Offset) {
		t.Helper()
		if err := h.p.AppendAsFollower(Replicated{Epoch: h.p.State().LeaderEpoch, Offset: 4, LeaderHW: hw}); err != nil {
			t.Fatal(err)
		}
		h.perform()
		h.wantHW(hw)
	}
	told(4)
	h.follow(3)
	told(2)
	for at, want := range map[model.Offset]error{0: nil, 1: nil, 2: nil, 3: nil, 4: nil, 5: ErrOffsetOutOfRange} {
		f, err := h.p.Fetch(Fetch{
			Replica: -1, FromFollower: true, Offset: at, CurrentEpoch: 3, LastFetchedEpoch: -1, MaxBytes: 1 << 20,
		})
		if !errors.Is(err, want) || (f.Slice.Len() > 0) != (at < 2) {
			t.Errorf("at %d: %v, %d bytes", at, err, f.Slice.Len())
		}
		f.Slice.Release()
	}
}

// KAFKA-9196: the high watermark is the end of a segment, and the records above it
// are in the next one. A consumer there gets nothing and is neither refused nor
// served what isn't committed.
func TestFetchAtTheHighWatermarkAcrossARoll(t *testing.T) {
	h := newHost(t)
	h.lead(1, 1, 2)
	h.append(Append{}, "a", "b")
	h.acked(2, 2)
	if err := h.p.Log().Roll(); err != nil {
		t.Fatal(err)
	}
	h.append(Append{}, "c")
	if n := len(h.p.Log().Segments()); n != 2 {
		t.Fatalf("%d segments", n)
	}
	h.wantHW(2)
	for at, records := range map[model.Offset]bool{0: true, 2: false, 3: false} {
		f, err := h.p.Fetch(Fetch{
			Replica: -1, Offset: at, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, MinOne: true,
		})
		if err != nil || (f.Slice.Len() > 0) != records || f.Slice.Next > 2 {
			t.Errorf("at %d: %v, %d bytes up to %d", at, err, f.Slice.Len(), f.Slice.Next)
		}
		f.Slice.Release()
	}
	h.acked(2, 3)
	f, err := h.p.Fetch(Fetch{Replica: -1, Offset: 2, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20})
	if err != nil || f.Slice.Len() == 0 {
		t.Fatalf("%v, %d bytes", err, f.Slice.Len())
	}
	f.Slice.Release()
}

// KAFKA-8400, KAFKA-13141, KAFKA-13837: a fetch that is refused, or answered with a
// divergence, tells nothing of where its sender is.
func TestRefusedFetchLeavesNoTrace(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Fetch
		want error
	}{
		{"of an earlier epoch", Fetch{Replica: 2, Offset: 2, CurrentEpoch: 3, LastFetchedEpoch: -1}, ErrFencedEpoch},
		{"of a later epoch", Fetch{Replica: 2, Offset: 2, CurrentEpoch: 5, LastFetchedEpoch: -1}, ErrUnknownEpoch},
		{"of a stranger", Fetch{Replica: 9, Offset: 2, CurrentEpoch: -1, LastFetchedEpoch: -1}, ErrNotLeader},
		{"of a stranger in our epoch", Fetch{Replica: 9, Offset: 2, CurrentEpoch: 4, LastFetchedEpoch: -1}, ErrUnknownEpoch},
		{"above the log end", Fetch{Replica: 2, Offset: 3, CurrentEpoch: 4, LastFetchedEpoch: -1}, ErrOffsetOutOfRange},
		{"after an epoch of nobody", Fetch{Replica: 2, Offset: 2, CurrentEpoch: 4, LastFetchedEpoch: 7}, ErrOffsetOutOfRange},
		{"that diverges", Fetch{Replica: 2, Offset: 2, CurrentEpoch: 4, LastFetchedEpoch: 3}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.write(run{1, []int{1}})
			h.lead(4, 1, 2)
			h.append(Append{}, "a")
			c.f.ReplicaEpoch, c.f.Acknowledge, c.f.MaxBytes = 1, true, 1<<20
			got, err := h.p.Fetch(c.f)
			got.Slice.Release()
			h.perform()
			if !errors.Is(err, c.want) || got.Diverging != (c.want == nil) {
				t.Fatalf("%v, diverging %v", err, got.Diverging)
			}
			h.wantHW(0)
			for _, f := range h.p.State().Followers {
				if f.LEO != model.NoOffset || !f.LastFetch.IsZero() {
					t.Errorf("it left %+v", f.FollowerView)
				}
			}
			h.acked(2, 2)
			h.wantHW(2)
		})
	}
}

// KIP-320: a consumer that read further than the new leader's log goes, in an
// epoch that ended before, is told where that epoch ended.
func TestConsumerBeyondTheEndOfItsEpoch(t *testing.T) {
	h := newHost(t)
	h.write(run{1, []int{1, 1}})
	h.lead(4, 1, 2)
	h.append(Append{}, "a", "b")
	h.acked(2, 4)
	f, err := h.p.Fetch(Fetch{Replica: -1, Offset: 3, CurrentEpoch: 4, LastFetchedEpoch: 1, MaxBytes: 1 << 20})
	if err != nil || !f.Diverging || f.Divergence.Epoch != 1 || f.Divergence.End != 2 || f.Slice.Len() != 0 {
		t.Fatalf("%+v %v", f, err)
	}
	if at, err := h.p.EpochEnd(1, 4, false); err != nil || at.Epoch != 1 || at.End != 2 {
		t.Fatalf("%+v %v", at, err)
	}
}

// A parked fetch is read again when it wakes. Only its arrival tells where its
// sender is: by then it may be somebody else's turn to count it.
func TestLookIsNoAcknowledgement(t *testing.T) {
	h := newHost(t)
	h.lead(4, 1, 2)
	h.append(Append{}, "a")
	again := Fetch{Replica: 2, ReplicaEpoch: 1, Offset: 1, CurrentEpoch: 4, LastFetchedEpoch: -1, MaxBytes: 1 << 20}
	f, err := h.p.Fetch(again)
	if err != nil {
		t.Fatal(err)
	}
	f.Slice.Release()
	h.perform()
	h.wantHW(0)
	if v := h.p.State().Followers[0]; v.LEO != model.NoOffset {
		t.Fatalf("it left %+v", v.FollowerView)
	}
	h.acked(2, 1)
	h.wantHW(1)
}
