package commitlog

import (
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
