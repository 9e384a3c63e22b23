package commitlog

import (
	"math"
	"testing"

	"tidemark/internal/model"
)

// KAFKA-6264: offsets inside a segment are 32-bit numbers in its indexes. Batches
// that are further apart, as in what a compacted leader sends, go to segments of
// their own, also out of one append; a gap that wide is no hole after a crash.
func TestSegmentsSpanLessThan2GiOffsets(t *testing.T) {
	const far = math.MaxInt32
	for _, c := range []struct {
		name     string
		at       []model.Offset // of batches of ten records, one append
		segments int
	}{
		{"the last offset that fits", []model.Offset{0, far - 9}, 1},
		{"one too many", []model.Offset{0, far - 8}, 2},
		{"each in its own", []model.Offset{0, 2 * far, 4 * far}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := memOptions(newMem(t))
			l := open(t, o)
			var all []byte
			for _, at := range c.at {
				all = append(all, batch(at, 1, 10, 5, 10)...)
			}
			_, err := l.Append(all)
			must(t, err)
			want := contents(t, l)
			for _, clean := range []bool{true, false} {
				if n := len(l.Segments()); n != c.segments {
					t.Errorf("%d segments, want %d", n, c.segments)
				}
				for _, at := range c.at {
					s, err := l.Read(at+3, l.End(), 1, true)
					must(t, err)
					if s.First != at {
						t.Errorf("a read at %d begins at %d", at+3, s.First)
					}
					s.Release()
				}
				must(t, l.Close(clean))
				o.Clean = clean
				l = open(t, o)
				if got := contents(t, l); got != want {
					t.Fatalf("reopened, clean %v: %s, want %s", clean, got, want)
				}
			}
		})
	}
}
