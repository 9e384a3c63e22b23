package partition

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
)

// Producers, followers, a consumer and re-elections at the same time. Every
// acknowledged record is there, in one place; the consumer sees each offset once,
// in order, and none above the high watermark. Worth most under -race.
func TestEverythingAtOnce(t *testing.T) {
	const producers, perProducer = 4, 150
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(1000)
	stop := make(chan struct{})
	var background, work sync.WaitGroup
	perform := func() {
		var ready purgatory.Ready
		h.p.Perform(&ready)
		ready.Run()
	}
	for _, id := range []model.BrokerID{2, 3} {
		background.Go(func() { follower(t, h.p, id, stop, perform) })
	}
	background.Go(func() {
		for e := model.LeaderEpoch(1); ; e++ {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
			}
			if err := h.p.BecomeLeader(State{
				Leader: 1, LeaderEpoch: e, PartitionEpoch: model.PartitionEpoch(e),
				Replicas: []model.BrokerID{1, 2, 3}, ISR: []model.BrokerID{1, 2, 3},
			}); err != nil {
				t.Error(err)
			}
			perform()
		}
	})
	var acked sync.Map // value -> offset
	for n := range producers {
		work.Go(func() {
			for i := range perProducer {
				value := fmt.Sprintf("%d-%d", n, i)
				off, err := appendAll(h.p, pg, value, perform)
				if err != nil {
					t.Errorf("%s: %v", value, err)
					return
				}
				acked.Store(value, off)
			}
		})
	}
	var seen atomic.Int64
	background.Go(func() { consumer(t, h.p, &acked, &seen, producers*perProducer, stop) })
	work.Wait()
	deadline := time.After(20 * time.Second)
	for seen.Load() < producers*perProducer {
		select {
		case <-deadline:
			t.Fatalf("consumer saw %d of %d", seen.Load(), producers*perProducer)
		case <-time.After(time.Millisecond):
		}
	}
	close(stop)
	background.Wait()
	if pg.Len() != 0 {
		t.Fatalf("%d requests still parked", pg.Len())
	}
}

func appendAll(p *Partition, pg *purgatory.Purgatory, value string, perform func()) (model.Offset, error) {
	a, err := p.AppendAsLeader(batch(value), Append{AcksAll: true, Epoch: model.NoLeaderEpoch})
	if err != nil {
		return 0, err
	}
	done := make(chan purgatory.Outcome, 1)
	r := pg.NewRequest(1, time.Now().Add(20*time.Second), func(r *purgatory.Request) { done <- r.Outcome(0) })
	var ready purgatory.Ready
	p.AwaitCommitted(a, r, 0, &ready)
	if err := r.Park(&ready); err != nil {
		return 0, err
	}
	perform()
	ready.Run()
	if o := <-done; o != purgatory.Reached {
		return 0, fmt.Errorf("outcome %d", o)
	}
	if hw := p.HighWatermark(); hw <= a.Last {
		return 0, fmt.Errorf("acknowledged %d at high watermark %d", a.Last, hw)
	}
	return a.Base, nil
}

func follower(t *testing.T, p *Partition, id model.BrokerID, stop chan struct{}, perform func()) {
	at := model.Offset(0)
	for {
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Microsecond):
		}
		f, err := p.Fetch(Fetch{
			Replica: id, ReplicaEpoch: 1, Acknowledge: true, Offset: at, CurrentEpoch: model.NoLeaderEpoch,
			LastFetchedEpoch: model.NoLeaderEpoch, MaxBytes: 1 << 20, MinOne: true,
		})
		if err != nil {
			t.Error(err)
			return
		}
		if f.Slice.Len() > 0 {
			at = f.Slice.Next
		}
		f.Slice.Release()
		perform()
	}
}

func consumer(t *testing.T, p *Partition, acked *sync.Map, seen *atomic.Int64, want int64, stop chan struct{}) {
	at := model.Offset(0)
	for seen.Load() < want {
		select {
		case <-stop:
			return
		default:
		}
		f, err := p.Fetch(Fetch{Replica: -1, Offset: at, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 16, MinOne: true})
		if err != nil {
			t.Error(err)
			return
		}
		data := make([]byte, f.Slice.Len())
		if _, err := f.Slice.ReadInto(data); err != nil {
			t.Error(err)
			return
		}
		f.Slice.Release()
		for len(data) > 0 {
			b, rest, err := record.Next(data)
			if err = errors.Join(err, b.CheckCRC()); err != nil || b.BaseOffset() != at || b.LastOffset() >= f.HW {
				t.Errorf("batch %v at %d, high watermark %d: %v", b, at, f.HW, err)
				return
			}
			for r, err := range b.Records(0) {
				if err != nil {
					t.Error(err)
					return
				}
				if off, ok := acked.Load(string(r.Value)); ok && off != r.Offset {
					t.Errorf("%s is at %d, acknowledged at %v", r.Value, r.Offset, off)
				}
				seen.Add(1)
			}
			at, data = b.NextOffset(), rest
		}
	}
}
