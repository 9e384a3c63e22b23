package quorum

import (
	"sync"

	"go.etcd.io/raft/v3"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// posted is one consistent picture of the node for everyone outside its
// goroutines.
type posted struct {
	leader  model.BrokerID
	epoch   model.LeaderEpoch
	leading bool
	raft    raft.StateType
	vote    uint64 // in this epoch, raft.None if none

	appliedTime int64 // newest timestamp of the last applied batch, -1 if none

	end, start   model.Offset
	appliedEpoch model.LeaderEpoch // epoch of the last applied batch
	image        *metadata.Image
	members      members
	conf         confState

	closed bool
	failed error
}

// ready is invariant 3: a batch of the own term has been applied.
func (p *posted) ready() bool { return p.leading && p.appliedEpoch == p.epoch }

func (p *posted) view() View {
	v := View{
		Leader: p.leader, Epoch: p.epoch, Leading: p.leading, Ready: p.ready(),
		HighWatermark: model.NoOffset, LogEnd: p.end, LogStart: p.start,
	}
	if v.Ready {
		v.HighWatermark = p.end
	}
	return v
}

// board publishes the picture. Waiters hold the channel that is closed at the
// next change.
type board struct {
	mu struct {
		sync.Mutex
		posted
		changed chan struct{}
	}
}

func newBoard() *board {
	b := &board{}
	b.mu.changed = make(chan struct{})
	b.mu.leader, b.mu.image = model.NoBroker, metadata.Empty()
	b.mu.appliedEpoch, b.mu.appliedTime = model.NoLeaderEpoch, -1
	return b
}

// look returns the picture and a channel that is closed when it is outdated.
func (b *board) look() (posted, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.posted, b.mu.changed
}

func (b *board) update(fn func(p *posted)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn(&b.mu.posted)
	close(b.mu.changed)
	b.mu.changed = make(chan struct{})
}
