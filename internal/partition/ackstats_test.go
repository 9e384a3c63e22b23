package partition

import (
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/replica"
)

func TestAckStats(t *testing.T) {
	var s AckStats
	if got := s.Snapshot(); got != nil {
		t.Fatalf("empty: %+v", got)
	}
	ack := func(last model.BrokerID, parts map[replica.AckPhase]time.Duration) {
		a := replica.Ack{Last: last}
		for p, d := range parts {
			a.Phases[p] = d
			a.Wait += d
		}
		s.Acked(a)
	}
	ack(3, map[replica.AckPhase]time.Duration{replica.AckFetch: time.Millisecond, replica.AckAppend: 80 * time.Millisecond})
	ack(3, map[replica.AckPhase]time.Duration{replica.AckReturn: time.Minute})
	ack(2, map[replica.AckPhase]time.Duration{replica.AckLeft: 2 * time.Second})
	got := s.Snapshot()
	if len(got) != 2 || got[0].Last != 2 || got[1].Last != 3 || got[1].Acks != 2 || got[0].Acks != 1 {
		t.Fatalf("got %+v", got)
	}
	three := got[1]
	for phase, want := range map[replica.AckPhase]struct {
		count uint64
		sum   time.Duration
		max   uint64 // in the last bucket: below a minute
	}{
		replica.AckFetch: {2, time.Millisecond, 2}, replica.AckAppend: {2, 80 * time.Millisecond, 2},
		replica.AckReturn: {2, time.Minute, 1}, replica.AckFlush: {0, 0, 0}, replica.AckLeft: {0, 0, 0},
	} {
		h := three.Phases[phase]
		if h.Count != want.count || h.Sum != want.sum || h.Buckets[len(h.Buckets)-1] != want.max {
			t.Errorf("phase %s: %+v, want %+v", phase, h, want)
		}
	}
	if h := got[0].Phases[replica.AckLeft]; h.Count != 1 || h.Sum != 2*time.Second {
		t.Errorf("left: %+v", h)
	}
	if h := got[0].Phases[replica.AckFetch]; h.Count != 0 {
		t.Errorf("a wait that no fetch ended counts as one: %+v", h)
	}
}
