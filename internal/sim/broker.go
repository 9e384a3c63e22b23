package sim

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/vfs"
)

func dur(ns int64) time.Duration { return time.Duration(ns) }

const (
	logDir      = "/data"
	openFileMax = 64
)

// broker is one broker node: real partitions over a disk that can lose power.
type broker struct {
	node
	w  *World
	fs *vfs.Mem // what the disk holds
	io vfs.FS   // the same, as far as it works

	// On disk, or as good as.
	dir      model.DirectoryID
	observed strictObserver // its quorum-state
	disk     disk
	lossy    bool // lost data since it was last registered: no complete candidate

	// Of one process life.
	incarnation model.UUID
	epoch       model.BrokerEpoch
	previous    model.BrokerEpoch // of a clean shutdown
	clean       bool
	marks       map[model.TopicPartition]model.Offset // checkpointed high watermarks
	starts      map[model.TopicPartition]model.Offset // and log starts
	points      map[model.TopicPartition]model.Offset // and recovery points
	strict      *strictObserver
	loader      *metadata.Loader
	img         *metadata.Image // published: what roles are made from
	published   bool
	recovering  bool // it has not opened its logs yet
	fenced      bool
	stopping    bool
	asksMeta    int // controller asked last
	asksCtl     int
	hosted      []*hosted // by topic and partition
	loops       map[int]*fetchLoop
	sessions    map[int]*leaderSession
	lastSession int
	parked      []*parkedFetch
	alters      alterQueue
	purgatory   *purgatory.Purgatory
	files       *commitlog.Files
	isTouched   bool
	flushed     map[part]model.Offset // when it died
	lastEnds    map[part]model.Offset // log ends when it died
}

func newBroker(w *World, id int) *broker {
	b := &broker{
		node: node{id: id, name: fmt.Sprintf("b%d", id)}, w: w, fs: vfs.NewMem(), dir: w.newID(),
		previous: model.NoBrokerEpoch, purgatory: purgatory.New(1 << 20), lastEnds: map[part]model.Offset{},
		flushed: map[part]model.Offset{},
	}
	b.observed.self, b.disk.w = id, w
	b.skew = w.rng.Int64N(2*w.cfg.Skew+1) - w.cfg.Skew
	return b
}

// start begins a process life: read what the disk says, then look for the
// controller.
func (b *broker) start() {
	w := b.w
	b.up, b.life = true, b.life+1
	b.incarnation, b.epoch = w.newID(), model.NoBrokerEpoch
	b.io, b.disk.failed = vfs.NewFaulty(b.fs, b.disk.inject), nil
	b.files = commitlog.NewFiles(openFileMax)
	b.hosted, b.loops, b.sessions, b.parked = nil, map[int]*fetchLoop{}, map[int]*leaderSession{}, nil
	b.published, b.fenced, b.stopping, b.img = false, true, false, metadata.Empty()
	b.alters = alterQueue{b: b}
	b.recovering = true
	b.readDisk()

	o := b.observed // a new life forgets the high watermark
	b.strict = &o
	b.strict.fail = w.fail
	b.strict.hw, b.strict.known = 0, false
	if b.loader == nil || w.chance(30) { // its metadata log is gone, or it kept it
		b.loader = metadata.NewLoader(metadata.Empty())
		b.strict.end, b.strict.last = 0, 0
	}
	w.logf(&b.node, "starts, previous epoch %d", b.previous)
	b.asksMeta, b.asksCtl = w.rng.IntN(controllers), w.rng.IntN(controllers)
	w.after(w.upTo(20*ms), &b.node, "observe", b.observe)
	w.after(w.upTo(20*ms), &b.node, "register", b.register)
	w.every(second, &b.node, "checkpoint", b.checkpoint)
	w.every(w.cfg.LagMax/2, &b.node, "tick", b.tick)
}

func (b *broker) readDisk() {
	b.trouble("make directory", b.io.MkdirAll(logDir))
	b.trouble("make directory", b.io.SyncDir("/"))
	var err error
	b.previous, b.clean, err = commitlog.ReadCleanShutdown(b.io, logDir)
	b.trouble("clean shutdown", err)
	read := func(name string) map[model.TopicPartition]model.Offset {
		m, err := commitlog.ReadCheckpoint(b.io, logDir+"/"+name)
		b.trouble(name, err)
		return m
	}
	b.marks = read(commitlog.HighWatermarkCheckpoint)
	b.starts = read(commitlog.LogStartCheckpoint)
	b.points = read(commitlog.RecoveryPointCheckpoint)
}

// die ends the process; what of the unsynced bytes survives is in percent.
func (b *broker) die(percent int) {
	if !b.up {
		return
	}
	b.w.logf(&b.node, "dies, %d%% of what is unsynced survives", percent)
	b.observed = *b.strict
	for _, h := range b.hosted {
		b.flushed[h.part] = h.p.Log().Flushed()
		b.lastEnds[h.part] = h.p.Log().End()
		if b.w.cfg.FlushOnAck && percent < 100 {
			b.lastEnds[h.part] = max(h.p.Log().Flushed(), h.kept)
		}
	}
	if percent < 100 { // the machine has lost its memory, not only a process its life
		b.fs = b.fs.CrashClone(percent, b.w.rng.Uint64())
	}
	b.end()
	if b.w.cfg.Hints && !b.w.chance(20) {
		id := model.BrokerID(b.id)
		b.w.after(50*ms+b.w.upTo(100*ms), nil, "hint", func() {
			if l := b.w.quorum.leader; l != nil && l.up && !l.paused && !b.up && !b.w.net.isCut(&l.node, &b.node) {
				l.hint(id)
			}
		})
	}
}

func (b *broker) end() {
	b.stop()
	b.hosted, b.parked, b.loops, b.sessions = nil, nil, nil, nil
}

// shutdown leaves as an operator asks for: leadership first, then the logs.
func (b *broker) shutdown() {
	if b.up && b.published {
		b.w.logf(&b.node, "asked to stop")
		b.stopping = true
	}
}

// closeCleanly ends the process after a controlled shutdown.
func (b *broker) closeCleanly() {
	b.w.logf(&b.node, "stops cleanly")
	b.checkpoint()
	for _, h := range b.hosted {
		b.flushed[h.part] = h.p.Log().Flushed()
		b.lastEnds[h.part] = h.p.Log().End()
		if b.trouble("close", h.p.Close(true)) {
			return
		}
	}
	b.checkpoint()
	if b.disk.failed != nil || b.trouble("clean shutdown", commitlog.WriteCleanShutdown(b.io, logDir, b.epoch)) {
		return
	}
	b.observed = *b.strict
	b.end()
	b.w.after(b.w.upTo(2*second), nil, "restart", func() { b.restart() })
}

func (b *broker) restart() {
	if !b.up {
		b.start()
	}
}

// wipe replaces the disk of a dead broker.
func (b *broker) wipe() {
	b.w.logf(&b.node, "gets an empty disk")
	b.fs, b.dir = vfs.NewMem(), b.w.newID()
	b.loader = nil
	clear(b.lastEnds)
	clear(b.flushed)
}

// checkpoint writes what Kafka's log directory checkpoints hold.
func (b *broker) checkpoint() {
	hws, starts, points := b.offsets()
	for _, f := range []struct {
		name string
		m    map[model.TopicPartition]model.Offset
	}{
		{commitlog.HighWatermarkCheckpoint, hws}, {commitlog.LogStartCheckpoint, starts},
		{commitlog.RecoveryPointCheckpoint, points},
	} {
		if b.trouble(f.name, commitlog.WriteCheckpoint(b.io, logDir+"/"+f.name, f.m)) {
			return
		}
	}
	for _, h := range b.hosted {
		if _, err := h.p.Log().RemoveDeleted(b.time()); !errors.Is(err, commitlog.ErrClosed) {
			b.trouble("remove deleted files", err)
		}
	}
}

func (b *broker) offsets() (hws, starts, points map[model.TopicPartition]model.Offset) {
	hws, starts, points = map[model.TopicPartition]model.Offset{}, map[model.TopicPartition]model.Offset{},
		map[model.TopicPartition]model.Offset{}
	if b.recovering { // of what isn't opened yet, what the files say stays true
		maps.Copy(hws, b.marks)
		maps.Copy(starts, b.starts)
		maps.Copy(points, b.points)
	}
	for _, h := range b.hosted {
		hws[h.tp], starts[h.tp], points[h.tp] = h.p.HighWatermark(), h.p.LogStart(), h.p.Log().Flushed()
	}
	return hws, starts, points
}

func (b *broker) time() time.Time { return b.w.time(&b.node) }

// tick looks for followers that lag.
func (b *broker) tick() {
	for _, h := range b.hosted {
		h.p.Tick()
		b.perform(h)
	}
}

// BrokerStatus implements replica.Brokers.
func (b *broker) BrokerStatus(id model.BrokerID) replica.BrokerStatus {
	s := replica.BrokerStatus{Epoch: model.NoBrokerEpoch, Eligible: b.img.IsActive(id)}
	if reg := b.img.Brokers[id]; reg != nil {
		s.Epoch = reg.Epoch
	}
	return s
}

// observe fetches the metadata log, for ever.
func (b *broker) observe() {
	w := b.w
	c := w.quorum.ctls[b.asksMeta]
	f := &metadataFetch{offset: b.strict.end}
	w.call(&b.node, &c.node, toMetadata, "metadata fetch", w.cfg.Timeout+w.cfg.FetchWait,
		func(reply func(any)) { f.reply = reply; c.fetch(f) },
		func(resp any, err error) {
			wait := int64(0)
			if a, ok := resp.(metadataAnswer); ok && err == nil {
				wait = b.learn(a)
			} else {
				b.asksMeta, wait = w.rng.IntN(controllers), 50*ms
			}
			w.after(wait, &b.node, "observe", b.observe)
		})
}

// learn takes an answer and returns how long to wait with the next fetch.
func (b *broker) learn(a metadataAnswer) int64 {
	w := b.w
	if a.epoch < b.strict.epoch {
		b.asksMeta = w.rng.IntN(controllers)
		return 50 * ms
	}
	b.strict.view(a.epoch, a.leader)
	if !a.leads {
		b.asksMeta = w.rng.IntN(controllers)
		if a.leader != 0 {
			b.asksMeta = a.leader - 101
		}
		return 20*ms + w.upTo(50*ms)
	}
	b.asksCtl = b.asksMeta
	if a.snapshot != nil {
		b.loadSnapshot(a.snapshot)
		return 0
	}
	batches := make([]record.Batch, 0, len(a.entries))
	for _, e := range a.entries {
		b.strict.batch(e.batch, a.epoch)
		batches = append(batches, e.batch)
	}
	ups, err := b.loader.Load(batches...) // one step, however many batches
	if err != nil {
		w.fail("%s: %v", b.name, err)
	}
	if w.err == nil && len(ups) > 0 {
		w.check.prefix(b, b.loader.Image(), false)
	}
	if b.published && w.err == nil {
		for _, u := range ups {
			b.apply(u.Image, u.Delta)
		}
	}
	b.strict.highWatermark(a.hw)
	b.maybePublish()
	return 0
}

func (b *broker) loadSnapshot(s *snapshot) {
	b.w.rare.hit(SnapshotInstalled)
	b.strict.snapshot(s.end, s.epoch, s.batches[0])
	img, err := metadata.ReadSnapshot(s.batches, s.end-1, s.epoch)
	if err != nil {
		b.w.fail("%s: snapshot %d: %v", b.name, s.end, err)
		return
	}
	b.w.check.prefix(b, img, true)
	old := b.loader.Image()
	b.loader = metadata.NewLoader(img)
	if b.published {
		b.apply(img, metadata.Between(old, img))
	}
}

// maybePublish takes roles for the first time once the log has been read to its
// end, and the broker's own registration in this life is part of it: before
// that, the metadata may still say what an earlier life was.
func (b *broker) maybePublish() {
	if b.published || !b.strict.known || b.strict.end < b.strict.hw || b.epoch == model.NoBrokerEpoch {
		return
	}
	img := b.loader.Image()
	if r := img.Brokers[model.BrokerID(b.id)]; r == nil || r.Epoch != b.epoch {
		return
	}
	b.applyFirst(img)
}

// askController sends a request to the active controller, or to one that may be.
func (b *broker) askController(kind string, req any, done func(resp any, err error)) {
	w := b.w
	c := w.quorum.ctls[b.asksCtl]
	type answer struct {
		resp any
		err  error
	}
	w.call(&b.node, &c.node, toController, kind, w.cfg.Timeout,
		func(reply func(any)) {
			c.submit(req, func(resp any, err error) { reply(answer{resp, err}) })
		},
		func(resp any, err error) {
			a, _ := resp.(answer)
			if err == nil {
				err = a.err
			}
			if err != nil {
				b.asksCtl = w.rng.IntN(controllers)
				if b.strict.leader != 0 && !w.chance(30) {
					b.asksCtl = b.strict.leader - 101
				}
			}
			done(a.resp, err)
		})
}

// register repeats the registration until it succeeds.
func (b *broker) register() {
	req := &controller.RegisterBroker{
		Broker: model.BrokerID(b.id), ClusterID: clusterID, Incarnation: b.incarnation,
		Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: b.name, Port: 9092}},
		Features:  controller.SupportedFeatures(), Dirs: []model.DirectoryID{b.dir}, PreviousEpoch: b.previous,
	}
	b.askController("register", req, func(resp any, err error) {
		r, ok := resp.(*controller.RegisterBrokerResponse)
		if err != nil || !ok || r.Failed() {
			if ok && r.Code == controller.DuplicateRegistration {
				b.w.rare.hit(RegistrationRefusedAsDuplicate)
			}
			b.w.after(100*ms+b.w.upTo(100*ms), &b.node, "register", b.register)
			return
		}
		b.epoch = r.Epoch
		b.w.logf(&b.node, "registered, epoch %d", b.epoch)
		b.maybePublish()
		b.heartbeat()
	})
}

// heartbeat keeps the session, for ever.
func (b *broker) heartbeat() {
	w := b.w
	req := &controller.BrokerHeartbeat{
		Broker: model.BrokerID(b.id), Epoch: b.epoch, MetadataOffset: b.loader.Image().Offset,
		WantFence: !b.published, WantShutdown: b.stopping,
	}
	if b.published {
		req.MetadataOffset = b.img.Offset
	}
	b.askController("heartbeat", req, func(resp any, err error) {
		wait := w.cfg.Heartbeat
		if r, ok := resp.(*controller.BrokerHeartbeatResponse); ok && err == nil && !r.Failed() {
			b.fenced = r.Fenced
			if r.ShouldShutdown && b.stopping {
				b.closeCleanly()
				return
			}
			b.assignDirs()
			if r.Fenced || b.stopping {
				wait = 50 * ms
			}
		} else if err != nil {
			wait = 100 * ms
		}
		w.after(wait, &b.node, "heartbeat", b.heartbeat)
	})
}

// assignDirs tells the controller in which directory the replicas are, where
// the metadata says otherwise (KIP-858).
func (b *broker) assignDirs() {
	req := &controller.AssignReplicasToDirs{Broker: model.BrokerID(b.id), Epoch: b.epoch}
	for _, h := range b.hosted {
		if _, p, ok := b.img.PartitionByID(h.key()); ok && p.Dir(req.Broker) != b.dir {
			req.Assignments = append(req.Assignments, controller.DirAssignment{
				Dir: b.dir, Partition: h.key(),
			})
		}
	}
	if len(req.Assignments) > 0 {
		b.askController("assign dirs", req, func(any, error) {})
	}
}
