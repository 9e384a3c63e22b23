package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// A restart point is an offset inside the active segment from which recovery may
// begin, so that it needn't read the segment from its base. It consists of files
// of Kafka's only: the segment up to it, the entries of its indexes below it, and
// the producer state at it, NNN.snapshot, which comes last. So:
//
//	the snapshot at C exists, and the recovery point is at or above C
//
// says that the indexes are durable up to C: the name is made after they were
// synced, and Flushed moves beyond a closed segment only when its indexes are
// synced. Index files of an active segment only grow. The time index
// goes first: a place without the stamps below it would lose timestamps.
//
// What a crash leaves of the entries at or above C is cut off by the next Open.
// Apache Kafka, which has snapshots inside a segment too (at its log end), reads
// the whole segment and builds its indexes again.

var errMisplaced = fmt.Errorf("the index doesn't fit the segment: %w", ErrCorrupt)

// resumeAt is where recovery begins in a segment; zero: at its base.
type resumeAt struct {
	at  model.Offset
	pos int64
}

// RestartPoint makes everything below at durable, and with it what lets recovery
// begin there. at is the log end as of now or a moment ago, producers the
// encoded producer state at it. Appends go on meanwhile. If the log was cut or
// compacted meanwhile, or a segment was closed, nothing but a flush may have
// happened, which is no error. Errors as for Flush.
func (l *Log) RestartPoint(at model.Offset, producers []byte) error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	r := restarting{l: l, at: at, producers: producers}
	err := r.begin()
	if r.s == nil || err != nil {
		return err
	}
	if _, err = l.syncSegments(r.view, r.from, at, r.end); err == nil {
		err = r.save()
	}
	if err == nil {
		err = r.sync()
	}
	return r.finish(err)
}

// restarting is the state of RestartPoint. Truncations may run between its steps.
type restarting struct {
	l         *Log
	at        model.Offset
	producers []byte

	view      []*segment
	from, end model.Offset
	s         *segment // the active one; nil: nothing to do
	pos       int64    // of at
	cuts      uint64
	dirty     bool
	saved     bool // the snapshot is written
}

// begin writes the time index.
func (r *restarting) begin() error {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	s := l.active()
	s.asked = false
	r.view, r.from, r.end, r.cuts = l.segments(), l.Flushed(), l.End(), l.cuts.Load()
	if r.at <= s.restart || r.at > r.end {
		return nil
	}
	r.s, r.pos = s, s.size()
	if r.at < r.end {
		r.pos = s.estimate(r.at)
	}
	l.mu.flushCap = r.at
	r.dirty, l.mu.dirDirty = l.mu.dirDirty, false
	v := s.mem.Load().stamps.view()
	rel := int64(r.at - s.base)
	n := sort.Search(len(v), func(i int) bool { return v[i].rel >= rel })
	return l.fail(s.saveStamps(v[:max(n, s.savedStamps)]))
}

// save writes the offset index, whose stamps are durable by now, and the
// producers' state.
func (r *restarting) save() error {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if l.cuts.Load() != r.cuts {
		return nil
	}
	if x := r.s.mem.Load(); x != nil { // nil: closed, it has its files
		v := x.places.view()
		rel := int64(r.at - r.s.base)
		n := sort.Search(len(v), func(i int) bool { return v[i].rel() >= rel })
		if err := r.s.savePlaces(v[:max(n, r.s.savedPlaces)]); err != nil {
			return err
		}
	}
	r.saved = true
	return nil
}

// sync makes the indexes durable, and then the snapshot.
func (r *restarting) sync() error {
	if err := r.s.syncIndexes(); err != nil && !gone(r.s, err) {
		return err
	}
	if err := r.snapshot(); err != nil || !r.saved {
		return err
	}
	err := syncFile(r.l.fs, r.l.path(r.at, snapshotSuffix))
	if errors.Is(err, fs.ErrNotExist) && r.l.cuts.Load() != r.cuts {
		err = nil
	}
	if err == nil {
		err = ioError(r.l.fs.SyncDir(r.l.Dir()))
	}
	return err
}

func (r *restarting) snapshot() error {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cuts.Load() != r.cuts || r.producers == nil {
		r.saved = false
		return nil
	}
	if err := l.writable(); err != nil {
		return err
	}
	return l.writeSnapshot(r.at, r.producers)
}

// finish moves Flushed, as far as no truncation came in between.
func (r *restarting) finish(err error) error {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range r.view { // sealed since it was synced
		if err == nil {
			if err = s.syncIndexes(); err != nil && gone(s, err) {
				err = nil
			}
		}
	}
	if err == nil {
		err = l.epochs.save(l.fs, l.Dir())
	}
	if err != nil {
		l.mu.dirDirty = true
		return l.fail(err)
	}
	l.mu.dirDirty = l.mu.dirDirty || (r.dirty && !r.saved)
	l.flushed.Store(max(l.flushed.Load(), int64(min(r.at, l.mu.flushCap))))
	if r.saved && l.cuts.Load() == r.cuts {
		r.s.restart = r.at
		r.s.restartPos.Store(r.pos)
		l.mu.restarts = append(l.mu.restarts, r.at)
	}
	return nil
}

// Unmarked is how many bytes of the active segment lie behind the last restart
// point. Safe for concurrent use.
func (l *Log) Unmarked() int64 {
	s := l.active()
	return s.size() - s.restartPos.Load()
}

// Checkpointed says that the recovery-point-offset-checkpoint has the given
// value durably: older restart points are of no use any more.
func (l *Log) Checkpointed(point model.Offset) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := -1
	for i, at := range l.mu.restarts {
		if at <= point {
			last = i
		}
	}
	if last <= 0 || l.closed.Load() {
		return nil
	}
	v := l.segments()
	for _, at := range l.mu.restarts[:last] {
		if i := floorSegment(v, at); i >= 0 && v[i].base == at {
			continue // a segment begins there
		}
		if err := removeIfThere(l.fs, l.path(at, snapshotSuffix)); err != nil {
			return l.fail(err)
		}
	}
	l.mu.restarts = slices.Clone(l.mu.restarts[last:])
	return nil
}

// resume prepares a segment for a scan from its last restart point, if it has
// one at or below the recovery point and all that it needs is in order; else
// the scan begins at its base.
func (ld *loader) resume(s *segment) (resumeAt, error) {
	begin := resumeAt{at: s.base}
	if ld.o.ProducerSnapshot == nil || ld.rebuild {
		return begin, nil
	}
	at, _, ok := ld.LatestProducerSnapshot(ld.point)
	if !ok || at <= s.base {
		return begin, nil
	}
	r, err := ld.loadUpTo(s, at)
	if errors.Is(err, ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
		ld.o.Log.Info("the whole segment is read", "dir", ld.Dir(), "offset", s.base, "restart", at, "reason", err)
		return begin, nil
	}
	if err != nil {
		return begin, ioError(err)
	}
	return r, nil
}

// loadUpTo takes the indexes of s below a restart point from their files, and
// cuts the rest off. ErrCorrupt if they don't fit the segment.
func (ld *loader) loadUpTo(s *segment, at model.Offset) (resumeAt, error) {
	h, err := s.file()
	if err != nil {
		return resumeAt{}, err
	}
	defer h.release()
	x, err := ld.indexBelow(s, at)
	if err != nil {
		return resumeAt{}, err
	}
	size := s.size()
	s.mem.Store(x)
	s.savedPlaces, s.savedStamps = len(x.places.view()), len(x.stamps.view())
	pos, err := s.walkTo(h.f, at)
	if err == nil {
		err = ld.cutIndexes(s, at)
	}
	if err != nil {
		s.mem.Store(nil)
		s.savedPlaces, s.savedStamps = 0, 0
		return resumeAt{}, err
	}
	s.setTail(int64(at-s.base), size)
	s.restart = at
	s.restartPos.Store(pos)
	return resumeAt{at, pos}, nil
}

// indexBelow reads the entries of the index files for batches below at.
func (ld *loader) indexBelow(s *segment, at model.Offset) (*memIndex, error) {
	places, err := vfs.ReadFile(ld.fs, ld.path(s.base, indexSuffix))
	if err != nil {
		return nil, err
	}
	stamps, err := vfs.ReadFile(ld.fs, ld.path(s.base, timeSuffix))
	if err != nil {
		return nil, err
	}
	rel := int64(at - s.base)
	x := &memIndex{}
	p := leadingPlaces(places, s.size())
	n := sort.Search(len(p), func(i int) bool { return p[i].rel() >= rel })
	t := leadingStamps(stamps)
	m := sort.Search(len(t), func(i int) bool { return t[i].rel >= rel })
	// What follows the last entry below at is of no use, but if it isn't an entry
	// either, it may have been one below at.
	if (n == len(p) && n*indexEntrySize < len(places)) || (m == len(t) && m*timeEntrySize < len(stamps)) {
		return nil, errMisplaced
	}
	for _, e := range p[:n] {
		x.places.add(e)
	}
	for _, e := range t[:m] {
		x.addStamp(e)
	}
	return x, nil
}

// walkTo reads the headers between the last index entry and at, and returns
// the position of at. Nothing else of the batches is looked at: they are below
// the recovery point.
func (s *segment) walkTo(f vfs.File, at model.Offset) (int64, error) {
	x := s.mem.Load()
	var scan headerScan
	scan.aim(f, s.size(), s.base)
	defer scan.close()
	pos, next := int64(0), s.base
	s.maxSeen = stamp{ts: -1}
	if v := x.stamps.view(); len(v) > 0 {
		s.maxSeen = v[len(v)-1]
	}
	if v := x.places.view(); len(v) > 0 {
		last := v[len(v)-1]
		if b, _, err := scan.header(last.pos()); err != nil {
			return 0, err
		} else if int64(b.LastOffset()-s.base) != last.rel() {
			return 0, errMisplaced
		}
		pos = last.pos()
	}
	x.since = 0
	for next < at {
		b, end, err := scan.header(pos)
		if err != nil {
			return 0, err
		}
		if b.BaseOffset() < next || b.LastOffset() >= at {
			return 0, errMisplaced
		}
		x.since += end - pos
		if b.MaxTimestamp() > s.maxSeen.ts {
			s.maxSeen = stamp{b.MaxTimestamp(), int64(b.LastOffset() - s.base)}
		}
		pos, next = end, b.NextOffset()
	}
	return pos, s.readFirstTS(&scan)
}

// cutIndexes removes from the files what lies at or above a restart point.
func (ld *loader) cutIndexes(s *segment, at model.Offset) error {
	for _, f := range []struct {
		suffix string
		size   int64
	}{{indexSuffix, int64(s.savedPlaces) * indexEntrySize}, {timeSuffix, int64(s.savedStamps) * timeEntrySize}} {
		if ld.sizes[segmentFile(s.base, f.suffix)] == f.size {
			continue
		}
		if err := cutFileTo(ld.fs, ld.path(s.base, f.suffix), f.size, true); err != nil {
			return err
		}
		s.indexVersion.Add(1)
	}
	if !s.aborted.Load() {
		return nil
	}
	name := ld.path(s.base, txnSuffix)
	p, err := vfs.ReadFile(ld.fs, name)
	if err != nil {
		return err
	}
	keep, err := abortedBelow(p, s.base, at)
	if err != nil {
		return err
	}
	s.aborted.Store(keep > 0)
	if size := int64(keep) * txnEntrySize; size < int64(len(p)) {
		return cutFileTo(ld.fs, name, size, true)
	}
	return nil
}

// abortedBelow counts the entries of a transaction index for markers in
// [base, at). As for the other indexes, what follows them must be an entry too.
func abortedBelow(p []byte, base, at model.Offset) (n int, err error) {
	for next := base; len(p) > 0; p = p[txnEntrySize:] {
		if len(p) < txnEntrySize {
			return 0, errMisplaced
		}
		t, err := parseAborted(p[:txnEntrySize])
		if err != nil || t[0].Last < next || t[0].First >= t[0].Last {
			return 0, errMisplaced
		}
		if t[0].Last >= at {
			break
		}
		n, next = n+1, t[0].Last+1
	}
	return n, nil
}

func cutFileTo(fsys vfs.FS, name string, size int64, sync bool) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
