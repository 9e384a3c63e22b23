package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/quorum"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// TestQuorum runs three real controllers' quorum nodes over a network that cuts
// and disks that lose what was not synced, while three strict observers read
// the metadata log. The nodes have goroutines of their own, so a seed fixes the
// faults, not the schedule: equal seeds run alike, not equally.
func TestQuorum(t *testing.T) {
	first, n := *firstFlag, max(*seedsFlag/60, 5)
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	for seed := first; seed < first+uint64(n); seed++ {
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newRaftWorld(t, seed).run() })
		})
		if !ok {
			t.Logf("go test ./internal/sim -run TestQuorum -seed=%d", seed)
		}
	}
}

// raftWorld is three voters. What is guarded by mu is used by their goroutines.
type raftWorld struct {
	t    *testing.T
	rng  *rand.Rand // of the main goroutine
	mu   sync.Mutex
	live map[model.BrokerID]*life
	cuts map[[2]model.BrokerID]bool

	disks  map[model.BrokerID]*vfs.Mem
	dirs   map[model.BrokerID]model.DirectoryID
	wiped  byte
	acked  map[model.Offset]string
	done   chan struct{}
	readBy map[int]map[model.Offset]uint32 // what each observer read, by offset
}

// life is one process life of a voter: a dead one reaches nobody.
type life struct {
	w    *raftWorld
	id   model.BrokerID
	node *quorum.Node
	dead bool
}

func newRaftWorld(t *testing.T, seed uint64) *raftWorld {
	w := &raftWorld{
		t: t, rng: rand.New(rand.NewPCG(seed, 0x51756f72)), live: map[model.BrokerID]*life{},
		cuts: map[[2]model.BrokerID]bool{}, disks: map[model.BrokerID]*vfs.Mem{},
		dirs: map[model.BrokerID]model.DirectoryID{}, acked: map[model.Offset]string{},
		done: make(chan struct{}), readBy: map[int]map[model.Offset]uint32{},
	}
	for id := model.BrokerID(1); id <= controllers; id++ {
		w.format(id)
	}
	return w
}

func raftEndpoint(id model.BrokerID) metadata.Endpoint {
	return metadata.Endpoint{Name: "CONTROLLER", Host: "sim", Port: uint16(9000 + id)}
}

// format gives a voter an empty disk, and with it a new directory id.
func (w *raftWorld) format(id model.BrokerID) {
	w.wiped++
	w.disks[id], w.dirs[id] = vfs.NewMem(), model.DirectoryID{0: 9, 14: w.wiped, 15: byte(id)}
	if err := errors.Join(w.disks[id].MkdirAll("/meta"), w.disks[id].SyncDir("/")); err != nil {
		w.t.Fatal(err)
	}
}

func (w *raftWorld) start(id model.BrokerID) {
	l := &life{w: w, id: id}
	var voters []quorum.Voter
	for v := model.BrokerID(1); v <= controllers; v++ {
		voters = append(voters, quorum.Voter{ID: v, Endpoint: raftEndpoint(v)})
	}
	cfg := quorum.Config{
		NodeID: id, DirectoryID: w.dirs[id], ClusterID: clusterID, Dir: "/meta/__cluster_metadata-0", FS: w.disks[id],
		Voters: voters, Transport: l, Endpoint: raftEndpoint(id),
		SnapshotBytes: 4 << 10, TrailingEntries: 8, CheckpointBytes: 2 << 10, RetentionBytes: 16 << 10,
	}
	cfg.LogConfig.SegmentBytes = 4 << 10
	n, err := quorum.Open(cfg)
	if err != nil {
		w.t.Fatalf("open %d: %v", id, err)
	}
	l.node = n
	w.mu.Lock()
	w.live[id] = l
	w.mu.Unlock()
	n.Start()
}

// kill takes a voter away at once: what it does from now on reaches nobody, and
// its disk is as a power loss leaves it.
func (w *raftWorld) kill(id model.BrokerID) {
	w.mu.Lock()
	l := w.live[id]
	l.dead = true
	delete(w.live, id)
	w.mu.Unlock()
	w.disks[id] = w.disks[id].CrashClone(w.rng.IntN(3)*50, w.rng.Uint64())
	for _, o := range w.nodes() {
		o.node.PeerBroken(id)
	}
	_ = l.node.Close()
}

func (w *raftWorld) nodes() (out []*life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(w.live)) {
		out = append(out, w.live[id])
	}
	return out
}

func (w *raftWorld) isolate(id model.BrokerID, both bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for o := model.BrokerID(1); o <= controllers; o++ {
		w.cuts[[2]model.BrokerID{id, o}] = true
		w.cuts[[2]model.BrokerID{o, id}] = both
	}
}

func (w *raftWorld) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cuts)
}

// reach finds a peer; cut means that nothing comes back.
func (l *life) reach(to quorum.Peer) (peer *life, cut bool) {
	id := to.Node
	if id == model.NoBroker {
		id = model.BrokerID(to.Endpoint.Port - 9000)
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.live[id], l.dead || l.w.cuts[[2]model.BrokerID{l.id, id}]
}

// Call implements quorum.Transport.
func (l *life) Call(ctx context.Context, to quorum.Peer, frame []byte) ([]byte, error) {
	peer, cut := l.reach(to)
	if cut {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if peer == nil {
		return nil, quorum.ErrRefused
	}
	<-time.After(time.Millisecond)
	out, err := peer.node.Handle(ctx, bytes.Clone(frame))
	if _, cut := peer.reach(quorum.Peer{Node: l.id}); cut {
		return nil, errTimeout
	}
	return out, err
}

// Probe implements quorum.Transport.
func (l *life) Probe(ctx context.Context, to quorum.Peer) error {
	peer, cut := l.reach(to)
	switch {
	case cut:
		<-ctx.Done()
		return ctx.Err()
	case peer == nil:
		return quorum.ErrRefused
	}
	return nil
}

func (w *raftWorld) run() {
	for id := model.BrokerID(1); id <= controllers; id++ {
		w.start(id)
	}
	var wg sync.WaitGroup
	for i := range 3 {
		seen := map[model.Offset]uint32{}
		w.readBy[i] = seen
		seed := w.rng.Uint64()
		wg.Go(func() { w.observe(100+i, seed, seen) })
	}
	for step := range 25 {
		w.t.Logf("%s step %d", time.Now().Format("05.000"), step)
		for i := range 1 + w.rng.IntN(5) {
			w.propose(fmt.Sprintf("t%d-%d", step, i))
		}
		w.strike()
	}
	w.heal()
	w.propose("last")
	<-time.After(5 * time.Second) // in the bubble: the observers catch up
	close(w.done)
	wg.Wait()
	w.compare()
	for _, l := range w.nodes() {
		_ = l.node.Close()
	}
}

// leader waits for one that serves.
func (w *raftWorld) leader() *life {
	for range 3000 {
		for _, l := range w.nodes() {
			if l.node.View().Ready {
				return l
			}
		}
		<-time.After(10 * time.Millisecond)
	}
	w.t.Fatal("no controller serves for 30 s")
	return nil
}

// propose commits a topic, on whoever leads. An answer that says so binds.
func (w *raftWorld) propose(name string) {
	l := w.leader()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	id := model.TopicID{0: 1}
	copy(id[1:], name)
	b := metadata.DataBatch([]metadata.Record{&metadata.TopicRecord{Name: name, TopicID: id}}, metadata.MaxMetadataVersion, 1)
	base, err := l.node.Propose(ctx, l.node.View().Epoch, b)
	if err == nil {
		if old, ok := w.acked[base]; ok {
			w.t.Errorf("%s and %s were both acknowledged at %d", old, name, base)
		}
		w.acked[base] = name
	}
}

func (w *raftWorld) strike() {
	id := model.BrokerID(1 + w.rng.IntN(controllers))
	if w.rng.IntN(2) == 0 {
		id = w.leader().id
	}
	what := w.rng.IntN(5)
	w.t.Logf("%s strikes %d: %s", time.Now().Format("05.000"), id, [...]string{"kill", "kill", "isolate", "wipe", "wait"}[what])
	switch what {
	case 0, 1:
		w.kill(id)
		<-time.After(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
		w.start(id)
	case 2:
		w.isolate(id, w.rng.IntN(2) == 0)
		<-time.After(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
		w.heal()
	case 3: // the other two hold everything that was committed
		<-time.After(5 * time.Second)
		w.kill(id)
		w.format(id)
		w.start(id)
		<-time.After(10 * time.Second)
	default:
		<-time.After(time.Duration(w.rng.IntN(500)) * time.Millisecond)
	}
}

// observe reads the log, from whichever node answers, until the end.
func (w *raftWorld) observe(self int, seed uint64, seen map[model.Offset]uint32) {
	o := &strictObserver{self: self, fail: w.t.Errorf}
	rng := rand.New(rand.NewPCG(seed, 1))
	for {
		select {
		case <-w.done:
			return
		case <-time.After(time.Duration(1+rng.IntN(50)) * time.Millisecond):
		}
		all := w.nodes()
		if len(all) == 0 {
			continue
		}
		l := all[rng.IntN(len(all))]
		res := l.node.Fetch(context.Background(), quorum.MetadataFetch{
			ClusterID: clusterID, Replica: model.BrokerID(self), Offset: o.end, LastEpoch: max(o.last, 0),
			CurrentEpoch: o.epoch, MaxWait: 200 * time.Millisecond,
		})
		w.take(o, l, res, seen)
		if rng.IntN(400) == 0 { // a new process life with an empty disk
			*o = strictObserver{self: self, fail: w.t.Errorf, epoch: o.epoch, leader: o.leader}
		}
	}
}

func (w *raftWorld) take(o *strictObserver, l *life, res quorum.MetadataFetchResult, seen map[model.Offset]uint32) {
	switch {
	case errors.Is(res.Err, quorum.ErrInvalidRequest):
		w.t.Errorf("observer %d: INVALID_REQUEST at %d: %v", o.self, o.end, res.Err)
		return
	case errors.Is(res.Err, quorum.ErrUnknownEpoch) || errors.Is(res.Err, quorum.ErrClosed):
		return
	}
	o.view(res.Epoch, int(max(res.Leader, 0)))
	if res.Err != nil || res.Epoch < o.epoch {
		return
	}
	switch {
	case res.Diverging != nil:
		w.dump(l.id, seen)
		w.t.Fatalf("observer %d at %d/%d, hw %d: node %d (view %+v) says diverging %+v, although only what was committed was read",
			o.self, o.end, o.last, o.hw, l.id, l.node.View(), *res.Diverging)
	case res.Snapshot != nil:
		w.install(o, l, *res.Snapshot)
	default:
		for rest := res.Records; len(rest) > 0; {
			b, more, err := record.Next(rest)
			if err != nil {
				w.t.Errorf("observer %d: %v", o.self, err)
				return
			}
			o.batch(b, res.Epoch)
			if old, ok := seen[b.BaseOffset()]; ok && old != sumOf(b) {
				w.t.Errorf("observer %d: the batch at %d has changed", o.self, b.BaseOffset())
			}
			seen[b.BaseOffset()] = sumOf(b)
			rest = more
		}
		o.highWatermark(res.HighWatermark)
	}
}

// dump logs what a voter's disk holds beside what an observer has read.
func (w *raftWorld) dump(id model.BrokerID, seen map[model.Offset]uint32) {
	fs, dir := w.disks[id], "/meta/__cluster_metadata-0"
	files, _ := fs.List(dir)
	for _, f := range files {
		p, _ := vfs.ReadFile(fs, dir+"/"+f.Name)
		w.t.Logf("node %d: %s, %d bytes", id, f.Name, len(p))
		switch {
		case strings.HasSuffix(f.Name, "leader-epoch-checkpoint"):
			w.t.Logf("%s", p)
		case strings.HasSuffix(f.Name, ".log"):
			for b, rest, err := record.Next(p); err == nil; b, rest, err = record.Next(rest) {
				sum, ok := seen[b.BaseOffset()]
				w.t.Logf("  [%d, %d) epoch %d; read %v, same %v", b.BaseOffset(), b.NextOffset(), b.LeaderEpoch(), ok, sum == sumOf(b))
			}
		}
	}
}

// install fetches a snapshot whole; if its node dies meanwhile, the next fetch
// finds another.
func (w *raftWorld) install(o *strictObserver, l *life, id quorum.SnapshotID) {
	var file []byte
	for {
		res := l.node.FetchSnapshot(quorum.SnapshotFetch{
			ClusterID: clusterID, CurrentEpoch: o.epoch, ID: id, Position: int64(len(file)), MaxBytes: 700,
		})
		if res.Err != nil {
			return
		}
		file = append(file, res.Chunk...)
		if int64(len(file)) == res.Size {
			break
		}
	}
	var batches []record.Batch
	for rest := file; len(rest) > 0; {
		b, more, err := record.Next(rest)
		if err != nil {
			w.t.Errorf("observer %d: snapshot %+v: %v", o.self, id, err)
			return
		}
		batches, rest = append(batches, b), more
	}
	if _, err := metadata.ReadSnapshot(batches, id.EndOffset-1, id.Epoch); err != nil {
		w.t.Errorf("observer %d: snapshot %+v: %v", o.self, id, err)
		return
	}
	o.snapshot(id.EndOffset, id.Epoch, batches[0])
}

// compare: all observers read the same log, and all that was acknowledged is in
// the image, once.
func (w *raftWorld) compare() {
	for i := 1; i < len(w.readBy); i++ {
		for _, at := range slices.Sorted(maps.Keys(w.readBy[i])) {
			if sum, ok := w.readBy[0][at]; ok && sum != w.readBy[i][at] {
				w.t.Errorf("observers 0 and %d read different batches at %d", i, at)
			}
		}
	}
	img := w.leader().node.Image()
	for _, at := range slices.Sorted(maps.Keys(w.acked)) {
		if img.Topics.ByName[w.acked[at]] == nil {
			w.t.Errorf("%s was acknowledged at %d and is lost", w.acked[at], at)
		}
	}
	for i := range len(w.readBy) {
		if len(w.readBy[i]) < 10 {
			w.t.Errorf("observer %d read only %d batches", i, len(w.readBy[i]))
		}
	}
	if len(w.acked) < 20 {
		w.t.Errorf("only %d proposals were acknowledged", len(w.acked))
	}
}
