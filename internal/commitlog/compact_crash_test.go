package commitlog

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// compactScenarios end with steps that compact; puts use few keys, so that
// every pass drops something.
var compactScenarios = map[string][]func(l *Log) error{
	"one segment":       {puts(1, 0, 6), roll, compactStep},
	"groups":            {puts(1, 0, 7), puts(2, 3, 6), roll, compactStep, puts(2, 5, 3), roll, compactStep},
	"unflushed":         {puts(1, 0, 4), flush, puts(2, 1, 9), compactStep},
	"tombstones":        {puts(1, 0, 6), deletes(1, 3), roll, compactStep, puts(3, 4, 2), roll, compactStep},
	"transactions":      {puts(0, 0, 4), txnPuts(7, false), txnPuts(8, true), puts(0, 2, 4), roll, compactStep, txnPuts(7, false), roll, compactStep},
	"producer kept":     {txnPuts(7, false), puts(0, 0, 5), roll, compactKeeping(7, 2), puts(0, 0, 4), roll, compactKeeping(7, 2)},
	"small map":         {puts(1, 0, 12), roll, compactSmall, compactSmall},
	"truncate, compact": {puts(1, 0, 10), roll, compactStep, cut(13), puts(3, 1, 5), roll, compactStep},
	"start, compact":    {puts(1, 0, 10), roll, advance(5), compactStep, advance(11), puts(2, 0, 4), roll, compactStep},
	"removed files":     {puts(1, 0, 8), roll, compactStep, remove, puts(1, 0, 6), roll, compactStep, remove},
}

func puts(epoch model.LeaderEpoch, seed, n int) func(*Log) error {
	return func(l *Log) error {
		for i := range n {
			k := kv{key: fmt.Sprint((seed + i*i) % 7), value: fmt.Sprint(l.End())}
			codec := record.Codec(i % 2 * int(record.LZ4))
			if _, err := l.Append(keyed(l.End(), epoch, codec, int64(l.End()), k, kv{key: "x", value: "1"})); err != nil {
				return err
			}
		}
		return nil
	}
}

func deletes(epoch model.LeaderEpoch, n int) func(*Log) error {
	return func(l *Log) error {
		for i := range n {
			if _, err := l.Append(keyed(l.End(), epoch, 0, 5, kv{key: fmt.Sprint(i), null: true})); err != nil {
				return err
			}
		}
		return nil
	}
}

func txnPuts(pid model.ProducerID, commit bool) func(*Log) error {
	return func(l *Log) error {
		first := l.End()
		b := txnKeyed(first, pid, 0, 0, kv{key: "0", value: "t"}, kv{key: "t", value: fmt.Sprint(first)})
		c := txnKeyed(first+2, pid, 0, 2, kv{key: "1", value: "t"})
		for _, p := range [][]byte{b, c, marker(first+3, 0, pid, commit)} {
			if _, err := l.Append(p); err != nil {
				return err
			}
		}
		if commit {
			return nil
		}
		return l.AppendAborted(AbortedTxn{pid, first, first + 3, first + 4})
	}
}

func roll(l *Log) error { return l.Roll() }

func compactWith(l *Log, o CompactOptions) error {
	open := openTxns{first: map[model.ProducerID]model.Offset{}}
	err := l.Batches(l.Start(), func(b record.Batch) error { open.add(b); return nil })
	if err != nil {
		return err
	}
	o.Bound = l.End()
	for _, first := range open.first { // the last stable offset
		o.Bound = min(o.Bound, first)
	}
	o.Now = l.now().Add(time.Duration(l.firstDirty.Load()) * time.Hour) // later in every pass
	_, err = l.Compact(o)
	return err
}

func compactStep(l *Log) error  { return compactWith(l, CompactOptions{}) }
func compactSmall(l *Log) error { return compactWith(l, CompactOptions{MapBytes: 24 * 5}) }
func compactKeeping(pid model.ProducerID, last model.Offset) func(*Log) error {
	return func(l *Log) error {
		return compactWith(l, CompactOptions{Producers: func() []ProducerTail { return []ProducerTail{{pid, 0, last}} }})
	}
}

// pureState is what the log of a compacted topic stands for.
type pureState struct {
	start, end model.Offset
	point      model.Offset
	cleaned    model.Offset
	at         []kvAt // committed records, in order
	epochs     string
}

type kvAt struct {
	off   model.Offset
	next  model.Offset // after its batch or, in a transaction, the marker
	pid   model.ProducerID
	key   string
	value string
	gone  bool
}

// committedOf reads the committed records of a log.
func committedOf(t testing.TB, l *Log) (out []kvAt) {
	t.Helper()
	aborted, err := l.AbortedTxns(l.Start(), l.End())
	must(t, err)
	must(t, l.Batches(l.Start(), func(b record.Batch) error {
		must(t, b.CheckCRC())
		if b.Control() { // its records count from here on
			for i := range out {
				if out[i].pid == b.ProducerID() {
					out[i].pid, out[i].next = model.NoProducerID, b.NextOffset()
				}
			}
			return nil
		}
		if isAborted(b, aborted) {
			return nil
		}
		for r, err := range b.Records(0) {
			must(t, err)
			out = append(out, kvAt{r.Offset, b.NextOffset(), b.ProducerID(), string(r.Key), string(r.Value), r.Value == nil})
		}
		return nil
	}))
	return slices.DeleteFunc(out, func(r kvAt) bool { return r.pid >= 0 }) // undecided
}

func pureOf(t testing.TB, l *Log) pureState {
	return pureState{l.Start(), l.End(), l.Flushed(), l.FirstDirty(), committedOf(t, l), fmt.Sprint(l.Epochs())}
}

// values folds records into the table that they stand for: the newest value of
// every key in [start, end), with its offset.
func values(at []kvAt, start, end model.Offset) map[string]string {
	out := map[string]string{}
	for _, r := range at {
		switch {
		case r.off < start || r.next > end:
		case r.gone:
			delete(out, r.key)
		default:
			out[r.key] = fmt.Sprintf("%s@%d", r.value, r.off)
		}
	}
	return out
}

// TestCompactCrashSweep crashes compactions before every operation that
// changes the disk. Whatever is found stands for the same table as before:
// every key has its last value at its old offset, nothing flushed is missing.
func TestCompactCrashSweep(t *testing.T) {
	for name, steps := range compactScenarios {
		t.Run(name, func(t *testing.T) {
			if n := compactSweep(t, steps); n < 30 {
				t.Errorf("only %d crashes", n)
			}
		})
	}
}

func compactSweepOptions(fsys vfs.FS) Options {
	o := sweepOptions(fsys)
	o.Config.SegmentBytes = 400
	o.Config.Compact, o.Config.Delete = true, false
	o.Config.DeleteRetention = time.Hour
	o.Files = NewFiles(8) // of its own: nothing keeps the log of a crash alive
	return o
}

func compactSweep(t *testing.T, steps []func(*Log) error) (crashes int) {
	l := open(t, compactSweepOptions(newMem(t)))
	states := []pureState{pureOf(t, l)}
	for _, do := range steps {
		must(t, do(l))
		states = append(states, pureOf(t, l))
	}
	m := newMem(t)
	step, ready := 0, false
	l = open(t, compactSweepOptions(vfs.NewFaulty(m, func(op vfs.Op) error {
		if !ready || !op.Kind.Mutates() || states[step].cleaned >= states[step+1].cleaned {
			return nil // TestCrashSweep does the other steps
		}
		for seed := range uint64(4) {
			percent := []int{0, 100, 50, 50}[seed]
			what := fmt.Sprintf("step %d, before %v %s, %d %% survive, seed %d", step, op.Kind, op.Name, percent, seed)
			crashes++
			checkCompactCrash(t, what, m.CrashClone(percent, seed), states[step], states[step+1], seed == 2)
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

func checkCompactCrash(t *testing.T, what string, m *vfs.Mem, before, after pureState, again bool) {
	t.Helper()
	o := compactSweepOptions(vfs.NewFaulty(m, func(op vfs.Op) error {
		if again && op.Kind.Mutates() {
			deep := fmt.Sprintf("%s; in recovery before %v %s", what, op.Kind, op.Name)
			checkCompactCrash(t, deep, m.CrashClone(50, 3), before, after, false)
		}
		return nil
	}))
	o.LogStart, o.RecoveryPoint, o.Cleaned = before.start, before.point, before.cleaned
	l, err := Open(o)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	again = false
	sameTable(t, what, l, before, after)
	for _, e := range must2(m.List(testDir)) {
		if n := len(e.Name); e.Name[n-5:] == ".swap" || e.Name[n-8:] == ".cleaned" {
			t.Fatalf("%s: %s is still there", what, e.Name)
		}
	}
	// It can be compacted to the end, and says the same afterwards, also after a clean stop.
	must(t, l.Roll())
	must(t, compactStep(l))
	sameTable(t, what+", compacted", l, before, after)
	want, epochs := contents(t, l), fmt.Sprint(l.Epochs())
	must(t, l.Close(true))
	o.Clean, o.Cleaned = true, l.FirstDirty()
	l = open(t, o)
	if got := contents(t, l); got != want || fmt.Sprint(l.Epochs()) != epochs {
		t.Fatalf("%s: after a clean stop %s %v, was %s %s", what, got, l.Epochs(), want, epochs)
	}
}

func sameTable(t *testing.T, what string, l *Log, before, after pureState) {
	t.Helper()
	// Not simply the recovery point: a truncation may have left a gap in front of it.
	for _, r := range before.at {
		if r.next <= before.point && r.next > l.End() {
			t.Fatalf("%s: ends at %d, %v was flushed", what, l.End(), r)
		}
	}
	got := values(committedOf(t, l), l.Start(), l.End())
	b, a := values(before.at, l.Start(), l.End()), values(after.at, l.Start(), l.End())
	if !maps.Equal(got, b) && !maps.Equal(got, a) {
		t.Fatalf("%s: [%d, %d) holds %v\n\tbefore [%d, %d) %v\n\tafter [%d, %d) %v\n%s", what, l.Start(), l.End(), got,
			before.start, before.end, b, after.start, after.end, a, contents(t, l))
	}
	if s := fmt.Sprint(l.Epochs()); l.Start() == before.start && l.End() == before.end && before.end == after.end && s != before.epochs {
		t.Fatalf("%s: epochs %s, were %s", what, s, before.epochs)
	}
}
