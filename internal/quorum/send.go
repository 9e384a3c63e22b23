package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	sendQueueMax   = 1024    // messages; more are dropped, Raft sends again
	sendFrameBytes = 4 << 20 // messages gathered into one request
	callTimeout    = 2 * time.Second
)

// sender carries Raft messages to one peer, in order, one request in flight.
type sender struct {
	n    *Node
	id   uint64
	peer Peer
	in   chan *pb.Message
	stop context.CancelFunc
	ctx  context.Context
}

// send queues a message for a peer. Runs on the loop.
func (n *Node) send(m *pb.Message) {
	id := m.GetTo()
	s := n.raft.senders[id]
	if s == nil {
		to, ok := n.raft.members[id]
		if !ok {
			if to, ok = n.raft.known[id]; !ok {
				return // learnt from its next frame
			}
		}
		s = &sender{n: n, id: id, peer: n.address(to), in: make(chan *pb.Message, sendQueueMax)}
		s.ctx, s.stop = context.WithCancel(n.ctx)
		n.raft.senders[id] = s
		n.spawn(s.run)
	}
	if m.GetType() == pb.MsgSnap {
		n.snapshotSent(id)
	}
	select {
	case s.in <- m:
	default:
		n.raft.rn.ReportUnreachable(id)
	}
}

// forgetSenders ends senders to peers that are no members or have moved.
func (n *Node) forgetSenders() {
	for id, s := range n.raft.senders {
		m, ok := n.raft.members[id]
		if !ok {
			m, ok = n.raft.known[id]
		}
		if !ok || n.address(m) != s.peer {
			s.stop()
			delete(n.raft.senders, id)
		}
	}
}

func (s *sender) run() {
	up := true
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.in:
			err := s.deliver(s.gather(m))
			if s.ctx.Err() != nil {
				return
			}
			if (err == nil) != up {
				up = err == nil
				s.n.cfg.Log.Info("controller reachable", "peer", s.peer.Node, "reachable", up, "err", err)
			}
		}
	}
}

func (s *sender) gather(first *pb.Message) []*pb.Message {
	ms, size := []*pb.Message{first}, proto.Size(first)
	for size < sendFrameBytes {
		select {
		case m := <-s.in:
			ms, size = append(ms, m), size+proto.Size(m)
		default:
			return ms
		}
	}
	return ms
}

func (s *sender) deliver(ms []*pb.Message) error {
	err := s.call(ms)
	if err == nil {
		return nil
	}
	snap := slices.ContainsFunc(ms, func(m *pb.Message) bool { return m.GetType() == pb.MsgSnap })
	for { // what waited is stale by the time the peer is back
		select {
		case m := <-s.in:
			snap = snap || m.GetType() == pb.MsgSnap
			continue
		default:
		}
		break
	}
	s.n.calls.put(func() {
		s.n.raft.rn.ReportUnreachable(s.id)
		if snap {
			s.n.raft.rn.ReportSnapshot(s.id, raft.SnapshotFailure)
		}
	})
	return err
}

func (s *sender) call(ms []*pb.Message) error {
	body, err := encodeMessages(ms)
	if err != nil {
		return err
	}
	e := s.n.envelope(frameRaft)
	e.To = s.id
	frame, err := encodeFrame(e, body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	m := &s.n.meter
	m.requests.Add(1)
	m.bytesOut.Add(int64(len(frame)))
	out, err := s.n.cfg.Transport.Call(ctx, s.peer, frame)
	if err != nil {
		return err
	}
	m.answers.Add(1)
	m.bytesIn.Add(int64(len(out)))
	answer, _, err := decodeFrame(out)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return err
}

// ask sends one frame without messages and returns the answer.
func (n *Node) ask(ctx context.Context, to Peer, e envelope) (envelope, []byte, error) {
	frame, err := encodeFrame(e, nil)
	if err != nil {
		return envelope{}, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := n.cfg.Transport.Call(ctx, to, frame)
	if err != nil {
		return envelope{}, nil, err
	}
	answer, body, err := decodeFrame(out)
	if err == nil && answer.Error != "" {
		err = fmt.Errorf("%s by node %d: %s", e.Kind, to.Node, answer.Error)
	}
	return answer, body, err
}

// Handle answers one private frame of another controller.
func (n *Node) Handle(_ context.Context, frame []byte) ([]byte, error) {
	e, body, err := decodeFrame(frame)
	if err != nil {
		return nil, err
	}
	out, outBody := n.answer(e, body)
	answer, err := encodeFrame(out, outBody)
	n.meter.bytesIn.Add(int64(len(frame)))
	n.meter.bytesOut.Add(int64(len(answer)))
	return answer, err
}

func (n *Node) answer(e envelope, body []byte) (envelope, []byte) {
	out := n.envelope(e.Kind)
	if e.Cluster != n.cfg.ClusterID {
		out.Error = refuseCluster
		return out, nil
	}
	if n.ctx.Err() != nil {
		out.Error = ErrClosed.Error()
		return out, nil
	}
	switch e.Kind {
	case frameHello:
		n.answerHello(e, &out)
	case framePrepare:
		n.answerPrepare(e, &out)
	case frameChunk:
		return out, n.answerChunk(e, &out)
	case frameRaft:
		if err := n.receive(e, body); err != nil {
			out.Error = err.Error()
		}
	default:
		out.Error = "unknown kind"
	}
	return out, nil
}

// receive passes Raft messages on, if they are meant for this node as it is
// now: a wiped node has another Raft id and never answers for its old self
// (invariant 9).
func (n *Node) receive(e envelope, body []byte) error {
	switch {
	case e.Group == 0 || e.Group != n.group.Load():
		return errors.New(refuseGroup)
	case e.To != n.id:
		return errors.New(refuseTarget)
	}
	ms, err := decodeMessages(body)
	if err != nil {
		return err
	}
	from := e.From.RaftID()
	n.calls.put(func() { n.meet(from, e.From) })
	for _, m := range ms {
		if m.GetFrom() != from || m.GetTo() != n.id || raft.IsLocalMsg(m.GetType()) {
			return errBadFrame
		}
		if m.GetType() == pb.MsgSnap {
			n.startInstall(m, e.From)
			continue
		}
		select {
		case n.inbox <- m:
		default: // Raft sends again
		}
	}
	return nil
}

// meet remembers where a peer is that may not be a member yet, or has moved.
func (n *Node) meet(id uint64, m Member) {
	if n.raft.members[id] == m {
		delete(n.raft.known, id)
		return
	}
	if old, ok := n.raft.known[id]; ok && old == m {
		return
	}
	if len(n.raft.known) >= 64 {
		clear(n.raft.known)
	}
	n.raft.known[id] = m
	n.forgetSenders()
}
