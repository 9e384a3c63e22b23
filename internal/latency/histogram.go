package latency

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	octaves = 26 // powers of two of a microsecond: up to 67 s
	steps   = 4  // buckets in each
	buckets = 1 + octaves*steps
)

// Histogram counts durations. The zero value is empty. Safe for concurrent use.
type Histogram struct {
	sum    atomic.Int64 // ns
	counts [buckets]atomic.Uint64
}

// Observe counts one duration; a negative one counts as 0. // invariant 1
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.sum.Add(int64(d))
	h.counts[bucketOf(d)].Add(1)
}

// AddTo adds what was counted to s.
func (h *Histogram) AddTo(s *Snapshot) {
	s.Sum += time.Duration(h.sum.Load())
	for i := range h.counts {
		s.counts[i] += h.counts[i].Load()
	}
}

// bucketOf is 0 below a microsecond, and else one plus four times the exponent
// plus the two bits behind the leading one.
func bucketOf(d time.Duration) int {
	us := uint64(d / time.Microsecond)
	if us == 0 {
		return 0
	}
	exp := bits.Len64(us) - 1
	if exp >= octaves {
		return buckets - 1
	}
	// Nanoseconds, or the first octaves would have no steps to fill.
	step := (uint64(d)*steps/uint64(time.Microsecond))>>exp - steps
	return 1 + exp*steps + int(step)
}

// upper is the exclusive upper bound of a bucket.
func upper(bucket int) time.Duration {
	if bucket == 0 {
		return time.Microsecond
	}
	exp, step := (bucket-1)/steps, (bucket-1)%steps
	return time.Microsecond << exp * time.Duration(steps+step+1) / steps
}

// Snapshot is the sum of some histograms at one moment. The zero value is empty.
type Snapshot struct {
	Sum    time.Duration
	counts [buckets]uint64
}

// Zeros counts n durations of 0.
func (s *Snapshot) Zeros(n uint64) { s.counts[0] += n }

// Add adds another one.
func (s *Snapshot) Add(o *Snapshot) {
	s.Sum += o.Sum
	for i := range s.counts {
		s.counts[i] += o.counts[i]
	}
}

// Since is what was counted after an earlier snapshot of the same histograms.
// // invariant 2
func (s Snapshot) Since(earlier *Snapshot) Snapshot {
	s.Sum -= earlier.Sum
	for i := range s.counts {
		s.counts[i] -= min(s.counts[i], earlier.counts[i])
	}
	return s
}

// Count is how many durations were counted.
func (s *Snapshot) Count() (n uint64) {
	for _, c := range s.counts {
		n += c
	}
	return n
}

// Below is how many durations were shorter than bound, a power of two of a
// microsecond; another bound is taken down to the next bucket's.
func (s *Snapshot) Below(bound time.Duration) (n uint64) {
	for i := range s.counts {
		if upper(i) > bound {
			break
		}
		n += s.counts[i]
	}
	return n
}

// Quantile is a duration that the share q, 0 to 1, of all did not exceed by more
// than a quarter; 0 if nothing was counted.
func (s *Snapshot) Quantile(q float64) time.Duration {
	total := s.Count()
	if total == 0 {
		return 0
	}
	want := uint64(q * float64(total))
	var seen uint64
	for i, c := range s.counts {
		if seen += c; seen > want || seen == total && c > 0 {
			if i == 0 {
				return 0
			}
			return (upper(i-1) + upper(i)) / 2
		}
	}
	return upper(buckets - 1)
}
