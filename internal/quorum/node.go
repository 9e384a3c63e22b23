package quorum

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// Node is one controller's part in the quorum. All exported methods may be
// called concurrently.
type Node struct {
	cfg   Config
	self  Member
	id    uint64 // self's Raft id
	wal   *wal
	store *storage
	ml    *mlog
	board *board
	props *proposals
	watch *observers
	meter meter

	inbox chan *pb.Message // from peers; full: dropped, Raft sends again
	calls *queue[func()]   // for the loop: storage answers, requests
	write *queue[*pb.Message]
	apply *queue[applyJob]

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// spawning orders new goroutines before the cancellation that ends all.
	spawning sync.Mutex
	started  atomic.Bool
	group    atomic.Uint64 // identity of the quorum; 0 before there is one

	forming sync.Mutex // one change of the formation at a time
	raft    raftState  // owned by the loop
	snap    struct {   // newest durable snapshot, for Raft
		sync.Mutex
		have   checkpoint
		wanted bool
	}
	ring struct {
		sync.Mutex
		indexRing
	}
	installing atomic.Uint64 // Raft index of the snapshot being pulled
	listeners  struct {
		sync.Mutex
		fns []func(View)
	}
}

// raftState belongs to the loop goroutine.
type raftState struct {
	rn       *raft.RawNode
	term     uint64
	soft     raft.SoftState
	vote     uint64
	led      uint64 // the term for which LeaderChange has been proposed
	members  members
	conf     confState
	senders  map[uint64]*sender
	known    map[uint64]Member // peers that are not (yet) members, from their frames
	joiners  map[uint64]joiner
	heard    map[uint64]heard     // last message of each peer
	sentAt   map[uint64]time.Time // when a snapshot was sent to a peer
	grants   []uint64             // who voted for this node in term grantsTerm
	grantsT  uint64
	writes   int       // WAL writes handed over and not yet answered
	writing  time.Time // since when the writer has made no progress; valid if writes > 0
	ticks    uint64
	quick    quickElection
	votersAt time.Time // when KRaftVoters was last proposed
}

// heard is what DescribeQuorum tells about a peer.
type heard struct {
	at       time.Time
	caughtUp time.Time
}

// Open recovers the node's logs. Nothing is sent or answered before Start.
func Open(cfg Config) (*Node, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	w, err := openWAL(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, err
	}
	st := w.state()
	n := &Node{
		cfg: cfg, wal: w, board: newBoard(), props: newProposals(), watch: newObservers(),
		inbox: make(chan *pb.Message, 4096), calls: newQueue[func()](),
		write: newQueue[*pb.Message](), apply: newQueue[applyJob](),
	}
	n.self = Member{Node: cfg.NodeID, Dir: cfg.DirectoryID, Life: st.life, Endpoint: cfg.Endpoint}
	n.id = n.self.RaftID()
	n.group.Store(st.form.Group)
	n.store = &storage{wal: w, snapshot: n.raftSnapshot}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if n.ml, err = openLog(&n.cfg, st.ckpt, !st.form.Active); err != nil {
		return nil, fmt.Errorf("metadata log in %s: %w", cfg.Dir, err)
	}
	a, err := newApplier(n, st.ckpt)
	if err != nil {
		return nil, err
	}
	n.raft = raftState{
		senders: map[uint64]*sender{}, known: map[uint64]Member{},
		joiners: map[uint64]joiner{}, heard: map[uint64]heard{},
		sentAt: map[uint64]time.Time{},
	}
	n.spawn(a.run)
	return n, nil
}

// Start begins to take part. A node that belongs to no quorum yet first forms
// or joins one.
func (n *Node) Start() {
	if !n.started.CompareAndSwap(false, true) {
		return
	}
	n.spawn(n.notify)
	n.spawn(n.run)
}

// spawn runs fn in a goroutine that Close waits for; not any more after Close.
func (n *Node) spawn(fn func()) {
	n.spawning.Lock()
	defer n.spawning.Unlock()
	if n.ctx.Err() == nil {
		n.wg.Go(fn)
	}
}

// Close stops the node after it has handed leadership over, if it leads. What
// is applied is flushed.
func (n *Node) Close() error {
	n.resign()
	n.board.update(func(p *posted) { p.closed, p.leading = true, false })
	n.props.failAll(ErrClosed)
	n.spawning.Lock()
	n.cancel()
	n.spawning.Unlock()
	n.wg.Wait()
	err := n.ml.log.Close(true)
	if werr := n.wal.close(); err == nil {
		err = werr
	}
	return err
}

// fail stops the node's part in the quorum for good: its disk can't be trusted.
func (n *Node) fail(err error) {
	n.cfg.Log.Error("quorum stopped", "node", n.cfg.NodeID, "err", err)
	n.board.update(func(p *posted) {
		if p.failed == nil {
			p.failed = err
		}
		p.leading, p.leader = false, model.NoBroker
	})
	n.props.failAll(err)
	n.cancel()
}

// Err is why the node stopped by itself; nil while it works.
func (n *Node) Err() error {
	p, _ := n.board.look()
	return p.failed
}

// Done is closed when the node has stopped.
func (n *Node) Done() <-chan struct{} { return n.ctx.Done() }

// View says who leads, and how far the log is applied here.
func (n *Node) View() View {
	p, _ := n.board.look()
	return p.view()
}

// Image is the cluster's state at the end of the applied log. It is immutable.
func (n *Node) Image() *metadata.Image {
	p, _ := n.board.look()
	return p.image
}

// OnLeadership calls fn, from one goroutine, whenever leader, epoch or
// readiness change, beginning with the state now. Quick changes may be merged.
// Register before Start.
func (n *Node) OnLeadership(fn func(View)) {
	n.listeners.Lock()
	defer n.listeners.Unlock()
	n.listeners.fns = append(n.listeners.fns, fn)
}

// notify tells listeners and keeps the quorum-state file, which only tools read.
func (n *Node) notify() {
	last := View{Leader: -2}
	for {
		p, changed := n.board.look()
		v := p.view()
		if v.Leader != last.Leader || v.Epoch != last.Epoch || v.Leading != last.Leading || v.Ready != last.Ready {
			last = v
			n.cfg.Log.Info("quorum view", "node", n.cfg.NodeID, "leader", v.Leader, "epoch", v.Epoch, "ready", v.Ready)
			n.listeners.Lock()
			fns := n.listeners.fns
			n.listeners.Unlock()
			for _, fn := range fns {
				fn(v)
			}
			n.writeQuorumState(v)
		}
		select {
		case <-changed:
		case <-n.ctx.Done():
			return
		}
	}
}
