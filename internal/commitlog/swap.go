package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"tidemark/internal/model"
)

// replace puts a compacted segment in the place of its originals. Crash cases:
//
//	before NNN.log.swap is there   Open removes *.swap and *.cleaned: nothing has happened
//	after                          Open removes the originals and gives the swap files
//	                               their names, the log first; what is left is finished
//
// Readers see the new segment from the moment at which it is certain to win.
func (l *Log) replace(c *compaction, group []*segment, w *cleanWriter) error {
	l.layoutMu.Lock() // no truncation, retention or deletion until the files have their names
	defer l.layoutMu.Unlock()
	if err := l.replaceable(c, group); err != nil {
		w.discard()
		return err
	}
	for i := range segmentSuffixes { // the log is last
		suffix := segmentSuffixes[len(segmentSuffixes)-1-i]
		err := l.fs.Rename(w.name(suffix), l.path(w.s.base, suffix+swapSuffix))
		if err != nil && !(suffix == txnSuffix && errors.Is(err, fs.ErrNotExist)) {
			w.discard()
			return ioError(err)
		}
	}
	err := l.fs.SyncDir(l.Dir())
	if err == nil {
		l.switchTo(group, w.s)
		err = l.swapFiles(group, w.s)
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.fail(err)
	}
	return nil
}

// replaceable reports whether the group is still part of the log, as it was
// when the compaction began.
func (l *Log) replaceable(c *compaction, group []*segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	i := floorSegment(l.segments(), group[0].base)
	if v := l.segments(); i < 0 || len(v) < i+len(group)+1 || !slices.Equal(v[i:i+len(group)], group) || l.mu.cleanCap < c.end {
		return fmt.Errorf("segments from %d on have changed: %w", group[0].base, ErrInterrupted)
	}
	return nil
}

// switchTo publishes the new segment. Readers that used the old view find that
// cuts has changed, and begin again; slices of the old files stay readable.
func (l *Log) switchTo(group []*segment, s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.segments()
	i := floorSegment(v, group[0].base)
	l.cuts.Add(1)
	l.setSegments(slices.Replace(slices.Clone(v), i, i+len(group), s))
	for _, g := range group {
		g.left.Store(true)
	}
	l.cuts.Add(1)
}

// swapFiles gives the files of the new segment their names.
func (l *Log) swapFiles(group []*segment, s *segment) error {
	for _, g := range group {
		gone, err := l.renameDeleted(g)
		l.mu.Lock()
		l.mu.pending = append(l.mu.pending, gone...)
		l.mu.Unlock()
		if err != nil {
			return err
		}
		if g.base != s.base { // where no segment begins, no state is needed
			if err := removeIfThere(l.fs, l.path(g.base, snapshotSuffix)); err != nil {
				return err
			}
		}
	}
	if err := l.fs.SyncDir(l.Dir()); err != nil {
		return err
	}
	if err := s.takeName(); err != nil {
		return err
	}
	for _, suffix := range segmentSuffixes[1:] {
		err := l.fs.Rename(l.path(s.base, suffix+swapSuffix), l.path(s.base, suffix))
		if err != nil && !(suffix == txnSuffix && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	s.mem.Store(nil)
	s.abortedMem.Store(nil)
	return l.fs.SyncDir(l.Dir())
}

// takeName renames the log file of a compacted segment; nobody opens it meanwhile.
func (s *segment) takeName() error {
	s.openMu.Lock()
	defer s.openMu.Unlock()
	name := s.env.path(s.base, logSuffix)
	if err := s.env.fs.Rename(name+swapSuffix, name); err != nil {
		return err
	}
	s.swap.Store(false)
	return nil
}

// finishSwaps completes or undoes the compactions that a crash interrupted; see
// replace. Swap files at or above a file that was still being written are
// thrown away, before that file is (KAFKA-6264).
func (ld *loader) finishSwaps(swaps map[model.Offset][]string, cleaned []string) error {
	first := model.Offset(-1)
	for _, name := range cleaned {
		if base, _, ok := parseSegmentName(strings.TrimSuffix(name, cleanedSuffix)); ok && (first < 0 || base < first) {
			first = base
		}
	}
	var drop []string
	for _, base := range slices.Sorted(maps.Keys(swaps)) {
		logName := segmentFile(base, logSuffix)
		_, renamed := ld.sizes[logName]
		switch ready := slices.Contains(swaps[base], logName+swapSuffix); {
		case first >= 0 && base >= first, !ready && !renamed:
			drop = append(drop, swaps[base]...)
		case ready:
			if err := ld.promote(base, swaps[base]); err != nil {
				return err
			}
		default:
			if err := ld.nameSwaps(swaps[base]); err != nil {
				return err
			}
		}
	}
	for _, name := range append(drop, cleaned...) {
		if err := ld.fs.Remove(ld.file(name)); err != nil {
			return err
		}
	}
	return nil
}

// promote replaces the segments that a swap file covers.
func (ld *loader) promote(base model.Offset, names []string) error {
	logName := segmentFile(base, logSuffix)
	next, err := ld.endOfFile(ld.file(logName+swapSuffix), base)
	if err != nil {
		return err
	}
	if err := ld.removeCovered(base, next); err != nil {
		return err
	}
	if err := ld.fs.SyncDir(ld.Dir()); err != nil {
		return err
	}
	i := slices.Index(names, logName+swapSuffix)
	return ld.nameSwaps(append([]string{names[i]}, slices.Delete(slices.Clone(names), i, i+1)...))
}

// nameSwaps gives swap files their names, in this order.
func (ld *loader) nameSwaps(names []string) error {
	for _, name := range names {
		final := strings.TrimSuffix(name, swapSuffix)
		if err := ld.fs.Rename(ld.file(name), ld.file(final)); err != nil {
			return err
		}
		e, err := ld.fs.Stat(ld.file(final))
		if err != nil {
			return err
		}
		ld.sizes[final] = e.Size
	}
	return ld.fs.SyncDir(ld.Dir())
}

// endOfFile is the offset after the last whole batch of a log file.
func (ld *loader) endOfFile(name string, base model.Offset) (model.Offset, error) {
	f, err := ld.fs.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	var scan headerScan
	scan.aim(f, size, base)
	defer scan.close()
	next := base
	for pos := int64(0); pos < size; {
		h, end, err := scan.header(pos)
		if err != nil {
			return 0, err
		}
		pos, next = end, h.NextOffset()
	}
	return next, nil
}

// removeCovered removes the files of the segments that begin in [base, next).
func (ld *loader) removeCovered(base, next model.Offset) error {
	for _, name := range slices.Sorted(maps.Keys(ld.sizes)) {
		b, suffix, ok := parseSegmentName(name)
		if !ok || b < base || (b >= next && b != base) || !slices.Contains(segmentSuffixes[:], suffix) {
			continue
		}
		if err := removeIfThere(ld.fs, ld.file(name)); err != nil {
			return err
		}
		delete(ld.sizes, name)
	}
	return nil
}
