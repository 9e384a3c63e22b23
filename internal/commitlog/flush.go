package commitlog

import (
	"errors"
	"io/fs"

	"tidemark/internal/model"
)

// Flush makes everything below upTo durable and moves Flushed to upTo or
// further. Appends go on meanwhile. An error is ErrIO and final: the log takes
// no more appends, and what Flushed says stays true.
func (l *Log) Flush(upTo model.Offset) error {
	if upTo <= l.Flushed() {
		return nil
	}
	return l.flush(upTo, false)
}

// flush syncs the segments of [Flushed, upTo), and with all also the active
// one and the directory.
func (l *Log) flush(upTo model.Offset, all bool) error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	l.mu.Lock()
	if err := l.writable(); err != nil {
		l.mu.Unlock()
		return err
	}
	end := l.End()
	v := l.segments()
	from := l.Flushed()
	l.mu.flushCap = end
	dirty := l.mu.dirDirty || all
	l.mu.dirDirty = false
	l.mu.Unlock()

	reached, err := l.syncSegments(v, from, min(upTo, end), end)
	if err == nil && all {
		err = v[len(v)-1].sync()
	}
	if err == nil && dirty {
		err = l.fs.SyncDir(l.Dir())
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range v { // sealed since it was synced above
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
		l.mu.dirDirty = l.mu.dirDirty || dirty
		return l.fail(err)
	}
	// A truncation may have run meanwhile: bytes above it, old or new, aren't
	// covered by this flush.
	l.flushed.Store(max(l.flushed.Load(), int64(min(reached, l.mu.flushCap))))
	return nil
}

// syncSegments syncs what holds [from, upTo) and returns how far it got, which
// is the log end if the active segment was among it.
func (l *Log) syncSegments(v []*segment, from, upTo, end model.Offset) (model.Offset, error) {
	reached := from
	for i, s := range v {
		upper := l.upperOf(v, i, end)
		if upper <= from && !(upper == from && i == len(v)-1) {
			continue
		}
		if s.base >= upTo && s.base > from {
			break
		}
		if err := s.sync(); err != nil && !gone(s, err) {
			return 0, err
		}
		reached = max(reached, upper)
	}
	return reached, nil
}

// gone reports whether the error only says that the segment was deleted while
// it was being synced, which is no fault of the disk (KAFKA-15391, KAFKA-19571).
func gone(s *segment, err error) bool {
	return s.dead.Load() && (errors.Is(err, errGone) || errors.Is(err, fs.ErrNotExist))
}

func (s *segment) sync() error {
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	if err := h.f.Sync(); err != nil {
		return err
	}
	return s.syncIndexes()
}
