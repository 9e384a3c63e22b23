package fetcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/wire"
)

// fakeLog is a log in which a record is one byte: its leader epoch. It answers
// as the leader-epoch cache of a real one does.
type fakeLog struct {
	start model.Offset
	recs  []byte
	hw    model.Offset
}

func (g *fakeLog) end() model.Offset { return g.start + model.Offset(len(g.recs)) }

func (g *fakeLog) last() model.LeaderEpoch {
	if len(g.recs) == 0 {
		return model.NoLeaderEpoch
	}
	return model.LeaderEpoch(g.recs[len(g.recs)-1])
}

func (g *fakeLog) EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset) {
	floor := model.NoLeaderEpoch
	for i, r := range g.recs {
		switch {
		case model.LeaderEpoch(r) <= e:
			floor = model.LeaderEpoch(r)
		case floor == model.NoLeaderEpoch:
			return e, g.start
		default:
			return floor, g.start + model.Offset(i)
		}
	}
	if floor == e {
		return e, g.end()
	}
	return model.NoLeaderEpoch, model.NoOffset
}

func (g *fakeLog) cut(to model.Offset) {
	g.recs = g.recs[:max(0, to-g.start)]
	g.hw = min(g.hw, g.end())
}

// fakeReplica follows into a fakeLog.
type fakeReplica struct {
	mu    sync.Mutex
	epoch model.LeaderEpoch
	log   fakeLog
	fail  error // what Append returns, once
	hard  error // what Append returns, always
	story []string
	told  []Fetched // what Append was given

	throttled bool
	unsettled error         // what Settle returns
	slow      time.Duration // how long Settle takes
}

func (r *fakeReplica) check(e model.LeaderEpoch) error {
	if e != r.epoch {
		return ErrNotFollowing
	}
	return nil
}

func (r *fakeReplica) Position(e model.LeaderEpoch) (Position, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Position{
		Offset: r.log.end(), LastEpoch: r.log.last(), LogStart: r.log.start, HighWatermark: r.log.hw, Throttled: r.throttled,
	}, r.check(e)
}

func (r *fakeReplica) Append(in Fetched) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := in
	told.Records = slices.Clone(in.Records)
	r.told = append(r.told, told)
	if err := r.fail; err != nil {
		r.fail = nil
		return err
	}
	if r.hard != nil {
		return r.hard
	}
	if in.Offset != r.log.end() {
		return fmt.Errorf("fetched at %d, log ends at %d", in.Offset, r.log.end())
	}
	r.log.recs = append(r.log.recs, in.Records...)
	r.log.hw = min(in.LeaderHW, r.log.end())
	return r.check(in.Epoch)
}

func (r *fakeReplica) Settle() error {
	r.mu.Lock()
	slow := r.slow
	r.mu.Unlock()
	<-time.After(slow)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unsettled
}

func (r *fakeReplica) Diverged(e model.LeaderEpoch, at replica.EpochEnd, _ model.Offset) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.cut(replica.DecideTruncation(at, r.log.end(), r.log.end(), &r.log).To)
	r.story = append(r.story, "diverged")
	return r.check(e)
}

func (r *fakeReplica) TruncateTo(e model.LeaderEpoch, to model.Offset, why replica.Reason) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.cut(to)
	r.story = append(r.story, "cut:"+string(why))
	return r.check(e)
}

func (r *fakeReplica) StartAt(e model.LeaderEpoch, at model.Offset, why replica.Reason) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = fakeLog{start: at, hw: at}
	r.story = append(r.story, "start:"+string(why))
	return r.check(e)
}

func (r *fakeReplica) bytes() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.log.recs)
}

// fakeLeader answers fetches of sessions as a broker does. It parks a request
// without news for its MaxWait.
type fakeLeader struct {
	mu      sync.Mutex
	logs    map[model.TopicPartition]*fakeLog
	codes   map[model.TopicPartition]peer.Code
	session map[model.TopicPartition]peer.ReplicaFetchPartition
	id      int32
	next    int32
	down    error
	dials   []string
	reports []wire.FetchReport // of every request
	named   []int              // partitions named in each request
	forgot  []int
	version int16
	reply   func(*peer.ReplicaFetchResult) // bends an answer
}

func newLeader() *fakeLeader {
	return &fakeLeader{
		logs: map[model.TopicPartition]*fakeLog{}, codes: map[model.TopicPartition]peer.Code{}, id: 40,
	}
}

func (f *fakeLeader) dial(_ context.Context, addr, clientID string) (Leader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials = append(f.dials, addr+" "+clientID)
	return f, f.down
}

func (f *fakeLeader) Close() error { return nil }

func topicID(name string) (id model.TopicID) { copy(id[:], name); return id }

func (f *fakeLeader) ReplicaFetch(ctx context.Context, r peer.ReplicaFetch, out *peer.ReplicaFetchResult) error {
	f.mu.Lock()
	if f.down != nil {
		defer f.mu.Unlock()
		return f.down
	}
	f.reports = append(f.reports, r.Report)
	f.named, f.forgot, f.version = append(f.named, len(r.Partitions)), append(f.forgot, len(r.Forget)), r.MaxVersion
	*out = peer.ReplicaFetchResult{SessionID: f.id}
	switch {
	case r.SessionEpoch == -1: // no session
		out.SessionID = 0
		f.mu.Unlock()
		return nil
	case r.SessionEpoch == 0:
		f.id++
		f.next, f.session, out.SessionID = 1, map[model.TopicPartition]peer.ReplicaFetchPartition{}, f.id
	case r.SessionID != f.id:
		out.Code, out.SessionID = peer.CodeSessionNotFound, 0
		f.mu.Unlock()
		return nil
	case r.SessionEpoch != f.next:
		out.Code = peer.CodeInvalidSessionEpoch
		f.mu.Unlock()
		return nil
	default:
		f.next++
	}
	for _, p := range r.Partitions {
		f.session[model.TopicPartition{Topic: p.Topic, Partition: p.Of.Partition}] = p
	}
	for _, g := range r.Forget {
		delete(f.session, model.TopicPartition{Topic: g.Topic, Partition: g.Of.Partition})
	}
	if len(f.session) == 0 { // as Kafka does, close the empty session and answer at once
		f.id++
		out.SessionID = 0
		f.mu.Unlock()
		return nil
	}
	until := time.Now().Add(r.MaxWait)
	f.mu.Unlock()
	for {
		if f.fill(out); len(out.Partitions) > 0 || !time.Now().Before(until) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (f *fakeLeader) fill(out *peer.ReplicaFetchResult) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, p := range f.session {
		g := f.logs[tp]
		fp := peer.FetchedPartition{Of: p.Of, Code: f.codes[tp]}
		if fp.Code == 0 {
			fp.HighWatermark, fp.LogStart = g.hw, g.start
			how, end := replica.CheckLineage(replica.FetchPosition{Offset: p.Offset, LastFetchedEpoch: p.LastEpoch},
				g.start, g.end(), g)
			switch {
			case how == replica.OutOfRange:
				fp.Code = peer.CodeOffsetOutOfRange
			case how == replica.Diverges:
				fp.Diverging = &peer.EpochOffset{Epoch: end.Epoch, End: end.End}
			case p.Offset == g.end():
				continue
			default:
				fp.Records = g.recs[p.Offset-g.start:]
			}
		}
		out.Partitions = append(out.Partitions, fp)
	}
	if f.reply != nil {
		f.reply(out)
	}
}

func (f *fakeLeader) ListOffset(_ context.Context, _ model.BrokerID, tp model.TopicPartition, _ model.LeaderEpoch,
	at int64) (peer.ListedOffset, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at == peer.LatestOffset {
		return peer.ListedOffset{Offset: f.logs[tp].end()}, nil
	}
	return peer.ListedOffset{Offset: f.logs[tp].start}, nil
}

func (f *fakeLeader) with(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

// events collects what was emitted.
type events struct {
	mu   sync.Mutex
	list []journal.Event
}

func (e *events) Emit(ev journal.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

func (e *events) count(k journal.Kind) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.list {
		if ev.Kind == k {
			n++
		}
	}
	return n
}

var errCorrupt = errors.Join(record.ErrCorrupt)
