package node

import (
	"slices"
	"sync"

	"tidemark/internal/admin"
	"tidemark/internal/journal"
	"tidemark/internal/model"
)

// tally counts events on their way into the journal, for the metrics: log line,
// journal, page and counters are views of one stream. Safe for concurrent use.
type tally struct {
	journal *journal.Journal

	mu       sync.Mutex
	proposed map[model.TopicPartition]journal.Event // not yet answered
	counts   admin.Counts
}

func newTally(j *journal.Journal) *tally {
	return &tally{journal: j, proposed: map[model.TopicPartition]journal.Event{}}
}

// Emit counts and passes on. It never blocks.
func (t *tally) Emit(e journal.Event) {
	t.count(e)
	t.journal.Emit(e)
}

func (t *tally) count(e journal.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tp, _ := e.TopicPartition()
	switch e.Kind {
	case journal.ShrinkProposed, journal.ExpandProposed:
		t.proposed[tp] = e
	case journal.ISRCommitted:
		// The answer and the metadata race: whichever comes first with the set
		// that was asked for is the commit.
		p, ok := t.proposed[tp]
		delete(t.proposed, tp)
		switch {
		case !ok || !sameSet(p.NewISR, e.NewISR): // the controller's own change
		case p.Kind == journal.ShrinkProposed:
			t.counts.ISRShrinks++
		default:
			t.counts.ISRExpands++
		}
	case journal.ISRRejected:
		delete(t.proposed, tp)
		t.counts.FailedISRUpdates++
	case journal.BecameFollower, journal.ReplicaDeleted:
		delete(t.proposed, tp)
	case journal.UncleanElection:
		t.counts.UncleanElections++
	case journal.ControllerChanged:
		t.counts.ControllerChanges++
	case journal.MetadataError:
		t.counts.MetadataErrors++
	}
}

// fenced counts a broker that this controller has fenced; the event is also a
// broker's, which learns that it was.
func (t *tally) fenced() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Fencings++
}

func sameSet(a, b []model.BrokerID) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func (t *tally) fill(c *admin.Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*c = t.counts
}
