package sim

import (
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/record"
)

// lossAllowed tells whether committed records may go in this world: by unclean
// elections, or when all brokers lose power without flush on ack. They are
// counted, nothing else is excused: the logs agree again afterwards, and what was
// flushed is there.
func (w *World) lossAllowed() bool { return w.cfg.Unclean || w.cfg.PowerLoss }

// lossy is a ledger from which records have gone.
type lossy struct {
	unclean map[model.LeaderEpoch]bool // elections outside ISR and ELR
	fork    model.LeaderEpoch          // since which the ledger is another one
	forked  bool
	lost    int // batches
}

// excused: what this replica does is of before the last loss, or it follows and
// has not cut yet what went. final looks at all of them.
func (l *ledger) excused(leads bool, epoch model.LeaderEpoch) bool {
	return l.forked && (!leads || epoch < l.fork)
}

// survives lets a new leader's log be the truth, if it may: whatever else was
// committed is lost. It returns whether the ledger follows this leader from now on.
func (c *checker) survives(h *hosted, l *ledger, epoch model.LeaderEpoch) bool {
	if !c.w.lossAllowed() || l.forked && epoch < l.fork {
		return false
	}
	cut := min(h.p.Log().End(), l.hw)
	_ = c.scan(h, h.p.LogStart(), cut, func(b record.Batch) error {
		err := l.see(b, false, c)
		if err != nil {
			cut = min(cut, b.BaseOffset())
		}
		return err
	})
	if cut >= l.hw && !l.unclean[epoch] {
		return false
	}
	i := l.at(cut)
	if lost := len(l.batches) - i; lost > 0 {
		c.w.rare.hit(CommittedLost)
		c.w.logf(&h.b.node, "leads %s in epoch %d without %d committed batches from %d on", h.tp, epoch, lost, cut)
		l.lost += lost
	}
	for _, b := range l.batches[i:] {
		delete(l.where, producerSeq{b.id, b.seq})
	}
	l.batches = l.batches[:i]
	l.forked, l.fork, l.hw = true, epoch, cut
	h.verified = min(h.verified, cut)
	for _, k := range c.w.clients.consumers {
		if k.part == l.part {
			k.offset, k.latest = min(k.offset, cut), model.NoOffset
		}
	}
	return true
}

// uncleanly notes an election of a replica that may not have everything.
func (c *checker) uncleanly(tp part, o, n *metadata.Partition) bool {
	if !c.w.cfg.Unclean || n.Recovery != metadata.Recovering || slices.Contains(o.ISR, n.Leader) {
		return false
	}
	c.w.rare.hit(UncleanElected)
	l := c.ledger(tp)
	if l.unclean == nil {
		l.unclean = map[model.LeaderEpoch]bool{}
	}
	l.unclean[n.LeaderEpoch] = true
	return true
}

// opened checks that a log has all that was flushed before it was closed,
// whatever happened meanwhile.
func (c *checker) opened(h *hosted, flushed model.Offset) {
	if end := h.p.Log().End(); end < flushed {
		c.w.fail("FlushedSurvives: %s %s: log ends at %d, was flushed up to %d", h.b.name, h.tp, end, flushed)
	}
}
