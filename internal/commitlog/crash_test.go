package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// word is one batch as the crash tests compare it.
type word struct {
	base, last model.Offset
	epoch      model.LeaderEpoch
	crc        uint32
}

func words(l *Log) (out []word, err error) {
	err = l.Batches(l.Start(), func(b record.Batch) error {
		out = append(out, word{b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.CRC()})
		return b.CheckCRC()
	})
	return out, err
}

// state is what the outside knows of a log between two steps.
type state struct {
	words      []word
	start, end model.Offset
	point      model.Offset // recovery point checkpoint
}

func stateOf(t testing.TB, l *Log) state {
	w, err := words(l)
	must(t, err)
	return state{w, l.Start(), l.End(), l.Flushed()}
}

// scenarios are the scripts that the sweep crashes at every operation. Steps
// are closures over the log; the checkpoints are written after every step.
var scenarios = map[string][]func(l *Log) error{
	"appends and rolls":  {app(1, 3), app(1, 3), app(2, 5), app(2, 4)},
	"flushes":            {app(1, 3), flush, app(1, 4), flush, app(2, 2), app(3, 3), flush, app(3, 1)},
	"truncate, append":   {app(1, 3), flush, app(2, 6), flush, cut(25), app(3, 5), flush, app(3, 2)},
	"truncate unflushed": {app(1, 9), cut(33), app(2, 6), cut(12), app(3, 4), app(4, 4)},
	"truncate to border": {app(1, 8), flush, cut(20), app(2, 1), cut(20), app(3, 7), flush},
	"truncate in place":  {app(1, 4), flush, cut(30), app(2, 1), flush, cut(30), app(3, 1), flush},
	"elections":          {app(1, 2), elect(2), elect(3), flush, elect(4), app(4, 2), elect(6), cut(40), app(7, 1), flush},
	"log start":          {app(1, 4), app(2, 4), flush, advance(35), app(2, 3), advance(60), flush, app(3, 3)},
	"restart":            {app(1, 6), flush, restart(500), app(2, 6), flush, restart(100), app(3, 2)},
	"retention":          {app(1, 6), flush, retain, app(2, 2), flush, remove, app(3, 3), retain},
	"restart points":     {large, app(1, 3), mark, app(1, 1), mark, app(1, 4), app(2, 3), mark, flush, app(2, 2), mark},
	"restart, truncate":  {large, app(1, 4), mark, app(1, 1), cut(30), app(2, 2), mark, cut(20), app(3, 3), mark, app(3, 5), mark, cut(70), mark},
	"restart, at a mark": {large, app(1, 3), mark, app(1, 1), flush, cut(30), app(2, 1), mark, cut(30), app(3, 2), flush, mark},
	"restart, empty":     {large, app(1, 3), mark, restart(500), app(2, 2), mark, restart(20), app(3, 2), mark},
	"restart, txns":      {large, app(1, 1), begin(1, 7), begin(1, 8), end(1, 8), mark, begin(1, 9), end(1, 9), end(1, 7), mark, begin(2, 9), cut(19), mark},
	"transactions":       {app(1, 2), txn(1, 7, false), flush, txn(1, 8, false), app(2, 3), txn(2, 9, true), txn(2, 7, false), cut(33), app(3, 3)},
}

func app(epoch model.LeaderEpoch, batches int) func(*Log) error {
	return func(l *Log) error {
		for range batches {
			if _, err := l.Append(batch(l.End(), epoch, 10, int64(l.End()), 10)); err != nil {
				return err
			}
		}
		return nil
	}
}

func txn(epoch model.LeaderEpoch, pid model.ProducerID, commit bool) func(*Log) error {
	return func(l *Log) error {
		first := l.End()
		if _, err := l.Append(append(txnBatch(first, epoch, pid, 2), marker(first+2, epoch, pid, commit)...)); err != nil || commit {
			return err
		}
		return l.AppendAborted(AbortedTxn{pid, first, first + 2, first + 3})
	}
}

// begin and end are the records of a transaction and its abort marker, apart.
func begin(epoch model.LeaderEpoch, pid model.ProducerID) func(*Log) error {
	return func(l *Log) error { _, err := l.Append(txnBatch(l.End(), epoch, pid, 2)); return err }
}

func end(epoch model.LeaderEpoch, pid model.ProducerID) func(*Log) error {
	return func(l *Log) error {
		at := l.End()
		open := openTxns{first: map[model.ProducerID]model.Offset{}}
		if err := l.Batches(l.Start(), func(b record.Batch) error { open.add(b); return nil }); err != nil {
			return err
		}
		if _, err := l.Append(marker(at, epoch, pid, false)); err != nil {
			return err
		}
		first := open.first[pid]
		delete(open.first, pid)
		lso := at + 1
		for _, f := range open.first {
			lso = min(lso, f)
		}
		return l.AppendAborted(AbortedTxn{pid, first, at, lso})
	}
}

// large makes room for restart points inside segments.
func large(l *Log) error {
	c := l.Config()
	c.SegmentBytes = 1700
	l.UpdateConfig(c)
	return nil
}

// mark makes a restart point at the log end.
func mark(l *Log) error {
	p, err := producersOf(l)
	if err != nil {
		return err
	}
	return l.RestartPoint(l.End(), p)
}

// producersOf is a snapshot that knows the open transactions and nothing else.
func producersOf(l *Log) ([]byte, error) {
	open := openTxns{first: map[model.ProducerID]model.Offset{}}
	if err := l.Batches(l.Start(), func(b record.Batch) error { open.add(b); return nil }); err != nil {
		return nil, err
	}
	return encodeProducers(open.first), nil
}

func encodeProducers(open map[model.ProducerID]model.Offset) []byte {
	body := binary.BigEndian.AppendUint32(nil, uint32(len(open)))
	for id, first := range open {
		e := make([]byte, snapshotEntry)
		binary.BigEndian.PutUint64(e, uint64(id))
		binary.BigEndian.PutUint64(e[snapshotEntry-8:], uint64(first))
		body = append(body, e...)
	}
	p := binary.BigEndian.AppendUint16(nil, 1)
	p = binary.BigEndian.AppendUint32(p, crc32.Checksum(body, castagnoli))
	return append(p, body...)
}

func flush(l *Log) error { return l.Flush(l.End()) }
func retain(l *Log) error {
	_, err := l.ApplyRetention(l.now(), l.End()-20)
	return err
}
func remove(l *Log) error {
	_, err := l.RemoveDeleted(l.now().Add(l.Config().FileDeleteDelay))
	return err
}
func cut(to model.Offset) func(*Log) error {
	return func(l *Log) error { _, err := l.TruncateTo(to); return err }
}
func elect(e model.LeaderEpoch) func(*Log) error {
	return func(l *Log) error { return l.AssignEpoch(e, l.End()) }
}
func advance(to model.Offset) func(*Log) error {
	return func(l *Log) error { return l.AdvanceStart(to) }
}
func restart(at model.Offset) func(*Log) error {
	return func(l *Log) error { return l.TruncateFullyAndStartAt(at) }
}

func sweepOptions(fsys vfs.FS) Options {
	o := memOptions(fsys)
	o.Config.SegmentBytes = 600
	o.Config.RetentionBytes = 1000
	o.ProducerSnapshot = func() []byte { return nil }
	return o
}

// crashSeeds are tried with half of the unsynced data surviving.
const crashSeeds = 4

// TestCrashSweep crashes every scenario before every operation that changes
// the disk. The log that is found is a prefix of what was there before or
// after the step, holds everything below the recovery point, and its epochs
// are those of its batches (invariant 4).
func TestCrashSweep(t *testing.T) {
	for name, steps := range scenarios {
		t.Run(name, func(t *testing.T) {
			crashes := sweep(t, steps)
			if crashes < 20 {
				t.Errorf("only %d crashes", crashes)
			}
		})
	}
}

func sweep(t *testing.T, steps []func(*Log) error) int {
	// A first run learns the states between the steps; the second is crashed.
	l := open(t, sweepOptions(newMem(t)))
	states := []state{stateOf(t, l)}
	for _, do := range steps {
		must(t, do(l))
		states = append(states, stateOf(t, l))
	}

	m := newMem(t)
	step, crashes := 0, 0
	ready := false
	l = open(t, sweepOptions(vfs.NewFaulty(m, func(op vfs.Op) error {
		if !ready || !op.Kind.Mutates() {
			return nil
		}
		before, after := states[step], states[step+1]
		for seed := range uint64(crashSeeds + 2) {
			percent := []int{0, 100, 50, 50, 50, 50}[seed]
			what := fmt.Sprintf("step %d, before %v %s, %d %% survive, seed %d", step, op.Kind, op.Name, percent, seed)
			crashes++
			checkCrash(t, what, m.CrashClone(percent, seed), before, after, percent == 50 && seed == 2)
		}
		return nil
	})))
	ready = true
	for i, do := range steps {
		step = i
		must(t, do(l))
	}
	return crashes
}

// checkCrash opens what a crash left and compares. With again, the recovery is
// itself crashed at every operation.
func checkCrash(t *testing.T, what string, m *vfs.Mem, before, after state, again bool) {
	t.Helper()
	var o Options
	deep := func(op vfs.Op) error {
		if again && op.Kind.Mutates() {
			what := fmt.Sprintf("%s; in recovery before %v %s", what, op.Kind, op.Name)
			checkCrash(t, what, m.CrashClone(50, 3), before, after, false)
		}
		return nil
	}
	o = sweepOptions(vfs.NewFaulty(m, deep))
	o.LogStart, o.RecoveryPoint = before.start, before.point
	l, err := Open(o)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	again = false
	got, err := words(l)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !isPrefix(l, got, before) && !isPrefix(l, got, after) {
		t.Fatalf("%s: found [%d, %d) %v\n\tbefore [%d, %d) %v\n\tafter [%d, %d) %v", what, l.Start(), l.End(), got,
			before.start, before.end, before.words, after.start, after.end, after.words)
	}
	if kept := min(before.point, after.end); after.start <= before.end && l.End() < kept {
		t.Fatalf("%s: ends at %d, flushed was %d", what, l.End(), kept)
	}
	if l.Flushed() > l.End() {
		t.Fatalf("%s: flushed %d, end %d", what, l.Flushed(), l.End())
	}
	checkEpochs(t, what, l, got)
	checkAborted(t, what, l)
	checkLookups(t, what, l)

	// The log goes on: one more append, a clean stop, and all of it is there.
	next := batch(l.End(), 100, 1, 1, 1)
	if _, err := l.Append(next); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	must(t, l.Close(true))
	o.Clean, o.RecoveryPoint, o.FS = true, 0, m.CrashClone(0, 0)
	l = open(t, o)
	again2, err := words(l)
	if err != nil || fmt.Sprint(again2) != fmt.Sprint(append(got, word{next.BaseOffset(), next.LastOffset(), 100, next.CRC()})) {
		t.Fatalf("%s: after a clean stop: %v, was %v (%v)", what, again2, got, err)
	}
}

// isPrefix reports whether the log is a prefix of a state, but for its start,
// which lies on or after the checkpoint of it.
func isPrefix(l *Log, got []word, s state) bool {
	want := s.words
	for len(want) > 0 && want[0].last < l.Start() {
		want = want[1:]
	}
	if len(got) == 0 {
		return l.Start() == l.End()
	}
	if len(got) > len(want) || l.Start() < s.start && got[0] != want[0] {
		return false
	}
	for i := range got {
		if got[i] != want[i] {
			return false
		}
	}
	return l.End() == got[len(got)-1].last+1
}

func checkEpochs(t *testing.T, what string, l *Log, got []word) {
	t.Helper()
	if len(got) == 0 { // an emptied log may remember the epoch that it ended with
		if e := l.Epochs(); len(e) > 1 || (len(e) == 1 && e[0].Start != l.End()) {
			t.Fatalf("%s: epochs %v of an empty log", what, e)
		}
		return
	}
	var want epochCache
	for _, w := range got {
		want.assign(w.epoch, max(w.base, l.Start()))
	}
	if a, b := fmt.Sprint(l.Epochs()), fmt.Sprint(want.entries()); a != b {
		t.Fatalf("%s: epochs %s, batches say %s", what, a, b)
	}
}

// checkLookups finds every batch by its offset and by its timestamp.
func checkLookups(t *testing.T, what string, l *Log) {
	t.Helper()
	newest := int64(-1)
	must(t, l.Batches(l.Start(), func(b record.Batch) error {
		base := max(b.BaseOffset(), l.Start())
		sl, err := l.Read(base, l.End(), 1, true)
		if err != nil || sl.Len() != len(b) {
			t.Fatalf("%s: read at %d: %d bytes, want %d (%v)", what, base, sl.Len(), len(b), err)
		}
		sl.Release()
		if b.Control() || b.MaxTimestamp() <= newest {
			return nil
		}
		newest = b.MaxTimestamp()
		off, at, _, ok, err := l.OffsetForTimestamp(newest, l.End())
		if err != nil || !ok || at != newest || off < b.BaseOffset() || off > b.LastOffset() {
			t.Fatalf("%s: timestamp %d is at %d %t, batch [%d, %d] has it (%v)", what, newest, off, ok, b.BaseOffset(), b.LastOffset(), err)
		}
		return nil
	}))
	if newest < 0 {
		return
	}
	if _, at, _, ok, err := l.MaxTimestampOffset(l.End()); err != nil || !ok || at < newest {
		t.Fatalf("%s: largest timestamp %d %t, want %d (%v)", what, at, ok, newest, err)
	}
}

// checkAborted compares the transaction index with the batches.
func checkAborted(t *testing.T, what string, l *Log) {
	t.Helper()
	open := openTxns{first: map[model.ProducerID]model.Offset{}}
	var want []AbortedTxn
	must(t, l.Batches(l.Start(), func(b record.Batch) error {
		want = append(want, open.add(b)...)
		return nil
	}))
	got, err := l.AbortedTxns(l.Start(), l.End())
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: aborted %v, batches say %v (%v)", what, got, want, err)
	}
}
