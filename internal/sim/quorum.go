package sim

import (
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/record"
)

// modelQuorum models what package quorum gives: one committed log, at most one
// leader per epoch, proposals that may be committed although their answer is
// lost, and leaders that do not know yet that they are deposed.
type modelQuorum struct {
	w       *World
	ctls    []*ctl
	entries []entry // committed
	end     model.Offset
	epoch   model.LeaderEpoch
	leader  *ctl
	life    int   // of the leader's process when it was elected
	sick    int64 // since when the leader is not fit to lead, 0: it is
	pending *proposal
	truth   *metadata.Loader // the state after every committed batch
	images  history

	start    model.Offset // what observers can fetch begins here
	snapshot *snapshot
}

// entry is one committed batch.
type entry struct {
	batch record.Batch
	epoch model.LeaderEpoch
}

type snapshot struct {
	end     model.Offset
	epoch   model.LeaderEpoch
	batches []record.Batch
}

// proposal is the one in flight.
type proposal struct {
	from  *ctl
	epoch model.LeaderEpoch
	batch record.Batch
	done  func()
}

const controllers = 3

func newQuorum(w *World) *modelQuorum {
	q := &modelQuorum{w: w, truth: metadata.NewLoader(metadata.Empty())}
	for i := range controllers {
		q.ctls = append(q.ctls, newCtl(q, 101+i))
	}
	return q
}

func (q *modelQuorum) boot() {
	for _, c := range q.ctls {
		c.start()
	}
	q.w.every(100*ms, nil, "quorum", q.tick)
}

// image is the state after the last committed record.
func (q *modelQuorum) image() *metadata.Image { return q.truth.Image() }

// fit tells whether c can commit: it is awake and reaches another voter.
func (q *modelQuorum) fit(c *ctl) bool {
	if !c.up || c.paused {
		return false
	}
	for _, o := range q.ctls {
		if o != c && o.up && !o.paused && !q.w.net.isCut(&c.node, &o.node) && !q.w.net.isCut(&o.node, &c.node) {
			return true
		}
	}
	return false
}

// tick elects when there has been no fit leader for an election time-out.
func (q *modelQuorum) tick() {
	if q.leader != nil && q.leader.life == q.life && q.fit(q.leader) {
		q.sick = 0
		return
	}
	if q.sick == 0 {
		q.sick = q.w.now
	}
	if q.w.now-q.sick < 300*ms+q.w.upTo(700*ms) {
		return
	}
	var fit []*ctl
	for _, c := range q.ctls {
		if (c != q.leader || c.life != q.life) && q.fit(c) {
			fit = append(fit, c)
		}
	}
	if len(fit) > 0 {
		q.elect(fit[q.w.rng.IntN(len(fit))])
	}
}

// elect makes c leader. What the old one had in flight is committed or lost;
// either way its answer is.
func (q *modelQuorum) elect(c *ctl) {
	if p := q.pending; p != nil {
		q.pending = nil
		if q.w.chance(50) {
			q.w.rare.hit(ProposalCommittedAnswerLost)
			q.commit(p)
		} else {
			q.w.rare.hit(ProposalLost)
		}
	}
	q.epoch++
	q.leader, q.life, q.sick = c, c.life, 0
	q.w.logf(&c.node, "elected by the quorum, epoch %d", q.epoch)
	epoch := q.epoch
	q.w.after(q.w.net.latency(), &c.node, "elected", func() { c.elected(epoch) })
}

// propose commits b after a while, unless the leader changes. done runs at c
// after the commit; if the batch is lost, it never runs.
func (q *modelQuorum) propose(c *ctl, epoch model.LeaderEpoch, b record.Batch, done func()) {
	if q.leader != c || q.life != c.life || q.epoch != epoch || q.pending != nil {
		return // deposed: its tick will tell it
	}
	p := &proposal{from: c, epoch: epoch, batch: b, done: done}
	q.pending = p
	q.w.after(2*q.w.net.latency(), nil, "commit", func() { q.tryCommit(p) })
}

func (q *modelQuorum) tryCommit(p *proposal) {
	switch {
	case q.pending != p:
		return
	case !q.fit(p.from) || p.from.life != q.life:
		q.w.after(50*ms, nil, "commit", func() { q.tryCommit(p) })
		return
	}
	q.pending = nil
	q.commit(p)
	q.w.after(0, &p.from.node, "committed", func() {
		p.from.catchUp()
		p.done()
	})
}

func (q *modelQuorum) commit(p *proposal) {
	p.batch.Stamp(q.end, p.epoch)
	q.end = p.batch.NextOffset()
	q.entries = append(q.entries, entry{p.batch, p.epoch})
	before := q.image()
	ups, err := q.truth.Load(p.batch)
	if err != nil {
		q.w.fail("committed batch at %d can't be replayed: %v", p.batch.BaseOffset(), err)
		return
	}
	q.images.add(q.image())
	for _, u := range ups {
		q.w.check.metadata(before, u)
	}
	for _, c := range q.ctls {
		if c.up {
			q.w.after(q.w.net.latency(), &c.node, "replicated", c.catchUp)
		}
	}
	if q.w.chance(2) {
		q.takeSnapshot()
	}
}

// takeSnapshot snapshots the state and, sometimes, cuts the log below it. The
// image that a snapshot restores must equal the one that replay made.
func (q *modelQuorum) takeSnapshot() {
	img := q.image()
	now := epoch0.UnixMilli() + q.w.now/ms
	s := &snapshot{end: img.Offset + 1, epoch: img.Epoch, batches: metadata.WriteSnapshot(img, now, now)}
	got, err := metadata.ReadSnapshot(s.batches, img.Offset, img.Epoch)
	switch {
	case err != nil:
		q.w.fail("snapshot at %d can't be read: %v", s.end, err)
	case !sameState(img, got):
		q.w.fail("snapshot at %d differs from replay", s.end)
	}
	q.snapshot = s
	if q.w.chance(50) {
		q.start = s.end
	}
}

// sameState compares what a snapshot must preserve.
func sameState(a, b *metadata.Image) bool {
	d := metadata.Between(a, b)
	changed, deleted := d.Topics()
	for _, id := range d.Brokers() {
		x, y := a.Brokers[id], b.Brokers[id]
		if x == nil || y == nil || x.Epoch != y.Epoch || x.Fenced != y.Fenced || x.Incarnation != y.Incarnation ||
			x.InControlledShutdown != y.InControlledShutdown {
			return false // RegisteredAt moves, by design
		}
	}
	return len(changed) == 0 && len(deleted) == 0 && len(d.ConfigChanges()) == 0 && len(d.Features()) == 0 &&
		a.NextProducerID == b.NextProducerID
}

// index is the first entry at or above off.
func (q *modelQuorum) index(off model.Offset) int {
	lo, hi := 0, len(q.entries)
	for lo < hi {
		mid := (lo + hi) / 2
		if q.entries[mid].batch.BaseOffset() < off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
