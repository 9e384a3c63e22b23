package commitlog

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// pendingDelete is a file that has been renamed and waits for its removal.
type pendingDelete struct {
	name string // without the directory, which may be renamed meanwhile
	due  time.Time
}

func removeIfThere(fsys vfs.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// deleteSegments renames the files of segments that leave the log, the newest
// segment first. Readers that hold them go on reading.
func (l *Log) deleteSegments(gone []*segment) error {
	for _, s := range slices.Backward(gone) {
		if err := l.deleteSegment(s); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) deleteSegment(s *segment) error {
	gone, err := l.renameDeleted(s)
	l.mu.pending = append(l.mu.pending, gone...)
	return err
}

// renameDeleted renames one segment's files. The log goes first: what is left
// of a segment without it is removed when the log is opened.
func (l *Log) renameDeleted(s *segment) (gone []pendingDelete, err error) {
	s.retire()
	due := l.now().Add(l.config.Load().FileDeleteDelay)
	for _, suffix := range segmentSuffixes {
		name := l.path(s.base, suffix)
		err := l.fs.Rename(name, name+deletedSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return gone, err
		}
		gone = append(gone, pendingDelete{filepath.Base(name) + deletedSuffix, due})
	}
	return gone, nil
}

// RemoveDeleted removes the renamed files whose delay (file.delete.delay.ms)
// has passed, and says when to call again; zero if nothing is left.
func (l *Log) RemoveDeleted(now time.Time) (next time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return time.Time{}, ErrClosed
	}
	for len(l.mu.pending) > 0 {
		p := l.mu.pending[0]
		if p.due.After(now) {
			return p.due, nil
		}
		if err := removeIfThere(l.fs, l.file(p.name)); err != nil {
			return time.Time{}, l.fail(err)
		}
		l.mu.pending = l.mu.pending[1:]
	}
	return time.Time{}, nil
}

// AdvanceStart raises the log start to off, at most to End (ErrOffsetOutOfRange
// above), and deletes the closed segments that lie wholly below it. Lower
// offsets than Start change nothing. The caller must not go beyond the high
// watermark.
func (l *Log) AdvanceStart(off model.Offset) error {
	l.layoutMu.Lock()
	defer l.layoutMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if off > l.End() {
		return l.outOfRange("advance log start", off)
	}
	if off <= l.Start() {
		return nil
	}
	v := l.segments()
	n := 0
	for n+1 < len(v) && v[n+1].base <= off {
		n++
	}
	_, err := l.dropOldest(n, off)
	return l.fail(err)
}

// dropOldest deletes the n oldest segments, oldest first, and sets the log
// start to at least start.
func (l *Log) dropOldest(n int, start model.Offset) (int, error) {
	v := l.segments()
	if n > 0 {
		start = max(start, v[n].base)
	}
	if start > l.Start() {
		l.start.Store(int64(start))
		l.epochs.truncateFromStart(start)
	}
	l.setSegments(slices.Clone(v[n:]))
	for _, s := range v[:n] {
		if err := l.deleteSegment(s); err != nil {
			return 0, err
		}
	}
	return n, l.dropSnapshots(0, v[n].base)
}

// ApplyRetention deletes closed segments that the log start has passed, that
// exceed retention.bytes, or whose newest record is older than retention.ms,
// in this order (KAFKA-12177). It deletes a prefix of the log, nothing above hw
// (KAFKA-5634), and returns the number of segments. An active segment that has
// expired is closed first. Without the delete policy only the log start counts.
func (l *Log) ApplyRetention(now time.Time, hw model.Offset) (deleted int, err error) {
	l.layoutMu.Lock()
	defer l.layoutMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return 0, err
	}
	cfg := l.config.Load()
	rules := []func(*segment, model.Offset, int64) (bool, error){
		func(_ *segment, upper model.Offset, _ int64) (bool, error) { return upper <= l.Start(), nil },
	}
	if cfg.Delete && cfg.RetentionBytes >= 0 {
		rules = append(rules, func(s *segment, _ model.Offset, total int64) (bool, error) {
			return total-s.size() >= cfg.RetentionBytes, nil
		})
	}
	if cfg.Delete && cfg.Retention >= 0 {
		rules = append(rules, func(s *segment, _ model.Offset, _ int64) (bool, error) {
			return l.expired(s, now, cfg.Retention)
		})
	}
	for _, rule := range rules {
		n, err := l.deleteOldest(hw, rule)
		deleted += n
		if err != nil {
			return deleted, l.fail(err)
		}
	}
	return deleted, nil
}

// deleteOldest deletes the longest prefix of segments that satisfy the rule.
func (l *Log) deleteOldest(hw model.Offset, rule func(*segment, model.Offset, int64) (bool, error)) (int, error) {
	v, end, total := l.segments(), l.End(), l.Size()
	n := 0
	for i, s := range v {
		upper := l.upperOf(v, i, end)
		if upper > hw || s.size() == 0 && i == len(v)-1 {
			break
		}
		ok, err := rule(s, upper, total)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		total -= s.size()
		n++
	}
	if n == 0 {
		return 0, nil
	}
	if n == len(v) {
		if err := l.roll(end, true); err != nil {
			return 0, err
		}
	}
	return l.dropOldest(n, 0)
}

// expired compares a segment's largest timestamp with the clock. Segments
// without timestamps count from the last change of their file.
func (l *Log) expired(s *segment, now time.Time, keep time.Duration) (bool, error) {
	st, ok, err := s.largestStamp()
	if err != nil {
		return false, err
	}
	if s.mem.Load() != nil { // the heap index lags behind what was appended
		st, ok = s.maxSeen, s.maxSeen.ts >= 0
	}
	if ok {
		return now.UnixMilli()-st.ts > keep.Milliseconds(), nil
	}
	e, err := l.fs.Stat(l.path(s.base, logSuffix))
	if err != nil {
		return false, err
	}
	return now.Sub(e.ModTime) > keep, nil
}

// RenameDir moves the whole log, as the deletion of a topic does before the
// files go, and a move between log directories at its end. Both names must lie
// in the same directory for the rename to be durable.
func (l *Log) RenameDir(dir string) error {
	l.layoutMu.Lock()
	defer l.layoutMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return ErrClosed
	}
	if err := l.fs.Rename(l.Dir(), dir); err != nil {
		return l.fail(err)
	}
	l.dir.Store(&dir)
	return l.fail(l.fs.SyncDir(filepath.Dir(dir)))
}

// Delete closes the log and removes its directory.
func (l *Log) Delete() error {
	defer l.stopCompaction()()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed.Store(true)
	for _, s := range l.segments() {
		s.retire()
	}
	if err := l.fs.RemoveAll(l.Dir()); err != nil {
		return ioError(err)
	}
	return ioError(l.fs.SyncDir(filepath.Dir(l.Dir())))
}

// Close ends the use of the log. A clean close flushes everything and writes
// the indexes and the producer state; it is what Options.Clean may trust if no
// error was returned. The caller then writes the checkpoints. Slices that are
// still held remain readable.
func (l *Log) Close(clean bool) error {
	defer l.stopCompaction()()
	var err error
	if clean {
		err = l.closeFiles()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Swap(true) {
		return ErrClosed
	}
	for _, s := range l.segments() {
		s.retire()
	}
	return err
}

// stopCompaction ends a running compaction and keeps out the next.
func (l *Log) stopCompaction() (release func()) {
	l.ending.Do(func() { close(l.done) })
	l.compactMu.Lock()
	return l.compactMu.Unlock
}

func (l *Log) closeFiles() error {
	l.mu.Lock()
	err := l.writable()
	if err == nil {
		var taken bool
		if taken, err = l.takeSnapshot(); err == nil && taken {
			err = syncFile(l.fs, l.path(l.End(), snapshotSuffix))
		}
	}
	if err == nil {
		err = l.active().seal()
	}
	end := l.End()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.flush(end, true)
}
