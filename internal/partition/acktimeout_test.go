package partition

import (
	"strings"
	"testing"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// A time-out names the members that lack the append, what is in their way, and nobody
// else; the journal hears of it once a second.
func TestTimeOutNamesWhoWasMissing(t *testing.T) {
	h := newHost(t)
	h.lead(1, 1, 2, 3)
	a := h.append(Append{AcksAll: true}, "x", "y")
	h.acked(2, 2)
	h.acked(3, 1)
	h.now = h.now.Add(4 * time.Second) // a third of the lag time is 3.3 s
	h.acked(2, 2)
	why := h.p.AckTimedOut(a)
	if !strings.Contains(why, "broker 3 (at 1 of 2, FETCH_STOPPED") || strings.Contains(why, "broker 2") {
		t.Errorf("got %q", why)
	}
	if again := h.p.AckTimedOut(a); again != why {
		t.Errorf("the second one hears %q", again)
	}
	var told []journal.Event
	for _, e := range h.events {
		if e.Kind == journal.ProduceWaited {
			told = append(told, e)
		}
	}
	if len(told) != 1 || len(told[0].Replicas) != 1 || told[0].Replicas[0].Broker != 3 || told[0].Reason != "behind" ||
		len(told[0].Causes) == 0 || told[0].Causes[0] != string(replica.CauseFetchStopped) || !strings.Contains(told[0].String(), "broker 3") {
		t.Errorf("journal: %+v", told)
	}
	h.acked(3, 2)
	if late := h.p.AckTimedOut(a); late != "committed after the time-out" {
		t.Errorf("nobody is missing any more: %q", late)
	}
	h.p.ISRCommitted(replica.ISRAnswer{}) // of nobody's proposal
	if _, err := h.p.BecomeFollower(State{Leader: 2, LeaderEpoch: 2, PartitionEpoch: 9, Replicas: []model.BrokerID{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	if gone := h.p.AckTimedOut(a); gone != "" {
		t.Errorf("it leads no longer, and says %q", gone)
	}
}
