package producer

import (
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

func abort() record.EndTxn  { return record.EndTxn{} }
func commit() record.EndTxn { return record.EndTxn{Commit: true} }

func TestPlainBatchInsideATransactionIsRefused(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, txn: true})
	_, err := l.offer(send{pid: 1, seq: 1})
	wantErr(t, err, ErrInvalidTxnState)
}

func TestMarkerBumpsTheEpochAndClearsSequences(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, txn: true})
	l.add(record.Marker(1, 1, abort()))
	if s := l.States()[0]; s.Epoch != 1 || s.Cached != 0 || s.LastSequence != record.NoSequence || s.TxnStart != -1 {
		t.Fatalf("%+v", s)
	}
	_, err := l.offer(send{pid: 1, epoch: 1, seq: 1})
	wantErr(t, err, ErrOutOfOrderSequence)
	l.mustAccept(t, send{pid: 1, epoch: 1, seq: 0})
}

func TestMarkerOfTheSameEpochKeepsSequences(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, txn: true})
	l.add(record.Marker(1, 0, commit()))
	if v, err := l.offer(send{pid: 1, txn: true}); err != nil || !v.Duplicate {
		t.Fatalf("%+v %v", v, err)
	}
	l.mustAccept(t, send{pid: 1, seq: 1, txn: true})
}

// KAFKA-9144.
func TestStaleCoordinatorIsFenced(t *testing.T) {
	l := newLeader()
	l.add(record.Marker(1, 0, record.EndTxn{CoordinatorEpoch: 7}))
	stale := record.Marker(1, 0, record.EndTxn{CoordinatorEpoch: 6})
	_, err := l.Check(stale, Coordinator)
	wantErr(t, err, ErrCoordinatorFenced)
	v, err := l.Check(stale, Replication)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, v.Warning, ErrCoordinatorFenced)
	if _, err := l.Check(record.Marker(1, 0, record.EndTxn{CoordinatorEpoch: 7}), Coordinator); err != nil {
		t.Fatal("the same coordinator may write again:", err)
	}
}

func TestMarkerOfAnOlderProducerEpochIsRefused(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, epoch: 3})
	_, err := l.Check(record.Marker(1, 2, abort()), Coordinator)
	wantErr(t, err, ErrInvalidProducerEpoch)
}

func TestCoordinatorWritesNeedNoSequence(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, seq: 9, txn: true})
	if _, err := l.Check(send{pid: 1, seq: record.NoSequence, txn: true}.batch(), Coordinator); err != nil {
		t.Fatal(err)
	}
}

func TestAbortedTransactionForTheIndex(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, txn: true, n: 3}) // 0..2
	l.mustAccept(t, send{pid: 2, txn: true})       // 3
	a, ok := l.Appended(marker(1, 0, 4, abort()))
	if want := (AbortedTxn{ProducerID: 1, First: 0, Last: 4, LSO: 3}); !ok || a != want {
		t.Fatalf("got %+v %v, want %+v", a, ok, want)
	}
	a, ok = l.Appended(marker(2, 0, 5, abort()))
	if want := (AbortedTxn{ProducerID: 2, First: 3, Last: 5, LSO: 6}); !ok || a != want {
		t.Fatalf("got %+v %v, want %+v", a, ok, want)
	}
	if _, ok := l.Appended(marker(2, 0, 6, abort())); ok {
		t.Fatal("an empty transaction was indexed")
	}
	l.Appended(send{pid: 1, seq: 3, txn: true, at: 7}.batch())
	if _, ok := l.Appended(marker(1, 0, 8, commit())); ok {
		t.Fatal("a committed transaction was indexed")
	}
}

// The records of a decided transaction become stable only with the marker:
// below the high watermark (KAFKA-8542 and KAFKA-9807 are about who forgets it).
func TestMarkerAtOrAboveTheHighWatermarkHoldsTheLSO(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, txn: true, n: 3})        // 0..2
	l.add(record.Marker(1, 0, commit()))                  // 3
	for hw, want := range []model.Offset{0, 0, 0, 0, 4} { // hw 3: the marker itself isn't below it
		if got := l.LastStable(model.Offset(hw)); got != want {
			t.Fatalf("hw %d: LSO %d, want %d", hw, got, want)
		}
	}
}

func TestLastStableIsTheEarliestOfAll(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 9})                        // 0, no transaction
	l.mustAccept(t, send{pid: 1, txn: true})             // 1
	l.mustAccept(t, send{pid: 2, txn: true})             // 2
	l.mustAccept(t, send{pid: 1, seq: 1, txn: true})     // 3
	l.Appended(marker(1, 0, 4, commit()))                // 1 is decided, 2 is open
	for _, c := range []struct{ hw, want model.Offset }{ // in this order: hw never goes back
		{1, 1}, {4, 1}, {5, 2}, {9, 2},
	} {
		if got := l.LastStable(c.hw); got != c.want {
			t.Errorf("hw %d: LSO %d, want %d", c.hw, got, c.want)
		}
	}
	if id, first, _, ok := l.OldestOpen(); !ok || id != 2 || first != 2 || l.OpenTxns() != 1 {
		t.Errorf("oldest open: producer %d at %d, %d open", id, first, l.OpenTxns())
	}
	l.Appended(marker(2, 0, 9, abort()))
	if got := l.LastStable(10); got != 10 {
		t.Errorf("all decided: LSO %d", got)
	}
}

func TestMarkerEmptiedByCompactionIsIgnored(t *testing.T) {
	b := marker(1, 5, 10, abort())[:record.HeaderSize]
	b = append(record.Batch{}, b...)
	b[11] = record.HeaderSize - 12 // batchLength
	b[60] = 0                      // recordsCount
	b.UpdateCRC()
	l := newLeader()
	if _, ok := l.Appended(b); ok || l.Len() != 0 {
		t.Fatal("an empty control batch changed the table")
	}
}

// KIP-890: a transactional batch must belong to a transaction that the
// coordinator knows of, or it would hang for ever.
func TestTransactionNeedsVerification(t *testing.T) {
	l := newLeader()
	l.RequireVerification(true)
	first := send{pid: 1, txn: true}.batch()
	_, err := l.Check(first, Client)
	wantErr(t, err, ErrInvalidTxnState)
	g := l.StartVerification(first, 0)
	if g == 0 {
		t.Fatal("no guard")
	}
	_, err = l.CheckGuarded(first, Client, g+1)
	wantErr(t, err, ErrInvalidTxnState)
	if _, err := l.CheckGuarded(first, Client, g); err != nil {
		t.Fatal(err)
	}
	l.add(first)
	next := send{pid: 1, seq: 1, txn: true}
	if l.StartVerification(next.batch(), 0) != 0 {
		t.Fatal("an open transaction was asked to verify again")
	}
	l.mustAccept(t, next)

	l.add(record.Marker(1, 0, commit())) // the next transaction starts over
	_, err = l.offer(send{pid: 1, seq: 2, txn: true})
	wantErr(t, err, ErrInvalidTxnState)
}

// A marker that arrives between verification and append ends the permission.
func TestMarkerInvalidatesTheGuard(t *testing.T) {
	l := newLeader()
	l.RequireVerification(true)
	b := send{pid: 1, txn: true}.batch()
	g := l.StartVerification(b, 0)
	l.add(record.Marker(1, 0, abort()))
	_, err := l.CheckGuarded(b, Client, g)
	wantErr(t, err, ErrInvalidTxnState)
	l.Reset()
	if again := l.StartVerification(b, 0); again == g {
		t.Fatal("a guard was used twice")
	}
}

// KAFKA-14920: batches 0 and 1 are in flight, 0 fails to verify; 1 must not
// become the first batch of an unknown producer.
func TestVerificationRemembersTheLowestSequence(t *testing.T) {
	l := newLeader()
	l.RequireVerification(true)
	zero, one := send{pid: 1, seq: 0, txn: true}.batch(), send{pid: 1, seq: 1, txn: true}.batch()
	l.StartVerification(one, 0)
	g := l.StartVerification(zero, 0)
	_, err := l.CheckGuarded(one, Client, g)
	wantErr(t, err, ErrOutOfOrderSequence)
	if _, err := l.CheckGuarded(zero, Client, g); err != nil {
		t.Fatal(err)
	}
	l.Expire(100, 100)
	_, err = l.CheckGuarded(zero, Client, g)
	wantErr(t, err, ErrInvalidTxnState)
}
