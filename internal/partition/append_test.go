package partition

import (
	"errors"
	"testing"

	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/session"
	"tidemark/internal/vfs"
)

func TestAcksAllWaitsForTheISR(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	a := h.append(Append{AcksAll: true}, "a", "b", "c")
	if a.Base != 0 || a.Last != 2 || a.Epoch != 0 {
		t.Fatalf("%+v", a)
	}
	out := h.await(a, pg)
	h.acked(2, 3)
	if *out != purgatory.Waiting {
		t.Fatal("answered before 3 has it")
	}
	h.acked(3, 3)
	h.wantHW(3)
	if *out != purgatory.Reached || h.p.Committed() != nil || pg.Len() != 0 {
		t.Fatalf("outcome %d", *out)
	}
}

func TestNotEnoughReplicas(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1)
	_, err := h.p.AppendAsLeader(batch("a"), Append{AcksAll: true, Epoch: -1})
	if !errors.Is(err, ErrNotEnoughReplicas) || h.p.LogEnd() != 0 {
		t.Fatalf("%v, log end %d", err, h.p.LogEnd())
	}
	h.append(Append{}, "a") // acks=1
	h.wantHW(0)
}

// Kafka says who leads, and that too few are in sync, before it looks at the
// records.
func TestRefusedBeforeTheRecordsAreLookedAt(t *testing.T) {
	h := newHost(t)
	broken := func(acksAll bool) error {
		b := batch("a")
		b[len(b)-1] ^= 0xff
		_, err := h.p.AppendAsLeader(b, Append{AcksAll: acksAll, Epoch: -1})
		return err
	}
	h.lead(0, 1)
	if err := broken(true); !errors.Is(err, ErrNotEnoughReplicas) {
		t.Errorf("acks=all: %v", err)
	}
	if err := broken(false); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("acks=1: %v", err)
	}
	h.follow(1)
	if err := broken(false); !errors.Is(err, ErrNotLeader) {
		t.Errorf("on a follower: %v", err)
	}
}

// What waits under a leadership is lost with it, and what is added too late,
// too, even if this replica leads again by then.
func TestLeadershipLostWhileWaiting(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	a := h.append(Append{AcksAll: true}, "a")
	late := h.append(Append{AcksAll: true}, "b")
	out := h.await(a, pg)
	h.follow(1)
	if *out != purgatory.Lost {
		t.Fatalf("outcome %d", *out)
	}
	h.lead(2, 1)
	if out := h.await(late, pg); *out != purgatory.Lost {
		t.Fatalf("outcome %d of an append of epoch 0", *out)
	}
}

// The same leader under a new epoch keeps its records: what waits goes on waiting.
func TestReelectedLeaderKeepsWaiting(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	out := h.await(h.append(Append{AcksAll: true}, "a"), pg)
	h.lead(1, 1, 2)
	h.acked(2, 1)
	if *out != purgatory.Reached {
		t.Fatalf("outcome %d", *out)
	}
}

// KAFKA-10778: after a failed write the replica is offline, and offsets are not reused.
func TestFailedWriteTakesTheReplicaOffline(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	out := h.await(h.append(Append{AcksAll: true}, "a"), pg)
	h.fail = func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite {
			return errors.New("no space left on device")
		}
		return nil
	}
	if _, err := h.p.AppendAsLeader(batch("b"), Append{Epoch: -1}); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	h.perform()
	if h.failed == nil || *out != purgatory.Lost {
		t.Fatalf("failed=%v outcome=%d", h.failed, *out)
	}
	h.fail = nil
	if _, err := h.p.AppendAsLeader(batch("c"), Append{Epoch: -1}); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if err := h.p.BecomeLeader(State{Leader: 1, LeaderEpoch: 9}); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if s := h.p.State(); s.Role != "offline" || s.Error == "" {
		t.Fatalf("%+v", s)
	}
}

// KAFKA-10371: who waits for a replica that is taken away is told at once, and a
// fetch that comes too late is refused (KAFKA-9198).
func TestStopReleasesWhoWaits(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	pg := purgatory.New(10)
	out := h.await(h.append(Append{AcksAll: true}, "a"), pg)
	s := session.New(2, true, h.now)
	h.p.Subscribe(s.Name(session.Key{Partition: 3}, session.Position{}))
	s.Take(nil)
	h.p.Stop()
	h.perform()
	if *out != purgatory.Lost || pg.Len() != 0 {
		t.Fatalf("outcome %d, %d parked", *out, pg.Len())
	}
	if len(s.Take(nil)) != 1 {
		t.Fatal("the follower's session wasn't told")
	}
	if _, err := h.fetch(2, 1); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("a late fetch: %v", err)
	}
}
