package coordinator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"tidemark/internal/model"
	"tidemark/internal/peer"
)

type fakeIDs struct {
	mu    sync.Mutex
	next  model.ProducerID
	calls int
	fail  error
	gate  chan struct{}
}

func (f *fakeIDs) AllocateProducerIDs(context.Context, model.BrokerID, model.BrokerEpoch) (peer.ProducerIDBlock, error) {
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.fail != nil {
		return peer.ProducerIDBlock{}, f.fail
	}
	b := peer.ProducerIDBlock{First: f.next, Count: 1000}
	f.next += 1000
	return b, nil
}

func TestProducerIDsAreUniqueAndPrefetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fakeIDs{next: 4000, gate: make(chan struct{})}
		p := NewProducerIDs(1, func() model.BrokerEpoch { return 9 }, src)
		var mu sync.Mutex
		var got []model.ProducerID
		take := func(n int) {
			for range n {
				p.Next(func(id model.ProducerID, err error) {
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					got = append(got, id)
				})
			}
			synctest.Wait()
		}
		take(5) // they wait for one block
		src.gate <- struct{}{}
		synctest.Wait()
		if src.calls != 1 || len(got) != 5 {
			t.Fatalf("%d calls, %v", src.calls, got)
		}
		close(src.gate)
		take(894)
		if src.calls != 1 {
			t.Fatalf("a block was asked for too early: %d calls", src.calls)
		}
		take(1)
		if src.calls != 2 {
			t.Fatalf("no block was asked for at 100 left: %d calls", src.calls)
		}
		for range 4 {
			take(650)
		}
		slices.Sort(got)
		for i, id := range got {
			if id != model.ProducerID(4000+i) {
				t.Fatalf("id %d is %d", i, id)
			}
		}
	})
}

func TestProducerIDsFailTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fakeIDs{fail: errors.New("no controller"), gate: make(chan struct{})}
		p := NewProducerIDs(1, func() model.BrokerEpoch { return 9 }, src)
		var mu sync.Mutex
		failed := 0
		for range idWaitersMax + 3 {
			p.Next(func(id model.ProducerID, err error) {
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, ErrNoProducerID) && id == model.NoProducerID {
					failed++
				}
			})
		}
		if failed != 3 {
			t.Fatalf("%d refused at once, want 3", failed)
		}
		close(src.gate)
		synctest.Wait()
		if failed != idWaitersMax+3 {
			t.Fatalf("%d failed", failed)
		}
	})
}
