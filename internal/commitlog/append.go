package commitlog

import (
	"errors"
	"fmt"
	"math"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// AppendInfo describes what an append did.
type AppendInfo struct {
	First, Last  model.Offset // base of the first batch, last offset of the last one
	Position     int64        // of the first batch in its file
	MaxTimestamp int64        // ms
	Rolled       bool         // a segment was closed: schedule Flush(First)
}

// run is a sequence of whole batches that goes into one segment.
type run struct {
	p            []byte
	first, last  model.Offset
	maxTimestamp int64
}

func isShort(err error) bool { return errors.Is(err, record.ErrShort) }

// takeRun frames as many batches as fit in limit bytes, at least one, and
// checks that their offsets follow next.
func takeRun(p []byte, next model.Offset, limit int64) (r run, rest []byte, err error) {
	rest = p
	r.maxTimestamp = -1
	for len(rest) > 0 {
		b, after, err := record.Next(rest)
		if err != nil {
			return r, nil, fmt.Errorf("append at %d: %w: %w", next, ErrCorrupt, err)
		}
		if b.BaseOffset() < next || b.LastOffsetDelta() < 0 {
			return r, nil, fmt.Errorf("append of [%d, %d] at %d: %w", b.BaseOffset(), b.LastOffset(), next, ErrOffsetOrder)
		}
		if n := len(p) - len(after); len(r.p) > 0 && int64(n) > limit {
			break
		}
		if len(r.p) == 0 {
			r.first = b.BaseOffset()
		} else if b.LastOffset()-r.first > math.MaxInt32 {
			break
		}
		r.last, r.maxTimestamp = b.LastOffset(), max(r.maxTimestamp, b.MaxTimestamp())
		next = b.NextOffset()
		rest = after
		r.p = p[:len(p)-len(rest)]
	}
	return r, rest, nil
}

// Append writes whole batches, whose offsets and epochs are already stamped,
// with one write per segment that they go to (one, as a rule). The batches are
// readable when it returns. Offsets may leave gaps, but must not lie below the
// log end (ErrOffsetOrder). Nothing is written if a batch is malformed
// (ErrCorrupt); the CRC isn't checked here. After ErrIO the log takes no more
// appends; what was written of p is not part of the log unless End says so.
func (l *Log) Append(p []byte) (AppendInfo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return AppendInfo{}, err
	}
	if len(p) == 0 {
		return AppendInfo{}, fmt.Errorf("append of nothing at %d: %w", l.End(), ErrCorrupt)
	}
	whole, _, err := takeRun(p, l.End(), math.MaxInt64)
	for tail := p[len(whole.p):]; err == nil && len(tail) > 0; { // a span of more than 2^31 offsets
		_, tail, err = takeRun(tail, whole.last+1, math.MaxInt64)
	}
	if err != nil {
		return AppendInfo{}, err
	}
	cfg := l.config.Load()
	info := AppendInfo{First: whole.first, MaxTimestamp: whole.maxTimestamp}
	r := whole
	split := len(whole.p) < len(p) || int64(len(p)) > cfg.SegmentBytes
	for first := true; len(p) > 0; first = false {
		if !split {
			p = nil
		} else if r, p, err = takeRun(p, l.End(), cfg.SegmentBytes); err != nil {
			return AppendInfo{}, err
		}
		// Only before the first run does the producer state match the log end.
		rolled, err := l.maybeRoll(cfg, r, first)
		if err == nil {
			if first {
				info.Position = l.active().size()
			}
			err = l.write(cfg, r)
		}
		if err != nil {
			return AppendInfo{}, l.fail(err)
		}
		info.Rolled, info.Last = info.Rolled || rolled, r.last
	}
	return info, nil
}

// write appends one run to the active segment and publishes it.
func (l *Log) write(cfg *Config, r run) error {
	s := l.active()
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	size := s.size()
	if cfg.Preallocate {
		s.allocate(h.f, size+int64(len(r.p)))
	}
	if _, err := h.f.WriteAt(r.p, size); err != nil {
		return err
	}
	pos := size
	for rest := r.p; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil {
			return err
		}
		s.noteBatch(b, pos, cfg.IndexInterval)
		if e := b.LeaderEpoch(); e >= 0 {
			if last, ok := l.epochs.latest(); !ok || last.Epoch != e {
				l.epochs.assign(e, b.BaseOffset())
			}
		}
		pos += int64(len(b))
		rest = after
	}
	next := r.last + 1
	s.marks.put(int64(next-s.base), pos)
	s.setTail(int64(next-s.base), pos)
	l.end.Store(int64(next))
	if due := l.o.RestartBytes; due > 0 && !s.asked && pos-s.restartPos.Load() >= due && l.o.OnDirty != nil {
		s.asked = true
		l.o.OnDirty()
	}
	return nil
}

// allocStep is the most that is reserved at once, and the least size of a
// segment for which anything is, in bytes.
const (
	allocStep = 16 << 20
	allocMin  = 1 << 20
)

// allocate reserves blocks ahead of the writer, without changing the length of
// the file. A file system that can't is left alone.
func (s *segment) allocate(f vfs.File, need int64) {
	a, ok := f.(vfs.Allocator)
	if !ok || need < allocMin || need <= s.allocated {
		return
	}
	step := min(int64(allocStep), need)
	if a.Allocate(need, step) == nil {
		s.allocated = need + step
	} else {
		s.allocated = math.MaxInt64 >> 1
	}
}

// maybeRoll closes the active segment if the run doesn't belong into it any more.
func (l *Log) maybeRoll(cfg *Config, r run, snapshot bool) (bool, error) {
	s := l.active()
	size := s.size()
	span := r.last - s.base
	full := false
	if size > 0 {
		x := s.mem.Load()
		full = size+int64(len(r.p)) > cfg.SegmentBytes ||
			x.places.n.Load() >= int64(cfg.IndexMaxBytes/indexEntrySize) ||
			x.stamps.n.Load() >= int64(cfg.IndexMaxBytes/timeEntrySize)-1 ||
			l.tooOld(cfg, s, r.maxTimestamp)
	}
	if !full && span <= math.MaxInt32 {
		return false, nil
	}
	base := l.End()
	if r.last-base > math.MaxInt32 {
		base = r.first
	}
	return true, l.roll(base, snapshot)
}

// tooOld compares the incoming batch's time with that of the segment's first
// batch; without timestamps, the clock with the file's creation.
func (l *Log) tooOld(cfg *Config, s *segment, incoming int64) bool {
	age := cfg.rollAge(l.Dir(), s.base)
	if s.firstTS >= 0 {
		return incoming-s.firstTS > age.Milliseconds()
	}
	return l.now().Sub(s.created) > age
}

// Roll closes the active segment unless it is empty.
func (l *Log) Roll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if l.active().size() == 0 {
		return nil
	}
	return l.fail(l.roll(l.End(), true))
}

// roll makes base the begin of a new active segment. An empty active segment
// is replaced; one that begins at base already is kept (KAFKA-6388).
func (l *Log) roll(base model.Offset, snapshot bool) error {
	old := l.active()
	if old.size() == 0 && old.base == base {
		return nil
	}
	v := l.segments()
	keep := v[:len(v):len(v)]
	if old.size() == 0 {
		keep = v[: len(v)-1 : len(v)-1]
	} else if err := l.seal(old); err != nil {
		return err
	}
	if snapshot && base == l.End() { // after the indexes: see restart.go
		if _, err := l.takeSnapshot(); err != nil {
			return err
		}
	}
	// What has been closed is trusted once it is flushed: so must be its epochs.
	if err := l.epochs.save(l.fs, l.Dir()); err != nil {
		return err
	}
	s, err := l.createSegment(base)
	if err != nil {
		return err
	}
	l.setSegments(append(keep, s))
	if old.size() == 0 {
		return l.deleteSegments([]*segment{old})
	}
	l.o.Log.Debug("segment rolled", "dir", l.Dir(), "offset", base)
	return nil
}

// seal closes the segment. If all of it counts as flushed already, no later
// flush would look at its index files: they are synced at once.
func (l *Log) seal(s *segment) error {
	if err := s.seal(); err != nil || l.Flushed() < l.End() {
		return err
	}
	return s.syncIndexes()
}

// createSegment makes an empty segment.
func (l *Log) createSegment(base model.Offset) (*segment, error) {
	s := newSegment(&l.env, base, l.now())
	s.mem.Store(&memIndex{})
	l.mu.dirDirty = true
	return s, s.create()
}

// create makes an empty file; leftovers of the same name are removed.
func (s *segment) create() error {
	for _, suffix := range segmentSuffixes[1:] {
		if err := removeIfThere(s.env.fs, s.env.path(s.base, suffix)); err != nil {
			return err
		}
	}
	f, err := s.env.fs.Create(s.env.path(s.base, logSuffix))
	if err != nil {
		return err
	}
	h := &handle{f: f}
	h.refs.Store(1)
	s.open.Store(h)
	s.used.Store(true)
	s.env.files.add(s)
	return nil
}
