package partition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/session"
)

// run is what one leader epoch wrote: batches of so many records.
type run struct {
	epoch   model.LeaderEpoch
	batches []int
}

// write makes the log of h as if h had led each of the epochs. An epoch and a
// place in it always give the same bytes, in whichever log.
func (h *host) write(runs ...run) {
	h.t.Helper()
	for _, r := range runs {
		h.lead(r.epoch, 1)
		for i, n := range r.batches {
			v := make([]string, n)
			for k := range v {
				v[k] = fmt.Sprintf("epoch %d, batch %d, record %d", r.epoch, i, k)
			}
			h.append(Append{}, v...)
		}
	}
}

// fetchFrom lets f, as replica 2, fetch once from l, and says what came of it.
func (f *host) fetchFrom(l *host) string {
	f.t.Helper()
	at, ok := f.p.FollowPosition()
	if !ok {
		f.t.Fatal("does not follow")
	}
	got, err := l.p.Fetch(Fetch{
		Replica: 2, ReplicaEpoch: 1, Acknowledge: true, Offset: at.Offset, CurrentEpoch: at.Epoch,
		LastFetchedEpoch: at.LastFetchedEpoch, LogStart: at.LogStart, MaxBytes: 1 << 20, MinOne: true,
	})
	l.perform()
	if err != nil {
		f.t.Fatal(err)
	}
	if got.Diverging {
		cut, err := f.p.TruncateFor(at.Epoch, got.Divergence, at.Offset)
		if err != nil {
			f.t.Fatal(err)
		}
		f.perform()
		if cut.Done {
			return fmt.Sprintf("cut at %d", cut.To)
		}
		return fmt.Sprintf("cut at %d, more to ask", cut.To)
	}
	records := bytesOf(f.t, got.Slice)
	err = f.p.AppendAsFollower(Replicated{
		Epoch: at.Epoch, Offset: at.Offset, Records: records, LeaderHW: got.HW, LogStart: got.LogStart,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.perform()
	if len(records) == 0 {
		return ""
	}
	return fmt.Sprintf("copied up to %d", f.p.LogEnd())
}

func (h *host) contents() []byte {
	h.t.Helper()
	s, err := h.p.Log().Read(h.p.LogStart(), h.p.LogEnd(), 1<<20, true)
	if err != nil {
		h.t.Fatal(err)
	}
	return bytesOf(h.t, s)
}

// What a follower cuts when it meets a new leader, fetch by fetch (KIP-101,
// KIP-279, KIP-595): the logs agree at the end, and not one common record went.
func TestFollowerMeetsItsLeader(t *testing.T) {
	for _, c := range []struct {
		name        string
		own, leader []run
		steps       string
	}{
		{"nothing to cut", []run{{1, []int{2, 2}}}, []run{{1, []int{2, 2, 2}}}, "copied up to 6"},
		{"a tail that the leader never had", []run{{1, []int{2, 2, 3}}}, []run{{1, []int{2, 2}}, {2, []int{1}}},
			"cut at 4; copied up to 5"},
		{"the leader's log is shorter", []run{{1, []int{2, 2, 3}}}, []run{{1, []int{2}}}, "cut at 2"},
		{"the leader's log is empty", []run{{1, []int{2, 2, 3}}}, nil, "cut at 0"},
		{"an empty log", nil, []run{{1, []int{2, 2}}, {2, []int{1}}}, "copied up to 5"},
		{"two epochs missed", []run{{1, []int{2, 2, 3}}}, []run{{1, []int{2, 2}}, {2, []int{4}}, {4, []int{1}}},
			"cut at 4; copied up to 9"},
		{"two epochs missed, one of them without records", []run{{1, []int{2, 3}}},
			[]run{{1, []int{2}}, {2, nil}, {3, []int{4}}}, "cut at 2; copied up to 6"},
		{"an epoch that the leader never had", []run{{1, []int{2}}, {2, []int{3}}}, []run{{1, []int{2}}, {3, []int{1}}},
			"cut at 2; copied up to 3"},
		{"tails of both after a fast failover", []run{{1, []int{4}}, {3, []int{2, 2}}, {5, []int{1}}},
			[]run{{1, []int{4}}, {2, []int{3}}, {4, []int{3}}}, "cut at 8, more to ask; cut at 4, more to ask; copied up to 10"},
		{"the whole log is of an epoch below the leader's first", []run{{1, []int{2, 2}}}, []run{{3, []int{1}}},
			"cut at 0; copied up to 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, f := newHost(t), newHost(t)
			l.write(c.leader...)
			f.write(c.own...)
			l.lead(9, 1, 2)
			f.follow(9)
			var steps []string
			for range 8 {
				if s := f.fetchFrom(l); s != "" {
					steps = append(steps, s)
				}
			}
			if got := strings.Join(steps, "; "); got != c.steps {
				t.Errorf("%s\nwant %s", got, c.steps)
			}
			if !slices.Equal(f.contents(), l.contents()) {
				t.Errorf("logs differ: ends %d and %d", f.p.LogEnd(), l.p.LogEnd())
			}
			f.wantHW(l.p.LogEnd())
		})
	}
}

// Every branch of the decision where to cut, on a real log: epochs 1, 3 and 5
// begin at 0, 8 and 12 in batches of four, and all of it was committed once. A cut
// inside a batch takes all of the batch.
func TestTruncateForEachAnswer(t *testing.T) {
	const done, more = true, false
	for _, c := range []struct {
		name   string
		leader replica.EpochEnd
		at, to model.Offset // that was fetched, that was decided
		done   bool
		end    model.Offset
		epoch  model.LeaderEpoch // the last one left
	}{
		{"1: no end: at the fetch offset", replica.EpochEnd{Epoch: -1, End: -1}, 12, 12, done, 12, 3},
		{"2: an end without an epoch", replica.EpochEnd{Epoch: -1, End: 8}, 16, 8, done, 8, 1},
		{"2: such an end above our log", replica.EpochEnd{Epoch: -1, End: 90}, 16, 16, done, 16, 5},
		{"3: none of our epochs is comparable", replica.EpochEnd{Epoch: 9, End: 8}, 16, 8, done, 8, 1},
		{"3: of an epoch between two of ours", replica.EpochEnd{Epoch: 4, End: 14}, 16, 12, more, 12, 3},
		{"3: two of our epochs are missing there", replica.EpochEnd{Epoch: 2, End: 14}, 16, 8, more, 8, 1},
		{"3: below our first epoch", replica.EpochEnd{Epoch: 0, End: 3}, 16, 0, done, 0, -1},
		{"3: the same epoch, the leader's ends first", replica.EpochEnd{Epoch: 5, End: 12}, 16, 12, done, 12, 3},
		{"3: the same epoch, ours ends first", replica.EpochEnd{Epoch: 3, End: 15}, 16, 12, done, 12, 3},
		{"3: the same epoch, beyond our log", replica.EpochEnd{Epoch: 5, End: 90}, 16, 16, done, 16, 5},
		{"inside a batch", replica.EpochEnd{Epoch: 3, End: 10}, 16, 10, done, 8, 1},
		{"inside the last batch", replica.EpochEnd{Epoch: 5, End: 15}, 16, 15, done, 12, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.write(run{1, []int{4, 4}}, run{3, []int{4}}, run{5, []int{4}})
			h.follow(6)
			if err := h.p.AppendAsFollower(Replicated{Epoch: 6, Offset: 16, LeaderHW: 16}); err != nil {
				t.Fatal(err)
			}
			got, err := h.p.TruncateFor(6, c.leader, c.at)
			if err != nil || got.To != c.to || got.Done != c.done {
				t.Fatalf("%+v %v, want %d, done %v", got, err, c.to, c.done)
			}
			h.perform()
			h.wantHW(c.end)
			at, _ := h.p.FollowPosition()
			if h.p.LogEnd() != c.end || at.Offset != c.end || at.LastFetchedEpoch != c.epoch {
				t.Fatalf("log end %d, the next fetch is %+v", h.p.LogEnd(), at)
			}
		})
	}
	t.Run("an empty log", func(t *testing.T) {
		h := newHost(t)
		h.follow(6)
		for _, leader := range []replica.EpochEnd{{Epoch: -1, End: -1}, {Epoch: -1, End: 4}, {Epoch: 3, End: 4}} {
			if got, err := h.p.TruncateFor(6, leader, 0); err != nil || got != (replica.Truncation{Done: true}) {
				t.Errorf("%+v: %+v %v", leader, got, err)
			}
		}
	})
}

// KAFKA-7786: an answer to a question of an earlier epoch cuts nothing, and nor
// does any answer once the replica leads (KAFKA-13207).
func TestAnswersOfAnEarlierEpochCutNothing(t *testing.T) {
	h := newHost(t)
	h.write(run{1, []int{2, 2}})
	cuts := func(epoch model.LeaderEpoch) map[string]error {
		_, err := h.p.TruncateFor(epoch, replica.EpochEnd{Epoch: 1, End: 2}, 4)
		return map[string]error{
			"diverging": err, "leader behind": h.p.TruncateTo(epoch, 2), "below the log start": h.p.RestartAt(epoch, 90),
		}
	}
	h.follow(5)
	for name, err := range cuts(4) {
		if !errors.Is(err, ErrFencedEpoch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.lead(6, 1)
	for name, err := range cuts(6) {
		if !errors.Is(err, ErrNotLeader) {
			t.Errorf("%s, while it leads: %v", name, err)
		}
	}
	if h.p.LogStart() != 0 || h.p.LogEnd() != 4 {
		t.Fatalf("log is [%d, %d)", h.p.LogStart(), h.p.LogEnd())
	}
}

// KAFKA-9491: a log that begins anew has forgotten its high watermark, its
// epochs and its producers.
func TestRestartForgetsEverything(t *testing.T) {
	h := newHost(t)
	h.lead(1, 1)
	var b record.Builder
	b.SetProducer(7, 0, 0)
	b.Add(1, nil, []byte("v"))
	if _, err := h.p.AppendAsLeader(b.Build(), Append{Epoch: -1}); err != nil {
		t.Fatal(err)
	}
	h.follow(2)
	if err := h.p.RestartAt(2, 300); err != nil {
		t.Fatal(err)
	}
	h.perform()
	h.wantHW(300)
	s := h.p.State()
	if s.LogStart != 300 || s.LogEnd != 300 || s.LastStable != 300 || s.Producers != 0 || len(h.p.Log().Epochs()) != 0 {
		t.Fatalf("%+v, epochs %v", s, h.p.Log().Epochs())
	}
	if at, _ := h.p.FollowPosition(); at.Offset != 300 || at.LastFetchedEpoch != model.NoLeaderEpoch {
		t.Fatalf("the next fetch is %+v", at)
	}
}

// KAFKA-15510: an answer without records says nothing of epochs. The next fetch
// goes on naming that of the last record.
func TestEmptyAnswerKeepsTheLastEpoch(t *testing.T) {
	h := newHost(t)
	h.write(run{3, []int{2}})
	h.follow(5)
	if err := h.p.AppendAsFollower(Replicated{Epoch: 5, Offset: 2, LeaderHW: 2}); err != nil {
		t.Fatal(err)
	}
	if at, _ := h.p.FollowPosition(); at.Offset != 2 || at.LastFetchedEpoch != 3 {
		t.Fatalf("%+v", at)
	}
}

// waiter is a parked fetch.
type waiter struct{ woken bool }

func (w *waiter) Wake() bool { w.woken = true; return true }
func (w *waiter) Complete()  {}

// A consumer whose fetch is parked at a follower is woken when the follower cuts
// what it waits behind, and learns where its log ends now.
func TestCutWakesParkedFetches(t *testing.T) {
	h := newHost(t)
	h.write(run{1, []int{2, 2}})
	h.follow(2)
	if err := h.p.AppendAsFollower(Replicated{Epoch: 2, Offset: 4, LeaderHW: 4}); err != nil {
		t.Fatal(err)
	}
	h.perform()
	s := session.New(-1, true, h.now)
	h.p.Subscribe(s.Name(session.Key{Partition: 3}, session.Position{Offset: 4}))
	s.Take(nil)
	w := &waiter{}
	if !s.Park(w, 1) {
		t.Fatal("does not park")
	}
	if _, err := h.p.TruncateFor(2, replica.EpochEnd{Epoch: 1, End: 2}, 4); err != nil {
		t.Fatal(err)
	}
	h.perform()
	if !w.woken || len(s.Take(nil)) != 1 {
		t.Fatalf("woken %v", w.woken)
	}
	_, err := h.p.Fetch(Fetch{
		Replica: -1, FromFollower: true, Offset: 4, CurrentEpoch: 2, LastFetchedEpoch: -1, MaxBytes: 1 << 20,
	})
	if !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
}
