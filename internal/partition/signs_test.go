package partition

import (
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// A change by the controller and the proposal that it sets off come from one
// transition; the event of the change tells the new set, not the proposed one.
func TestEventOfAChangeIsNotTheNextProposal(t *testing.T) {
	h := newHost(t)
	sent := &replica.ISRChange{ISR: []replica.ISRMember{{ID: 1}, {ID: 2}, {ID: 3}}}
	for _, why := range []replica.Reason{replica.ReasonISRMetadata, replica.ReasonISRCommitted} {
		e := h.p.journalEvent(replica.Evidence{Reason: why, At: time.Unix(1, 0), Broker: model.NoBroker, ISR: []model.BrokerID{1, 2}}, sent)
		if len(e.NewISR) != 2 || len(e.OldISR) != 0 {
			t.Errorf("%s: from %v to %v", why, e.OldISR, e.NewISR)
		}
	}
	e := h.p.journalEvent(replica.Evidence{Reason: replica.ReasonCaughtUp, At: time.Unix(1, 0), Broker: 3, ISR: []model.BrokerID{1, 2}}, sent)
	if len(e.NewISR) != 3 || len(e.OldISR) != 2 {
		t.Errorf("proposal: from %v to %v", e.OldISR, e.NewISR)
	}
}
