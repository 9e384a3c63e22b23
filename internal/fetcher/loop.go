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
	"tidemark/internal/replica"
)

// refreshEvery bounds how long a log start that moved without a response (by
// local retention) stays unknown to the leader.
const refreshEvery = 10 * time.Second

// registrationPoll is how often a loop looks whether this broker is registered.
const registrationPoll = 20 * time.Millisecond

// dialMax bounds a connection attempt.
const dialMax = 10 * time.Second

// limitEvery is how long the context of one request is used for the next ones.
const limitEvery = time.Second

// loop fetches from one leader.
type loop struct {
	cfg     Config
	key     loopKey
	addr    string
	ctx     context.Context
	cancel  context.CancelFunc
	wake    chan struct{} // the set of partitions changed; holds at most one
	traffic traffic
	done    chan struct{}

	mu struct {
		sync.Mutex
		parts  map[model.TopicPartition]*follower
		byID   map[model.TopicIDPartition]*follower
		dirty  map[*follower]struct{} // may need to be named in the next request
		leave  []peer.ForgottenPartition
		active int // partitions with inSession
	}

	// Owned by run.
	conn    Leader
	sess    session
	result  peer.ReplicaFetchResult
	limited struct { // the context of requests, until when it is for new ones
		ctx    context.Context
		cancel context.CancelFunc
		until  time.Time
	}
	// appended are the partitions that the answer being applied was appended to.
	appended []*follower
	refresh  time.Time // when all partitions are looked at again
	retryAt  time.Time // after a failed request
	failing  bool
	failures int // requests that failed in a row
	self     self
}

func newLoop(cfg Config, key loopKey, addr string) *loop {
	l := &loop{cfg: cfg, key: key, addr: addr, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.mu.parts = make(map[model.TopicPartition]*follower)
	l.mu.byID = make(map[model.TopicIDPartition]*follower)
	l.mu.dirty = make(map[*follower]struct{})
	go l.run()
	return l
}

func (l *loop) clientID() string { return fmt.Sprintf("broker-%d-fetcher-%d", l.cfg.Self, l.key.id) }

// stop tells the loop to end; done is closed when it has.
func (l *loop) stop() { l.cancel() }

func (l *loop) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.parts) == 0
}

func (l *loop) add(a Assignment) {
	l.mu.Lock()
	old := l.mu.parts[a.TP]
	l.mu.Unlock()
	if old != nil {
		old.mu.Lock()
		same := old.a.Epoch == a.Epoch && old.a.TopicID == a.TopicID && old.a.Replica == a.Replica && old.phase != Failed
		old.mu.Unlock()
		if same {
			return
		}
		l.remove(a.TP)
	}
	p := &follower{a: a, phase: Fetching, lag: -1}
	l.mu.Lock()
	l.mu.parts[a.TP] = p
	l.mu.byID[model.TopicIDPartition{TopicID: a.TopicID, Partition: a.TP.Partition}] = p
	l.mu.dirty[p] = struct{}{}
	l.mu.Unlock()
	l.poke()
}

// remove returns whether the loop had the partition. // invariant 1
func (l *loop) remove(tp model.TopicPartition) bool {
	l.mu.Lock()
	p := l.mu.parts[tp]
	if p == nil {
		l.mu.Unlock()
		return false
	}
	id := model.TopicIDPartition{TopicID: p.a.TopicID, Partition: tp.Partition}
	delete(l.mu.parts, tp)
	delete(l.mu.byID, id)
	delete(l.mu.dirty, p)
	l.setInSession(p, false)
	l.mu.Unlock()
	p.mu.Lock() // waits for a response that is being applied
	p.gone = true
	p.mu.Unlock()
	l.poke()
	return true
}

func (l *loop) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *loop) run() {
	defer close(l.done)
	defer l.drop()
	defer l.unlimit()
	for l.ctx.Err() == nil {
		req, wait := l.build()
		if wait > 0 {
			l.sleep(wait)
			continue
		}
		if err := l.fetch(req); err != nil && l.ctx.Err() == nil {
			l.requestFailed(err)
		}
	}
}

func (l *loop) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	defer func(since time.Time) { l.self.asleep += time.Since(since) }(time.Now())
	select {
	case <-l.ctx.Done():
	case <-l.wake:
	case <-t.C:
	}
}

// build makes the next request, or says how long there is nothing to ask.
func (l *loop) build() (req peer.ReplicaFetch, wait time.Duration) {
	now := time.Now()
	if d := l.retryAt.Sub(now); d > 0 {
		return req, d
	}
	epoch := l.cfg.BrokerEpoch()
	if epoch == model.NoBrokerEpoch { // invariant 5
		return req, registrationPoll
	}
	req = peer.ReplicaFetch{
		Replica: l.cfg.Self, Epoch: epoch, MaxWait: l.cfg.MaxWait, MinBytes: l.cfg.MinBytes,
		MaxBytes: l.cfg.MaxBytes, SessionID: l.sess.id, SessionEpoch: l.sess.epoch, MaxVersion: l.cfg.Version(),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sess.full() || !now.Before(l.refresh) {
		l.refresh = now.Add(refreshEvery)
		for _, p := range l.mu.parts {
			l.mu.dirty[p] = struct{}{}
		}
	}
	l.self.forget(l.mu.parts)
	held := false
	earliest := now.Add(max(l.cfg.Backoff, l.cfg.MaxWait))
	for p := range l.mu.dirty {
		until, look := l.look(p, now)
		if look == changed {
			req.Partitions = append(req.Partitions, p.sent)
		}
		if look == throttled {
			look, held = waiting, true
		}
		if look == waiting && until.Before(earliest) {
			earliest = until
		}
		l.setInSession(p, look == changed || look == unchanged)
		if look != waiting { // who waits stays dirty until its time is up
			delete(l.mu.dirty, p)
		}
	}
	req.Forget = l.forgetLocked()
	if len(req.Forget) == 0 && l.mu.active == 0 {
		if !l.self.untold {
			return req, max(earliest.Sub(now), time.Millisecond)
		}
		// Nothing to ask, but something to tell: a fetch outside any session.
		req.SessionID, req.SessionEpoch, req.MaxWait = 0, -1, 0
	}
	req.Report = l.self.report(now, len(l.mu.parts), held)
	// Who waits for less than the leader's long poll isn't kept waiting by it.
	req.MaxWait = min(req.MaxWait, max(earliest.Sub(now), time.Millisecond))
	l.mu.leave = nil
	sortByTopic(req.Partitions)
	return req, 0
}

// setInSession keeps count of the partitions in the session, and of those that
// the leader has to forget.
func (l *loop) setInSession(p *follower, in bool) {
	switch {
	case in && !p.inSession:
		l.mu.active++
	case !in && p.inSession:
		l.mu.active--
		l.mu.leave = append(l.mu.leave, peer.ForgottenPartition{Topic: p.a.TP.Topic, Of: p.sent.Of})
	}
	p.inSession = in
}

// forgetLocked lists what the leader must drop from the session: not what came
// back meanwhile, which would be dropped with it.
func (l *loop) forgetLocked() []peer.ForgottenPartition {
	if l.sess.full() {
		return nil
	}
	return slices.DeleteFunc(l.mu.leave, func(g peer.ForgottenPartition) bool {
		p := l.mu.byID[g.Of]
		return p != nil && p.inSession
	})
}

type outlook uint8

const (
	unchanged outlook = iota // in the session as it stands
	changed                  // p.sent is new
	waiting                  // delayed
	throttled                // delayed by the quota
	unwanted                 // failed, or no longer following
)

// look decides what the next request says about p.
func (l *loop) look(p *follower, now time.Time) (until time.Time, o outlook) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone || p.phase == Failed:
		return until, unwanted
	case p.phase == Delayed && now.Before(p.until): // and its trouble lasts
		return p.until, waiting
	}
	p.phase, p.why = Fetching, ""
	pos, err := l.position(p)
	if err != nil {
		l.troubleLocked(p, err)
		if p.phase == Failed {
			return until, unwanted
		}
		return p.until, waiting
	}
	p.pos = pos
	if d := l.throttledLocked(p); d > 0 {
		p.phase, p.why, p.until = Throttled, "follower.replication.throttled.rate is used up", now.Add(d)
		return p.until, throttled
	}
	next := peer.ReplicaFetchPartition{
		Topic: p.a.TP.Topic, Of: model.TopicIDPartition{TopicID: p.a.TopicID, Partition: p.a.TP.Partition},
		CurrentEpoch: p.a.Epoch, Offset: pos.Offset, LastEpoch: pos.LastEpoch, LogStart: pos.LogStart,
		MaxBytes: l.cfg.PartitionMaxBytes,
	}
	if p.inSession && p.sent == next && !l.sess.full() {
		return until, unchanged
	}
	p.sent = next
	return until, changed
}

// throttledLocked is how long p must stay out of the fetches. One that is in
// sync is never throttled: it costs little and would leave the ISR. Whether a
// new one is, its first answer tells (KAFKA-15080).
func (l *loop) throttledLocked(p *follower) time.Duration {
	if !p.pos.Throttled || p.lag == 0 || l.cfg.Quota == nil {
		return 0
	}
	return l.cfg.Quota.Wait()
}

// position asks the replica. A log without any epoch can't be compared with the
// leader's, so it is first cut to its high watermark.
func (l *loop) position(p *follower) (Position, error) {
	pos, err := p.a.Replica.Position(p.a.Epoch)
	if err != nil || pos.LastEpoch != model.NoLeaderEpoch || pos.Offset <= pos.HighWatermark {
		return pos, err
	}
	if err := p.a.Replica.TruncateTo(p.a.Epoch, pos.HighWatermark, replica.ReasonDiverged); err != nil {
		return pos, err
	}
	return p.a.Replica.Position(p.a.Epoch)
}

func sortByTopic(ps []peer.ReplicaFetchPartition) {
	slices.SortFunc(ps, func(a, b peer.ReplicaFetchPartition) int {
		if c := a.Of.TopicID.Compare(b.Of.TopicID); c != 0 {
			return c
		}
		return model.TopicPartition{Topic: a.Topic, Partition: a.Of.Partition}.Compare(
			model.TopicPartition{Topic: b.Topic, Partition: b.Of.Partition})
	})
}

// fetch sends one request and applies the answer.
func (l *loop) fetch(req peer.ReplicaFetch) error {
	ctx := l.limit(time.Now())
	if l.conn == nil {
		dctx, cancel := context.WithTimeout(ctx, dialMax)
		defer cancel()
		conn, err := l.cfg.Dial(dctx, l.addr, l.clientID())
		if err != nil {
			return err
		}
		l.conn = conn
	}
	if err := l.conn.ReplicaFetch(ctx, req, &l.result); err != nil {
		return err
	}
	l.self.arrived(time.Now())
	l.traffic.answered(&l.result)
	l.recovered()
	wasFull := l.sess.full()
	if !l.sess.answered(l.result.Code, l.result.SessionID) {
		if l.result.Code == peer.CodeNone {
			return fmt.Errorf("answer of session %d to a request of session %d", l.result.SessionID, l.sess.id)
		}
		if wasFull { // not about an old session: don't spin
			return &peer.CodeError{API: "Fetch", Code: l.result.Code}
		}
		return nil // at once, with every partition
	}
	var bad error
	for i := range l.result.Partitions {
		if err := l.apply(&l.result.Partitions[i]); err != nil {
			bad = err
		}
	}
	l.settle()
	return bad
}

// limit returns a context for a request, which ends Timeout from now or up to
// limitEvery later: one lasts for many requests.
func (l *loop) limit(now time.Time) context.Context {
	if l.limited.ctx == nil || !now.Before(l.limited.until) {
		l.unlimit()
		l.limited.until = now.Add(limitEvery)
		l.limited.ctx, l.limited.cancel = context.WithDeadline(l.ctx, l.limited.until.Add(l.cfg.Timeout))
	}
	return l.limited.ctx
}

func (l *loop) unlimit() {
	if l.limited.cancel != nil {
		l.limited.cancel()
	}
	l.limited.ctx, l.limited.cancel = nil, nil
}

// requestFailed makes the whole loop wait: the connection is gone or of no use.
func (l *loop) requestFailed(err error) {
	l.drop()
	l.sess.restart()
	l.retryAt = time.Now().Add(quickly(l.failures, l.cfg.Backoff))
	l.failures++
	if errors.Is(err, peer.ErrTooLarge) {
		l.oversized(err)
	}
	if l.failing {
		return
	}
	l.failing = true
	e := journal.New(journal.FetchFailed)
	e.Leader, e.Reason, e.Detail = l.key.leader, "request-failed", err.Error()
	l.cfg.Events.Emit(e)
}

// oversized: no partition of the request is known to be innocent.
func (l *loop) oversized(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.mu.parts {
		if p.inSession {
			l.self.trouble(p, replica.Trouble{Code: replica.TroubleOversized, Text: err.Error()})
		}
	}
}

func (l *loop) recovered() {
	l.failures = 0
	if !l.failing {
		return
	}
	l.failing = false
	e := journal.New(journal.ReplicaRecovered)
	e.Leader, e.Reason = l.key.leader, "connection-restored"
	l.cfg.Events.Emit(e)
}

func (l *loop) drop() {
	if l.conn != nil {
		_ = l.conn.Close() // it is given up either way
		l.conn = nil
	}
}

// find returns the partition that an answer is about, if it is in the session:
// by id, or by name in the versions that have no ids.
func (l *loop) find(r *peer.FetchedPartition) *follower {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.mu.byID[r.Of]
	if r.Topic != "" {
		p = l.mu.parts[model.TopicPartition{Topic: r.Topic, Partition: r.Of.Partition}]
	}
	if p == nil || !p.inSession {
		return nil
	}
	return p
}

func (l *loop) markDirty(p *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.parts[p.a.TP] == p {
		l.mu.dirty[p] = struct{}{}
	}
}

var errBadRecords = errors.New("damaged records from the leader")
