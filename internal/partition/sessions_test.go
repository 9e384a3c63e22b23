package partition

import (
	"slices"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/replica"
	"tidemark/internal/session"
)

func TestSessionsAreMarkedOncePerPerform(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2, 3)
	s := session.New(2, true, h.now)
	e := s.Name(session.Key{ID: model.TopicID{1}, Partition: 3}, session.Position{})
	h.p.Subscribe(e)
	h.p.Subscribe(e)
	s.Take(nil)
	for range 20 {
		h.append(Append{}, "a")
	}
	if got := s.Take(nil); len(got) != 0 {
		t.Fatal("marked before Perform")
	}
	h.perform()
	if got := s.Take(nil); len(got) != 1 {
		t.Fatalf("%d dirty", len(got))
	}
	h.p.Unsubscribe(e)
	h.append(Append{}, "a")
	h.perform()
	if got := s.Take(nil); len(got) != 0 {
		t.Fatal("marked after Unsubscribe")
	}
}

// An idle follower whose session is alive is not dropped after one append.
func TestIdleFollowerIsCreditedWithItsSession(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2)
	s := session.New(2, true, h.now)
	h.p.Subscribe(s.Name(session.Key{Partition: 3}, session.Position{}))
	h.acked(2, 0)
	h.now = h.now.Add(10 * time.Minute)
	s.Touch(h.now)
	h.append(Append{}, "a")
	h.p.Tick()
	h.perform()
	if len(h.proposals) != 0 {
		t.Fatalf("%+v", h.proposals[0])
	}
	h.now = h.now.Add(11 * time.Second)
	h.p.Tick()
	h.perform()
	if len(h.proposals) != 1 || !slices.Equal(h.proposals[0].IDs(), []model.BrokerID{1}) {
		t.Fatalf("%+v", h.proposals)
	}
	c := h.proposals[0]
	h.p.ISRRejected(c.LeaderEpoch, c.Proposal, replica.RefusedRetry)
	h.perform()
	if len(h.proposals) != 2 || h.proposals[1] != c {
		t.Fatal("a failed proposal is sent again as it was")
	}
	h.p.ISRCommitted(replica.ISRAnswer{Proposal: c.Proposal, LeaderEpoch: 0, PartitionEpoch: 1, ISR: c.IDs()})
	if st := h.p.State(); !st.UnderMinISR || st.PartitionEpoch != 1 || st.Hold.Reason != replica.ReasonUnderMinISR {
		t.Fatalf("%+v", st)
	}
}
