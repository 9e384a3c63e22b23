package sim

import (
	"flag"
	"runtime/debug"
	"testing"
	"time"
)

var (
	seedsFlag    = flag.Int("seeds", 300, "how many schedules to run")
	seedFlag     = flag.Uint64("seed", 0, "run only this seed, with its log")
	firstFlag    = flag.Uint64("first", 1, "first seed of the run")
	forFlag      = flag.Duration("for", 0, "run seeds for this long, however many they are")
	progressFlag = flag.Duration("progress", 0, "report this often, 0: never")
	violations   = flag.Int("violations", 10, "end the run after so many violations")
)

// rareSeeds is how many schedules must have brought about every rare event.
const rareSeeds = 2000

// TestCluster runs whole clusters under faults. Each failure prints the command
// that runs its seed again, with a log of what happened.
func TestCluster(t *testing.T) {
	if *seedFlag != 0 {
		one(t, *seedFlag)
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // worlds are small and short-lived
	r := campaign{first: *firstFlag, seeds: *seedsFlag, limit: *forFlag, every: *progressFlag, violationsMax: *violations}
	if r.limit > 0 {
		r.seeds = 0
	}
	r.failed = func(seed uint64, err error) {
		t.Errorf("go test ./internal/sim -run TestCluster -seed=%d\n\t%v", seed, err)
	}
	r.run()
	t.Logf("%s\n%s", r.summary(), r.rare)
	if missing := r.rare.Missing(); len(missing) > 0 && r.done >= rareSeeds {
		t.Errorf("never happened in %d seeds: %v", r.done, missing)
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

// TestCampaign runs few seeds, and ends early when it is told to.
func TestCampaign(t *testing.T) {
	r := campaign{first: 1, seeds: 4}
	r.run()
	if r.done != 4 || r.broken != 0 {
		t.Errorf("%d seeds done, %d violations, want 4 and 0", r.done, r.broken)
	}
	r = campaign{first: 1, limit: time.Nanosecond}
	r.run()
	if r.done != 0 {
		t.Errorf("%d seeds done after the time was up", r.done)
	}
}
