package commitlog

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// TestRecoveryTellsWhatItCuts flips a bit in the middle of three segments.
// What recovery removes is offered byte by byte before; only where it was known
// to be on disk are records owed.
func TestRecoveryTellsWhatItCuts(t *testing.T) {
	for _, point := range []model.Offset{0, 10, 50} {
		m := newMem(t)
		o := memOptions(m)
		o.Config.SegmentBytes = 850
		l := open(t, o)
		fill(t, l, 1, 9, 10)
		v := l.Segments()
		first := int64(0) // of the damaged batch
		if sl, err := l.Read(v[1].Base, v[1].Next, 1, true); err == nil {
			first = int64(sl.Len())
			sl.Release()
		}
		flipAt(first+80)(t, m, l.path(v[1].Base, logSuffix))
		var want, got bytes.Buffer
		_, err := l.Copy(v[1].Base, 1<<20, &want)
		must(t, err)
		o.FS, o.RecoveryPoint = m.CrashClone(100, 1), point
		o.Removing = func(r Removal) {
			must(t, r.Copy(&got, r.Bytes))
			if int64(got.Len()) != r.Bytes || r.Copy(io.Discard, 1) != nil || r.Why == nil {
				t.Errorf("%d of %d bytes, %v", got.Len(), r.Bytes, r.Why)
			}
		}
		l = open(t, o)
		if !bytes.Equal(got.Bytes(), want.Bytes()[first:]) {
			t.Errorf("point %d: %d bytes were offered, want %d", point, got.Len(), want.Len()-int(first))
		}
		owed := model.NoOffset
		if l.End() < point {
			owed = point
		}
		if f := l.Findings(); f.Owed != owed || l.End() != v[1].Base+10 || len(f.Suspects) > 0 {
			t.Errorf("point %d: the log ends at %d, found %+v", point, l.End(), f)
		}
	}
}

// TestDamageBelowARebuiltIndex loses the index of a segment that has a flipped
// bit: the log opens with all its records, and names the segment.
func TestDamageBelowARebuiltIndex(t *testing.T) {
	m := newMem(t)
	o := memOptions(m)
	o.Config.SegmentBytes = 600
	l := open(t, o)
	fill(t, l, 1, 6, 10)
	must(t, l.Flush(l.End()))
	base, end := l.Segments()[1].Base, l.End()
	flipAt(80)(t, m, l.path(base, logSuffix))
	after := m.CrashClone(100, 1)
	must(t, after.Remove(l.path(base, indexSuffix)))
	o.FS, o.RecoveryPoint = vfs.FS(after), end
	l = open(t, o)
	if f := l.Findings(); !slices.Equal(f.Suspects, []model.Offset{base}) || l.End() != end || f.Owed != model.NoOffset {
		t.Fatalf("the log ends at %d of %d, found %+v", l.End(), end, f)
	}
	if d, err := l.Verify(base); err != nil || d == nil {
		t.Errorf("damage %v (%v)", d, err)
	}
}
