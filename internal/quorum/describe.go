package quorum

import (
	"cmp"
	"context"
	"encoding/json"
	"path"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// ReplicaState is how far one replica of the metadata log is. Times are zero
// while unknown.
type ReplicaState struct {
	ID                      model.BrokerID
	Dir                     model.DirectoryID
	LogEnd                  model.Offset // NoOffset while unknown
	LastFetch, LastCaughtUp time.Time
}

// Description is the quorum as its leader sees it.
type Description struct {
	View
	Voters, Observers []ReplicaState
	Nodes             []metadata.Voter // with their listeners
}

// DescribeQuorum tells what each voter has according to Raft's own bookkeeping,
// and what observers have fetched. ErrNotLeader elsewhere.
func (n *Node) DescribeQuorum(ctx context.Context) (Description, error) {
	p, _ := n.board.look()
	d := Description{View: p.view()}
	if !d.Ready {
		return d, ErrNotLeader
	}
	now := time.Now()
	ok := false
	err := n.do(ctx, func() {
		if ok = n.leading() && n.raft.term == uint64(p.epoch); ok {
			d.Voters, d.Observers = n.describeMembers(p.end, now)
			d.Nodes = kraftVoters(n.voterMembers())
		}
	})
	if err != nil || !ok {
		return d, cmp.Or(err, ErrNotLeader)
	}
	known := map[model.BrokerID]bool{}
	for _, v := range slices.Concat(d.Voters, d.Observers) {
		known[v.ID] = true
	}
	for _, o := range n.watch.list(now) {
		if !known[o.ID] { // a combined node is listed once, as a voter
			d.Observers = append(d.Observers, o)
		}
	}
	return d, nil
}

func (n *Node) describeMembers(end model.Offset, now time.Time) (voters, learners []ReplicaState) {
	n.raft.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr progress) {
		m := n.raft.members[id]
		s := ReplicaState{ID: m.Node, Dir: m.Dir, LogEnd: model.NoOffset}
		if id == n.id {
			s.LogEnd, s.LastFetch, s.LastCaughtUp = end, now, now
		} else {
			if at, ok := n.offsetOf(pr.Match); ok {
				s.LogEnd = min(at, end)
			}
			s.LastFetch, s.LastCaughtUp = n.raft.heard[id].at, n.raft.heard[id].caughtUp
		}
		if typ == raft.ProgressTypeLearner {
			learners = append(learners, s)
		} else {
			voters = append(voters, s)
		}
	})
	byID := func(a, b ReplicaState) int { return cmp.Or(cmp.Compare(a.ID, b.ID), a.Dir.Compare(b.Dir)) }
	slices.SortFunc(voters, byID)
	slices.SortFunc(learners, byID)
	return voters, learners
}

// hear notes that a peer spoke, and whether it has everything.
func (n *Node) hear(id uint64) {
	h := n.raft.heard[id]
	h.at = time.Now()
	if n.leading() {
		last, _ := n.store.LastIndex()
		n.raft.rn.WithProgress(func(peer uint64, _ raft.ProgressType, pr progress) {
			if peer == id && pr.Match >= last {
				h.caughtUp = h.at
			}
		})
	}
	if _, ok := n.raft.members[id]; ok {
		n.raft.heard[id] = h
	}
}

func (n *Node) noteIndex(index uint64, end model.Offset) {
	n.ring.Lock()
	defer n.ring.Unlock()
	n.ring.add(index, end)
}

func (n *Node) offsetOf(index uint64) (model.Offset, bool) {
	n.ring.Lock()
	defer n.ring.Unlock()
	return n.ring.at(index)
}

const (
	observerForget = 5 * time.Minute
	observersMax   = 4096
)

// observers remembers who fetched from this leader.
type observers struct {
	mu struct {
		sync.Mutex
		by map[observerKey]ReplicaState
	}
}

type observerKey struct {
	id  model.BrokerID
	dir model.DirectoryID
}

func newObservers() *observers {
	o := &observers{}
	o.mu.by = map[observerKey]ReplicaState{}
	return o
}

func (o *observers) fetched(f MetadataFetch, end model.Offset, now time.Time) {
	if f.Replica < 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	k := observerKey{f.Replica, f.Dir}
	s, ok := o.mu.by[k]
	if !ok && len(o.mu.by) >= observersMax {
		return
	}
	s.ID, s.Dir, s.LogEnd, s.LastFetch = f.Replica, f.Dir, f.Offset, now
	if f.Offset >= end {
		s.LastCaughtUp = now
	}
	o.mu.by[k] = s
}

func (o *observers) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.mu.by)
}

func (o *observers) list(now time.Time) []ReplicaState {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []ReplicaState
	for k, s := range o.mu.by {
		if now.Sub(s.LastFetch) > observerForget {
			delete(o.mu.by, k)
			continue
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ReplicaState) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), a.Dir.Compare(b.Dir))
	})
	return out
}

// writeQuorumState keeps the file that Kafka's tools read; this node never does.
func (n *Node) writeQuorumState(v View) {
	state := struct {
		LeaderID         model.BrokerID    `json:"leaderId"`
		LeaderEpoch      model.LeaderEpoch `json:"leaderEpoch"`
		VotedID          model.BrokerID    `json:"votedId"`
		VotedDirectoryID model.DirectoryID `json:"votedDirectoryId"`
		Version          int               `json:"data_version"`
	}{v.Leader, v.Epoch, model.NoBroker, model.DirectoryID{}, 1}
	data, err := json.Marshal(state)
	if err == nil {
		err = vfs.WriteFileAtomic(n.cfg.FS, path.Join(n.cfg.Dir, "quorum-state"), data)
	}
	if err != nil {
		n.cfg.Log.Warn("quorum-state not written", "err", err)
	}
}
