package quorum

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"tidemark/internal/metadata"
)

const (
	joinerFresh  = 3 * time.Second
	learnersMax  = 16
	caughtUpLag  = 64 // entries
	votersRepeat = time.Second
)

// joiner is a controller that isn't a voter and asks to be known.
type joiner struct {
	member Member
	at     time.Time
}

func (n *Node) meetJoiner(id uint64, m Member) {
	if !n.leading() {
		return
	}
	n.raft.joiners[id] = joiner{m, time.Now()}
	n.meet(id, m)
	if len(n.raft.joiners) > 4*learnersMax {
		clear(n.raft.joiners)
	}
}

// reconcile is the leader's periodic look at the membership, at most one change
// at a time: it takes joiners in as learners, lets a caught-up learner replace
// the voter of its node in one joint change, and keeps KRaftVoters equal to the
// configuration. Every step starts from the committed state, so a new leader
// goes on where the old one stopped.
func (n *Node) reconcile() {
	p, _ := n.board.look()
	if !p.ready() || n.raft.conf.joint() {
		return
	}
	prog := map[uint64]progress{}
	n.raft.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) { prog[id] = pr })
	if n.promote(prog) || n.admit(prog) || n.move() {
		return
	}
	n.recordVoters(p.image)
}

// promote replaces a voter by the caught-up learner of the same node.
func (n *Node) promote(prog map[uint64]progress) bool {
	r := &n.raft
	last := prog[n.id].Match
	for _, id := range r.conf.Learners {
		m := r.members[id]
		old, _, ok := r.members.byNode(m.Node, r.conf.Voters)
		pr := prog[id]
		caughtUp := pr.RecentActive && pr.State == tracker.StateReplicate && pr.Match+caughtUpLag >= last
		if !ok || old == id || old == n.id || !caughtUp || prog[old].RecentActive {
			continue // the old disk is still there: two processes with one node id
		}
		n.cfg.Log.Info("replacing voter", "old", r.members[old].String(), "new", m.String())
		return n.changeConf(confContext{}, change(pb.ConfChangeRemoveNode, old), change(pb.ConfChangeAddNode, id))
	}
	return false
}

// admit makes a joiner a learner. A learner left over from a disk that was lost
// too is removed with it.
func (n *Node) admit(prog map[uint64]progress) bool {
	r := &n.raft
	for id, j := range r.joiners {
		if time.Since(j.at) > joinerFresh {
			delete(r.joiners, id)
		}
	}
	for _, j := range sortedJoiners(r.joiners) {
		id := j.member.RaftID()
		if _, in := r.members[id]; in {
			continue
		}
		if old, _, ok := r.members.byNode(j.member.Node, r.conf.Voters); ok && prog[old].RecentActive {
			continue
		}
		var cs []*pb.ConfChangeSingle
		learners := len(r.conf.Learners)
		for _, l := range r.conf.Learners {
			if r.members[l].Node == j.member.Node {
				cs = append(cs, change(pb.ConfChangeRemoveNode, l))
				learners--
			}
		}
		if learners >= learnersMax {
			continue
		}
		n.cfg.Log.Info("taking in a learner", "member", j.member.String())
		return n.changeConf(confContext{Add: []Member{j.member}}, append(cs, change(pb.ConfChangeAddLearnerNode, id))...)
	}
	return false
}

// move records the endpoint of a member that came back elsewhere.
func (n *Node) move() bool {
	r := &n.raft
	for _, m := range r.members.list() {
		id := m.RaftID()
		now, ok := r.known[id]
		if id == n.id {
			now, ok = n.self, true
		}
		if ok && now != m {
			n.cfg.Log.Info("member moved", "member", now.String(), "host", now.Endpoint.Host, "port", now.Endpoint.Port)
			return n.changeConf(confContext{Add: []Member{now}}, change(pb.ConfChangeUpdateNode, id))
		}
	}
	return false
}

func sortedJoiners(js map[uint64]joiner) []joiner {
	out := make([]joiner, 0, len(js))
	for _, j := range js {
		out = append(out, j)
	}
	slices.SortFunc(out, func(a, b joiner) int { return cmp.Compare(a.member.RaftID(), b.member.RaftID()) })
	return out
}

func change(t pb.ConfChangeType, id uint64) *pb.ConfChangeSingle {
	return &pb.ConfChangeSingle{Type: t.Enum(), NodeId: new(id)}
}

func (n *Node) changeConf(ctx confContext, cs ...*pb.ConfChangeSingle) bool {
	raw, err := json.Marshal(ctx)
	if err != nil {
		return false
	}
	err = n.raft.rn.ProposeConfChange(&pb.ConfChangeV2{Changes: cs, Context: raw})
	if err != nil {
		n.cfg.Log.Debug("conf change not proposed", "err", err)
	}
	return err == nil
}

// recordVoters proposes KRaftVoters when brokers would see another set than the
// one that votes.
func (n *Node) recordVoters(img *metadata.Image) {
	want := kraftVoters(n.voterMembers())
	if sameVoters(want, img.Voters) || time.Since(n.raft.votersAt) < votersRepeat {
		return
	}
	n.raft.votersAt = time.Now()
	b := metadata.ControlBatch([]metadata.Control{&metadata.KRaftVoters{Voters: want}}, time.Now().UnixMilli())
	if err := n.proposeBatch(kindControl, 0, b); err != nil {
		n.cfg.Log.Debug("voters not proposed", "err", err)
	}
}

func sameVoters(a, b []metadata.Voter) bool {
	byID := func(x, y metadata.Voter) int { return cmp.Compare(x.ID, y.ID) }
	a, b = slices.SortedFunc(slices.Values(a), byID), slices.SortedFunc(slices.Values(b), byID)
	return slices.EqualFunc(a, b, func(x, y metadata.Voter) bool {
		return x.ID == y.ID && x.Dir == y.Dir && slices.Equal(x.Endpoints, y.Endpoints)
	})
}
