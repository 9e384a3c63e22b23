package quorum

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/record"
)

// applyJob is one thing for the applier; exactly one field is set.
type applyJob struct {
	msg       *pb.Message // committed entries
	install   *installJob
	begin     *checkpoint // a quorum was formed or joined
	housekeep bool
	snapshot  bool // Raft wants a snapshot of now
	taken     *takenSnapshot
}

type installJob struct {
	snap *pb.Snapshot
	hs   *pb.HardState
	done chan error
}

// applier turns committed entries into the materialised log and the image. It
// runs alone.
type applier struct {
	n      *Node
	ml     *mlog
	loader *metadata.Loader
	at     checkpoint // applied so far
	dirty  int64      // bytes applied since the last durable checkpoint

	snapBytes  int64 // bytes applied since the last snapshot
	snapTime   time.Time
	snapshots  bool // a snapshot is being written
	lastAppend int64
	aligned    bool // the image ends at a batch boundary
}

func newApplier(n *Node, ckpt checkpoint) (*applier, error) {
	a := &applier{n: n, ml: n.ml, at: ckpt, snapTime: time.Now()}
	if err := a.rebuild(); err != nil {
		return nil, err
	}
	return a, nil
}

// rebuild loads the image from the newest snapshot and the log after it.
func (a *applier) rebuild() error {
	img := metadata.Empty()
	if id, ok := a.ml.latest(a.ml.log.End()); ok {
		var err error
		if img, err = a.ml.loadImage(id); err != nil {
			return err
		}
	} else if a.ml.log.Start() > 0 {
		return fmt.Errorf("log starts at %d and has no snapshot: %w", a.ml.log.Start(), ErrCorrupt)
	}
	a.loader, a.aligned = metadata.NewLoader(img), true
	err := a.ml.log.Batches(img.Offset+1, func(b record.Batch) error {
		a.snapBytes += int64(len(b))
		return a.load(b)
	})
	if err != nil {
		return err
	}
	a.post()
	return nil
}

// load replays one stamped batch into the image.
func (a *applier) load(b record.Batch) error {
	a.lastAppend = b.MaxTimestamp()
	ups, err := a.loader.Load(b)
	if len(ups) > 0 {
		a.aligned = ups[len(ups)-1].Aligned
	}
	return err
}

// post publishes what has been applied.
func (a *applier) post() {
	ms, err := newMembers(a.at.Members)
	if err != nil {
		a.n.fail(err)
		return
	}
	epoch := model.NoLeaderEpoch
	if a.at.End > 0 {
		epoch = a.at.Epoch
	}
	a.n.board.update(func(p *posted) {
		p.end, p.start, p.appliedEpoch = a.ml.log.End(), a.ml.log.Start(), epoch
		p.epoch = max(p.epoch, epoch) // a reader must not see records of an epoch above the view's
		p.image, p.members, p.conf = a.loader.Image(), ms, a.at.Conf
	})
}

func (a *applier) run() {
	defer a.stop()
	for {
		select {
		case <-a.n.ctx.Done():
			return
		case <-a.n.apply.wake:
		}
		for _, job := range a.n.apply.take() {
			if err := a.job(job); err != nil {
				if a.n.ctx.Err() == nil {
					a.n.fail(err)
				}
				return
			}
		}
	}
}

// stop leaves a checkpoint, so that the next start has nothing to replay.
func (a *applier) stop() {
	if a.n.Err() == nil && a.at.Index > 0 {
		_ = a.checkpoint() // without it the next start replays from the last one
	}
}

func (a *applier) job(j applyJob) error {
	switch {
	case j.msg != nil:
		return a.entries(j.msg)
	case j.install != nil:
		err := a.install(j.install)
		j.install.done <- err
		return err
	case j.begin != nil:
		a.at = *j.begin
		a.post()
		return nil
	case j.taken != nil:
		return a.snapshotTaken(j.taken)
	case j.snapshot:
		a.takeSnapshot()
		return nil
	}
	return a.housekeep()
}

func (a *applier) entries(m *pb.Message) error {
	for _, e := range m.GetEntries() {
		if err := a.entry(e); err != nil {
			return fmt.Errorf("apply entry %d of term %d: %w", e.GetIndex(), e.GetTerm(), err)
		}
	}
	a.n.calls.put(func() { a.n.deliver(m.GetResponses()) })
	if a.dirty >= a.n.cfg.CheckpointBytes {
		return a.checkpoint()
	}
	return nil
}

func (a *applier) entry(e *pb.Entry) error {
	if e.GetIndex() <= a.at.Index {
		return nil
	}
	index, term := e.GetIndex(), e.GetTerm()
	switch {
	case e.GetType() != pb.EntryNormal:
		return a.confChange(e)
	case len(e.GetData()) == 0: // Raft's own, after an election
		a.at.Index, a.at.Term = index, term
		return nil
	}
	p, err := decodePayload(e.GetData())
	if err != nil {
		return err
	}
	a.at.Index, a.at.Term = index, term
	if p.term != term { // invariant 4
		a.n.props.complete(p.proposal, model.NoOffset, ErrNotLeader)
		return nil
	}
	return a.batch(p, term)
}

// batch stamps and appends one committed batch (invariant 5).
func (a *applier) batch(p payload, term uint64) error {
	b := slices.Clone(p.batch) // the entry is shared with Raft
	base := a.at.End
	b.Stamp(base, model.LeaderEpoch(term))
	if _, err := a.ml.log.Append(b); err != nil {
		return err
	}
	if err := a.load(b); err != nil {
		return err
	}
	a.at.End, a.at.Epoch = b.NextOffset(), model.LeaderEpoch(term)
	a.dirty += int64(len(b))
	a.snapBytes += int64(len(b))
	a.n.board.update(func(q *posted) {
		q.end, q.appliedEpoch, q.image = a.at.End, a.at.Epoch, a.loader.Image()
		q.appliedTime = b.MaxTimestamp()
		if q.leading {
			a.n.meter.appended.Add(int64(b.Count()))
		} else {
			a.n.meter.fetched.Add(int64(b.Count()))
		}
	})
	a.n.noteIndex(a.at.Index, a.at.End)
	a.n.props.complete(p.proposal, base, nil)
	return nil
}

// confChange applies one, on the loop, and makes it durable before Raft may go
// on (invariant 7).
func (a *applier) confChange(e *pb.Entry) error {
	cc, ctx, err := decodeConfChange(e)
	if err != nil {
		return err
	}
	ms, err := newMembers(a.at.Members)
	if err != nil {
		return err
	}
	for _, m := range ctx.Add { // may replace one that has moved
		ms = ms.with(m.RaftID(), m)
	}
	var conf confState
	err = a.n.do(a.n.ctx, func() {
		conf = confStateOf(a.n.raft.rn.ApplyConfChange(cc))
		for id := range ms {
			if !conf.has(id) {
				ms = ms.without(id)
			}
		}
		for id, m := range a.n.raft.known {
			if ms[id] == m {
				delete(a.n.raft.known, id)
			}
		}
		a.n.raft.members, a.n.raft.conf = ms, conf
		a.n.forgetSenders()
		a.n.publishView()
	})
	if err != nil {
		return err
	}
	a.at.Index, a.at.Term = e.GetIndex(), e.GetTerm()
	a.at.Conf, a.at.Members = conf, ms.list()
	a.n.cfg.Log.Info("quorum configuration", "voters", len(conf.Voters), "learners", len(conf.Learners), "joint", conf.joint())
	a.post()
	return a.checkpoint()
}

// checkpoint makes the materialised log durable, then says so in the WAL.
func (a *applier) checkpoint() error {
	if err := a.ml.log.Flush(a.at.End); err != nil {
		return err
	}
	a.dirty = 0
	return a.n.wal.saveCheckpoint(a.at)
}

// install replaces everything by a snapshot whose file is already here. The WAL
// goes first: openLog finishes the work after a crash.
func (a *applier) install(j *installJob) error {
	var c checkpoint
	if err := json.Unmarshal(j.snap.GetData(), &c); err != nil {
		return err
	}
	id := SnapshotID{c.End, c.Epoch}
	img, err := a.ml.loadImage(id)
	if err != nil {
		return err
	}
	if err := a.n.wal.saveSnapshot(c, j.hs); err != nil {
		return err
	}
	if err := a.ml.log.TruncateFullyAndStartAt(c.End); err != nil {
		return err
	}
	a.at, a.loader, a.dirty, a.snapBytes, a.aligned = c, metadata.NewLoader(img), 0, 0, true
	if err := a.ml.dropBelow(id); err != nil {
		return err
	}
	ms, err := newMembers(c.Members)
	if err != nil {
		return err
	}
	a.n.calls.put(func() {
		a.n.raft.members, a.n.raft.conf = ms, c.Conf
		a.n.publishView()
	})
	a.n.cfg.Log.Info("installed snapshot", "offset", c.End, "epoch", c.Epoch, "index", c.Index)
	a.post()
	return nil
}

// confContext travels in a ConfChange.
type confContext struct {
	Add []Member `json:"add,omitempty"`
}

func decodeConfChange(e *pb.Entry) (pb.ConfChangeI, confContext, error) {
	var ctx confContext
	var raw []byte
	var cc pb.ConfChangeI
	if e.GetType() == pb.EntryConfChange {
		c := &pb.ConfChange{}
		if err := proto.Unmarshal(e.GetData(), c); err != nil {
			return nil, ctx, err
		}
		cc, raw = c, c.GetContext()
	} else {
		c := &pb.ConfChangeV2{}
		if err := proto.Unmarshal(e.GetData(), c); err != nil {
			return nil, ctx, err
		}
		cc, raw = c, c.GetContext()
	}
	if len(raw) == 0 {
		return cc, ctx, nil
	}
	return cc, ctx, json.Unmarshal(raw, &ctx)
}
