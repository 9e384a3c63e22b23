package fetcher

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// bench is one broker that follows partitions of one fake leader.
type bench struct {
	leader *fakeLeader
	events *events
	f      *Fetchers
	reps   map[model.TopicPartition]*fakeReplica
}

func setup(loops int) *bench {
	b := &bench{leader: newLeader(), events: &events{}, reps: map[model.TopicPartition]*fakeReplica{}}
	b.f = New(Config{
		Self: 2, BrokerEpoch: func() model.BrokerEpoch { return 77 }, Version: func() int16 { return 17 },
		Dial: b.leader.dial, Events: b.events, Loops: loops,
	})
	return b
}

func tpn(n int32) model.TopicPartition { return model.TopicPartition{Topic: "orders", Partition: n} }

// follow makes a partition whose follower has own and whose leader has theirs.
func (b *bench) follow(tp model.TopicPartition, own, theirs string) *fakeReplica {
	r := &fakeReplica{epoch: 5, log: fakeLog{recs: []byte(own)}}
	b.reps[tp] = r
	b.leader.with(func() {
		b.leader.logs[tp] = &fakeLog{recs: []byte(theirs), hw: model.Offset(len(theirs))}
	})
	b.f.Add([]Assignment{b.assign(tp)})
	return r
}

func (b *bench) assign(tp model.TopicPartition) Assignment {
	r := b.reps[tp]
	return Assignment{TP: tp, TopicID: topicID(tp.Topic), Leader: 1, Addr: "l:1", Epoch: r.epoch, Replica: r}
}

func wantBytes(t *testing.T, r *fakeReplica, want string) {
	t.Helper()
	if got := r.bytes(); got != want {
		t.Fatalf("log is %q, want %q", got, want)
	}
}

// pass lets the bubble's clock go on and all goroutines come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestCopiesAndFollowsTheHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		r := b.follow(tpn(0), "", "\x01\x01\x02")
		pass(50 * time.Millisecond)
		wantBytes(t, r, "\x01\x01\x02")
		b.leader.with(func() { b.leader.logs[tpn(0)].recs = append(b.leader.logs[tpn(0)].recs, 2) })
		pass(50 * time.Millisecond)
		wantBytes(t, r, "\x01\x01\x02\x02")
		if st, ok := b.f.Of(tpn(0)); !ok || st.Lag != 0 || st.Phase != Fetching || st.Offset != 4 {
			t.Fatalf("status %+v", st)
		}
		if got := b.leader.dials; len(got) != 1 || got[0] != "l:1 broker-2-fetcher-0" {
			t.Fatalf("dials %q", got)
		}
	})
}

// A session names what changed and nothing else.
func TestIncrementalSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		for n := range int32(20) {
			b.follow(tpn(n), "", "\x01")
		}
		pass(2 * time.Second)
		b.leader.with(func() {
			b.leader.named = nil
			b.leader.logs[tpn(7)].recs = append(b.leader.logs[tpn(7)].recs, 1)
		})
		pass(2 * time.Second)
		b.leader.with(func() {
			total := 0
			for _, n := range b.leader.named {
				total += n
			}
			if total != 1 {
				t.Errorf("named %v, want one partition once", b.leader.named)
			}
			b.leader.id, b.leader.named = 900, nil // the leader has forgotten the session
		})
		pass(2 * time.Second)
		b.leader.with(func() {
			if fmt.Sprint(b.leader.named[:3]) != "[0 20 0]" {
				t.Errorf("after a lost session: named %v", b.leader.named)
			}
			b.leader.next, b.leader.named = 12345, nil // the leader missed a request
		})
		pass(2 * time.Second)
		b.leader.with(func() {
			if fmt.Sprint(b.leader.named[:3]) != "[0 20 0]" {
				t.Errorf("after a wrong session epoch: named %v", b.leader.named)
			}
		})
	})
}

// KIP-101, KIP-279: the logs of an old leader and a new one meet again.
func TestTruncatesWhatTheLeaderNeverHad(t *testing.T) {
	for _, c := range []struct{ name, own, theirs string }{
		{"own tail of an old epoch", "\x01\x01\x01\x01", "\x01\x01\x03\x03"},
		{"interleaved epochs", "\x01\x02\x02\x04\x04", "\x01\x03\x03\x05"},
		{"shorter", "\x01\x01", "\x01\x01\x02"},
		{"nothing in common", "\x02\x02\x02", "\x01\x03"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(1)
				defer b.f.Close()
				r := b.follow(tpn(0), c.own, c.theirs)
				pass(time.Second)
				wantBytes(t, r, c.theirs)
			})
		})
	}
}

func TestOffsetOutOfRange(t *testing.T) {
	t.Run("leader starts above our end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := setup(1)
			defer b.f.Close()
			b.leader.logs[tpn(0)] = &fakeLog{}
			r := b.follow(tpn(0), "\x01\x01", "")
			b.leader.with(func() { b.leader.logs[tpn(0)] = &fakeLog{start: 10, recs: []byte("\x01\x01"), hw: 12} })
			pass(2 * time.Second)
			if r.log.start != 10 || r.bytes() != "\x01\x01" || !strings.Contains(fmt.Sprint(r.story), "below-log-start") {
				t.Fatalf("start %d log %q story %v", r.log.start, r.bytes(), r.story)
			}
		})
	})
	t.Run("leader ends below our end and knows no epoch of ours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := setup(1)
			defer b.f.Close()
			r := b.follow(tpn(0), "\x03\x03\x03", "\x01")
			pass(2 * time.Second)
			// The cut leaves a record of an epoch that the leader doesn't know, so it
			// is refused again: no records are made up, none of the leader's is lost.
			if len(r.bytes()) > 1 || !strings.Contains(fmt.Sprint(r.story), "leader-behind") {
				t.Fatalf("log %q story %v", r.bytes(), r.story)
			}
		})
	})
}

// One bad partition neither stalls the others nor comes back before its time.
func TestTroubleStaysAlone(t *testing.T) {
	for _, c := range []struct {
		name   string
		hurt   func(*bench, *fakeReplica)
		phase  Phase
		events int // failures reported after 5 s
	}{
		{"not leader", code(peer.CodeNotLeader), Delayed, 0},
		{"unknown epoch", code(peer.CodeUnknownLeaderEpoch), Delayed, 0},
		{"fenced", code(peer.CodeFencedLeaderEpoch), Failed, 1},
		{"disk", func(_ *bench, r *fakeReplica) { r.hard = errors.New("input/output error") }, Failed, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(1)
				defer b.f.Close()
				good := b.follow(tpn(1), "", "")
				bad := b.follow(tpn(0), "", "\x01")
				b.leader.with(func() { c.hurt(b, bad) })
				b.leader.with(func() { b.leader.logs[tpn(0)].recs = []byte("\x01\x01\x01") })
				for range 50 {
					b.leader.with(func() { b.leader.logs[tpn(1)].recs = append(b.leader.logs[tpn(1)].recs, 1) })
					pass(100 * time.Millisecond)
					b.leader.with(func() { wantBytes(t, good, string(b.leader.logs[tpn(1)].recs)) })
				}
				if st, _ := b.f.Of(tpn(0)); st.Phase != c.phase || st.Why == "" {
					t.Errorf("status %+v, want %s", st, c.phase)
				}
				if n := b.events.count(journal.ReplicaFailed); n != c.events {
					t.Errorf("%d failures reported, want %d", n, c.events)
				}
				if n := b.events.count(journal.FetchFailed); c.phase == Delayed && n != 1 {
					t.Errorf("told %d times of one lasting trouble", n)
				}
				// New metadata (or the end of the trouble) brings it back.
				b.leader.with(func() { delete(b.leader.codes, tpn(0)) })
				bad.mu.Lock()
				bad.hard, bad.epoch = nil, 6
				bad.mu.Unlock()
				b.f.Add([]Assignment{b.assign(tpn(0))})
				pass(2 * time.Second)
				wantBytes(t, bad, "\x01\x01\x01")
			})
		})
	}
}

func code(c peer.Code) func(*bench, *fakeReplica) {
	return func(b *bench, _ *fakeReplica) { b.leader.codes[tpn(0)] = c }
}

func TestDamagedRecordsAreFetchedAgainOnANewConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		r := b.follow(tpn(0), "", "\x01")
		r.mu.Lock()
		r.fail = errCorrupt
		r.mu.Unlock()
		b.leader.with(func() { b.leader.logs[tpn(0)].recs = []byte("\x01\x01") })
		pass(3 * time.Second)
		wantBytes(t, r, "\x01\x01")
		if len(b.leader.dials) != 2 {
			t.Fatalf("dials %q, want a second one", b.leader.dials)
		}
	})
}

// A follower that hears of an election before the new leader does asks again
// within milliseconds, also while its other partitions wait in a long poll:
// acks=all waits for it.
func TestElectionHeardEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		other := b.follow(tpn(1), "", "")
		r := b.follow(tpn(0), "", "\x01")
		b.leader.with(func() { b.leader.codes[tpn(0)] = peer.CodeUnknownLeaderEpoch })
		pass(5 * time.Millisecond)
		b.leader.with(func() { b.leader.codes[tpn(0)] = 0 })
		pass(30 * time.Millisecond)
		wantBytes(t, r, "\x01")
		wantBytes(t, other, "")
	})
}

func TestLeaderGoneAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		r := b.follow(tpn(0), "", "\x01")
		pass(100 * time.Millisecond)
		b.leader.with(func() { b.leader.down = errors.New("connection refused") })
		pass(10 * time.Second)
		if n := len(b.leader.dials); n > 20 { // some quick ones, then one a second
			t.Fatalf("%d dials in 10 s", n)
		}
		b.leader.with(func() { b.leader.down, b.leader.logs[tpn(0)].recs = nil, []byte("\x01\x01") })
		pass(2 * time.Second)
		wantBytes(t, r, "\x01\x01")
		if b.events.count(journal.FetchFailed) != 1 || b.events.count(journal.ReplicaRecovered) != 1 {
			t.Fatalf("events %v", b.events.list)
		}
	})
}

// A removed partition is not touched any more, also by the answer in flight.
func TestRemoveThenAddAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		other := b.follow(tpn(1), "", "\x01")
		r := b.follow(tpn(0), "", "\x01")
		pass(time.Second)
		b.f.Remove([]model.TopicPartition{tpn(0)})
		b.leader.with(func() { b.leader.logs[tpn(0)].recs = []byte("\x01\x01") })
		pass(2 * time.Second)
		wantBytes(t, r, "\x01")
		b.f.Add([]Assignment{b.assign(tpn(0))})
		b.f.Remove([]model.TopicPartition{tpn(0)})
		b.f.Add([]Assignment{b.assign(tpn(0))})
		pass(2 * time.Second)
		wantBytes(t, r, "\x01\x01")
		wantBytes(t, other, "\x01")
	})
}

// Kafka closes a session that a request leaves empty: that is no trouble, and
// the next partition begins a new one.
func TestOnlyPartitionLeavesTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		r := b.follow(tpn(0), "", "\x01")
		b.leader.with(func() { b.leader.codes[tpn(0)] = peer.CodeUnknownLeaderEpoch })
		pass(10 * time.Second)
		b.leader.with(func() { b.leader.codes[tpn(0)] = 0 })
		pass(2 * time.Second)
		wantBytes(t, r, "\x01")
		if n := b.events.count(journal.FetchFailed); n != 1 || len(b.leader.dials) != 1 {
			t.Errorf("%d failures, want the one of the partition; dials %v", n, b.leader.dials)
		}
	})
}

func TestResizeSpreadsPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		for n := range int32(6) {
			b.follow(tpn(n), "", "\x01")
		}
		pass(time.Second)
		if b.f.Resize(0) == nil {
			t.Fatal("resize to 0 accepted")
		}
		if err := b.f.Resize(2); err != nil {
			t.Fatal(err)
		}
		b.leader.with(func() {
			for n := range int32(6) {
				b.leader.logs[tpn(n)].recs = []byte("\x01\x01")
			}
		})
		pass(5 * time.Second) // the two loops take the fake's one session from each other
		loops := map[int32]int{}
		for _, st := range b.f.Status() {
			loops[st.Loop]++
			wantBytes(t, b.reps[st.TP], "\x01\x01")
		}
		if loops[0] != 3 || loops[1] != 3 {
			t.Fatalf("partitions per loop: %v", loops)
		}
	})
}

// Java: Math.abs(31 * "orders".hashCode() + 7) % 10 and so on.
func TestFetcherIDIsKafkas(t *testing.T) {
	if got := ID(model.TopicPartition{Topic: "orders", Partition: 7}, 1000); got != hashOf("orders", 7)%1000 {
		t.Fatal(got)
	}
	if got := ID(model.TopicPartition{Topic: "", Partition: 5}, 1000); got != 5 {
		t.Fatalf("empty topic: %d", got)
	}
	if got := ID(model.TopicPartition{Topic: "a", Partition: 0}, 1000); got != 31*97%1000 {
		t.Fatalf("a: %d", got)
	}
}

func hashOf(s string, n int64) int32 {
	var h int64
	for _, c := range s {
		h = int64(int32(31*h + int64(c)))
	}
	h = int64(int32(31*h + n))
	return int32(max(h, -h))
}
