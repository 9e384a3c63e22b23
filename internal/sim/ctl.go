package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

const clusterID = "sim"

// ctl is one controller node: the real core in a shell like package active's,
// with one proposal in flight.
type ctl struct {
	node
	q       *modelQuorum
	w       *World
	core    *controller.Core
	loader  *metadata.Loader
	applied int // entries

	term     model.LeaderEpoch // in which it believes to lead and is ready; 0: not
	coming   model.LeaderEpoch // elected, its own first batch isn't committed yet
	lonely   int64             // since when it reaches nobody
	queue    []*ask
	waiting  []*ask
	inFlight bool
	parked   []*metadataFetch

	knownEpoch  model.LeaderEpoch
	knownLeader int // 0: none
}

// ask is one request that waits for a decision and its commit.
type ask struct {
	req  any
	resp any
	done func(resp any, err error)
}

func newCtl(q *modelQuorum, id int) *ctl {
	return &ctl{node: node{id: id, name: fmt.Sprintf("c%d", id)}, q: q, w: q.w}
}

func (c *ctl) coreConfig() controller.Config {
	cfg := controller.DefaultConfig()
	cfg.NodeID, cfg.ClusterID = model.BrokerID(c.id), clusterID
	cfg.SessionTimeout = dur(c.w.cfg.Session)
	cfg.RebalanceInterval = dur(c.w.cfg.Rebalance)
	cfg.NoOpInterval = dur(5 * second)
	if c.w.cfg.ELR {
		cfg.Features[metadata.ELRVersionFeature] = 1
	}
	return cfg
}

func (c *ctl) start() {
	c.up = true
	c.life++
	c.core = controller.New(c.coreConfig())
	c.loader = metadata.NewLoader(metadata.Empty())
	c.applied, c.term, c.coming, c.lonely = 0, 0, 0, 0
	c.queue, c.waiting, c.parked, c.inFlight = nil, nil, nil, false
	c.knownEpoch, c.knownLeader = 0, 0
	c.catchUp()
	c.w.every(100*ms, &c.node, "controller", c.tick)
}

func (c *ctl) kill() {
	c.w.logf(&c.node, "killed")
	c.stop()
}

// catchUp applies what is committed.
func (c *ctl) catchUp() {
	for c.applied < len(c.q.entries) {
		if _, err := c.loader.Load(c.q.entries[c.applied].batch); err != nil {
			c.w.fail("%s: %v", c.name, err)
			return
		}
		if e := c.q.entries[c.applied].epoch; e > c.knownEpoch {
			c.knownEpoch, c.knownLeader = e, 0
			if c.term > 0 && c.term < e || c.coming > 0 && c.coming < e {
				c.resign() // somebody else has led since
			}
		}
		c.applied++
	}
	if c.term > 0 {
		c.serveParked()
	}
}

// elected begins a term: nothing is answered before a batch of its own is
// committed.
func (c *ctl) elected(epoch model.LeaderEpoch) {
	if c.q.epoch != epoch {
		return
	}
	c.resign()
	c.coming = epoch
	c.knownEpoch, c.knownLeader = epoch, c.id
	c.catchUp()
	recs := []metadata.Control{&metadata.LeaderChange{LeaderID: model.BrokerID(c.id)}}
	c.q.propose(c, epoch, metadata.ControlBatch(recs, c.time().UnixMilli()), func() { c.activate(epoch) })
}

func (c *ctl) activate(epoch model.LeaderEpoch) {
	if c.coming != epoch {
		return
	}
	c.coming, c.term = 0, epoch
	c.w.logf(&c.node, "active controller, epoch %d, offset %d", epoch, c.loader.Image().Offset)
	c.propose(c.core.Activate(c.loader.Image(), epoch, c.env(0)))
	c.serveParked()
}

// resign ends the term; the outcome of what is in flight is unknown.
func (c *ctl) resign() {
	if c.term > 0 {
		c.w.logf(&c.node, "no longer active, epoch %d", c.term)
	}
	c.term, c.coming, c.inFlight = 0, 0, false
	c.core.Resign()
	all := append(c.waiting, c.queue...)
	c.waiting, c.queue = nil, nil
	for _, a := range all {
		a.done(nil, controller.ErrNotController)
	}
	c.serveParked()
}

// tick finds out who leads, and does what is due.
func (c *ctl) tick() {
	if c.q.fit(c) {
		c.lonely = 0
		if l := c.q.leader; l != nil && c.q.epoch > c.knownEpoch {
			c.knownEpoch, c.knownLeader = c.q.epoch, l.id
		}
		if c.term > 0 && c.q.epoch != c.term || c.coming > 0 && c.q.epoch != c.coming {
			c.resign()
		}
	} else if c.lonely == 0 {
		c.lonely = c.w.now
	} else if c.term > 0 && c.w.now-c.lonely > second {
		c.resign() // a leader that reaches no majority steps down
		if c.q.leader == c {
			c.q.leader = nil
		}
	}
	if c.term > 0 && !c.inFlight && !c.time().Before(c.core.NextTick()) {
		c.propose(c.core.Tick(c.env(0)))
	}
}

func (c *ctl) time() time.Time { return c.w.time(&c.node) }

func (c *ctl) env(after int) controller.Env {
	return controller.Env{
		Now: c.time(), NextOffset: c.loader.Image().Offset + 1 + model.Offset(after),
		NewID: c.w.newID, Rand: c.w.rng.Uint64,
	}
}

// newID draws an id from the seed.
func (w *World) newID() model.UUID {
	var u model.UUID
	binary.BigEndian.PutUint64(u[:8], w.rng.Uint64())
	binary.BigEndian.PutUint64(u[8:], w.rng.Uint64()|1<<62)
	return u
}

// submit is how a request reaches the core. done runs here, after the commit.
func (c *ctl) submit(req any, done func(resp any, err error)) {
	if c.term == 0 {
		done(nil, controller.ErrNotController)
		return
	}
	if h, ok := req.(*controller.BrokerHeartbeat); ok {
		c.core.Touch(h.Broker, h.Epoch, c.time())
	}
	c.queue = append(c.queue, &ask{req: req, done: done})
	c.decide()
}

func (c *ctl) decide() {
	if c.inFlight || c.term == 0 || len(c.queue) == 0 {
		return
	}
	var recs []metadata.Record
	queue := c.queue
	c.queue = nil
	for _, a := range queue {
		d := c.core.Decide(a.req, c.env(len(recs)))
		if d.Err != nil {
			a.done(nil, d.Err)
			continue
		}
		a.resp = d.Response
		c.waiting = append(c.waiting, a)
		recs = append(recs, d.Records...)
	}
	c.propose(recs)
}

func (c *ctl) propose(recs []metadata.Record) {
	c.core.DrainEvidence()
	if len(recs) == 0 {
		c.answer()
		return
	}
	level := c.core.View().MetadataVersion()
	c.inFlight = true
	term := c.term
	c.q.propose(c, term, metadata.DataBatch(recs, level, c.time().UnixMilli()), func() {
		if c.term != term {
			return
		}
		c.inFlight = false
		c.core.Replayed(c.loader.Image())
		c.answer()
		c.decide()
	})
}

func (c *ctl) answer() {
	all := c.waiting
	c.waiting = nil
	for _, a := range all {
		a.done(a.resp, nil)
	}
}

// hint tells that a broker's connections broke and a probe was refused.
func (c *ctl) hint(b model.BrokerID) {
	if c.term > 0 && !c.inFlight {
		c.propose(c.core.Hint(b, c.env(0)))
	}
}

// metadataFetch is one observer's fetch.
type metadataFetch struct {
	offset model.Offset
	reply  func(any)
	over   bool
}

// metadataAnswer is what an observer gets.
type metadataAnswer struct {
	leads    bool
	epoch    model.LeaderEpoch
	leader   int // 0: unknown
	hw       model.Offset
	entries  []entry
	snapshot *snapshot
}

// fetch answers an observer, at once or when there is something new.
func (c *ctl) fetch(f *metadataFetch) {
	if c.answerFetch(f, false) {
		return
	}
	c.parked = append(c.parked, f)
	c.w.after(c.w.cfg.FetchWait, &c.node, "metadata wait", func() { c.answerFetch(f, true) })
}

func (c *ctl) answerFetch(f *metadataFetch, now bool) bool {
	if f.over {
		return true
	}
	a := metadataAnswer{epoch: c.knownEpoch, leader: c.knownLeader, hw: model.NoOffset}
	if c.term == 0 {
		if c.coming > 0 && !now {
			return false // parked until ready
		}
		if a.leader == c.id {
			a.leader = 0
		}
		f.over = true
		f.reply(a)
		return true
	}
	end := c.loader.Image().Offset + 1
	a.leads, a.epoch, a.leader, a.hw = true, c.term, c.id, end
	switch {
	case f.offset < c.q.start && c.q.snapshot != nil && c.q.snapshot.end <= end:
		a.snapshot = c.q.snapshot
	case f.offset < end:
		i := c.q.index(f.offset)
		a.entries = c.q.entries[i:min(c.applied, i+50)]
	case !now:
		return false
	}
	f.over = true
	f.reply(a)
	return true
}

func (c *ctl) serveParked() {
	keep := c.parked[:0]
	for _, f := range c.parked {
		if !c.answerFetch(f, false) {
			keep = append(keep, f)
		}
	}
	c.parked = keep
}
