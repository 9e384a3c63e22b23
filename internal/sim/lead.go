package sim

import (
	"errors"
	"slices"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/producer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/session"
)

// leaderSession is a leader's end of an incremental fetch session.
type leaderSession struct {
	id    int
	s     *session.Session
	parts []*sessionPart
}

type sessionPart struct {
	ask      partitionAsk
	e        *session.Entry
	told     model.Offset // high watermark
	toldFrom model.Offset // log start
	tell     bool         // named: answer in any case
}

type parkedFetch struct {
	ls    *leaderSession
	req   replicaFetch
	reply func(any)
	over  bool
}

const fetchMax = 4096 // bytes of one partition

// serveFetch answers a follower.
func (b *broker) serveFetch(req replicaFetch, reply func(any)) {
	ls := b.sessions[req.session]
	if req.session == 0 {
		b.lastSession++
		ls = &leaderSession{id: b.lastSession, s: session.New(model.BrokerID(req.replica), true, b.time())}
		b.sessions[ls.id] = ls
	}
	if ls == nil {
		reply(replicaAnswer{gone: true})
		return
	}
	ls.s.Touch(b.time())
	for _, tp := range req.forgot {
		ls.forget(tp)
	}
	for _, ask := range req.named {
		ls.name(b, ask)
	}
	f := &parkedFetch{ls: ls, req: req, reply: reply}
	if b.serve(f, true, false) {
		return
	}
	b.parked = append(b.parked, f)
	b.w.after(req.deadline-b.w.now, &b.node, "fetch wait", func() { b.serve(f, false, true) })
}

func (ls *leaderSession) name(b *broker, ask partitionAsk) {
	key := session.Key{ID: ask.id, Partition: ask.tp.Partition}
	pos := session.Position{Offset: ask.at.Offset, CurrentEpoch: ask.at.Epoch, LastFetchedEpoch: ask.at.LastFetchedEpoch}
	e := ls.s.Name(key, pos)
	if h := b.find(ask.tp); h != nil {
		h.p.Subscribe(e)
		e.Source = h.p
	}
	for _, p := range ls.parts {
		if p.ask.tp == ask.tp {
			p.ask, p.e, p.tell = ask, e, true
			return
		}
	}
	ls.parts = append(ls.parts, &sessionPart{ask: ask, e: e, tell: true, told: model.NoOffset, toldFrom: model.NoOffset})
}

func (ls *leaderSession) forget(tp model.TopicPartition) {
	ls.parts = slices.DeleteFunc(ls.parts, func(p *sessionPart) bool {
		if p.ask.tp != tp {
			return false
		}
		ls.s.Forget(session.Key{ID: p.ask.id, Partition: tp.Partition})
		return true
	})
}

// serve tries to answer; arrived is true for the pass that acknowledges, now
// for the one at the deadline.
func (b *broker) serve(f *parkedFetch, arrived, now bool) bool {
	if f.over {
		return true
	}
	a := replicaAnswer{session: f.ls.id}
	wake := now
	for _, p := range f.ls.parts {
		pa, urgent := b.servePart(f, p, arrived && p.tell)
		if urgent {
			wake = true
		}
		if urgent || p.tell || pa.hw != p.told || pa.logStart != p.toldFrom {
			a.parts = append(a.parts, pa)
		}
	}
	if arrived {
		for _, p := range f.ls.parts {
			p.tell = false
		}
	}
	if !wake {
		return false
	}
	for _, pa := range a.parts {
		for _, p := range f.ls.parts {
			if p.ask.tp == pa.tp && pa.err == nil && !pa.diverges {
				p.told, p.toldFrom = pa.hw, pa.logStart
			}
		}
	}
	f.over = true
	f.reply(a)
	return true
}

func (b *broker) servePart(f *parkedFetch, p *sessionPart, acknowledge bool) (pa partitionAnswer, urgent bool) {
	pa.tp = p.ask.tp
	h := b.find(p.ask.tp)
	if h == nil || h.topic != p.ask.id {
		pa.err = partition.ErrNotHosted
		return pa, true
	}
	res, err := h.p.Fetch(partition.Fetch{
		Replica: model.BrokerID(f.req.replica), ReplicaEpoch: f.req.epoch, Acknowledge: acknowledge,
		Offset: p.ask.at.Offset, CurrentEpoch: p.ask.at.Epoch, LastFetchedEpoch: p.ask.at.LastFetchedEpoch,
		LogStart: p.ask.at.LogStart, MaxBytes: fetchMax, MinOne: true,
	})
	if acknowledge {
		b.perform(h)
	}
	if errors.Is(err, replica.ErrStaleBrokerEpoch) {
		b.w.rare.hit(StaleBrokerEpoch)
	}
	pa.err, pa.hw, pa.logStart, pa.diverges, pa.end = err, res.HW, res.LogStart, res.Diverging, res.Divergence
	if n := res.Slice.Len(); n > 0 {
		pa.records = make([]byte, n)
		if _, err := res.Slice.ReadInto(pa.records); err != nil { // its disk broke
			b.trouble("read", err)
			pa.err, pa.records = partition.ErrStorage, nil
		}
	}
	res.Slice.Release()
	return pa, err != nil || pa.diverges || len(pa.records) > 0
}

// wakeParked answers the fetches that have something to read now.
func (b *broker) wakeParked() {
	if len(b.parked) == 0 {
		return
	}
	keep := b.parked[:0]
	for _, f := range b.parked {
		if !b.serve(f, false, false) {
			keep = append(keep, f)
		}
	}
	if b.up {
		b.parked = keep
	}
}

// produced is the answer to a produce request.
type produced struct {
	err  error
	base model.Offset
	late bool // by a leader that is not the leader any more
	soon bool // what the producer sent before was not committed yet
	have bool // the refused batch is in the leader's log
	// rebuilt is where what the leader knows of producers at first hand begins.
	rebuilt model.Offset
}

// produce appends one batch for a client.
func (b *broker) produce(to part, batch []byte, acks int16, reply func(any)) {
	h := b.find(to.tp)
	if h == nil || h.topic != to.topic || !b.published {
		reply(produced{err: partition.ErrNotHosted})
		return
	}
	payload := slices.Clone(batch)
	a, err := h.p.AppendAsLeader(payload, partition.Append{
		AcksAll: acks == -1, Origin: producer.Client, ZstdAllowed: true, Epoch: model.NoLeaderEpoch,
	})
	if err != nil || acks != -1 {
		_, m, ok := b.w.quorum.image().PartitionByID(to.key())
		_, epoch := h.p.Leads()
		have := errors.Is(err, producer.ErrOutOfOrderSequence) && b.w.check.inLog(h, batch)
		reply(produced{err: err, base: a.Base, late: !ok || m.LeaderEpoch != epoch, have: have, rebuilt: h.rebuilt,
			soon: b.w.check.ledger(to).seqs[record.Batch(batch).ProducerID()] < record.Batch(batch).BaseSequence()})
		b.flushLeader(h)
		b.perform(h)
		return
	}
	if a.Duplicate {
		b.w.rare.hit(DuplicateAnswered)
	}
	expired := false
	r := b.purgatory.NewRequest(1, time.Now().Add(1000*time.Hour), func(r *purgatory.Request) {
		switch {
		case expired:
			reply(produced{err: errTimeout})
		case r.Outcome(0) != purgatory.Reached:
			reply(produced{err: partition.ErrNotLeader})
		default:
			err := h.p.Committed()
			if err == nil {
				b.w.check.acked(h, payload, a)
			}
			reply(produced{err: err, base: a.Base})
		}
	})
	var ready purgatory.Ready
	h.p.AwaitCommitted(a, r, 0, &ready)
	_ = r.Park(&ready)
	ready.Run()
	b.w.after(b.w.cfg.Timeout, &b.node, "produce wait", func() {
		if !r.Done() {
			expired = true
			if r.Wake() {
				r.Complete()
			}
		}
	})
	b.flushLeader(h)
	b.perform(h)
}
