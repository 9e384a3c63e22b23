package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"tidemark/internal/model"
)

// TruncateInfo describes what a truncation did.
type TruncateInfo struct {
	End     model.Offset // the log end now
	Removed int64        // offsets
	// FlushedLowered says that Flushed went down. The recovery point checkpoint
	// must be written before the next append: with the old one a crash could
	// leave unchecked bytes in front of it.
	FlushedLowered bool
	// CleanedLowered says that FirstDirty went down: write the
	// cleaner-offset-checkpoint too (KAFKA-9826).
	CleanedLowered bool
}

// TruncateTo removes every record at or above off. A batch that off splits
// goes as a whole, so End may end up below off. Epochs that begin at or after
// off are forgotten even if there was nothing to cut (KAFKA-10706). The cut is
// durable when it returns: bytes written later can't mix with old ones.
func (l *Log) TruncateTo(off model.Offset) (TruncateInfo, error) {
	l.layoutMu.Lock()
	defer l.layoutMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return TruncateInfo{}, err
	}
	if off < 0 {
		return TruncateInfo{}, fmt.Errorf("truncate to %d: %w", off, ErrOffsetOutOfRange)
	}
	info := TruncateInfo{End: l.End()}
	if off >= info.End {
		l.epochs.truncateFromEnd(off)
		return info, nil
	}
	flushed, cleaned := l.Flushed(), l.FirstDirty()
	var err error
	if off < l.segments()[0].base || off < l.Start() {
		err = l.restartAt(off)
	} else {
		err = l.cutAt(off)
	}
	if err != nil {
		return TruncateInfo{}, l.fail(err)
	}
	info.Removed = int64(info.End - l.End())
	info.End = l.End()
	info.FlushedLowered = l.Flushed() < flushed
	info.CleanedLowered = l.FirstDirty() < cleaned
	l.o.Log.Info("log truncated", "dir", l.Dir(), "offset", info.End, "asked", off, "removed", info.Removed)
	return info, nil
}

// TruncateFullyAndStartAt drops everything: the log is then empty and begins
// at off. Write the recovery point and log start checkpoints afterwards.
func (l *Log) TruncateFullyAndStartAt(off model.Offset) error {
	l.layoutMu.Lock()
	defer l.layoutMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if off < 0 {
		return fmt.Errorf("truncate fully and start at %d: %w", off, ErrOffsetOutOfRange)
	}
	l.o.Log.Info("log emptied", "dir", l.Dir(), "offset", off, "start", l.Start(), "end", l.End())
	return l.fail(l.restartAt(off))
}

// publish replaces what readers see after a truncation. Only then may files
// change: a reader that holds the old view compares cuts when it is done, and
// begins again. An odd count means that the fields don't belong together yet.
func (l *Log) publish(v []*segment, start, end model.Offset) {
	l.cuts.Add(1)
	l.end.Store(int64(end))
	l.start.Store(int64(start))
	l.setSegments(v)
	l.cuts.Add(1)
	l.flushed.Store(min(l.flushed.Load(), int64(end)))
	l.mu.flushCap = min(l.mu.flushCap, end)
	l.firstDirty.Store(min(l.firstDirty.Load(), int64(end)))
	l.mu.cleanCap = min(l.mu.cleanCap, end)
	l.mu.restarts = slices.DeleteFunc(slices.Clone(l.mu.restarts), func(at model.Offset) bool { return at > end || at <= start })
}

// restartAt replaces all segments by an empty one at off.
func (l *Log) restartAt(off model.Offset) error {
	old := l.segments()
	s := newSegment(&l.env, off, l.now())
	s.mem.Store(&memIndex{})
	l.mu.restarts = nil
	l.publish([]*segment{s}, off, off)
	l.epochs.set(nil)
	for _, d := range old {
		d.cut.Store(0)
	}
	if err := l.deleteSegments(old); err != nil {
		return err
	}
	if err := l.dropSnapshots(0, math.MaxInt64); err != nil {
		return err
	}
	if err := s.create(); err != nil {
		return err
	}
	if err := l.epochs.save(l.fs, l.Dir()); err != nil {
		return err
	}
	l.flushed.Store(int64(off)) // an empty log has nothing to flush
	return l.fs.SyncDir(l.Dir())
}

// cutAt removes whole segments from the end, makes that durable, and then cuts
// the segment that is left: a crash at any point leaves a log without a hole.
func (l *Log) cutAt(off model.Offset) error {
	v := l.segments()
	keep := floorSegment(v, off)
	s := v[keep]
	cut, err := s.findCut(off)
	if err != nil {
		return err
	}
	// The log start may lie inside the batch that went.
	cut.next = max(cut.next, l.Start())
	r, err := l.shortened(s, cut)
	if err != nil {
		return err
	}
	l.publish(append(slices.Clone(v[:keep]), r), l.Start(), cut.next)
	l.epochs.truncateFromEnd(cut.next)
	for _, d := range v[keep+1:] {
		d.cut.Store(0)
	}
	s.cut.Store(cut.pos)
	if err := l.deleteSegments(v[keep+1:]); err != nil {
		return err
	}
	if len(v) > keep+1 {
		if err := l.fs.SyncDir(l.Dir()); err != nil {
			return err
		}
	}
	s.retire()
	if err := r.cutFile(cut); err != nil {
		return err
	}
	if err := l.dropSnapshots(cut.next+1, math.MaxInt64); err != nil {
		return err
	}
	return l.epochs.save(l.fs, l.Dir())
}

// cutPoint is a batch boundary at which a segment is cut.
type cutPoint struct {
	pos  int64
	next model.Offset // log end after the cut
}

// findCut finds the first batch whose last offset isn't below off.
func (s *segment) findCut(off model.Offset) (cutPoint, error) {
	if off <= s.base { // all of it, whatever is in it
		return cutPoint{0, s.base}, nil
	}
	pos, err := s.lookup(off)
	if err != nil {
		return cutPoint{}, err
	}
	h, err := s.file()
	if err != nil {
		return cutPoint{}, err
	}
	defer h.release()
	var scan headerScan
	scan.aim(h.f, s.size(), s.base)
	defer scan.close()
	for pos < s.size() {
		b, end, err := scan.header(pos)
		if err != nil {
			return cutPoint{}, err
		}
		if b.LastOffset() >= off {
			return cutPoint{pos, max(min(off, b.BaseOffset()), s.base)}, nil
		}
		pos = end
	}
	return cutPoint{pos, off}, nil
}

// shortened returns a segment for what the cut leaves, with its index on the
// heap, ready to be appended to. It changes no file.
func (l *Log) shortened(s *segment, cut cutPoint) (*segment, error) {
	x, err := l.heapIndex(s, cut.pos)
	if err != nil {
		return nil, err
	}
	h, err := s.file()
	if err != nil {
		return nil, err
	}
	defer h.release()
	r := newSegment(&l.env, s.base, s.created)
	r.mem.Store(x)
	r.aborted.Store(s.aborted.Load())
	r.savedPlaces, r.savedStamps = len(x.places.view()), len(x.stamps.view())
	if s.mem.Load() != nil {
		r.savedPlaces, r.savedStamps = min(r.savedPlaces, s.savedPlaces), min(r.savedStamps, s.savedStamps)
	}
	r.setTail(int64(cut.next-s.base), cut.pos)
	return r, r.rescanTail(h.f)
}

// cutFile shortens the segment's files to what shortened made of them.
func (s *segment) cutFile(cut cutPoint) error {
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	if err := h.f.Truncate(cut.pos); err != nil {
		return err
	}
	if err := h.f.Sync(); err != nil {
		return err
	}
	if err := s.truncateAborted(cut.next); err != nil {
		return err
	}
	if err := s.cutIndex(indexSuffix, int64(s.savedPlaces)*indexEntrySize); err != nil {
		return err
	}
	return s.cutIndex(timeSuffix, int64(s.savedStamps)*timeEntrySize)
}

// cutIndex removes from an index file what describes cut batches. The next
// restart point, or the end of the segment, syncs it.
func (s *segment) cutIndex(suffix string, size int64) error {
	name := s.env.path(s.base, suffix)
	if size == 0 {
		return removeIfThere(s.env.fs, name)
	}
	defer s.indexVersion.Add(1)
	if err := cutFileTo(s.env.fs, name, size, false); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil // somebody has removed it; extendIndex writes all of it
}

// heapIndex returns the index entries of s for batches below pos.
func (l *Log) heapIndex(s *segment, pos int64) (*memIndex, error) {
	var places []place
	if x := s.mem.Load(); x != nil {
		places = x.places.view()
	} else {
		var err error
		if places, err = readPlaces(l.fs, l.path(s.base, indexSuffix), s.size()); err != nil {
			return nil, err
		}
	}
	stamps, err := s.stamps()
	if err != nil {
		return nil, err
	}
	x := &memIndex{}
	for _, p := range places {
		if p.pos() < pos {
			x.places.add(p)
		}
	}
	last := int64(-1)
	if n := len(x.places.view()); n > 0 {
		last = x.places.view()[n-1].rel()
	}
	for _, t := range stamps {
		if t.rel <= last {
			x.addStamp(t)
		}
	}
	return x, nil
}

// rescanTail reads the headers behind the last index entry, to learn the
// largest timestamp and the distance from the entry, and to check that the
// segment ends with a whole batch. It sets the segment's next offset unless it
// is known already.
func (s *segment) rescanTail(f io.ReaderAt) error {
	x := s.mem.Load()
	tail := place(s.tail.Load())
	pos, next := int64(0), s.base
	if v := x.places.view(); len(v) > 0 {
		pos = v[len(v)-1].pos()
	}
	if v := x.stamps.view(); len(v) > 0 {
		s.maxSeen = v[len(v)-1]
	}
	var scan headerScan
	scan.aim(f, tail.pos(), s.base)
	defer scan.close()
	x.since = 0
	for pos < tail.pos() {
		b, end, err := scan.header(pos)
		if err != nil {
			return err
		}
		if b.BaseOffset() < next {
			return fmt.Errorf("position %d: base offset %d after %d: %w", pos, b.BaseOffset(), next, ErrCorrupt)
		}
		x.since += end - pos
		if b.MaxTimestamp() > s.maxSeen.ts {
			s.maxSeen = stamp{b.MaxTimestamp(), int64(b.LastOffset() - s.base)}
		}
		pos, next = end, b.NextOffset()
	}
	if tail.rel() == 0 {
		s.setTail(int64(next-s.base), tail.pos())
	}
	return s.readFirstTS(&scan)
}

func (s *segment) readFirstTS(scan *headerScan) error {
	if s.size() == 0 {
		s.firstRead = false
		return nil
	}
	b, _, err := scan.header(0)
	if err != nil {
		return err
	}
	s.firstTS, s.firstRead = b.MaxTimestamp(), true
	return nil
}
