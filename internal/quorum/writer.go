package quorum

import (
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// writer makes what Raft asks for durable: one fsync for everything queued, then
// the messages that depended on it (invariant 1).
func (n *Node) writer() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.write.wake:
		}
		if err := n.writeAll(n.write.take()); err != nil {
			if n.ctx.Err() == nil {
				n.fail(err)
			}
			return
		}
	}
}

func (n *Node) writeAll(jobs []*pb.Message) error {
	var group []*pb.Message
	for _, m := range jobs {
		if raft.IsEmptySnap(m.GetSnapshot()) {
			group = append(group, m)
			continue
		}
		if err := n.writeGroup(group); err != nil {
			return err
		}
		group = nil
		if err := n.writeSnapshot(m); err != nil {
			return err
		}
	}
	return n.writeGroup(group)
}

func (n *Node) writeGroup(group []*pb.Message) error {
	if len(group) == 0 {
		return nil
	}
	var resps []*pb.Message
	for i, m := range group {
		resps = append(resps, m.GetResponses()...)
		last := i == len(group)-1
		// Without responses nothing depends on this write yet.
		if err := n.wal.save(hardStateOf(m), m.GetEntries(), last && len(resps) > 0); err != nil {
			return err
		}
	}
	n.written(len(group), resps)
	return nil
}

// writeSnapshot waits until the applier has taken over an installed snapshot,
// which also writes the WAL.
func (n *Node) writeSnapshot(m *pb.Message) error {
	done := make(chan error, 1)
	n.apply.put(applyJob{install: &installJob{snap: m.GetSnapshot(), hs: hardStateOf(m), done: done}})
	select {
	case err := <-done:
		if err != nil {
			return err
		}
	case <-n.ctx.Done():
		return ErrClosed
	}
	if len(m.GetEntries()) > 0 {
		if err := n.wal.save(nil, m.GetEntries(), true); err != nil {
			return err
		}
	}
	n.written(1, m.GetResponses())
	return nil
}

func (n *Node) written(count int, resps []*pb.Message) {
	n.calls.put(func() {
		n.raft.writes -= count
		n.raft.writing = time.Now()
		n.deliver(resps)
	})
}

func hardStateOf(m *pb.Message) *pb.HardState {
	if m.Term == nil {
		return nil
	}
	return &pb.HardState{Term: new(m.GetTerm()), Vote: new(m.GetVote()), Commit: new(m.GetCommit())}
}
