package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// env is what the segments of one log share.
type env struct {
	fs    vfs.FS
	files *Files
	dir   atomic.Pointer[string]
	// readFailed is Options.OnReadError.
	readFailed func(error)
}

func (e *env) path(base model.Offset, suffix string) string {
	return segmentName(*e.dir.Load(), base, suffix)
}

func (e *env) file(name string) string { return filepath.Join(*e.dir.Load(), name) }

// errGone means that a segment left the log while a reader held an old view.
var errGone = errors.New("segment is gone")

// segment is one file of batches with its indexes. Its base never changes. The
// log's writer appends; readers follow tail. A truncation doesn't shorten a
// segment, it replaces it (invariant 3).
type segment struct {
	env     *env
	base    model.Offset
	created time.Time // of the file; rolls batches without timestamps

	// tail packs the next offset (relative to base, upper half) and the size in
	// bytes (lower half), so that readers see a pair that belongs together. The
	// offset is only kept while the segment is active.
	tail atomic.Uint64
	// mem is the index while the files don't hold it; nil when they do.
	mem atomic.Pointer[memIndex]
	// largest is the last stamp of a segment; nil if it must be read from disk.
	largest atomic.Pointer[stamp]
	marks   hints
	cut     atomic.Int64 // bytes from here on are no longer this segment's
	dead    atomic.Bool  // renamed, removed or replaced
	// indexVersion counts changes of the index files, after they are written;
	// indexSynced is the version that is durable.
	indexVersion, indexSynced atomic.Uint64
	aborted                   atomic.Bool // has a transaction index
	// abortedMem is the transaction index while its file has no final name.
	abortedMem atomic.Pointer[[]AbortedTxn]
	swap       atomic.Bool           // a compacted segment whose files end in .swap; changed under openMu
	left       atomic.Bool           // replaced by a compacted segment
	first      atomic.Pointer[int64] // of a closed segment: see firstTimestamp

	// Owned by the log's writer.
	firstTS   int64 // max timestamp of the first batch, -1 none
	firstRead bool  // firstTS is known
	allocated int64 // bytes reserved ahead
	maxSeen   stamp // largest timestamp so far; ts -1 if none; valid while active
	// savedPlaces and savedStamps are how many entries of mem, the first ones, are
	// in the index files. Guarded by Log.mu.
	savedPlaces, savedStamps int
	restart                  model.Offset // the last restart point, base if none; guarded by Log.mu
	restartPos               atomic.Int64 // where it lies in the file
	asked                    bool         // Options.OnDirty was called since; guarded by Log.mu

	openMu sync.Mutex
	open   atomic.Pointer[handle]
	used   atomic.Bool // since the last sweep of Files
	slot   int         // in Files.mu.ring, -1 none; guarded by Files.mu
}

func newSegment(e *env, base model.Offset, created time.Time) *segment {
	s := &segment{env: e, base: base, created: created, slot: -1, firstTS: -1, restart: base}
	s.cut.Store(math.MaxInt64)
	s.maxSeen.ts = -1
	return s
}

func (s *segment) size() int64 { return int64(uint32(s.tail.Load())) }

func (s *segment) setTail(rel, size int64) { s.tail.Store(uint64(placeOf(rel, size))) }

// file returns the open file with a reference that the caller releases.
func (s *segment) file() (*handle, error) {
	if h := s.open.Load(); h != nil && h.acquire() {
		if !s.used.Load() {
			s.used.Store(true)
		}
		return h, nil
	}
	s.openMu.Lock()
	defer s.openMu.Unlock()
	if h := s.open.Load(); h != nil && h.acquire() {
		return h, nil
	}
	if s.dead.Load() {
		return nil, errGone
	}
	name := s.env.path(s.base, logSuffix)
	if s.swap.Load() {
		name += swapSuffix
	}
	f, err := s.env.fs.Open(name)
	if err != nil {
		return nil, ioError(err)
	}
	h := &handle{f: f}
	h.refs.Store(2)
	s.open.Store(h)
	s.used.Store(true)
	s.env.files.add(s)
	return h, nil
}

// dropHandle gives up the owner's reference.
func (s *segment) dropHandle() {
	if h := s.open.Swap(nil); h != nil {
		h.release()
	}
}

// retire takes the segment out of use: it is never opened again. Slices that
// hold a reference can still be read.
func (s *segment) retire() {
	s.openMu.Lock()
	s.dead.Store(true)
	s.openMu.Unlock()
	s.env.files.remove(s)
}

// noteBatch updates index, hints and timestamps for a batch at pos. The
// segment's tail isn't published yet.
func (s *segment) noteBatch(b record.Batch, pos int64, interval int) {
	x := s.mem.Load()
	rel := int64(b.LastOffset() - s.base)
	if ts := b.MaxTimestamp(); ts > s.maxSeen.ts {
		s.maxSeen = stamp{ts, rel}
	}
	if !s.firstRead {
		s.firstTS, s.firstRead = b.MaxTimestamp(), true
	}
	if x.since > int64(interval) {
		x.places.add(placeOf(rel, pos))
		x.addStamp(s.maxSeen)
		x.since = 0
	}
	x.since += int64(len(b))
	s.marks.put(int64(b.BaseOffset()-s.base), pos)
}

// lookup returns a batch boundary from which a scan finds the first batch
// whose last offset is not below off.
func (s *segment) lookup(off model.Offset) (int64, error) {
	rel := int64(off - s.base)
	p, err := s.search(func(p place) bool { return p.rel() <= rel })
	return p.pos(), err
}

// search returns the last index entry that satisfies before, zero if none does.
func (s *segment) search(before func(place) bool) (place, error) {
	x := s.mem.Load()
	if x == nil {
		return searchFile(s.env.fs, s.env.path(s.base, indexSuffix), before)
	}
	v := x.places.view()
	lo, hi := 0, len(v)
	for lo < hi {
		if mid := (lo + hi) / 2; before(v[mid]) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0, nil
	}
	return v[lo-1], nil
}

// stamps returns the time index.
func (s *segment) stamps() ([]stamp, error) {
	if x := s.mem.Load(); x != nil {
		return x.stamps.view(), nil
	}
	p, err := vfs.ReadFile(s.env.fs, s.env.path(s.base, timeSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ioError(err)
	}
	return parseStamps(p)
}

// largestStamp is the largest timestamp in the segment and the last offset of
// the first batch that has it; ok is false if no batch has a timestamp.
func (s *segment) largestStamp() (stamp, bool, error) {
	if p := s.largest.Load(); p != nil {
		return *p, p.ts >= 0, nil
	}
	v, err := s.stamps()
	if err != nil {
		return stamp{}, false, err
	}
	last := stamp{ts: -1}
	if len(v) > 0 {
		last = v[len(v)-1]
	}
	if s.mem.Load() == nil { // closed: it can't change any more
		s.largest.Store(&last)
	}
	return last, last.ts >= 0, nil
}

// seal writes the index files. The final entry of the time index covers the
// whole segment.
func (s *segment) seal() error {
	x := s.mem.Load()
	if x == nil {
		return nil
	}
	x.addStamp(s.maxSeen)
	if err := s.writeIndexes(x); err != nil {
		return err
	}
	last := s.maxSeen
	s.largest.Store(&last)
	s.mem.Store(nil)
	return s.trimAllocation()
}

func (s *segment) writeIndexes(x *memIndex) error {
	if err := s.saveStamps(x.stamps.view()); err != nil {
		return err
	}
	return s.savePlaces(x.places.view())
}

// savePlaces brings the offset index up to the given entries of the heap.
func (s *segment) savePlaces(v []place) error {
	err := s.extendIndex(indexSuffix, int64(s.savedPlaces)*indexEntrySize, func(all bool) []byte {
		if all {
			return encodePlaces(v)
		}
		return encodePlaces(v[s.savedPlaces:])
	})
	if err == nil {
		s.savedPlaces = len(v)
	}
	return err
}

// saveStamps does the same for the time index.
func (s *segment) saveStamps(v []stamp) error {
	err := s.extendIndex(timeSuffix, int64(s.savedStamps)*timeEntrySize, func(all bool) []byte {
		if all {
			return encodeStamps(v)
		}
		return encodeStamps(v[s.savedStamps:])
	})
	if err == nil {
		s.savedStamps = len(v)
	}
	return err
}

// extendIndex appends to an index file of which the first size bytes are known
// to be right: they may be what a restart point relies on, and are not touched.
// A file that somebody has removed is written again.
func (s *segment) extendIndex(suffix string, size int64, entries func(all bool) []byte) error {
	defer s.indexVersion.Add(1)
	name := s.env.path(s.base, suffix)
	if size == 0 {
		return writePlain(s.env.fs, name, entries(true))
	}
	f, err := s.env.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return writePlain(s.env.fs, name, entries(true))
	}
	if err != nil {
		return ioError(err)
	}
	if p := entries(false); len(p) > 0 {
		_, err = f.WriteAt(p, size)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return ioError(err)
}

func writePlain(fsys vfs.FS, name string, p []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return ioError(err)
	}
	if len(p) > 0 {
		_, err = f.WriteAt(p, 0)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return ioError(err)
}

// syncIndexes makes the index files durable.
func (s *segment) syncIndexes() error {
	version := s.indexVersion.Load()
	if version == s.indexSynced.Load() {
		return nil
	}
	for _, suffix := range segmentSuffixes[1:] {
		if err := syncFile(s.env.fs, s.env.path(s.base, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.indexSynced.Store(version)
	return nil
}

func syncFile(fsys vfs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return ioError(err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return ioError(err)
}

// trimAllocation gives back the blocks that were reserved ahead.
func (s *segment) trimAllocation() error {
	if s.allocated <= s.size() {
		return nil
	}
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	s.allocated = 0
	return ioError(h.f.Truncate(s.size()))
}

func (s *segment) String() string { return fmt.Sprintf("segment %d", s.base) }
