package producer

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Written by a Python script after the format's table: producer 5 has an open
// transaction from 40, producer 9 only a marker of its epoch.
const goldenSnapshot = "0001" + "38bfeea9" + "00000002" +
	"0000000000000005" + "0002" + "00000009" + "0000000000000029" + "00000001" + "0000018bcfe56800" + "ffffffff" +
	"0000000000000028" +
	"0000000000000009" + "0001" + "ffffffff" + "ffffffffffffffff" + "00000000" + "0000018bcfe56801" + "00000003" +
	"ffffffffffffffff"

func TestSnapshotGolden(t *testing.T) {
	tab := New()
	tab.Appended(send{pid: 5, epoch: 2, seq: 8, n: 2, at: 40, ts: 1700000000000, txn: true}.batch())
	tab.Appended(marker(9, 1, 42, record.EndTxn{CoordinatorEpoch: 3, Timestamp: 1700000000001}))
	if got := hex.EncodeToString(tab.Snapshot()); got != goldenSnapshot {
		t.Errorf("got  %s\nwant %s", got, goldenSnapshot)
	}
	p, err := hex.DecodeString(goldenSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Restore(p)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.States(), tab.States()) {
		t.Errorf("got  %+v\nwant %+v", again.States(), tab.States())
	}
	if lso := again.LastStable(100); lso != 40 {
		t.Errorf("LSO %d, want the open transaction's start", lso)
	}
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	good, err := hex.DecodeString(goldenSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good { // any byte: version, checksum, count, entries
		p := slices.Clone(good)
		p[i] ^= 0x10
		if _, err := Restore(p); err == nil {
			t.Errorf("byte %d changed and accepted", i)
		} else {
			wantErr(t, err, ErrCorruptSnapshot)
		}
	}
	for n := range good {
		if _, err := Restore(good[:n]); err == nil {
			t.Errorf("%d of %d bytes accepted", n, len(good))
		}
	}
	if tab, err := Restore(New().Snapshot()); err != nil || tab.Len() != 0 {
		t.Errorf("empty table: %v", err)
	}
}

func FuzzRestore(f *testing.F) {
	p, _ := hex.DecodeString(goldenSnapshot)
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) {
		tab, err := Restore(p)
		if err != nil {
			return
		}
		again, err := Restore(tab.Snapshot())
		if err != nil || !slices.Equal(again.States(), tab.States()) {
			t.Fatalf("%v: %+v became %+v", err, tab.States(), again.States())
		}
	})
}

// After a restart without replay every batch is known that was before: a producer
// sends all that it had in flight again, not only the last one.
func TestDuplicatesAfterRestart(t *testing.T) {
	l := newLeader()
	for seq := range int32(cachedBatches + 2) {
		l.mustAccept(t, send{pid: 1, seq: seq})
		l.mustAccept(t, send{pid: 2, epoch: 3, seq: seq})
	}
	tab, err := Restore(l.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if tab.Len() != 2 || !slices.Equal(tab.States(), l.States()) {
		t.Fatalf("%+v became %+v", l.States(), tab.States())
	}
	for seq := range int32(cachedBatches) {
		seq += 2
		if v, err := tab.Check(send{pid: 1, seq: seq}.batch(), Client); err != nil || !v.Duplicate || v.Base != model.Offset(2*seq) {
			t.Fatalf("sequence %d: %+v %v", seq, v, err)
		}
	}
	_, err = tab.Check(send{pid: 1, seq: 1}.batch(), Client)
	wantErr(t, err, ErrOutOfOrderSequence) // older than what is cached
	if _, err := tab.Check(send{pid: 1, seq: cachedBatches + 2}.batch(), Client); err != nil {
		t.Fatal(err)
	}
}

// KAFKA-12153, KAFKA-12520: the cut tail is taken back, and the next leader
// accepts it when it is sent again.
func TestTruncationTakesBackTheLastBatch(t *testing.T) {
	l := newLeader()
	for i := range int32(3) {
		l.mustAccept(t, send{pid: 1, seq: i})
	}
	if !l.TruncateTo(2) {
		t.Fatal("a short tail needs no reload")
	}
	if v, err := l.Check(send{pid: 1, seq: 2}.batch(), Client); err != nil || v.Duplicate {
		t.Fatalf("the cut batch again: %+v %v", v, err)
	}
	_, err := l.Check(send{pid: 1, seq: 3}.batch(), Client)
	wantErr(t, err, ErrOutOfOrderSequence)
	if !l.TruncateTo(0) || l.Len() != 0 {
		t.Fatalf("truncated to the beginning, %d producers left", l.Len())
	}
}

func TestTruncationThatCannotBeUndone(t *testing.T) {
	for name, cut := range map[string]func(l *leader) model.Offset{
		"a marker": func(l *leader) model.Offset {
			l.add(record.Marker(1, 0, commit()))
			return l.end - 1
		},
		"a new epoch": func(l *leader) model.Offset {
			l.add(send{pid: 1, epoch: 1}.batch())
			return l.end - 1
		},
		"more than the cache": func(l *leader) model.Offset {
			for i := range int32(5) {
				l.add(send{pid: 1, seq: 1 + i, txn: true}.batch())
			}
			return l.end - 5
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeader()
			l.add(send{pid: 1, txn: true}.batch())
			off := cut(l)
			if l.TruncateTo(off) || l.Len() != 0 || l.OpenTxns() != 0 {
				t.Fatalf("kept %+v", l.States())
			}
		})
	}
}

func TestTruncationBelowASnapshotNeedsAReload(t *testing.T) {
	l := newLeader()
	l.mustAccept(t, send{pid: 1, epoch: 0})
	l.add(record.Marker(1, 1, commit())) // offset 1; the snapshot doesn't say where it was
	tab, err := Restore(l.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	tab.Appended(send{pid: 1, epoch: 1, at: 2}.batch())
	if !tab.TruncateTo(3) {
		t.Error("nothing was cut")
	}
	if tab.TruncateTo(1) {
		t.Error("a marker known only from the snapshot was taken back")
	}
}

// Whatever was appended, a table that says it could take back a tail equals one
// that never saw the tail (invariant 5), up to the number of cached batches.
func TestTruncationEqualsReplay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	undone := 0
	for range 3000 {
		l, seq := newLeader(), map[model.ProducerID]int32{}
		epoch := map[model.ProducerID]model.ProducerEpoch{}
		for range 1 + rng.IntN(20) {
			pid := model.ProducerID(rng.IntN(3))
			switch rng.IntN(12) {
			case 0:
				epoch[pid]++
				seq[pid] = 0
				fallthrough
			case 1:
				l.add(record.Marker(pid, epoch[pid], record.EndTxn{Timestamp: rng.Int64N(100)}))
			default:
				n := 1 + rng.IntN(3)
				l.add(send{pid: pid, epoch: epoch[pid], seq: seq[pid], n: n, ts: rng.Int64N(100),
					txn: rng.IntN(2) == 0}.batch())
				seq[pid] += int32(n)
			}
		}
		cut := rng.IntN(len(l.log) + 1)
		off := l.end
		if cut < len(l.log) {
			off = l.log[cut].BaseOffset()
		}
		want := replay(l.log[:cut])
		if !l.TruncateTo(off) {
			continue
		}
		undone++
		got, exp := l.States(), want.States()
		for i := range min(len(got), len(exp)) {
			if got[i].Cached > exp[i].Cached {
				t.Fatalf("more cached than ever sent: %+v, want %+v", got[i], exp[i])
			}
			got[i].Cached = exp[i].Cached
		}
		if !slices.Equal(got, exp) {
			t.Fatalf("cut to %d of %v:\ngot  %+v\nwant %+v", off, l.log, got, exp)
		}
		if a, b := l.LastStable(off), want.LastStable(off); a != b {
			t.Fatalf("LSO %d, want %d", a, b)
		}
		again, err := Restore(l.Snapshot()) // fewer batches may be cached, so its bytes may differ
		if err != nil || !slices.Equal(again.States(), l.States()) {
			t.Fatalf("%v: %+v became %+v", err, l.States(), again.States())
		}
	}
	if undone < 500 {
		t.Fatalf("only %d of the truncations were undone: the test tests nothing", undone)
	}
}
