package latency

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Each duration lies in the bucket whose bounds enclose it.
func TestBuckets(t *testing.T) {
	last := -1
	for d := time.Duration(0); d < 80*time.Second; d += max(1, d/50) {
		i := bucketOf(d)
		if i < last {
			t.Fatalf("%v lies in bucket %d, a shorter one in %d", d, i, last)
		}
		last = i
		if i < buckets-1 && d >= upper(i) || i > 0 && d < upper(i-1) {
			t.Fatalf("%v in bucket %d, which ends at %v after %v", d, i, upper(i), upper(max(0, i-1)))
		}
	}
	if last != buckets-1 {
		t.Errorf("80 s lie in bucket %d of %d", last, buckets)
	}
}

// Percentiles are off by at most a quarter.
func TestQuantile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(rng.ExpFloat64() * float64(3*time.Millisecond))
		all = append(all, d)
		h.Observe(d)
	}
	slices.Sort(all)
	var s Snapshot
	h.AddTo(&s)
	for _, q := range []float64{0.5, 0.75, 0.95, 0.99, 0.999} {
		got, want := s.Quantile(q), all[int(q*float64(len(all)))]
		if got < want*3/4 || got > want*5/4 {
			t.Errorf("the %v quantile is %v, want %v", q, got, want)
		}
	}
	const bound = 1024 * time.Microsecond
	n, _ := slices.BinarySearch(all, bound)
	if got := s.Below(bound); got != uint64(n) {
		t.Errorf("%d durations below %v, want %d", got, bound, n)
	}
	if s.Count() != 20_000 {
		t.Errorf("counted %d of 20000", s.Count())
	}
}

func TestSince(t *testing.T) {
	var h Histogram
	h.Observe(time.Hour)
	var before, after Snapshot
	h.AddTo(&before)
	h.Observe(time.Millisecond)
	h.Observe(-time.Second)
	h.AddTo(&after)
	d := after.Since(&before)
	if d.Count() != 2 || d.Sum != time.Millisecond || d.Quantile(1) > 2*time.Millisecond {
		t.Errorf("%d durations, sum %v, longest %v", d.Count(), d.Sum, d.Quantile(1))
	}
	if empty := d.Since(&d); empty.Quantile(0.5) != 0 {
		t.Errorf("nothing has the median %v", empty.Quantile(0.5))
	}
}

func TestObserveAllocates(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(1000, func() { h.Observe(1234 * time.Microsecond) }); n != 0 {
		t.Errorf("%v allocations", n) // invariant 1
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	for i := range b.N {
		h.Observe(time.Duration(i))
	}
}
