package node

import (
	"testing"

	"tidemark/internal/admin"
	"tidemark/internal/journal"
	"tidemark/internal/model"
)

// A shrink counts when the set that was proposed is committed, by whichever
// way the news comes; a change of the controller's own doesn't count.
func TestTallyCountsCommittedProposals(t *testing.T) {
	j, err := journal.Open(journal.Options{Node: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	tl := newTally(j)
	emit := func(k journal.Kind, isr ...model.BrokerID) {
		e := journal.For(k, model.TopicPartition{Topic: "orders"})
		e.NewISR = isr
		tl.Emit(e)
	}
	emit(journal.ISRCommitted, 1, 2) // fencing: nobody proposed it
	emit(journal.ShrinkProposed, 1)
	emit(journal.ISRCommitted, 1)
	emit(journal.ISRCommitted, 1) // the other half of the race
	emit(journal.ExpandProposed, 1, 2)
	emit(journal.ISRRejected)
	emit(journal.ExpandProposed, 2, 1)
	emit(journal.ISRCommitted, 1, 2)
	emit(journal.UncleanElection)
	var c admin.Counts
	tl.fill(&c)
	if c.ISRShrinks != 1 || c.ISRExpands != 1 || c.FailedISRUpdates != 1 || c.UncleanElections != 1 {
		t.Fatalf("%+v", c)
	}
}
