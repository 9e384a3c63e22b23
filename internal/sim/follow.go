package sim

import (
	"errors"
	"maps"
	"slices"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/replica"
)

// fetchLoop follows one leader: one request in flight, one incremental session.
type fetchLoop struct {
	b       *broker
	leader  int
	busy    bool
	session int                                   // 0: none
	named   map[model.TopicPartition]partitionAsk // what the leader knows
	delayed bool
}

// partitionAsk is one partition of a fetch.
type partitionAsk struct {
	tp    model.TopicPartition
	id    model.TopicID
	at    partition.FollowPosition
	known bool // named before and unchanged: only in the log
}

// replicaFetch is a follower's request.
type replicaFetch struct {
	replica  int
	epoch    model.BrokerEpoch
	session  int
	named    []partitionAsk
	forgot   []model.TopicPartition
	deadline int64
}

// replicaAnswer is the leader's answer; gone means that it has no such session.
type replicaAnswer struct {
	gone    bool
	session int
	parts   []partitionAnswer
}

type partitionAnswer struct {
	tp       model.TopicPartition
	err      error
	records  []byte
	hw       model.Offset
	logStart model.Offset
	diverges bool
	end      replica.EpochEnd
}

// kickLoops starts the loops of all leaders that are followed.
func (b *broker) kickLoops() {
	for _, o := range b.w.brokers {
		l := b.loops[o.id]
		if l == nil && slices.ContainsFunc(b.hosted, func(h *hosted) bool { return int(h.leader) == o.id }) {
			l = &fetchLoop{b: b, leader: o.id}
			b.loops[o.id] = l
		}
		if l != nil {
			l.fetch()
		}
	}
}

// fetch sends the next request, unless one is out or there is nothing to ask.
func (l *fetchLoop) fetch() {
	b, w := l.b, l.b.w
	if l.busy || l.delayed {
		return
	}
	if l.session == 0 {
		l.named = map[model.TopicPartition]partitionAsk{}
	}
	req := replicaFetch{replica: b.id, epoch: b.epoch, session: l.session, deadline: w.now + w.cfg.FetchWait}
	wanted := 0
	for _, h := range b.hosted {
		at, ok := h.p.FollowPosition()
		old, named := l.named[h.tp]
		if !ok || int(at.Leader) != l.leader || h.failed || h.until > w.now {
			if named {
				req.forgot = append(req.forgot, h.tp)
				delete(l.named, h.tp)
			}
			continue
		}
		wanted++
		ask := partitionAsk{tp: h.tp, id: h.topic, at: at}
		same := ask
		same.at.HighWatermark, old.at.HighWatermark = 0, 0
		if !named || same != old {
			req.named = append(req.named, ask)
			l.named[h.tp] = ask
		}
	}
	for _, tp := range slices.SortedFunc(maps.Keys(l.named), model.TopicPartition.Compare) {
		if b.find(tp) == nil {
			req.forgot = append(req.forgot, tp)
			delete(l.named, tp)
		}
	}
	if wanted == 0 && len(req.forgot) == 0 {
		return
	}
	l.busy = true
	to := w.brokers[l.leader-1]
	w.call(&b.node, &to.node, toLeader, "fetch", w.cfg.Timeout+w.cfg.FetchWait,
		func(reply func(any)) { to.serveFetch(req, reply) },
		func(resp any, err error) {
			l.busy = false
			a, ok := resp.(replicaAnswer)
			switch {
			case err != nil || !ok || a.gone:
				l.session = 0
				l.pause()
				return
			default:
				l.session = a.session
				for i := range a.parts {
					b.take(l, &a.parts[i])
				}
			}
			l.fetch()
		})
}

// pause waits before the next request.
func (l *fetchLoop) pause() {
	l.delayed = true
	w := l.b.w
	w.after(50*ms+w.upTo(50*ms), &l.b.node, "fetch backoff", func() {
		l.delayed = false
		l.fetch()
	})
}

// take applies one partition of an answer, as package fetcher does.
func (b *broker) take(l *fetchLoop, a *partitionAnswer) {
	h := b.find(a.tp)
	sent, ok := l.named[a.tp]
	if h == nil || !ok {
		return
	}
	now, follows := h.p.FollowPosition()
	if !follows || now.Epoch != sent.at.Epoch || now.Offset != sent.at.Offset || h.topic != sent.id {
		return
	}
	var err error
	switch {
	case a.diverges:
		b.w.rare.hit(Diverged)
		b.w.logf(&b.node, "diverges in %s at %d: leader's epoch %d ends at %d", h.tp, sent.at.Offset, a.end.Epoch, a.end.End)
		_, err = h.p.TruncateFor(sent.at.Epoch, a.end, sent.at.Offset)
		b.flush(h)
	case errors.Is(a.err, partition.ErrOffsetOutOfRange):
		b.outOfRange(l, h, sent)
	case errors.Is(a.err, partition.ErrFencedEpoch):
		h.failed = true
		b.w.rare.hit(FetchFenced)
	case a.err != nil:
		b.delay(h)
	default:
		err = h.p.AppendAsFollower(partition.Replicated{
			Epoch: sent.at.Epoch, Offset: sent.at.Offset, Records: a.records, LeaderHW: a.hw, LogStart: a.logStart,
		})
		b.flush(h)
	}
	if errors.Is(err, partition.ErrNoSpace) {
		b.delay(h)
	} else {
		b.trouble("follow", err)
	}
	b.perform(h)
}

func (b *broker) delay(h *hosted) {
	h.until = b.w.now + 100*ms
	b.w.after(100*ms, &b.node, "partition backoff", b.kickLoops)
}

// outOfRange asks the leader where its log ends and begins, and goes there.
func (b *broker) outOfRange(l *fetchLoop, h *hosted, sent partitionAsk) {
	h.until = b.w.now + 10*second // until the answer is here
	to := b.w.brokers[l.leader-1]
	type ends struct {
		start, end model.Offset
		err        error
	}
	b.w.call(&b.node, &to.node, toLeader, "list offsets", b.w.cfg.Timeout,
		func(reply func(any)) {
			var e ends
			th := to.find(h.tp)
			if th == nil || th.topic != h.topic {
				e.err = partition.ErrNotHosted
				reply(e)
				return
			}
			q := partition.Lookup{Timestamp: partition.Latest, CurrentEpoch: sent.at.Epoch, Replica: true}
			f, err := th.p.ListOffset(q)
			e.end, e.err = f.Offset, err
			q.Timestamp = partition.Earliest
			if f, err = th.p.ListOffset(q); err == nil {
				e.start = f.Offset
			}
			reply(e)
		},
		func(resp any, err error) {
			e, ok := resp.(ends)
			h.until = 0
			if now, follows := h.p.FollowPosition(); err != nil || !ok || e.err != nil || !follows ||
				b.find(h.tp) != h || now.Epoch != sent.at.Epoch || now.Offset != sent.at.Offset {
				b.delay(h)
				return
			}
			d := replica.DecideOutOfRange(sent.at.Offset, e.end, e.start)
			b.w.logf(&b.node, "out of range in %s at %d: leader has [%d, %d): %v", h.tp, sent.at.Offset, e.start, e.end, d)
			switch d.Action {
			case replica.TruncateTo:
				err = h.p.TruncateTo(sent.at.Epoch, d.Offset)
			case replica.StartAt:
				b.w.rare.hit(OutOfRangeReset)
				err = h.p.RestartAt(sent.at.Epoch, d.Offset)
			}
			b.trouble("reset", err)
			b.flush(h)
			b.perform(h)
			b.kickLoops()
		})
}
