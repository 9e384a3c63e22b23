package sim

import (
	"flag"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seedsFlag    = flag.Int("seeds", 300, "how many schedules to run, from seed 1")
	seedFlag     = flag.Uint64("seed", 0, "run only this seed, with its log")
	firstFlag    = flag.Uint64("first", 1, "first seed of the run")
	progressFlag = flag.Bool("progress", false, "report after every 100 seeds")
)

// TestCluster runs whole clusters under faults. Each failure prints the command
// that runs its seed again, with a log of what happened.
func TestCluster(t *testing.T) {
	if *seedFlag != 0 {
		one(t, *seedFlag)
		return
	}
	var next, ran atomic.Uint64
	next.Store(*firstFlag - 1)
	last := *firstFlag - 1 + uint64(*seedsFlag)
	var mu sync.Mutex
	var rare Rare
	start := time.Now()
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1); seed <= last; seed = next.Add(1) {
				w := NewWorld(seed, false)
				err := w.Run()
				mu.Lock()
				if err != nil {
					t.Errorf("go test ./internal/sim -run TestCluster -seed=%d\n\t%v", seed, err)
				}
				rare.Add(w.rare)
				mu.Unlock()
				if n := ran.Add(1); *progressFlag && n%100 == 0 {
					t.Logf("%d seeds, %.0f a second", n, float64(n)/time.Since(start).Seconds())
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds, %.0f a second\n%s", *seedsFlag, float64(*seedsFlag)/time.Since(start).Seconds(), rare)
	if missing := rare.Missing(); len(missing) > 0 && *seedsFlag >= 300 {
		t.Errorf("never happened in %d seeds: %v", *seedsFlag, missing)
	}
}

func one(t *testing.T, seed uint64) {
	w := NewWorld(seed, true)
	err := w.Run()
	t.Logf("seed %d: %s\n%s", seed, w.cfg, w.Log())
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	t.Logf("seed %d: %d events, hash %x\n%s", seed, w.steps, w.Hash(), w.rare)
}

// TestSameSeedSameTrace runs seeds twice and compares what happened.
func TestSameSeedSameTrace(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, b := NewWorld(seed, false), NewWorld(seed, false)
		errA, errB := a.Run(), b.Run()
		if a.Hash() != b.Hash() || a.steps != b.steps {
			t.Errorf("seed %d: %x after %d events (%v), then %x after %d (%v)",
				seed, a.Hash(), a.steps, errA, b.Hash(), b.steps, errB)
		}
	}
}
