package quorum

import (
	"context"
	"errors"
	"math"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"tidemark/internal/model"
)

// run is the loop: it forms or joins a quorum, then owns the RawNode.
func (n *Node) run() {
	if !n.wal.state().form.Active {
		if err := n.form(); err != nil {
			if n.ctx.Err() == nil {
				n.fail(err)
			}
			return
		}
		st := n.wal.state()
		n.apply.put(applyJob{begin: &st.ckpt})
	}
	if err := n.startRaft(); err != nil {
		n.fail(err)
		return
	}
	n.spawn(n.writer)
	n.spawn(n.keepAsking)
	n.loop()
}

func (n *Node) startRaft() error {
	st := n.wal.state()
	n.group.Store(st.form.Group)
	ms, err := newMembers(st.ckpt.Members)
	if err != nil {
		return err
	}
	n.raft.members, n.raft.conf = ms, st.ckpt.Conf
	n.raft.term, n.raft.soft = 0, raft.SoftState{}
	if st.hs != nil {
		n.raft.term = st.hs.GetTerm()
	}
	n.raft.rn, err = raft.NewRawNode(&raft.Config{
		ID: n.id, Storage: n.store, Applied: st.ckpt.Index,
		ElectionTick: n.cfg.ElectionTicks, HeartbeatTick: max(1, n.cfg.ElectionTicks/heartbeatsPerElection),
		AsyncStorageWrites: true, CheckQuorum: true, PreVote: true,
		DisableProposalForwarding: true, StepDownOnRemoval: true,
		MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 16 << 20,
		MaxUncommittedEntriesSize: 64 << 20, MaxInflightMsgs: 256, MaxInflightBytes: 32 << 20,
		Logger: raftLogger{n.cfg.Log},
	})
	n.publishView()
	return err
}

// heartbeatsPerElection: a follower may miss two heartbeats before it doubts its
// leader. More of them only cost an idle cluster wake-ups.
const heartbeatsPerElection = 3

func (n *Node) loop() {
	tick := time.NewTicker(n.cfg.Tick)
	defer tick.Stop()
	n.campaignAtStart()
	n.ready()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
			n.raft.rn.Tick()
			n.onTick()
		case m := <-n.inbox:
			n.step(m)
			n.drainInbox()
		case <-n.calls.wake:
			for _, fn := range n.calls.take() {
				fn()
			}
		}
		n.ready()
	}
}

func (n *Node) drainInbox() {
	for range 256 {
		select {
		case m := <-n.inbox:
			n.step(m)
		default:
			return
		}
	}
}

// step hands one message of a peer to Raft.
func (n *Node) step(m *pb.Message) {
	if m.GetType() == pb.MsgVoteResp && !m.GetReject() {
		if n.raft.grantsT != m.GetTerm() {
			n.raft.grantsT, n.raft.grants = m.GetTerm(), nil
		}
		n.raft.grants = append(n.raft.grants, m.GetFrom())
	}
	if err := n.raft.rn.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
		n.cfg.Log.Debug("raft message refused", "type", m.GetType().String(), "err", err)
	}
	n.hear(m.GetFrom())
}

// ready carries out what Raft asks for. View and messages of one Ready belong
// together (invariant 2).
func (n *Node) ready() {
	for n.raft.rn.HasReady() {
		rd := n.raft.rn.Ready()
		if rd.SoftState != nil {
			n.raft.soft = *rd.SoftState
		}
		if !raft.IsEmptyHardState(rd.HardState) {
			n.raft.term, n.raft.vote = rd.HardState.GetTerm(), rd.HardState.GetVote()
		}
		if n.raft.term > math.MaxInt32 {
			n.fail(errors.New("quorum: term exceeds what a leader epoch can hold"))
			return
		}
		if rd.SoftState != nil || !raft.IsEmptyHardState(rd.HardState) {
			n.publishView()
		}
		for _, m := range rd.Messages {
			n.dispatch(m)
		}
		n.maybeBecomeLeader()
	}
}

func (n *Node) dispatch(m *pb.Message) {
	switch m.GetTo() {
	case raft.LocalAppendThread:
		if n.raft.writes++; n.raft.writes == 1 {
			n.raft.writing = time.Now()
		}
		n.write.put(m)
	case raft.LocalApplyThread:
		n.apply.put(applyJob{msg: m})
	case n.id:
		_ = n.raft.rn.Step(m)
	default:
		n.send(m)
	}
}

func (n *Node) leading() bool { return n.raft.soft.RaftState == raft.StateLeader }

func (n *Node) publishView() {
	r := &n.raft
	leader, epoch := model.NoBroker, model.LeaderEpoch(r.term)
	if m, ok := r.members[r.soft.Lead]; ok && r.soft.Lead != raft.None {
		leader = m.Node
	}
	leading := n.leading()
	lost := false
	n.board.update(func(p *posted) {
		if p.failed != nil || p.closed {
			return
		}
		lost = p.leading && (!leading || p.epoch != epoch)
		p.leader, p.epoch, p.leading, p.raft, p.vote = leader, epoch, leading, r.soft.RaftState, r.vote
	})
	n.meter.ledBy(leader)
	if lost {
		n.props.failAll(ErrNotLeader)
		n.watch.reset()
	}
}

// deliver sends the answers that a finished storage job released. It runs on
// the loop.
func (n *Node) deliver(resps []*pb.Message) {
	for _, m := range resps {
		n.dispatch(m)
	}
}

// do runs fn on the loop and waits for it.
func (n *Node) do(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	n.calls.put(func() { fn(); close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return ErrClosed
	}
}

func (n *Node) onTick() {
	r := &n.raft
	r.ticks++
	n.expireSnapshotSends()
	if n.leading() {
		n.maybeHandOver()
		if r.ticks%2 == 0 {
			n.reconcile()
		}
	}
	if r.ticks%10 == 0 {
		n.apply.put(applyJob{housekeep: true})
	}
}

// maybeHandOver gives leadership to the most advanced voter when this node's
// WAL has stalled.
func (n *Node) maybeHandOver() {
	w := n.raft.writing
	if n.raft.writes == 0 || time.Since(w) < n.cfg.StallLimit {
		return
	}
	if to := n.bestVoter(); to != raft.None {
		n.cfg.Log.Warn("WAL stalls: handing leadership over", "to", n.raft.members[to].Node, "stalled", time.Since(w))
		n.raft.rn.TransferLeader(to)
		n.raft.writing = time.Now() // try again after another limit
	}
}

// bestVoter is the voter, other than this node, with the longest log.
func (n *Node) bestVoter() uint64 {
	var best, match uint64
	n.raft.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr progress) {
		if id != n.id && typ == raft.ProgressTypePeer && pr.RecentActive && (best == 0 || pr.Match > match) {
			best, match = id, pr.Match
		}
	})
	return best
}

// resign hands leadership over before a clean stop; waits at most one second.
func (n *Node) resign() {
	ctx, cancel := context.WithTimeout(n.ctx, time.Second)
	defer cancel()
	if p, _ := n.board.look(); !p.leading {
		return
	}
	var to uint64
	if n.do(ctx, func() {
		if to = n.bestVoter(); to != raft.None {
			n.raft.rn.TransferLeader(to)
		}
	}) != nil || to == raft.None {
		return
	}
	for {
		p, changed := n.board.look()
		if !p.leading {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
