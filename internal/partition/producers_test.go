package partition

import (
	"errors"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/producer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
)

// send appends one record of producer 77.
func (h *host) send(seq int32) (Appended, error) {
	var b record.Builder
	b.SetProducer(77, 0, seq)
	b.Add(1, nil, []byte("v"))
	return h.p.AppendAsLeader(b.Build(), Append{Epoch: -1, Origin: producer.Client})
}

func (h *host) mustSend(seq int32) Appended {
	h.t.Helper()
	a, err := h.send(seq)
	if err != nil {
		h.t.Fatalf("sequence %d: %v", seq, err)
	}
	return a
}

func TestDuplicateAcrossARestart(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	for seq := range int32(3) {
		h.mustSend(seq)
	}
	if err := h.p.Close(true); err != nil {
		t.Fatal(err)
	}
	h.open(true, 0)
	h.lead(1, 1, 2, 3)
	if a, err := h.send(2); err != nil || !a.Duplicate || a.Base != 2 || h.p.LogEnd() != 3 {
		t.Fatalf("%+v %v", a, err)
	}
	if _, err := h.send(5); !errors.Is(err, producer.ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
}

// What a producer wrote below the log start counts after a crash, too: without it
// the snapshot of the last clean stop would be its last word, and its next batch
// out of order.
func TestProducerBelowTheLogStart(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2)
	h.mustSend(0)
	if err := h.p.Close(true); err != nil {
		t.Fatal(err)
	}
	h.open(true, 0)
	h.lead(1, 1, 2)
	h.mustSend(1)
	h.mustSend(2)
	h.append(Append{}, "of somebody else")
	if err := h.p.Close(false); err != nil {
		t.Fatal(err)
	}
	h.start = 3 // DeleteRecords
	h.open(false, 0)
	h.lead(2, 1, 2)
	if a, err := h.send(2); err != nil || !a.Duplicate || a.Base != 2 {
		t.Fatalf("sent again: %+v %v", a, err)
	}
	if a := h.mustSend(3); a.Base != 4 {
		t.Fatalf("the next: %+v", a)
	}
}

// A batch that was written and isn't committed yet: its duplicate waits for the
// high watermark as the first one does.
func TestDuplicateWaitsForTheHighWatermark(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2)
	pg := purgatory.New(10)
	first := h.mustSend(0)
	again := h.mustSend(0)
	if !again.Duplicate || again.Base != first.Base || h.p.LogEnd() != 1 {
		t.Fatalf("%+v, log end %d", again, h.p.LogEnd())
	}
	out := h.await(again, pg)
	if *out != purgatory.Waiting {
		t.Fatalf("outcome %d before anybody has it", *out)
	}
	h.acked(2, 1)
	if *out != purgatory.Reached {
		t.Fatalf("outcome %d", *out)
	}
}

// A follower knows the producers of what it has copied, and forgets what it cuts
// (KAFKA-12153): as the next leader it neither writes a batch twice nor refuses
// one that was lost.
func TestDuplicateAcrossAFailover(t *testing.T) {
	a, b := newHost(t), newHost(t)
	a.lead(1, 1, 2)
	b.follow(1)
	for seq := range int32(4) {
		a.mustSend(seq)
	}
	b.fetchFrom(a)
	a.mustSend(4) // nobody copies it

	b.lead(2, 1, 2)
	for seq := range int32(4) {
		if got := b.mustSend(seq); !got.Duplicate || got.Base != model.Offset(seq) {
			t.Fatalf("sequence %d: %+v", seq, got)
		}
	}
	if got := b.mustSend(4); got.Duplicate || got.Base != 4 {
		t.Fatalf("the batch that was lost: %+v", got)
	}

	a.follow(2)
	if s := a.fetchFrom(b); s != "cut at 4" {
		t.Fatal(s)
	}
	if _, err := a.p.AppendAsLeader(batch("x"), Append{Epoch: -1}); !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	a.lead(3, 1) // it lost the batch at 4: that it had it once is forgotten
	if got := a.mustSend(4); got.Duplicate || got.Base != 4 {
		t.Fatalf("the batch that was cut: %+v", got)
	}
}

// KAFKA-7190: retention takes the producer's batches, not what is known of it;
// nor does a restart after that.
func TestProducerOutlivesItsSegments(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2)
	for seq := range int32(3) {
		h.mustSend(seq)
	}
	if err := h.p.Log().Roll(); err != nil {
		t.Fatal(err)
	}
	h.append(Append{}, "of nobody")
	h.acked(2, 4)
	if _, err := h.p.DeleteRecords(3); err != nil || h.p.LogStart() != 3 {
		t.Fatalf("%v, log start %d", err, h.p.LogStart())
	}
	for _, restart := range []string{"", "clean", "unclean"} {
		if restart != "" {
			if err := h.p.Close(restart == "clean"); err != nil {
				t.Fatal(err)
			}
			h.open(restart == "clean", 4)
			h.lead(h.p.State().LeaderEpoch+2, 1, 2)
		}
		if a, err := h.send(2); err != nil || !a.Duplicate || a.Base != 2 {
			t.Fatalf("restart %q: %+v %v", restart, a, err)
		}
		if _, err := h.send(9); !errors.Is(err, producer.ErrOutOfOrderSequence) {
			t.Fatalf("restart %q: %v", restart, err)
		}
	}
}

// KAFKA-9617: limits are for producers. A follower takes what the leader has, even
// if max.message.bytes was lowered or a timestamp would be refused by now; and a
// batch larger than the fetch may be is still sent, alone.
func TestReplicationTakesWhatProduceWouldRefuse(t *testing.T) {
	l, f := newHost(t), newHost(t)
	l.lead(1, 1, 2)
	big := string(make([]byte, 100_000))
	l.append(Append{}, big)
	l.append(Append{}, big)
	f.follow(1)
	for _, h := range []*host{l, f} {
		s := h.p.Settings()
		s.MaxBatchBytes, s.SegmentBytes, s.TimestampBeforeMax = 1000, 1000, 1
		h.p.UpdateSettings(s)
	}
	if _, err := l.p.AppendAsLeader(batch(big), Append{Epoch: -1}); !errors.Is(err, record.ErrTooLarge) {
		t.Fatal(err)
	}
	for end := range model.Offset(2) {
		got, err := l.p.Fetch(Fetch{
			Replica: 2, ReplicaEpoch: 1, Acknowledge: true, Offset: end, CurrentEpoch: 1, LastFetchedEpoch: -1,
			MaxBytes: 10, MinOne: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		err = f.p.AppendAsFollower(Replicated{Epoch: 1, Offset: end, Records: bytesOf(t, got.Slice), LeaderHW: got.HW})
		if err != nil || f.p.LogEnd() != end+1 {
			t.Fatalf("log end %d: %v", f.p.LogEnd(), err)
		}
	}
}

// With LogAppendTime the leader stamps its clock into the batch and tells it; a
// duplicate is told the time of the first one.
func TestLogAppendTime(t *testing.T) {
	h := newHost(t)
	s := h.p.Settings()
	s.LogAppendTime = true
	h.p.UpdateSettings(s)
	h.lead(0, 1, 2)
	first := h.now.UnixMilli()
	if a := h.mustSend(0); a.AppendTime != first {
		t.Fatalf("%+v, want %d", a, first)
	}
	h.now = h.now.Add(time.Hour)
	if a := h.mustSend(0); !a.Duplicate || a.AppendTime != first {
		t.Fatalf("%+v, want %d", a, first)
	}
	b, rest, err := record.Next(h.contents())
	if err != nil || len(rest) != 0 {
		t.Fatalf("%v, %d bytes more", err, len(rest))
	}
	if !b.LogAppendTime() || b.MaxTimestamp() != first || b.CheckCRC() != nil {
		t.Fatalf("%s, append time %v, %v", b, b.LogAppendTime(), b.CheckCRC())
	}
}

// A batch that is larger than a segment may be is refused with a cause of its own.
func TestBatchLargerThanASegment(t *testing.T) {
	h := newHost(t)
	s := h.p.Settings()
	s.SegmentBytes = 100
	h.p.UpdateSettings(s)
	h.lead(0, 1)
	_, err := h.p.AppendAsLeader(batch(string(make([]byte, 200))), Append{Epoch: -1})
	if !errors.Is(err, ErrSegmentTooSmall) || h.p.LogEnd() != 0 {
		t.Fatalf("%v, log end %d", err, h.p.LogEnd())
	}
}
