package broker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"tidemark/internal/commitlog"
	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/vfs"
)

// Names of the files in the root of a log dir.
const (
	highWatermarksName = "replication-offset-checkpoint"
	recoveryPointsName = "recovery-point-offset-checkpoint"
	logStartsName      = "log-start-offset-checkpoint"
)

// logDir is one log directory.
type logDir struct {
	Dir
	fs        vfs.FS
	lock      io.Closer
	clean     bool              // the last life closed every log in it
	lastEpoch model.BrokerEpoch // of that life
	space     *space            // what is left for records
	offline   atomic.Bool
	why       error // of offline; set before it

	// What the checkpoints said at start.
	highWatermarks, recoveryPoints, logStarts, cleanOffsets map[model.TopicPartition]model.Offset
	swept                                                   bool // the files speak of no other replicas any more

	writing sync.Mutex // one writer of checkpoints at a time
	flushes *flushQueue
	retime  chan struct{} // flush.ms changed somewhere; holds at most one
	moved   chan struct{} // restart points were made; holds at most one
	doomed  doomed
	left    unread // to load after the start
}

// openDir locks a directory and takes its marker away (invariant 5). Only a
// directory that somebody else uses is an error; one that fails is offline.
func openDir(fsys vfs.FS, d Dir) (*logDir, error) {
	ld := &logDir{Dir: d, fs: fsys, lastEpoch: model.NoBrokerEpoch,
		flushes: newFlushQueue(), retime: make(chan struct{}, 1), moved: make(chan struct{}, 1), doomed: doomed{added: make(chan struct{}, 1)}}
	err := makeDir(fsys, d.Path)
	if err == nil {
		ld.lock, err = fsys.Lock(path.Join(d.Path, commitlog.LockName))
		if errors.Is(err, vfs.ErrLocked) {
			return nil, fmt.Errorf("log directory %s is in use by another process: %w", d.Path, err)
		}
	}
	if err == nil {
		ld.lastEpoch, ld.clean, err = commitlog.ReadCleanShutdown(fsys, d.Path)
	}
	for _, c := range []struct {
		name string
		into *map[model.TopicPartition]model.Offset
	}{
		{highWatermarksName, &ld.highWatermarks}, {recoveryPointsName, &ld.recoveryPoints}, {logStartsName, &ld.logStarts},
	} {
		if err == nil {
			*c.into, err = commitlog.ReadCheckpoint(fsys, path.Join(d.Path, c.name))
		}
	}
	if err != nil {
		ld.why = err
		ld.offline.Store(true)
		return ld, nil
	}
	ld.readCleanOffsets()
	return ld, nil
}

// makeDir makes a log directory that isn't there, durably.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(dir))
}

func (b *Broker) closeDirs() {
	for _, d := range b.dirs {
		if d.lock != nil {
			_ = d.lock.Close() // the process ends, and with it the lock
		}
	}
}

func (b *Broker) liveDirs() (n int) {
	for _, d := range b.dirs {
		if !d.offline.Load() {
			n++
		}
	}
	return n
}

func (b *Broker) isOfflineDir(id model.DirectoryID) bool {
	return slices.ContainsFunc(b.dirs, func(d *logDir) bool { return d.ID == id && d.offline.Load() })
}

// Failed takes the directory of p offline (partition.Storage).
func (b *Broker) Failed(p *partition.Partition, err error) {
	if d := b.dirOf(p); d != nil {
		b.failDir(d, err)
	}
}

// failDir takes a directory offline once. Its replicas follow on a goroutine of
// their own, since whoever meets the error may hold locks; there is at most one
// per directory.
func (b *Broker) failDir(d *logDir, err error) {
	d.writing.Lock()
	if d.offline.Load() {
		d.writing.Unlock()
		return
	}
	d.why = err
	d.offline.Store(true)
	d.writing.Unlock()
	e := journal.New(journal.DirOffline)
	e.Dir, e.Detail = d.Path, err.Error()
	b.cfg.Events.Emit(e)
	b.tasks.Go(func() {
		var tps []model.TopicPartition
		for _, h := range b.set.Load().sorted {
			if h.dir == d {
				h.p.Offline(err)
				perform(h.p)
				tps = append(tps, h.p.TP())
			}
		}
		b.cfg.Fetchers.Remove(tps)
		if b.cfg.DirFailed != nil {
			b.cfg.DirFailed(d.ID, b.liveDirs())
		}
	})
}

// strayDir is a replica's directory that the metadata doesn't know.
type strayDir struct {
	dir *logDir
	tp  model.TopicPartition
}

// progress counts the logs that are being loaded.
type progress struct {
	total, done atomic.Int64
	mu          sync.Mutex // of apply.hosted and apply.stray while directories load in parallel
}

// Loading is how many logs are loaded, of how many at start.
func (b *Broker) Loading() (done, total int) {
	return int(b.loads.done.Load()), int(b.loads.total.Load())
}

// load opens the replicas that img gives to this broker, all directories in
// parallel, each with RecoveryThreads. The caller holds apply.
func (b *Broker) load(img *metadata.Image) {
	var wg sync.WaitGroup
	for _, d := range b.dirs {
		if d.offline.Load() {
			e := journal.New(journal.DirOffline)
			e.Dir, e.Detail = d.Path, d.why.Error()
			b.cfg.Events.Emit(e)
			continue
		}
		wg.Go(func() { b.loadDir(d, img) })
	}
	wg.Wait()
	b.publish()
	for _, h := range b.set.Load().sorted {
		if h.dir.offline.Load() { // it failed half-way
			h.p.Offline(h.dir.why)
			perform(h.p)
		}
	}
}

func (b *Broker) loadDir(d *logDir, img *metadata.Image) {
	entries, err := d.fs.List(d.Path)
	if err != nil {
		b.failDir(d, err)
		return
	}
	var tps []model.TopicPartition
	for _, e := range entries {
		tp, kind, ok := commitlog.ParsePartitionDir(e.Name)
		switch {
		case !ok || !e.IsDir || tp.Topic == model.MetadataTopic: // lost+found and the like are not ours
		case kind == commitlog.DirPartition:
			tps = append(tps, tp)
		case kind == commitlog.DirDeleted:
			d.doomed.add(path.Join(d.Path, e.Name), b.cfg.Now())
		}
	}
	b.loads.total.Add(int64(len(tps)))
	d.left.logs.Add(int64(len(tps)))
	work := make(chan model.TopicPartition)
	var wg sync.WaitGroup
	for range b.settings(img).recoveryThreads {
		wg.Go(func() {
			for tp := range work {
				h, err := b.loadReplica(d, tp, img)
				b.loads.done.Add(1)
				d.left.logs.Add(-1)
				b.keep(d, tp, h, err)
			}
		})
	}
	for _, tp := range tps {
		work <- tp
	}
	close(work)
	wg.Wait()
}

var errStray = errors.New("stray replica")

func (b *Broker) keep(d *logDir, tp model.TopicPartition, h *hosted, err error) {
	b.loads.mu.Lock()
	defer b.loads.mu.Unlock()
	switch {
	case errors.Is(err, errStray):
		b.apply.stray = append(b.apply.stray, strayDir{d, tp})
	case err != nil:
		b.failDir(d, fmt.Errorf("load %s: %w", tp, err))
	case b.apply.hosted[tp] != nil:
		// The same replica in two directories, as a broken move leaves behind: the
		// first one stays.
		_ = h.p.Close(false)
		b.apply.stray = append(b.apply.stray, strayDir{d, tp})
	default:
		b.apply.hosted[tp] = h
	}
}

// loadReplica opens an existing directory if the metadata says that it belongs
// to this broker.
func (b *Broker) loadReplica(d *logDir, tp model.TopicPartition, img *metadata.Image) (*hosted, error) {
	id, ok, err := commitlog.ReadPartitionMetadata(d.fs, path.Join(d.Path, tp.String()))
	if err != nil && !errors.Is(err, commitlog.ErrCorrupt) {
		return nil, err
	}
	t, mp, known := img.Partition(tp)
	if err != nil || !ok || !known || t.ID != id || !slices.Contains(mp.Replicas, b.cfg.Self) {
		return nil, errStray
	}
	return b.openReplica(d, tp, id, mp, img)
}

// openReplica opens the replica's log, or makes it.
func (b *Broker) openReplica(d *logDir, tp model.TopicPartition, id model.TopicID, mp *metadata.Partition,
	img *metadata.Image) (*hosted, error) {
	c := b.resolve(img, tp)
	promised := d.highWatermarks[tp]
	var opened atomic.Pointer[partition.Partition] // nothing is appended before it is set
	r := recovery{of: &d.left}
	defer r.end()
	p, err := partition.Open(partition.Options{
		TP: tp, TopicID: id, Self: b.cfg.Self, Settings: c.settings,
		LogOptions: commitlog.Options{
			FS: d.fs, Dir: path.Join(d.Path, tp.String()), Config: c.log, LogStart: d.logStarts[tp],
			RecoveryPoint: d.recoveryPoints[tp], Cleaned: d.cleanOffsets[tp], Clean: d.clean, Now: b.cfg.Now, Log: b.cfg.Log,
			OnReadError: func(err error) { b.failDir(d, err) }, OnSegmentRecovered: r.progress,
			RestartBytes: b.cfg.RestartBytes, OnDirty: func() { d.flushes.mark(opened.Load()) },
			Removing: func(r commitlog.Removal) { b.recovering(tp, id, promised, r) },
		},
		HighWatermark: promised, Now: b.cfg.Now, Brokers: b, Sender: b, Storage: b, Keeper: b, Space: d.space, Quota: b.leaderQuota,
		Acks: b.cfg.Acks, Journal: b.cfg.Events, Logger: b.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	opened.Store(p)
	h := &hosted{p: p, dir: d, unsafe: c.unclean, leads: model.NoLeaderEpoch}
	h.owed.Store(int64(model.NoOffset))
	found := p.Log().Findings()
	if len(found.Suspects) > 0 { // the lowest: a repair fetches all behind it, too
		b.repairs.mistrust(h, found.Suspects[0])
	}
	promised = max(promised, found.Owed) // what was on disk may have been committed
	if end := p.LogEnd(); end < promised {
		b.lost(h, promised, end, mp)
	}
	return h, nil
}

// createReplica makes a new, empty replica in d.
func (b *Broker) createReplica(d *logDir, tp model.TopicPartition, id model.TopicID, mp *metadata.Partition,
	img *metadata.Image) (*hosted, error) {
	dir := path.Join(d.Path, tp.String())
	b.forgetOld(d, tp)
	if err := d.fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	if err := commitlog.WritePartitionMetadata(d.fs, dir, id); err != nil {
		return nil, err
	}
	if err := d.fs.SyncDir(d.Path); err != nil {
		return nil, err
	}
	return b.openReplica(d, tp, id, mp, img)
}

// pick chooses the directory of a new replica: the one that the metadata
// names, else the online one with the fewest replicas. Nil: nowhere.
func (b *Broker) pick(named model.DirectoryID) *logDir {
	offline := false
	for _, d := range b.dirs {
		if off := d.offline.Load(); d.ID == named && !off {
			return d
		} else if off {
			offline = true
		}
	}
	if !named.IsReserved() && offline {
		return nil // it may be on the one that failed // invariant 4
	}
	count := make(map[*logDir]int)
	for _, h := range b.apply.hosted {
		count[h.dir]++
	}
	var best *logDir
	for _, d := range b.dirs {
		if !d.offline.Load() && (best == nil || count[d] < count[best]) {
			best = d
		}
	}
	return best
}

// rename moves a replica's directory aside under a new name of the given kind.
func (d *logDir) rename(tp model.TopicPartition, kind commitlog.DirKind) (string, error) {
	var id model.UUID
	_, _ = rand.Read(id[:]) // never fails
	to := path.Join(d.Path, commitlog.PartitionDirName(tp, kind, id))
	if err := d.fs.Rename(path.Join(d.Path, tp.String()), to); err != nil {
		return "", err
	}
	return to, d.fs.SyncDir(d.Path)
}

func writeMarker(d *logDir, epoch model.BrokerEpoch) error {
	return commitlog.WriteCleanShutdown(d.fs, d.Path, epoch)
}
