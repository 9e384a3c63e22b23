package producer

import (
	"errors"
	"math"
	"testing"

	"tidemark/internal/record"
)

// One test per sentence of the rules of idempotent producers (KIP-98 and what
// Kafka made of it since).

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func TestEachOfTheLastFiveBatchesIsADuplicate(t *testing.T) {
	l := newLeader()
	for i := range int32(5) {
		l.mustAccept(t, send{pid: 1, seq: 2 * i, n: 2, ts: int64(100 + i)})
	}
	for i := range int32(5) {
		v, err := l.offer(send{pid: 1, seq: 2 * i, n: 2, ts: 999})
		if err != nil || !v.Duplicate || v.Base != l.log[i].BaseOffset() || v.Last != l.log[i].LastOffset() {
			t.Fatalf("batch %d: %+v %v", i, v, err)
		}
		if v.AppendTime != int64(100+i) {
			t.Fatalf("batch %d: append time %d is not the original's", i, v.AppendTime)
		}
	}
	if l.end != 10 {
		t.Fatalf("log end %d: a duplicate was written", l.end)
	}
}

func TestADuplicateNeedsTheSameRange(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 0, n: 3})
	_, err := l.offer(send{pid: 1, seq: 0, n: 2})
	wantErr(t, err, ErrOutOfOrderSequence)
}

func TestSixthOldDuplicateIsOutOfOrder(t *testing.T) {
	l := newLeader()
	for i := range int32(6) {
		l.mustAccept(t, send{pid: 1, seq: i})
	}
	_, err := l.offer(send{pid: 1, seq: 0})
	wantErr(t, err, ErrOutOfOrderSequence)
}

func TestOlderEpochIsRefused(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, epoch: 4})
	_, err := l.offer(send{pid: 1, epoch: 3, seq: 1})
	wantErr(t, err, ErrInvalidProducerEpoch)
	_, err = l.Check(send{pid: 1, epoch: 3, seq: 1}.batch(), Coordinator)
	wantErr(t, err, ErrInvalidProducerEpoch)
}

func TestZombieEpochOnlyWarnsInReplication(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, epoch: 4})
	v, err := l.Check(send{pid: 1, epoch: 3, seq: 1}.batch(), Replication)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, v.Warning, ErrInvalidProducerEpoch)
	l.add(send{pid: 1, epoch: 3, seq: 1}.batch()) // the log is the truth
	if s := l.States()[0]; s.Epoch != 3 || s.LastSequence != 1 || s.Cached != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestNewEpochMustStartAtZero(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, epoch: 0})
	_, err := l.offer(send{pid: 1, epoch: 1, seq: 5})
	wantErr(t, err, ErrOutOfOrderSequence)
	l.mustAccept(t, send{pid: 1, epoch: 1, seq: 0})
	l.mustAccept(t, send{pid: 2, epoch: 7, seq: 5}) // nothing known of it
}

func TestNewEpochForgetsOldSequences(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 0})
	l.mustAccept(t, send{pid: 1, epoch: 1, seq: 0})
	if s := l.States()[0]; s.Cached != 1 || s.Epoch != 1 {
		t.Fatalf("%+v", s)
	}
	_, err := l.offer(send{pid: 1, epoch: 0, seq: 0})
	wantErr(t, err, ErrInvalidProducerEpoch)
}

func TestUnknownProducerMayStartAnywhere(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 4242})
	l.mustAccept(t, send{pid: 1, seq: 4243})
}

func TestSequenceGapIsOutOfOrder(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 0, n: 3})
	_, err := l.offer(send{pid: 1, seq: 4})
	wantErr(t, err, ErrOutOfOrderSequence)
	l.mustAccept(t, send{pid: 1, seq: 3})
}

// KAFKA-7692, KAFKA-7693.
func TestSequenceWrap(t *testing.T) {
	for name, c := range map[string]struct {
		sends []send
	}{
		"between batches": {[]send{{seq: math.MaxInt32 - 1, n: 2}, {seq: 0}, {seq: 1}}},
		"inside a batch":  {[]send{{seq: math.MaxInt32 - 1, n: 4}, {seq: 2}}},
		"at the start":    {[]send{{seq: math.MaxInt32}, {seq: 0, n: 2}, {seq: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeader()
			for _, s := range c.sends {
				l.mustAccept(t, s)
			}
			for i, s := range c.sends { // and they are recognised
				if v, err := l.offer(s); err != nil || !v.Duplicate || v.Base != l.log[i].BaseOffset() {
					t.Fatalf("batch %d again: %+v %v", i, v, err)
				}
			}
			again, err := Restore(l.Snapshot())
			if err != nil {
				t.Fatal(err)
			}
			last := c.sends[len(c.sends)-1]
			if v, err := again.Check(last.batch(), Client); err != nil || !v.Duplicate {
				t.Fatalf("after a restart: %+v %v", v, err)
			}
		})
	}
}

func TestFirstSequenceOfAWrappedBatchSurvivesASnapshot(t *testing.T) {
	l := newLeader()
	s := send{seq: math.MaxInt32 - 1, n: 4}
	l.mustAccept(t, s)
	again, err := Restore(l.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if v, err := again.Check(s.batch(), Client); err != nil || !v.Duplicate || v.Base != 0 || v.Last != 3 {
		t.Fatalf("%+v %v", v, err)
	}
}

func TestPlainBatchesPass(t *testing.T) {
	var b record.Builder
	b.Add(0, nil, nil)
	tab := New()
	if v, err := tab.Check(b.Build(), Client); err != nil || v != (Verdict{}) {
		t.Fatalf("%+v %v", v, err)
	}
	tab.Appended(b.Build())
	if tab.Len() != 0 {
		t.Fatal("a batch without producer id left state")
	}
}

func TestCheckChangesNothing(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 0})
	before := string(l.Snapshot())
	for _, s := range []send{{pid: 1, seq: 1}, {pid: 2}, {pid: 1, epoch: 1}, {pid: 1, seq: 1, txn: true}} {
		if _, err := l.Check(s.batch(), Client); err != nil {
			t.Fatal(err)
		}
	}
	if string(l.Snapshot()) != before {
		t.Fatal("Check changed the table")
	}
}

func TestAcceptedBatchCostsNoAllocation(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 0})
	b := send{pid: 1, seq: 1}.batch()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := l.Check(b, Client); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("Check: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { l.Appended(b) }); n != 0 {
		t.Fatalf("Appended: %v allocations", n)
	}
}

// KAFKA-7190: the state outlives the log's segments; only idleness ends it.
func TestStateOutlivesRetentionUntilItExpires(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 0, ts: 1000})
	l.mustAccept(t, send{pid: 2, seq: 0, ts: 5000})
	if n := l.Expire(5999, 5000); n != 0 || l.Len() != 2 {
		t.Fatalf("%d expired a millisecond early", n)
	}
	if n := l.Expire(6000, 5000); n != 1 || l.Len() != 1 || l.States()[0].ID != 2 {
		t.Fatalf("%d expired, left %+v", n, l.States())
	}
}

func TestExpiredProducerContinues(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 0, ts: 1000})
	l.Expire(1_000_000, 1)
	l.mustAccept(t, send{pid: 1, seq: 77})
}

func TestOpenTransactionNeverExpires(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, txn: true, ts: 1000})
	if n := l.Expire(math.MaxInt32, 1); n != 0 || l.Len() != 1 {
		t.Fatalf("%d expired", n)
	}
	l.add(record.Marker(1, 0, record.EndTxn{Commit: true, Timestamp: 2000}))
	if n := l.Expire(math.MaxInt32, 1); n != 1 {
		t.Fatalf("%d expired after the marker", n)
	}
}
