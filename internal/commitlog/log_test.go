package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

func TestAppendAndRead(t *testing.T) {
	for _, fsys := range []struct {
		name string
		fs   vfs.FS
		dir  string
	}{{"mem", newMem(t), testDir}, {"os", vfs.OS, filepath.Join(t.TempDir(), "t-0")}} {
		t.Run(fsys.name, func(t *testing.T) {
			o := memOptions(fsys.fs)
			o.Dir = fsys.dir
			l := open(t, o)
			b0, b1 := batch(0, 1, 3, 10, 5), batch(3, 1, 2, 20, 5)
			info, err := l.Append(append(bytes.Clone(b0), b1...))
			must(t, err)
			if info != (AppendInfo{First: 0, Last: 4, MaxTimestamp: 21}) {
				t.Fatalf("%+v", info)
			}
			sl, err := l.Read(0, 100, 1<<20, false)
			must(t, err)
			if sl.First != 0 || sl.Next != 5 || !bytes.Equal(bytesOf(t, sl), append(bytes.Clone(b0), b1...)) {
				t.Fatalf("%+v", sl)
			}
			sl, err = l.Read(4, 100, 1, true)
			must(t, err)
			if sl.First != 3 || !bytes.Equal(bytesOf(t, sl), b1) {
				t.Fatalf("%+v", sl)
			}
			must(t, l.Close(true))
			o.Clean = true
			if l = open(t, o); contents(t, l) != "0-2@1 3-4@1" {
				t.Fatal(contents(t, l))
			}
			must(t, l.Delete())
			if ok, _ := vfs.Exists(fsys.fs, o.Dir); ok {
				t.Fatal("directory is still there")
			}
		})
	}
}

// Every (from, limit, maxBytes) gives what a walk over the batches gives.
func TestReadAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		o := memOptions(newMem(t))
		o.Config.SegmentBytes = int64(300 + rng.IntN(2000))
		o.Config.IndexInterval = 1 + rng.IntN(500)
		l := open(t, o)
		var all []record.Batch
		for range 60 {
			base := l.End() + model.Offset(rng.IntN(3)) // gaps
			b := batch(base, 0, 1+rng.IntN(5), 5, rng.IntN(80))
			_, err := l.Append(b)
			must(t, err)
			all = append(all, b)
		}
		check := func() {
			for range 400 {
				from := model.Offset(rng.IntN(int(l.End()) + 1))
				limit := from + model.Offset(rng.IntN(30)-3)
				most, minOne := rng.IntN(700), rng.IntN(2) == 0
				sl, err := l.Read(from, limit, most, minOne)
				must(t, err)
				if msg := checkSlice(t, l, all, sl, from, limit, most, minOne); msg != "" {
					t.Fatalf("seed %d: read(%d, %d, %d, %t) = [%d, %d) %d bytes: %s",
						seed, from, limit, most, minOne, sl.First, sl.Next, sl.Len(), msg)
				}
			}
		}
		check()
		must(t, l.Close(true))
		o.Clean = true
		l = open(t, o)
		check()
	}
}

func checkSlice(t *testing.T, l *Log, all []record.Batch, sl Slice, from, limit model.Offset, most int, minOne bool) string {
	next, n := sl.Next, sl.Len()
	p := bytesOf(t, sl)
	if from >= limit && n != 0 {
		return "bytes at or beyond the limit"
	}
	var want []byte
	for _, b := range all {
		if b.LastOffset() < from || from >= limit {
			continue
		}
		if b.LastOffset() >= limit || (len(want)+len(b) > most && (len(want) > 0 || !minOne)) {
			break
		}
		want = append(want, b...)
	}
	if !bytes.HasPrefix(want, p) {
		return "not the bytes of the log"
	}
	if n == 0 && len(want) > 0 {
		return fmt.Sprintf("nothing, could be %d bytes", len(want))
	}
	// Less than possible only because a segment ended.
	if n < len(want) && segmentAt(l, next) == segmentAt(l, next-1) && !atBase(l, next) {
		return fmt.Sprintf("only %d of %d bytes", n, len(want))
	}
	if n > 0 && next <= from {
		return "no progress"
	}
	return ""
}

func segmentAt(l *Log, off model.Offset) int { return floorSegment(l.segments(), off) }

func atBase(l *Log, off model.Offset) bool {
	i := segmentAt(l, off)
	return i >= 0 && l.segments()[i].base == off
}

func TestReadOutOfRange(t *testing.T) {
	l := open(t, memOptions(newMem(t)))
	fill(t, l, 0, 3, 10)
	must(t, l.AdvanceStart(15)) // inside a batch: it is still returned whole (KAFKA-6975)
	_, err := l.Read(14, 100, 1000, true)
	wantErr(t, err, ErrOffsetOutOfRange)
	_, err = l.Read(31, 100, 1000, true)
	wantErr(t, err, ErrOffsetOutOfRange)
	sl, err := l.Read(15, 100, 1000, true)
	must(t, err)
	if first, _, _ := record.Next(bytesOf(t, sl)); first.BaseOffset() != 10 {
		t.Fatalf("first batch is %v", first)
	}
	sl, err = l.Read(30, 100, 1000, true)
	must(t, err)
	if sl.Len() != 0 || sl.Next != 30 {
		t.Fatalf("%+v", sl)
	}
}

func TestAppendRefuses(t *testing.T) {
	l := open(t, memOptions(newMem(t)))
	fill(t, l, 0, 1, 10)
	_, err := l.Append(batch(9, 0, 1, 1, 1))
	wantErr(t, err, ErrOffsetOrder)
	_, err = l.Append(append(bytes.Clone(batch(10, 0, 2, 1, 1)), batch(11, 0, 1, 1, 1)...))
	wantErr(t, err, ErrOffsetOrder)
	_, err = l.Append(batch(10, 0, 1, 1, 1)[:50])
	wantErr(t, err, ErrCorrupt)
	_, err = l.Append(nil)
	wantErr(t, err, ErrCorrupt)
	if got := contents(t, l); got != "0-9@0" {
		t.Fatal(got)
	}
	_, err = l.Append(batch(10, 0, 1, 1, 1))
	must(t, err)
}

// One append may be larger than a segment: it is split between batches.
func TestAppendLargerThanSegment(t *testing.T) {
	o := memOptions(newMem(t))
	o.Config.SegmentBytes = 300
	l := open(t, o)
	var p []byte
	for i := range 20 {
		p = append(p, batch(model.Offset(i), 0, 1, 1, 30)...)
	}
	info, err := l.Append(p)
	must(t, err)
	if info.First != 0 || info.Last != 19 || !info.Rolled || len(l.Segments()) < 5 {
		t.Fatalf("%+v, %d segments", info, len(l.Segments()))
	}
	must(t, l.Flush(l.End()))
	for off := model.Offset(0); off < 20; {
		sl, err := l.Read(off, 20, 1<<20, true)
		must(t, err)
		off = sl.Next
		got := bytesOf(t, sl)
		if !bytes.HasPrefix(p, got) || len(got) == 0 {
			t.Fatalf("before %d: %d bytes that were not appended here", off, len(got))
		}
		p = p[len(got):]
	}
}

// A failed write or sync stops the log for good (invariant 7).
func TestDiskErrorIsFinal(t *testing.T) {
	for _, tc := range []struct {
		kind vfs.OpKind
		of   string // end of the name of the files that fail
	}{
		{vfs.OpWrite, ""},
		{vfs.OpSync, ""},
		{vfs.OpSync, logSuffix}, // the batches only: no other file's sync tells
		{vfs.OpSyncDir, ""},
	} {
		boom, broken, kind := errors.New("boom"), false, tc.kind
		fsys := vfs.NewFaulty(newMem(t), func(op vfs.Op) error {
			if broken && op.Kind == kind && strings.HasSuffix(op.Name, tc.of) {
				return boom
			}
			return nil
		})
		l := open(t, memOptions(fsys))
		fill(t, l, 0, 1, 10)
		broken = true
		var err error
		if kind == vfs.OpWrite {
			_, err = l.Append(batch(10, 0, 1, 1, 1))
		} else {
			err = l.Flush(10)
		}
		wantErr(t, err, ErrIO)
		wantErr(t, err, boom)
		broken = false
		_, err = l.Append(batch(10, 0, 1, 1, 1))
		wantErr(t, err, ErrIO)
		wantErr(t, l.Flush(10), ErrIO)
		if l.Flushed() != 0 || l.End() != 10 || contents(t, l) != "0-9@0" {
			t.Fatalf("flushed %d end %d", l.Flushed(), l.End())
		}
	}
}

// A slice that can't be read when it is sent is an error of the disk, which
// somebody has to hear of, by whichever way it is sent.
func TestReadErrorIsTold(t *testing.T) {
	boom, broken, told := errors.New("boom"), false, []error(nil)
	o := memOptions(vfs.NewFaulty(newMem(t), func(op vfs.Op) error {
		if broken && op.Kind == vfs.OpRead {
			return boom
		}
		return nil
	}))
	o.OnReadError = func(err error) { told = append(told, err) }
	l := open(t, o)
	fill(t, l, 0, 1, 10)
	sl, err := l.Read(0, 10, 1<<20, true)
	must(t, err)
	defer sl.Release()
	broken = true
	_, err = sl.ReadInto(make([]byte, sl.Len()))
	wantErr(t, err, boom)
	sl.SendFailed(boom)
	if len(told) != 2 {
		t.Fatalf("told %v, want two errors", told)
	}
	for _, err := range told {
		wantErr(t, err, ErrIO)
		wantErr(t, err, boom)
	}
}

// An append is one write, and allocates nothing.
func TestAppendCost(t *testing.T) {
	ops := map[vfs.OpKind]int{}
	l := open(t, memOptions(vfs.NewFaulty(newMem(t), func(op vfs.Op) error { ops[op.Kind]++; return nil })))
	fill(t, l, 0, 1, 1)
	clear(ops)
	fill(t, l, 0, 10, 1)
	if len(ops) != 1 || ops[vfs.OpWrite] != 10 {
		t.Errorf("10 appends cost %v", ops)
	}

	o := memOptions(vfs.OS)
	o.Dir = filepath.Join(t.TempDir(), "t-0")
	o.Config.IndexInterval = 1 << 20
	l = open(t, o)
	b := batch(0, 0, 1, 1, 100)
	next := model.Offset(0)
	if n := testing.AllocsPerRun(1000, func() {
		b.Stamp(next, 0)
		if _, err := l.Append(b); err != nil {
			t.Fatal(err)
		}
		next++
	}); n != 0 {
		t.Errorf("%v allocations per append", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		sl, err := l.Read(next-1, next, 1<<20, true)
		if err != nil || sl.Len() != len(b) {
			t.Fatal(err, sl.Len())
		}
		sl.Release()
	}); n != 0 {
		t.Errorf("%v allocations per read of the tail", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		sl, err := l.Read(5, 800, 10000, true)
		if err != nil || sl.Len() == 0 {
			t.Fatal(err, sl.Len())
		}
		sl.Release()
	}); n != 0 {
		t.Errorf("%v allocations per read behind the tail", n)
	}
}

// Reads of the tail, and reads that go on where the last one stopped, do no I/O
// before the bytes themselves are read.
func TestReadCost(t *testing.T) {
	reads := 0
	o := memOptions(vfs.NewFaulty(newMem(t), func(op vfs.Op) error {
		if op.Kind == vfs.OpRead || op.Kind == vfs.OpOpen {
			reads++
		}
		return nil
	}))
	l := open(t, o)
	fill(t, l, 0, 200, 5)
	reads = 0
	for _, c := range [][2]model.Offset{{995, 1000}, {990, 995}, {1000, 1000}, {980, 2000}} {
		sl, err := l.Read(c[0], c[1], 1<<20, true)
		must(t, err)
		sl.Release()
		if reads != 0 {
			t.Errorf("read [%d, %d): %d reads", c[0], c[1], reads)
		}
	}
	for from := model.Offset(0); from < 900; {
		reads = 0
		sl, err := l.Read(from, 2000, 3000, true)
		must(t, err)
		sl.Release()
		if reads > 1 {
			t.Errorf("sequential read at %d: %d reads", from, reads)
		}
		from = sl.Next
	}
}

func TestFilesBudget(t *testing.T) {
	o := memOptions(newMem(t))
	o.Config.SegmentBytes = 200
	o.Files = NewFiles(3)
	l := open(t, o)
	fill(t, l, 0, 30, 1)
	held, err := l.Read(0, 1000, 10, true)
	must(t, err)
	for range 3 {
		_ = contents(t, l)
		if n := o.Files.Open(); n > 3 {
			t.Fatalf("%d files open", n)
		}
	}
	if got := bytesOf(t, held); !bytes.Equal(got, batch(0, 0, 1, 0, 10)) {
		t.Fatal("a held slice lost its file")
	}
	must(t, l.Close(false))
	if n := o.Files.Open(); n != 0 {
		t.Fatalf("%d files open after close", n)
	}
}

func TestSliceOutlivesDeletionAndKnowsTruncation(t *testing.T) {
	l := open(t, memOptions(newMem(t)))
	fill(t, l, 0, 3, 10)
	must(t, l.Roll())
	fill(t, l, 0, 3, 10)
	old, err := l.Read(0, 100, 1<<20, true)
	must(t, err)
	tail, err := l.Read(30, 100, 1<<20, true)
	must(t, err)
	must(t, l.AdvanceStart(30))
	_, err = l.RemoveDeleted(l.now().Add(l.Config().FileDeleteDelay))
	must(t, err)
	if p := bytesOf(t, old); len(p) == 0 {
		t.Fatal("nothing read")
	}
	_, err = l.TruncateTo(50)
	must(t, err)
	fill(t, l, 1, 3, 10)
	_, err = tail.ReadInto(make([]byte, tail.Len()))
	wantErr(t, err, ErrTruncated)
	tail.Release()
}
