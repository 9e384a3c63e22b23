package purgatory

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/model"
)

func TestDeadlinesFireInOrderWithOneTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(100)
		start := time.Now()
		var mu sync.Mutex // completions of two firings may overlap
		var got []time.Duration
		for _, d := range []int{50, 10, 40, 20, 30, 10} {
			r := p.NewRequest(1, start.Add(time.Duration(d)*time.Second), func(r *Request) {
				if !r.Expired() || r.Outcome(0) != Waiting {
					t.Errorf("expired=%v outcome=%d", r.Expired(), r.Outcome(0))
				}
				mu.Lock()
				defer mu.Unlock()
				got = append(got, time.Since(start)/time.Second)
			})
			if err := r.Park(&Ready{}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if want := []time.Duration{10, 10, 20, 30, 40, 50}; !slices.Equal(got, want) {
			t.Fatalf("fired at %v, want %v", got, want)
		}
		if p.Len() != 0 || p.Expired() != 6 {
			t.Fatalf("%d parked, %d expired", p.Len(), p.Expired())
		}
	})
}

func TestReachCompletesWhatItCovers(t *testing.T) {
	p := New(100)
	var w Watch
	w.Open(3, 10)
	var done []int
	ready := &Ready{}
	for i, need := range []model.Offset{12, 15, 13, 10} {
		r := p.NewRequest(1, time.Now().Add(time.Hour), func(r *Request) {
			if r.Outcome(0) != Reached {
				t.Errorf("outcome %d", r.Outcome(0))
			}
			done = append(done, i)
		})
		w.Add(3, need, r, 0, ready)
		if err := r.Park(ready); err != nil {
			t.Fatal(err)
		}
	}
	ready.Run()
	if !slices.Equal(done, []int{3}) {
		t.Fatalf("10 is reached already: %v", done)
	}
	w.Reach(13, ready)
	w.Reach(12, ready) // late
	ready.Run()
	if !slices.Equal(done, []int{3, 0, 2}) || w.Len() != 1 || p.Len() != 1 {
		t.Fatalf("done %v, %d wait, %d parked", done, w.Len(), p.Len())
	}
}

func TestARequestWaitsForAllItsSlots(t *testing.T) {
	p := New(100)
	var a, b Watch
	a.Open(0, 0)
	b.Open(0, 0)
	n := 0
	ready := &Ready{}
	r := p.NewRequest(2, time.Now().Add(time.Hour), func(r *Request) {
		n++
		if r.Outcome(0) != Reached || r.Outcome(1) != Lost {
			t.Errorf("outcomes %d %d", r.Outcome(0), r.Outcome(1))
		}
	})
	a.Add(0, 5, r, 0, ready)
	b.Add(0, 5, r, 1, ready)
	a.Reach(9, ready) // before Park: must not complete yet, nor be lost
	if err := r.Park(ready); err != nil {
		t.Fatal(err)
	}
	ready.Run()
	if n != 0 {
		t.Fatal("completed with one of two")
	}
	b.Lose(ready)
	b.Lose(ready)
	ready.Run()
	if n != 1 {
		t.Fatalf("completed %d times", n)
	}
}

// A request that was accepted by a leadership that ended before it could wait
// must not be completed by what a later leadership commits.
func TestAddAfterTheLeadershipEnded(t *testing.T) {
	p := New(100)
	var w Watch
	w.Open(3, 10)
	ready := &Ready{}
	w.Lose(ready)
	w.Open(5, 100)
	var got Outcome
	r := p.NewRequest(1, time.Now().Add(time.Hour), func(r *Request) { got = r.Outcome(0) })
	w.Add(3, 50, r, 0, ready)
	if err := r.Park(ready); err != nil {
		t.Fatal(err)
	}
	ready.Run()
	if got != Lost {
		t.Fatalf("outcome %d, want Lost", got)
	}
}

func TestFullAndClose(t *testing.T) {
	p := New(1)
	n := 0
	park := func() error { return p.NewRequest(1, time.Now().Add(time.Hour), func(*Request) { n++ }).Park(&Ready{}) }
	if err := park(); err != nil {
		t.Fatal(err)
	}
	if err := park(); !errors.Is(err, ErrFull) || n != 1 {
		t.Fatalf("%v, %d completed", err, n)
	}
	p.Close()
	if n != 2 {
		t.Fatalf("Close completed %d of 2", n)
	}
}

func TestExpiredRequestsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(10_000)
		var w Watch
		w.Open(0, 0)
		for i := range 5000 {
			r := p.NewRequest(1, time.Now().Add(time.Millisecond), func(*Request) {})
			w.Add(0, model.Offset(i+1), r, 0, &Ready{})
			if err := r.Park(&Ready{}); err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 {
				<-time.After(2 * time.Millisecond)
				synctest.Wait()
			}
		}
		if w.Len() > 4*deadMax {
			t.Fatalf("%d dead waits", w.Len())
		}
	})
}
