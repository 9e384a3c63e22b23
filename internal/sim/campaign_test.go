package sim

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// campaign runs many seeds on all cores, until they are done, the time is up or
// somebody interrupts it.
type campaign struct {
	first         uint64
	seeds         int // 0: without end
	limit         time.Duration
	every         time.Duration // between two lines of progress, 0: none
	violationsMax int           // 0: without end
	failed        func(seed uint64, err error)

	mu      sync.Mutex // guards what follows
	next    uint64
	done    int
	broken  int
	events  int
	stopped string // why no further seed begins
	rare    Rare
	start   time.Time
	rest    time.Duration // it took, once it has ended
}

func (r *campaign) run() {
	r.start, r.next = time.Now(), r.first
	ended := make(chan struct{})
	go r.watch(ended)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(r.work)
	}
	wg.Wait()
	close(ended)
	r.rest = time.Since(r.start)
}

func (r *campaign) work() {
	for {
		seed, ok := r.take()
		if !ok {
			return
		}
		w := NewWorld(seed, false)
		r.took(seed, w, w.Run())
	}
}

func (r *campaign) take() (seed uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopped != "":
		return 0, false
	case r.seeds > 0 && r.next-r.first >= uint64(r.seeds):
		return 0, false
	case r.limit > 0 && time.Since(r.start) >= r.limit:
		r.stopped = "time is up"
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

func (r *campaign) took(seed uint64, w *World, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	r.events += w.steps
	r.rare.Add(w.rare)
	if err == nil {
		return
	}
	r.broken++
	if r.failed != nil {
		r.failed(seed, err)
	}
	if r.broken == r.violationsMax {
		r.stopped = "too many violations"
	}
}

// watch prints the progress, and hears of interrupts: the first one ends the
// campaign after the seeds that are running, the second one at once.
func (r *campaign) watch(ended <-chan struct{}) {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupts)
	var tick <-chan time.Time
	if r.every > 0 {
		t := time.NewTicker(r.every)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ended:
			return
		case <-tick:
			fmt.Println(r.progress())
		case <-interrupts:
			r.mu.Lock()
			r.stopped = "interrupted"
			r.mu.Unlock()
			signal.Stop(interrupts)
		}
	}
}

// progress is one line: seeds, speed, violations, rare events, and how long it
// will take.
func (r *campaign) progress() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	took := time.Since(r.start)
	speed := float64(r.done) / took.Seconds()
	var eta time.Duration
	switch {
	case r.limit > 0:
		eta = r.limit - took
	case speed > 0:
		eta = time.Duration(float64(r.seeds-r.done) / speed * float64(time.Second))
	}
	missing := ""
	if m := r.rare.Missing(); len(m) > 0 {
		missing = " (not yet: " + strings.Join(m, " ") + ")"
	}
	return fmt.Sprintf("%s %d seeds, %.0f/s, %d violations, %d of %d rare events%s, %s left",
		took.Round(time.Second), r.done, speed, r.broken, int(events)-len(r.rare.Missing()), int(events), missing,
		max(eta, 0).Round(time.Second))
}

// summary is what a finished campaign has done.
func (r *campaign) summary() string {
	why := ""
	if r.stopped != "" {
		why = ", " + r.stopped
	}
	return fmt.Sprintf("seeds %d to %d: %d done in %s, %.0f a second, %d events, %d violations%s",
		r.first, r.next-1, r.done, r.rest.Round(time.Second/10), float64(r.done)/r.rest.Seconds(), r.events, r.broken, why)
}
