package quorum

import (
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"

	"tidemark/internal/latency"
	"tidemark/internal/model"
)

// meter is what a node counts for the metrics.
type meter struct {
	commits    latency.Histogram // own proposals, until applied
	elections  latency.Histogram // without a known leader
	leaderless atomic.Int64      // since when, unix ns; 0: a leader is known

	appended, fetched atomic.Int64 // records applied, as leader and otherwise
	bytesIn, bytesOut atomic.Int64 // of frames between controllers
	requests, answers atomic.Int64 // frames sent, answers got
}

// Meters are the quorum's numbers on one node. Counts are since the start.
type Meters struct {
	View
	State    string         // Kafka's word: leader, candidate, voted, follower, unattached, observer
	Vote     model.BrokerID // whom this node voted for in this epoch, NoBroker if nobody
	LogEpoch model.LeaderEpoch
	Applied  int64 // time of the last applied batch's records, ms; -1 if unknown

	Voters, Observers  int
	Commits, Elections latency.Snapshot
	Appended, Fetched  int64 // records applied while leading, and while not
	BytesIn, BytesOut  int64 // between controllers
	Requests, Answers  int64
}

// Meters reads them.
func (n *Node) Meters() Meters {
	p, _ := n.board.look()
	m := Meters{View: p.view(), State: p.state(n.id), Vote: model.NoBroker, LogEpoch: p.appliedEpoch, Applied: p.appliedTime,
		Voters: len(p.conf.Voters), Observers: len(n.watch.list(time.Now())),
		Appended: n.meter.appended.Load(), Fetched: n.meter.fetched.Load(),
		BytesIn: n.meter.bytesIn.Load(), BytesOut: n.meter.bytesOut.Load(),
		Requests: n.meter.requests.Load(), Answers: n.meter.answers.Load(),
	}
	if v, ok := p.members[p.vote]; ok {
		m.Vote = v.Node
	}
	n.meter.commits.AddTo(&m.Commits)
	n.meter.elections.AddTo(&m.Elections)
	return m
}

func (p *posted) state(self uint64) string {
	switch {
	case !contains(p.conf.Voters, self):
		return "observer"
	case p.raft == raft.StateLeader:
		return "leader"
	case p.raft != raft.StateFollower:
		return "candidate"
	case p.leader != model.NoBroker:
		return "follower"
	case p.vote != raft.None:
		return "voted"
	}
	return "unattached"
}

// ledBy measures how long no leader was known.
func (m *meter) ledBy(leader model.BrokerID) {
	now := time.Now()
	if leader == model.NoBroker {
		m.leaderless.CompareAndSwap(0, now.UnixNano())
		return
	}
	if since := m.leaderless.Swap(0); since != 0 {
		m.elections.Observe(time.Duration(now.UnixNano() - since))
	}
}
