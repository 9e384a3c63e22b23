package quorum

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"
	"time"

	"go.etcd.io/raft/v3"

	"tidemark/internal/model"
)

const (
	probeTimeout     = 300 * time.Millisecond
	campaignFirst    = 5 * time.Millisecond
	campaignStep     = 60 * time.Millisecond
	campaignAttempts = 12
)

// quickElection replaces a leader whose process is known to be gone. Inside the
// lease that PreVote and CheckQuorum grant, a plain campaign would be ignored by
// those who still follow; so everyone who has the evidence forgets the leader,
// and the voters campaign one after the other in an order all of them compute.
// Silence is no evidence: it is left to the election time-out.
type quickElection struct {
	gone uint64 // Raft id of the leader that is gone
	term uint64 // the term it led
	left int    // attempts left
}

// PeerBroken tells that an established connection to or from a controller broke.
// If it led, it is probed: only a refusal, or the answer of a new process that
// doesn't lead, counts.
func (n *Node) PeerBroken(node model.BrokerID) {
	p, _ := n.board.look()
	if p.leader != node || p.leading || node == n.cfg.NodeID {
		return
	}
	id, m, ok := p.members.byNode(node, p.conf.Voters)
	if !ok || n.ctx.Err() != nil {
		return
	}
	n.spawn(func() {
		if n.processGone(id, n.address(m)) {
			n.calls.put(func() { n.leaderGone(id, uint64(p.epoch)) })
		}
	})
}

// probeAt says when the peer is probed: a process that is being killed may close
// its listener after its connections.
var probeAt = []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond, 300 * time.Millisecond}

func (n *Node) processGone(id uint64, to Peer) bool {
	var last time.Duration
	for _, at := range probeAt {
		select {
		case <-time.After(at - last):
		case <-n.ctx.Done():
			return false
		}
		last = at
		if gone, sure := n.probe(id, to); sure {
			return gone
		}
	}
	return false
}

// probe is sure if the connection is refused or a process answers.
func (n *Node) probe(id uint64, to Peer) (gone, sure bool) {
	ctx, cancel := context.WithTimeout(n.ctx, probeTimeout)
	defer cancel()
	if err := n.cfg.Transport.Probe(ctx, to); err != nil {
		refused := errors.Is(err, ErrRefused)
		return refused, refused
	}
	a, _, err := n.ask(ctx, to, n.envelope(frameHello))
	if err != nil {
		return false, false
	}
	return a.From.RaftID() != id || a.Leader != id, true
}

// leaderGone runs on the loop.
func (n *Node) leaderGone(id, term uint64) {
	r := &n.raft
	if r.term != term || n.leading() || !contains(r.conf.Voters, n.id) {
		return
	}
	if r.soft.Lead != id && r.soft.Lead != raft.None {
		return
	}
	if r.quick.gone == id && r.quick.term == term && r.quick.left > 0 {
		return
	}
	n.cfg.Log.Info("leader's process is gone", "node", n.cfg.NodeID, "leader", nodeOf(r.members, id), "epoch", term)
	_ = r.rn.ForgetLeader()
	r.quick = quickElection{gone: id, term: term, left: campaignAttempts}
	n.campaignAfter(campaignFirst + time.Duration(n.rank(id, term))*campaignStep)
}

// campaignAtStart doesn't wait out the election time-out when nobody leads:
// after a start of all controllers nobody does, and while somebody leads the
// lease makes others ignore it. A single voter has nobody to wait for.
func (n *Node) campaignAtStart() {
	r := &n.raft
	if !contains(r.conf.Voters, n.id) {
		return
	}
	if len(r.conf.Voters) == 1 {
		_ = r.rn.Campaign()
		return
	}
	r.quick = quickElection{term: r.term, left: campaignAttempts}
	n.campaignAfter(2*formFirst + time.Duration(n.rank(raft.None, r.term))*campaignStep)
}

// rank is this node's place in the order in which the remaining voters campaign.
func (n *Node) rank(gone, term uint64) int {
	seed := func(id uint64) uint64 {
		h := fnv.New64a()
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], id)
		binary.BigEndian.PutUint64(b[8:], term)
		_, _ = h.Write(b[:])
		return h.Sum64()
	}
	ids := slices.DeleteFunc(slices.Clone(n.raft.conf.Voters), func(id uint64) bool { return id == gone })
	slices.SortFunc(ids, func(a, b uint64) int { return cmp.Compare(seed(a), seed(b)) })
	return max(0, slices.Index(ids, n.id))
}

func (n *Node) campaignAfter(d time.Duration) {
	time.AfterFunc(d, func() { n.calls.put(n.campaign) })
}

func (n *Node) campaign() {
	r := &n.raft
	q := &r.quick
	if n.ctx.Err() != nil || n.leading() || (r.soft.Lead != raft.None && r.soft.Lead != q.gone) || q.left == 0 {
		q.left = 0
		return
	}
	q.left--
	if r.soft.Lead == q.gone { // a late heartbeat
		_ = r.rn.ForgetLeader()
	}
	if r.soft.RaftState == raft.StateFollower || r.soft.RaftState == raft.StatePreCandidate {
		_ = r.rn.Campaign()
	}
	n.campaignAfter(campaignStep * time.Duration(len(r.conf.Voters)))
}
