package commitlog

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// variant is a configuration that must not change what a log contains.
type variant struct {
	segment  int64
	interval int
	files    int
	reopen   int // one in so many operations reopens the log; 0 never
	clean    bool
}

var variants = []variant{
	{1 << 30, 4096, 100, 0, true},
	{700, 1, 1, 0, true},
	{300, 200, 2, 5, true},
	{2000, 100, 3, 4, false},
	{5000, 3000, 2, 9, true},
}

// TestMetamorphic runs the same random operations under every variant. Segment
// size, index density, open files, restarts and flushes must not show.
func TestMetamorphic(t *testing.T) {
	for seed := range uint64(30) {
		want := metamorphic(t, seed, variants[0])
		for _, v := range variants[1:] {
			got := metamorphic(t, seed, v)
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("seed %d, %+v: step %d\n got %s\nwant %s", seed, v, i, got[i], want[i])
				}
			}
		}
	}
}

func metamorphic(t *testing.T, seed uint64, v variant) (trace []string) {
	m := newMem(t)
	o := memOptions(m)
	o.Config.SegmentBytes, o.Config.IndexInterval, o.Files = v.segment, v.interval, NewFiles(v.files)
	l := open(t, o)
	rng := rand.New(rand.NewPCG(seed, 5))
	side := rand.New(rand.NewPCG(seed, 6))
	epoch := model.LeaderEpoch(0)
	for range 80 {
		what := metamorphicStep(t, l, rng, &epoch)
		if v.reopen > 0 && side.IntN(v.reopen) == 0 {
			// An epoch without records doesn't survive a restart: give it one.
			o.LogStart, o.RecoveryPoint, o.Clean = l.Start(), l.Flushed(), v.clean
			must(t, l.Close(v.clean))
			o.FS = m
			l = open(t, o)
		}
		e, end := l.EndOffsetFor(epoch - 1)
		q := l.Start() + model.Offset(rng.Int64N(int64(l.End()-l.Start())+1))
		off, ts, _, ok, err := l.OffsetForTimestamp(int64(q), l.End())
		must(t, err)
		maxOff, maxTS, _, maxOK, err := l.MaxTimestampOffset(l.End())
		must(t, err)
		trace = append(trace, fmt.Sprintf("%s: [%d, %d) %v end-of=(%d,%d) %s time=%d,%d,%t max=%d,%d,%t",
			what, l.Start(), l.End(), l.Epochs(), e, end, contents(t, l), off, ts, ok, maxOff, maxTS, maxOK))
	}
	return trace
}

func metamorphicStep(t *testing.T, l *Log, rng *rand.Rand, epoch *model.LeaderEpoch) string {
	in := func() model.Offset {
		return l.Start() + model.Offset(rng.Int64N(int64(l.End()-l.Start())+1))
	}
	switch k := rng.IntN(20); {
	case k < 12:
		var p []byte
		next := l.End()
		for range 1 + rng.IntN(4) {
			n := 1 + rng.IntN(4)
			p = append(p, batch(next, *epoch, n, rng.Int64N(2000), rng.IntN(60))...)
			next += model.Offset(n)
		}
		_, err := l.Append(p)
		must(t, err)
		return "append"
	case k < 14:
		*epoch++
		b := batch(l.End(), *epoch, 1, rng.Int64N(2000), 1)
		must(t, l.AssignEpoch(*epoch, l.End()))
		_, err := l.Append(b)
		must(t, err)
		return "elect"
	case k < 15:
		// To a batch boundary, as replicas do, and never to the end: an empty
		// tail may keep the larger of two ends that mean the same.
		to := boundary(t, l, in())
		_, err := l.TruncateTo(to)
		must(t, err)
		*epoch++
		_, err = l.Append(batch(l.End(), *epoch, 1, 5, 1))
		must(t, err)
		return fmt.Sprintf("truncate %d", to)
	case k < 16:
		to := in()
		must(t, l.AdvanceStart(to))
		return fmt.Sprintf("advance %d", to)
	case k < 17:
		must(t, l.Flush(in()))
		return "flush"
	}
	return "nothing"
}

// boundary is the base offset of the batch that contains off, not below Start.
func boundary(t *testing.T, l *Log, off model.Offset) model.Offset {
	at := l.End()
	must(t, l.Batches(off, func(b record.Batch) error {
		at = min(at, b.BaseOffset())
		return nil
	}))
	return max(at, l.Start())
}
