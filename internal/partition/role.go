package partition

import (
	"fmt"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// role is what this replica is at the moment. A new leader epoch makes a new one.
//
//	idle      -> leading, following          metadata names it
//	leading   -> leading (a later epoch), following, idle, offline
//	following -> leading, following (a later epoch), idle, offline
//	offline   -> nothing                     // invariant 5
type role interface{ leaderEpoch() model.LeaderEpoch }

type (
	idle      struct{ epoch model.LeaderEpoch }
	leading   struct{ core *replica.Leader }
	following struct{ core *replica.Follower }
	offline   struct {
		epoch model.LeaderEpoch
		err   error
	}
)

func (r idle) leaderEpoch() model.LeaderEpoch      { return r.epoch }
func (r leading) leaderEpoch() model.LeaderEpoch   { return r.core.Epoch() }
func (r following) leaderEpoch() model.LeaderEpoch { return r.core.Epoch() }
func (r offline) leaderEpoch() model.LeaderEpoch   { return r.epoch }

// State is a partition's state in the metadata, as far as a replica needs it.
type State struct {
	Leader         model.BrokerID
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch
	Replicas, ISR  []model.BrokerID
	// Removing are the replicas that a reassignment takes away, Dead those whose log
	// directory is offline: they explain, and decide nothing.
	Removing, Dead []model.BrokerID
	// Adding are the replicas that a reassignment brings: they don't count as
	// missing while they catch up.
	Adding []model.BrokerID
}

func (s State) assignment() replica.Assignment {
	return replica.Assignment{
		Replicas: s.Replicas, ISR: s.ISR, PartitionEpoch: s.PartitionEpoch, Removing: s.Removing, Dead: s.Dead,
	}
}

// BecomeLeader makes this replica lead, or tells a leader about newer metadata
// of its epoch. An older epoch is ignored. Call Perform afterwards. Errors:
// ErrStorage if the log is offline.
func (p *Partition) BecomeLeader(s State) error {
	p.mu.Lock()
	if l, ok := p.mu.role.(leading); ok && l.core.Epoch() == s.LeaderEpoch {
		p.takeLocked(l.core.Update(s.assignment(), p.now()))
		p.noteLocked(s)
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()

	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.admitState(s); err != nil {
		return err
	}
	// Metadata of the past: to begin an old epoch at the log end would erase where
	// the later ones began, and every follower would be told that it diverged.
	if latest, ok := p.log.LatestEpoch(); ok && s.LeaderEpoch < latest {
		return fmt.Errorf("%s: metadata of epoch %d, the log is at %d: %w", p.tp, s.LeaderEpoch, latest, ErrFencedEpoch)
	}
	// The epoch begins at the log end, before any append: an epoch without
	// records still answers where the one before it ended (KAFKA-7415).
	end := p.log.End()
	if err := p.log.AssignEpoch(s.LeaderEpoch, end); err != nil {
		return p.failed(err)
	}
	set := p.settings.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	var previous *replica.Leader
	l, again := p.mu.role.(leading)
	// In a leader epoch that this metadata steps over, somebody else may have led:
	// what the followers held before, they may have cut off since. In a partition
	// epoch that it steps over, a replica may have been removed and made anew.
	if again && s.LeaderEpoch == l.core.Epoch()+1 && s.PartitionEpoch == l.core.PartitionEpoch()+1 {
		previous = l.core
	}
	core, eff := replica.NewLeader(replica.LeaderOptions{
		Self: p.self, Epoch: s.LeaderEpoch, Assignment: s.assignment(),
		MinISR: set.MinISR, LagTimeMax: set.LagTimeMax, FlushGate: set.FlushOnAck, Brokers: p.brokers,
		LogEnd: end, Flushed: p.log.Flushed(), HighWatermark: p.HighWatermark(), Previous: previous,
	}, p.now())
	core.Limit(set.ThrottledFollowers)
	p.mu.role = leading{core}
	if !again {
		p.acks.Open(s.LeaderEpoch, p.HighWatermark())
		p.deletes.Open(s.LeaderEpoch, p.log.Start())
	}
	e := p.event(journal.BecameLeader, s)
	e.Leader, e.LogEnd, e.HighWatermark = p.self, end, p.HighWatermark()
	p.noteLocked(s)
	p.mu.pending.events = append(p.mu.pending.events, e)
	p.mu.pending.broken, p.mu.pending.any = true, true
	p.takeLocked(eff)
	return nil
}

// BecomeFollower makes this replica follow s.Leader, which may be NoBroker.
// restart tells the caller to begin fetching anew: the leader or the epoch
// changed. Call Perform afterwards. Errors: ErrStorage.
func (p *Partition) BecomeFollower(s State) (restart bool, err error) {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.admitState(s); err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.mu.role.(following); ok && f.core.Epoch() == s.LeaderEpoch && f.core.Leader() == s.Leader {
		p.noteLocked(s)
		return false, nil
	}
	set := p.settings.Load()
	core := replica.NewFollower(replica.FollowerOptions{
		Leader: s.Leader, Epoch: s.LeaderEpoch, LogStart: p.log.Start(), LogEnd: p.mu.leo,
		Flushed: p.log.Flushed(), HighWatermark: p.HighWatermark(), FlushGate: set.FlushOnAck,
	})
	p.mu.role = following{core}
	e := p.event(journal.BecameFollower, s)
	e.Leader, e.LogEnd, e.HighWatermark = s.Leader, p.mu.leo, p.HighWatermark()
	p.noteLocked(s)
	p.mu.pending.events = append(p.mu.pending.events, e)
	p.brokenLocked()
	return true, nil
}

// admitState refuses a role under an epoch that has passed, or of an offline replica.
func (p *Partition) admitState(s State) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.mu.role.(offline); ok {
		return fmt.Errorf("%s: %w: %w", p.tp, ErrStorage, r.err)
	}
	if have := p.mu.role.leaderEpoch(); s.LeaderEpoch < have {
		return fmt.Errorf("%s: metadata of epoch %d, replica is at %d: %w", p.tp, s.LeaderEpoch, have, ErrFencedEpoch)
	}
	return nil
}

func (p *Partition) noteLocked(s State) {
	if s.PartitionEpoch >= p.mu.pe {
		p.mu.pe, p.mu.replicas = s.PartitionEpoch, s.Replicas
		if p.adding.Store(nil); len(s.Adding) > 0 {
			p.adding.Store(&s.Adding)
		}
	}
}

// Stop ends any role: the replica is about to be deleted, moved or closed.
// Call Perform afterwards.
func (p *Partition) Stop() {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.mu.role.(offline); ok {
		return
	}
	p.mu.role = idle{epoch: p.mu.role.leaderEpoch()}
	p.brokenLocked()
}

// brokenLocked ends a leadership, if it was one: what waits for it is lost at
// once, so that a later leadership can't be taken for it.
func (p *Partition) brokenLocked() {
	n := &p.mu.pending
	n.broken, n.any = true, true
	p.acks.Lose(&n.ready)
	p.deletes.Lose(&n.ready)
}

// Close stops the replica and closes its log. clean writes what a clean
// shutdown leaves behind.
func (p *Partition) Close(clean bool) error {
	p.Stop()
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	return p.log.Close(clean)
}

// Offline takes the replica out of service after an error of its directory.
// Call Perform afterwards.
func (p *Partition) Offline(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offlineLocked(err)
}

func (p *Partition) offlineLocked(err error) bool {
	if _, ok := p.mu.role.(offline); ok {
		return false
	}
	p.mu.role = offline{epoch: p.mu.role.leaderEpoch(), err: err}
	p.brokenLocked()
	return true
}

// failed takes the replica offline after a storage error and returns the error
// for the caller.
func (p *Partition) failed(err error) error {
	p.mu.Lock()
	if p.offlineLocked(err) {
		p.mu.pending.failed = err
	}
	p.mu.Unlock()
	return fmt.Errorf("%s: %w: %w", p.tp, ErrStorage, err)
}

// leaderLocked returns the core if this replica leads and the request's epoch fits.
func (p *Partition) leaderLocked(current model.LeaderEpoch) (*replica.Leader, error) {
	if err := p.fenceLocked(current); err != nil {
		return nil, err
	}
	if l, ok := p.mu.role.(leading); ok {
		return l.core, nil
	}
	return nil, fmt.Errorf("%s: %w", p.tp, ErrNotLeader)
}

// fenceLocked compares the leader epoch of a request, if it has one, with ours.
func (p *Partition) fenceLocked(current model.LeaderEpoch) error {
	switch r := p.mu.role.(type) {
	case offline:
		return fmt.Errorf("%s: %w: %w", p.tp, ErrStorage, r.err)
	case idle:
		return fmt.Errorf("%s has no role: %w", p.tp, ErrNotLeader)
	}
	have := p.mu.role.leaderEpoch()
	switch {
	case current == model.NoLeaderEpoch || current == have:
		return nil
	case current < have:
		return fmt.Errorf("%s: epoch %d, ours %d: %w", p.tp, current, have, ErrFencedEpoch)
	}
	return fmt.Errorf("%s: epoch %d, ours %d: %w", p.tp, current, have, ErrUnknownEpoch)
}
