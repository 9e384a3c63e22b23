package quorum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

const (
	chunkBytes       = 1 << 20
	snapshotMaxBytes = 4 << 30
	snapshotPatience = 10 * time.Second
)

// takenSnapshot reports a snapshot of what was applied at at.
type takenSnapshot struct {
	at    checkpoint
	bytes int64 // applied bytes it covers, for the next one
	err   error
}

// raftSnapshot is the newest durable snapshot that knows every current member;
// a learner refuses one that it isn't in. Without one, a snapshot is asked for.
// Runs on the loop.
func (n *Node) raftSnapshot() (checkpoint, bool) {
	n.snap.Lock()
	defer n.snap.Unlock()
	have := n.snap.have
	good := have.Index > 0 && have.Index >= n.wal.state().base.Index
	for id := range n.raft.members {
		good = good && have.Conf.has(id)
	}
	if !good && !n.snap.wanted {
		n.snap.wanted = true
		n.apply.put(applyJob{snapshot: true})
	}
	return have, good
}

func (n *Node) snapshotAnswered(c checkpoint) {
	n.snap.Lock()
	defer n.snap.Unlock()
	n.snap.wanted = false
	if c.Index > n.snap.have.Index {
		n.snap.have = c
	}
}

// takeSnapshot writes the image in the background; it is immutable.
func (a *applier) takeSnapshot() {
	_, inTxn := a.loader.InTransaction()
	if a.snapshots || inTxn || !a.aligned || a.at.End == 0 || a.loader.Image().Offset != a.at.End-1 {
		a.n.snapshotAnswered(checkpoint{})
		return
	}
	a.snapshots = true
	t := &takenSnapshot{at: a.at, bytes: a.snapBytes}
	img, last := a.loader.Image(), a.lastAppend
	a.n.spawn(func() {
		id := SnapshotID{t.at.End, t.at.Epoch}
		t.err = a.ml.writeSnapshot(id, metadata.WriteSnapshot(img, last, last))
		a.n.apply.put(applyJob{taken: t})
	})
}

// snapshotTaken makes room in both logs (invariants 6 and 8).
func (a *applier) snapshotTaken(t *takenSnapshot) error {
	a.snapshots, a.snapTime = false, time.Now()
	if t.err != nil {
		a.n.cfg.Log.Error("snapshot failed", "offset", t.at.End, "err", t.err)
		a.n.snapshotAnswered(checkpoint{})
		return nil
	}
	a.n.cfg.Log.Info("snapshot", "offset", t.at.End, "epoch", t.at.Epoch, "index", t.at.Index)
	a.snapBytes = max(0, a.snapBytes-t.bytes)
	if err := a.checkpoint(); err != nil {
		return err
	}
	a.n.snapshotAnswered(t.at)
	if keep := a.n.cfg.TrailingEntries; t.at.Index > keep {
		if err := a.n.wal.trim(t.at.Index - keep); err != nil {
			return err
		}
	}
	if err := a.ml.retain(a.n.cfg.RetentionBytes, a.n.cfg.Retention, time.Now()); err != nil {
		return err
	}
	a.post()
	return nil
}

func (a *applier) housekeep() error {
	due := a.snapBytes >= a.n.cfg.SnapshotBytes ||
		(a.snapBytes > 0 && time.Since(a.snapTime) >= a.n.cfg.SnapshotInterval)
	if due && !a.snapshots {
		a.takeSnapshot()
	}
	_, err := a.ml.log.RemoveDeleted(time.Now())
	return err
}

// snapshotSent and expireSnapshotSends keep a peer from staying in Raft's
// snapshot state forever when the pull failed on its side.
func (n *Node) snapshotSent(id uint64) { n.raft.sentAt[id] = time.Now() }

func (n *Node) expireSnapshotSends() {
	if len(n.raft.sentAt) == 0 || !n.leading() {
		return
	}
	n.raft.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) {
		if pr.State != tracker.StateSnapshot {
			delete(n.raft.sentAt, id)
		}
	})
	for id, at := range n.raft.sentAt {
		if time.Since(at) > snapshotPatience {
			delete(n.raft.sentAt, id)
			n.raft.rn.ReportSnapshot(id, raft.SnapshotFailure)
		}
	}
}

// startInstall pulls the file that a MsgSnap names, then lets Raft see the
// message.
func (n *Node) startInstall(m *pb.Message, from Member) {
	var c checkpoint
	if json.Unmarshal(m.GetSnapshot().GetData(), &c) != nil || c.Index != m.GetSnapshot().GetMetadata().GetIndex() {
		return
	}
	if !n.installing.CompareAndSwap(0, c.Index) {
		return // one at a time; Raft sends again
	}
	n.spawn(func() {
		defer n.installing.Store(0)
		id := SnapshotID{c.End, c.Epoch}
		if !n.ml.has(id) {
			if err := n.pull(id, n.address(from)); err != nil {
				n.cfg.Log.Warn("snapshot not pulled", "offset", c.End, "from", from.Node, "err", err)
				return
			}
		}
		select {
		case n.inbox <- m:
		case <-n.ctx.Done():
		}
	})
}

// pull copies a snapshot file chunk by chunk, and checks it before it counts.
func (n *Node) pull(id SnapshotID, from Peer) error {
	name := path.Join(n.cfg.Dir, id.fileName()+".part")
	f, err := n.cfg.FS.Create(name)
	if err != nil {
		return err
	}
	size, err := n.pullInto(f.WriteAt, id, from)
	if err == nil {
		err = f.Sync()
	}
	data := make([]byte, 0)
	if err == nil {
		data = make([]byte, size)
		_, err = f.ReadAt(data, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, n.cfg.FS.Remove(name))
	}
	if _, err := parseSnapshot(id, data); err != nil {
		return err
	}
	return n.ml.adoptPart(id)
}

func (n *Node) pullInto(write func([]byte, int64) (int, error), id SnapshotID, from Peer) (int64, error) {
	var pos int64
	for {
		e := n.envelope(frameChunk)
		e.Snapshot, e.Position = &id, pos
		a, chunk, err := n.askChunk(from, e)
		if err != nil {
			return 0, err
		}
		if a.Size <= 0 || a.Size > snapshotMaxBytes || len(chunk) == 0 || pos+int64(len(chunk)) > a.Size {
			return 0, fmt.Errorf("chunk of %d bytes at %d of %d: %w", len(chunk), pos, a.Size, errBadFrame)
		}
		if _, err := write(chunk, pos); err != nil {
			return 0, err
		}
		if pos += int64(len(chunk)); pos == a.Size {
			return pos, nil
		}
	}
}

func (n *Node) askChunk(from Peer, e envelope) (envelope, []byte, error) {
	ctx, cancel := context.WithTimeout(n.ctx, snapshotPatience/2)
	defer cancel()
	return n.ask(ctx, from, e)
}

func (n *Node) answerChunk(e envelope, out *envelope) []byte {
	if e.Group != n.group.Load() || e.Snapshot == nil {
		out.Error = refuseGroup
		return nil
	}
	chunk, size, err := n.ml.readChunk(*e.Snapshot, e.Position, chunkBytes)
	if err != nil {
		out.Error = err.Error()
		return nil
	}
	out.Size, out.Position = size, e.Position
	return chunk
}

// indexRing maps recent Raft indexes to offsets, for DescribeQuorum.
type indexRing struct {
	index [4096]uint64
	end   [4096]model.Offset
	next  int
}

func (r *indexRing) add(index uint64, end model.Offset) {
	r.index[r.next%len(r.index)], r.end[r.next%len(r.end)] = index, end
	r.next++
}

// at is the log end of a node that has entries up to index.
func (r *indexRing) at(index uint64) (model.Offset, bool) {
	for i := r.next - 1; i >= 0 && i >= r.next-len(r.index); i-- {
		if r.index[i%len(r.index)] <= index {
			return r.end[i%len(r.end)], true
		}
	}
	return 0, false
}
