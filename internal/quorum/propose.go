package quorum

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/record"
)

// proposals are the batches whose callers wait for them to be applied.
type proposals struct {
	mu struct {
		sync.Mutex
		next    uint64
		waiting map[uint64]chan<- proposed
	}
}

type proposed struct {
	base model.Offset
	err  error
}

func newProposals() *proposals {
	p := &proposals{}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails; numbers of an earlier process must not match
	p.mu.next = binary.BigEndian.Uint64(b[:])
	p.mu.waiting = map[uint64]chan<- proposed{}
	return p
}

func (p *proposals) add() (uint64, <-chan proposed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.next++
	ch := make(chan proposed, 1)
	p.mu.waiting[p.mu.next] = ch
	return p.mu.next, ch
}

func (p *proposals) complete(id uint64, base model.Offset, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch, ok := p.mu.waiting[id]; ok {
		ch <- proposed{base, err}
		delete(p.mu.waiting, id)
	}
}

func (p *proposals) failAll(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, ch := range p.mu.waiting {
		ch <- proposed{model.NoOffset, err}
		delete(p.mu.waiting, id)
	}
}

// Propose replicates one batch, whose offsets and epoch are not yet stamped, and
// returns the offset of its first record once it is committed and applied here.
// The batch is dropped by everyone unless it enters the log in the given epoch.
// ErrDropped if it certainly didn't enter the log. After ErrNotLeader or a context's error the outcome is unknown: it may still
// be committed. ErrTooLarge above 8 MiB.
func (n *Node) Propose(ctx context.Context, epoch model.LeaderEpoch, b record.Batch) (model.Offset, error) {
	if len(b) > maxBatchBytes {
		return model.NoOffset, fmt.Errorf("%d bytes, at most %d: %w", len(b), maxBatchBytes, ErrTooLarge)
	}
	if v := n.View(); !v.Ready || v.Epoch != epoch {
		return model.NoOffset, ErrNotLeader
	}
	id, done := n.props.add()
	begun := time.Now()
	refuse := func(err error) { n.props.complete(id, model.NoOffset, err) }
	n.calls.put(func() {
		p, _ := n.board.look()
		if !n.leading() || !p.ready() || n.raft.term != uint64(epoch) {
			refuse(ErrNotLeader)
			return
		}
		if err := n.proposeBatch(kindData, id, b); err != nil {
			refuse(fmt.Errorf("%w: %w", ErrDropped, err))
		}
	})
	select {
	case r := <-done:
		if r.err == nil {
			n.meter.commits.Observe(time.Since(begun))
		}
		return r.base, r.err
	case <-ctx.Done():
		refuse(ctx.Err())
		return model.NoOffset, ctx.Err()
	case <-n.ctx.Done():
		return model.NoOffset, ErrClosed
	}
}

// proposeBatch runs on the loop, on the leader.
func (n *Node) proposeBatch(kind byte, id uint64, b record.Batch) error {
	return n.raft.rn.Propose(payload{kind: kind, term: n.raft.term, proposal: id, batch: b}.encode())
}

// maybeBecomeLeader makes LeaderChange the first batch of this node's term, and
// KRaftVersion and KRaftVoters a part of the first batch of the log.
func (n *Node) maybeBecomeLeader() {
	r := &n.raft
	if !n.leading() || r.led == r.term {
		return
	}
	r.led = r.term
	p, _ := n.board.look()
	voters := n.voterMembers()
	change := &metadata.LeaderChange{LeaderID: n.cfg.NodeID}
	for _, m := range voters {
		v := metadata.LeaderVoter{ID: m.Node, Dir: m.Dir}
		change.Voters = append(change.Voters, v)
		if m.RaftID() == n.id || (r.grantsT == r.term && contains(r.grants, m.RaftID())) {
			change.Granting = append(change.Granting, v)
		}
	}
	cs := []metadata.Control{change}
	if p.end == 0 {
		cs = append(cs, &metadata.KRaftVersion{Level: 1}, &metadata.KRaftVoters{Voters: kraftVoters(voters)})
	}
	n.cfg.Log.Info("elected", "node", n.cfg.NodeID, "epoch", r.term, "voters", len(voters))
	if err := n.proposeBatch(kindControl, 0, metadata.ControlBatch(cs, time.Now().UnixMilli())); err != nil {
		n.cfg.Log.Warn("leader change not proposed", "err", err)
		r.led = 0 // the next Ready tries again
	}
}

// voterMembers are the members that vote in the newest configuration.
func (n *Node) voterMembers() []Member {
	var out []Member
	for _, m := range n.raft.members.list() {
		if contains(n.raft.conf.Voters, m.RaftID()) {
			out = append(out, m)
		}
	}
	return out
}

func kraftVoters(ms []Member) []metadata.Voter {
	out := make([]metadata.Voter, 0, len(ms))
	for _, m := range ms {
		e := m.Endpoint
		e.Security = 0
		out = append(out, metadata.Voter{
			ID: m.Node, Dir: m.Dir, Endpoints: []metadata.Endpoint{e},
			KRaftVersion: metadata.VersionRange{Min: 0, Max: 1},
		})
	}
	return out
}
