package replica

import (
	"math/rand/v2"
	"testing"
	"time"
)

func at(seconds float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func TestQuota(t *testing.T) {
	type use struct {
		at    float64
		bytes int
	}
	for _, c := range []struct {
		name string
		rate int64
		used []use
		now  float64
		wait time.Duration
	}{
		{"nothing used", 100, nil, 5, 0},
		{"unlimited", Unlimited, []use{{0, 1 << 40}}, 0, 0},
		{"a burst of the whole window", 100, []use{{0, 1000}}, 0, 0},
		{"a little more waits within the slot", 100, []use{{0, 1050}}, 0, 500 * time.Millisecond},
		{"half of that is over", 100, []use{{0, 1050}}, 0.25, 250 * time.Millisecond},
		{"allowed when it is over", 100, []use{{0, 1050}}, 0.5, 0},
		{"more than the window holds leaves with its slot", 100, []use{{0, 5000}}, 0, 11 * time.Second},
		{"the older part leaves first", 100, []use{{0, 600}, {3, 900}}, 3, 8 * time.Second},
		{"what left does not count", 100, []use{{0, 5000}, {20, 900}}, 20, 0},
		{"a long pause", 100, []use{{0, 5000}}, 1e6, 0},
		{"a rate of zero waits for an empty window", 0, []use{{0.5, 1}}, 0.5, 10500 * time.Millisecond},
	} {
		q := NewQuota(11, time.Second)
		q.SetRate(c.rate)
		for _, u := range c.used {
			q.Record(u.bytes, at(u.at))
		}
		if got := q.Wait(at(c.now)); got != c.wait {
			t.Errorf("%s: wait %v, want %v", c.name, got, c.wait)
		}
	}
}

// Who asks before each answer and waits as long as told gets the rate, neither
// more nor, over a long time, much less; and Wait tells the first moment.
func TestQuotaKeepsTheRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []int64{1000, 50_000, 3_000_000} {
		q := NewQuota(11, time.Second)
		q.SetRate(rate)
		now, sent := at(0.3), int64(0)
		for now.Before(at(300)) {
			if d := q.Wait(now); d > 0 {
				if q.Wait(now.Add(d-time.Millisecond)) == 0 && d > 2*time.Millisecond {
					t.Fatalf("rate %d: told to wait %v, allowed before", rate, d)
				}
				now = now.Add(d)
				if q.Wait(now) != 0 {
					t.Fatalf("rate %d: still %v after waiting %v", rate, q.Wait(now), d)
				}
			}
			n := 1 + rng.Int64N(rate)
			q.Record(int(n), now)
			sent += n
			now = now.Add(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
		if got := float64(sent) / 300 / float64(rate); got < 0.9 || got > 1.15 {
			t.Errorf("rate %d: sent %.2f of it", rate, got)
		}
	}
}
