package commitlog

import (
	"bytes"
	"fmt"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// A scrub in small steps reads every closed segment once.
func TestScrubInSteps(t *testing.T) {
	o := compactOptions(t)
	l := open(t, o)
	fill(t, l, 0, 20, 10)
	active := l.Segments()[len(l.Segments())-1].Base
	var from model.Offset
	bytes := int64(0)
	for steps := 0; ; steps++ {
		res, err := l.Scrub(from, 1)
		must(t, err)
		if res.Damage != nil {
			t.Fatalf("%+v", res.Damage)
		}
		if bytes += res.Bytes; res.Done {
			break
		}
		if res.Next <= from || steps > 100 {
			t.Fatalf("from %d to %d", from, res.Next)
		}
		from = res.Next
	}
	if want := l.SizeBetween(0, active); bytes != want {
		t.Errorf("read %d bytes, closed segments have %d", bytes, want)
	}
}

// Any flipped byte in a closed segment that a checksum covers is found, at its batch.
func TestScrubFindsDamage(t *testing.T) {
	o := compactOptions(t)
	l := open(t, o)
	fill(t, l, 0, 6, 10)
	name := testDir + "/" + segmentFile(l.Segments()[1].Base, logSuffix)
	f := must2(o.FS.Open(name))
	size := must2(f.Size())
	base := l.Segments()[1].Base
	for at := int64(8); at < size; at++ { // one batch; the base offset lies outside the checksum
		if at >= 12 && at < 16 { // and so does the leader epoch
			continue
		}
		var p [1]byte
		must2(f.ReadAt(p[:], at))
		must2(f.WriteAt([]byte{p[0] ^ 1}, at))
		res, err := l.Scrub(0, 1<<30)
		must(t, err)
		must2(f.WriteAt(p[:], at))
		if res.Damage == nil || res.Damage.Segment != base || res.Damage.Position != 0 {
			t.Fatalf("byte %d of %d: %+v", at, size, res)
		}
		wantErr(t, res.Damage.Err, ErrCorrupt)
	}
	if res := must2(l.Scrub(0, 1<<30)); res.Damage != nil || !res.Done {
		t.Errorf("after repair: %+v", res)
	}
}

// A compacted log is as intact as another.
func TestScrubCompacted(t *testing.T) {
	l := open(t, compactOptions(t))
	for i := range 60 {
		_, err := l.Append(keyed(l.End(), 0, record.Gzip, 1, kv{key: fmt.Sprint(i % 4), value: "v"}))
		must(t, err)
	}
	must(t, l.Roll())
	compactAll(t, l, CompactOptions{})
	if res := must2(l.Scrub(0, 1<<30)); res.Damage != nil || !res.Done || res.Next != 60 {
		t.Errorf("%+v", res)
	}
}

// flip damages one byte of a segment's file.
func flip(t *testing.T, o Options, base model.Offset, at int64) {
	t.Helper()
	f := must2(o.FS.Open(testDir + "/" + segmentFile(base, logSuffix)))
	defer f.Close()
	var p [1]byte
	must2(f.ReadAt(p[:], at))
	must2(f.WriteAt([]byte{p[0] ^ 0x40}, at))
}

// Damage says what it spoils: one batch while the frames are intact, else all
// that follows in the segment. Whoever goes on behind it isn't told again.
func TestScrubTellsWhatIsSpoiled(t *testing.T) {
	o := memOptions(newMem(t))
	l := open(t, o)
	fill(t, l, 0, 5, 10)
	must(t, l.Roll())
	fill(t, l, 0, 2, 10)
	at := func(off model.Offset) int64 { return l.SizeBetween(0, off) }
	flip(t, o, 0, at(20)-1) // the last byte of [10, 20)
	res := must2(l.Scrub(0, 1<<30))
	if d := res.Damage; d == nil || d.After != 10 || d.Next != 20 || d.Position != at(10) {
		t.Fatalf("a record: %+v", d)
	}
	if d := must2(l.Verify(45)); d == nil || d.After != 10 || d.Next != 20 {
		t.Errorf("verified: %+v", d)
	}
	flip(t, o, 0, at(30)+8) // the length of [30, 40)
	if res = must2(l.Scrub(20, 1<<30)); res.Damage == nil || res.Damage.After != 30 || res.Damage.Next != 50 {
		t.Fatalf("a length: %+v", res.Damage)
	}
	sl := must2(l.Read(20, 30, 1<<20, true))
	if sl.Next != 30 {
		t.Errorf("a read before it ends at %d", sl.Next)
	}
	sl.Release()
	if res = must2(l.Scrub(50, 1<<30)); res.Damage != nil || !res.Done {
		t.Errorf("behind: %+v", res)
	}
	flip(t, o, 50, 80)
	if d := must2(l.Verify(50)); d == nil || d.Segment != 50 || d.Next != 60 {
		t.Errorf("the active segment: %+v", d)
	}
	if d := must2(l.Verify(50)); d.Err == nil {
		t.Error("no reason")
	}
}

// A log can be copied and cut at a segment whose first header is damaged.
func TestCutDamagedSegment(t *testing.T) {
	o := memOptions(newMem(t))
	l := open(t, o)
	for range 3 {
		fill(t, l, 0, 3, 10)
		must(t, l.Roll())
	}
	size := l.Segments()[1].Bytes
	flip(t, o, 30, 8)
	var out bytes.Buffer
	info := must2(l.Copy(30, 1<<30, &out))
	if info != (CopyInfo{30, 2 * size, true}) || int64(out.Len()) != 2*size {
		t.Errorf("%+v, %d bytes", info, out.Len())
	}
	if info := must2(l.Copy(45, size+7, &bytes.Buffer{})); info != (CopyInfo{30, size + 7, false}) {
		t.Errorf("bounded: %+v", info)
	}
	if info := must2(l.Copy(75, 1<<30, &bytes.Buffer{})); info.First != 70 || info.Bytes != l.Segments()[2].Bytes-size/3 || !info.Whole {
		t.Errorf("from within: %+v", info)
	}
	must2(l.TruncateTo(30))
	fill(t, l, 1, 1, 10)
	if got := contents(t, l); got != "0-9@0 10-19@0 20-29@0 30-39@1" {
		t.Error(got)
	}
}
