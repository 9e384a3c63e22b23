package fetcher

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/replica"
	"tidemark/internal/wire"
)

func (f *fakeLeader) lastReport() wire.FetchReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reports[len(f.reports)-1]
}

// A follower whose disk takes 80 ms for each answer says so, and says nothing of
// the kind when it only waits for records.
func TestTellsHowLongItsAppendsTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		r := b.follow(tpn(0), "", "\x01\x01")
		pass(2 * time.Second)
		if got := b.leader.lastReport(); !got.Told || got.AppendP99Micros > 1000 || got.Partitions != 1 || got.Behind != 0 {
			t.Fatalf("idle: %+v", got)
		}
		r.mu.Lock()
		r.slow = 80 * time.Millisecond
		r.mu.Unlock()
		for range 3 {
			b.leader.with(func() { b.leader.logs[tpn(0)].recs = append(b.leader.logs[tpn(0)].recs, 1) })
			pass(100 * time.Millisecond)
		}
		if got := b.leader.lastReport(); got.AppendMicros != 80_000 || got.AppendP99Micros != 80_000 || got.Behind != 1 {
			t.Fatalf("slow: %+v", got)
		}
		pass(time.Second) // an answer without records in between
		if got := b.leader.lastReport(); got.AppendMicros >= 80_000 || got.AppendP99Micros != 80_000 || got.Behind != 0 {
			t.Fatalf("idle again: %+v", got)
		}
	})
}

// What a follower can't append is told even if it has nothing else to fetch, and
// no longer told once it works.
func TestTellsWhatItCannotAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		r := b.follow(tpn(0), "", "\x01\x01")
		pass(time.Second) // before, the first records may or may not have been appended already
		r.mu.Lock()
		r.hard = errors.New("input/output error")
		r.mu.Unlock()
		b.leader.with(func() { b.leader.logs[tpn(0)].recs = append(b.leader.logs[tpn(0)].recs, 1) })
		pass(5 * time.Second)
		got := b.leader.lastReport()
		if len(got.Troubles) != 1 || got.Troubles[0].Code != uint8(replica.TroubleAppend) ||
			got.Troubles[0].Text != "input/output error" || got.Troubles[0].ID != topicID("orders") {
			t.Fatalf("got %+v", got)
		}
		if n := len(b.leader.reports); n > 10 {
			t.Errorf("%d requests to say one thing", n)
		}
		r.mu.Lock()
		r.hard, r.epoch = nil, 6 // new metadata
		r.mu.Unlock()
		b.f.Add([]Assignment{b.assign(tpn(0))})
		pass(5 * time.Second)
		if got := b.leader.lastReport(); len(got.Troubles) != 0 {
			t.Errorf("mended, yet it says %+v", got)
		}
	})
}

// An answer beyond what the connection takes names every partition that was
// asked for.
func TestTellsOfAnswersThatAreTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		b.follow(tpn(0), "", "\x01")
		pass(time.Second)
		b.leader.with(func() { b.leader.down = peer.ErrTooLarge })
		pass(5 * time.Second)
		b.leader.with(func() { b.leader.down, b.leader.id = nil, b.leader.id+1 })
		pass(2 * time.Second)
		if got := b.leader.lastReport(); len(got.Troubles) != 0 {
			t.Errorf("an answer came, yet it says %+v", got)
		}
		var seen bool
		b.leader.with(func() {
			for _, r := range b.leader.reports {
				for _, tr := range r.Troubles {
					seen = seen || tr.Code == uint8(replica.TroubleOversized)
				}
			}
		})
		if !seen {
			t.Errorf("no report of it: %+v", b.leader.reports)
		}
	})
}

func TestTellsTheShareOfThrottling(t *testing.T) {
	var s self
	now := time.Unix(100, 0)
	at := func(d time.Duration, held bool) uint32 {
		now = now.Add(d)
		return s.throttled(now, held)
	}
	for i, step := range []struct {
		after time.Duration
		held  bool
		want  uint32
	}{
		{0, false, 0}, {time.Second, true, 0}, {time.Second, true, 50}, {2 * time.Second, false, 75},
		{6 * time.Second, false, 30}, {10 * time.Second, false, 15}, {10 * time.Second, false, 0},
	} {
		if got := at(step.after, step.held); got != step.want {
			t.Errorf("step %d: %d%%, want %d%%", i, got, step.want)
		}
	}
}

// Before it is registered, a broker may be in the place of an earlier life that
// the controller still counts on, with another disk: it doesn't fetch in its name.
func TestDoesNotFetchBeforeItIsRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		var registered atomic.Bool
		b.f.cfg.BrokerEpoch = func() model.BrokerEpoch {
			if registered.Load() {
				return 78
			}
			return model.NoBrokerEpoch
		}
		r := b.follow(tpn(0), "", "\x01\x01")
		pass(10 * time.Second)
		if n := len(b.leader.reports); n != 0 {
			t.Fatalf("%d fetches without a registration", n)
		}
		registered.Store(true)
		pass(50 * time.Millisecond)
		wantBytes(t, r, "\x01\x01")
	})
}
