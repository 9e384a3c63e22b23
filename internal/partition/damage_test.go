package partition

import (
	"errors"
	"fmt"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// keeper notes what it is told.
type keeper struct{ told []string }

func (k *keeper) Suspect(_ *Partition, off model.Offset, why string) {
	k.told = append(k.told, fmt.Sprintf("suspect %d %s", off, why))
}

func (k *keeper) Removing(p *Partition, off model.Offset, why replica.Reason) {
	k.told = append(k.told, fmt.Sprintf("removing [%d, %d) %s", off, p.Log().End(), why))
}

// Damaged records are given to nobody; what lies before and behind them is.
func TestDamagedRecordsAreRefused(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1)
	for range 6 {
		h.append(Append{}, "a", "b")
	}
	h.perform()
	h.p.SetDamage([]Range{{8, 10}, {4, 6}})
	for _, c := range []struct{ at, next model.Offset }{{0, 4}, {2, 4}, {4, -1}, {5, -1}, {6, 8}, {8, -1}, {10, 12}} {
		f, err := h.fetch(2, c.at)
		f.Slice.Release()
		switch {
		case c.next < 0 && !errors.Is(err, ErrStorage):
			t.Errorf("at %d: %v", c.at, err)
		case c.next >= 0 && (err != nil || f.Slice.Next != c.next):
			t.Errorf("at %d: %v, up to %d, want %d", c.at, err, f.Slice.Next, c.next)
		}
	}
	if h.failed != nil {
		t.Errorf("the directory has failed: %v", h.failed)
	}
}

// A follower that doesn't get past an offset makes the leader look at its disk,
// not every time; one that waits for records doesn't.
func TestComplaints(t *testing.T) {
	h, k := newHost(t), &keeper{}
	h.p.keeper = k
	h.lead(0, 1, 2, 3)
	h.append(Append{}, "a", "b")
	for range 13 {
		h.acked(2, 0)
		h.acked(3, 2)
	}
	if got := fmt.Sprint(k.told); got != "[suspect 0 complaint suspect 0 complaint suspect 0 complaint]" {
		t.Error(got)
	}
}

// A follower fetches again what is damaged on its disk, from the start of the
// segment on, and what it had is kept first.
func TestRefetch(t *testing.T) {
	h, k := newHost(t), &keeper{}
	h.p.keeper = k
	h.lead(0, 1)
	h.append(Append{}, "a", "b")
	if err := h.p.Log().Roll(); err != nil {
		t.Fatal(err)
	}
	h.append(Append{}, "c", "d")
	h.perform()
	if err := h.p.Refetch(0, 2); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("a leader cuts its log: %v", err)
	}
	h.follow(1)
	h.p.SetDamage([]Range{{2, 4}})
	if err := h.p.Refetch(1, 2); err != nil {
		t.Fatal(err)
	}
	h.perform()
	at, _ := h.p.FollowPosition()
	if at.Offset != 2 || h.p.LogEnd() != 2 || h.p.Damage() != nil {
		t.Errorf("%+v, damage %v", at, h.p.Damage())
	}
	if err := h.p.Refetch(1, 0); err != nil { // the first segment
		t.Fatal(err)
	}
	h.perform()
	if got := fmt.Sprint(k.told); got != "[removing [2, 4) damaged removing [0, 2) damaged]" || h.p.LogEnd() != 0 {
		t.Errorf("%s, log end %d", got, h.p.LogEnd())
	}
	if e := h.events[len(h.events)-1]; e.Reason != "damaged" || e.Kind != "truncated" {
		t.Errorf("%+v", e)
	}
}
