package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// Slice is a run of whole batches in one segment file. It holds the file open
// until Release; the zero value is empty. A Slice is a value with one owner:
// release it once.
type Slice struct {
	// First is the base offset of the first batch, or the offset asked for if
	// that was known to be a boundary. Next is where reading goes on.
	First, Next model.Offset

	seg *segment
	h   *handle
	pos int64
	n   int
}

// Len is the number of bytes.
func (s Slice) Len() int { return s.n }

// ReadInto copies the batches to dst, which has room for Len bytes. The result
// is ErrTruncated if the log was cut below the end of the slice meanwhile.
func (s Slice) ReadInto(dst []byte) (int, error) {
	if s.n == 0 {
		return 0, nil
	}
	n, err := s.h.f.ReadAt(dst[:s.n], s.pos)
	if !s.Valid() {
		return 0, fmt.Errorf("[%d, %d): %w", s.First, s.Next, ErrTruncated)
	}
	if err == io.EOF && n < s.n {
		return n, fmt.Errorf("segment %d: %d of %d bytes at %d: %w", s.seg.base, n, s.n, s.pos, ErrCorrupt)
	}
	if err != nil && n < s.n {
		err = ioError(err)
		s.SendFailed(err)
		return n, err
	}
	return n, nil
}

// SendFailed tells the log's owner that the file of the slice can't be read, as
// whoever sends FileRange finds out.
func (s Slice) SendFailed(err error) {
	if s.seg.env.readFailed != nil {
		s.seg.env.readFailed(ioError(err))
	}
}

// Valid reports whether the log still contains these bytes. Whoever sends them
// from the file checks it after sending as well: a truncation in between means
// that the receiver may have got other bytes.
func (s Slice) Valid() bool { return s.n == 0 || s.seg.cut.Load() >= s.pos+int64(s.n) }

// FileRange is where the bytes lie, for sendfile. Valid until Release.
func (s Slice) FileRange() (f vfs.File, off int64, n int) {
	if s.n == 0 {
		return nil, 0, 0
	}
	return s.h.f, s.pos, s.n
}

// Release lets the file go. The slice must not be used afterwards.
func (s Slice) Release() {
	if s.h != nil {
		s.h.release()
	}
}

// ReadCommitted is Read, and the aborted transactions that overlap the slice.
// Between two separate calls a compaction may have dropped a transaction from
// the index whose records are still in the slice.
func (l *Log) ReadCommitted(from, limit model.Offset, maxBytes int, minOne bool) (Slice, []AbortedTxn, error) {
	for {
		sl, err := l.Read(from, limit, maxBytes, minOne)
		if err != nil || sl.n == 0 {
			return sl, nil, err
		}
		aborted, err := l.AbortedTxns(sl.First, sl.Next)
		if sl.seg.left.Load() {
			sl.Release()
			continue
		}
		if err != nil {
			sl.Release()
			return Slice{}, nil, err
		}
		return sl, aborted, nil
	}
}

// readTries bounds how often a read starts again because the log changed under it.
const readTries = 100

// Read returns whole batches, from the one that contains from (or the next one,
// if from lies in a gap) on, at most maxBytes of them, never one whose last
// offset is at or beyond limit. With minOne the first batch is returned even if
// it is larger than maxBytes. The slice is empty if there is nothing below
// limit. ErrOffsetOutOfRange if from is below Start or above End. Safe for
// concurrent use; takes no lock.
func (l *Log) Read(from, limit model.Offset, maxBytes int, minOne bool) (Slice, error) {
	for try := 0; ; {
		if l.closed.Load() {
			return Slice{}, ErrClosed
		}
		cuts := l.cuts.Load()
		if cuts%2 == 1 { // a truncation is just being published
			runtime.Gosched()
			continue
		}
		end := l.End() // before the view, which is at least as new then
		start := l.Start()
		v := l.segments()
		if from < start || from > end {
			if cuts != l.cuts.Load() {
				continue
			}
			return Slice{}, fmt.Errorf("read at %d, log is [%d, %d): %w", from, start, end, ErrOffsetOutOfRange)
		}
		r := reading{l: l, v: v, end: end, from: from, limit: min(limit, end), budget: int64(maxBytes), minOne: minOne}
		sl, err := r.find()
		r.scan.close()
		if cuts != l.cuts.Load() {
			sl.Release()
			continue
		}
		if !stale(err) {
			return sl, err
		}
		if try++; try == readTries {
			return Slice{}, fmt.Errorf("read at %d: tried %d times: %w", from, try, ioError(err))
		}
	}
}

// reading is one attempt of Read on one view of the log.
type reading struct {
	l           *Log
	v           []*segment
	end         model.Offset
	from, limit model.Offset
	budget      int64
	minOne      bool
	scan        headerScan
}

// stale reports whether the error may come from a segment that left the log,
// or from a directory that was renamed, while the reader looked.
func stale(err error) bool { return errors.Is(err, errGone) || errors.Is(err, fs.ErrNotExist) }

func (r *reading) find() (Slice, error) {
	i := floorSegment(r.v, r.from)
	if i < 0 {
		return Slice{}, errGone
	}
	for ; i < len(r.v); i++ {
		if r.from >= r.limit || r.v[i].base >= r.limit {
			break
		}
		sl, found, err := r.inSegment(r.v[i], r.l.upperOf(r.v, i, r.end), i+1 == len(r.v))
		if found || err != nil {
			return sl, err
		}
	}
	return Slice{First: r.from, Next: r.from}, nil
}

// inSegment reads from one segment; found is false if all of it lies below from.
func (r *reading) inSegment(s *segment, upper model.Offset, active bool) (sl Slice, found bool, err error) {
	tail := place(s.tail.Load())
	size := tail.pos()
	if active { // tail may be newer than r.end
		upper = s.base + model.Offset(tail.rel())
	}
	if size == 0 || r.from >= upper {
		return Slice{}, false, nil
	}
	h, err := s.file()
	if err != nil {
		return Slice{}, false, err
	}
	r.scan.aim(h.f, size, s.base)
	pos, first, err := r.locate(s, size)
	if err != nil || pos == size {
		h.release()
		return Slice{}, false, err
	}
	stop, next, err := r.extent(s, pos, size, upper)
	if err != nil || stop == pos {
		h.release()
		return Slice{First: r.from, Next: r.from}, err == nil, err
	}
	return Slice{First: first, Next: next, seg: s, h: h, pos: pos, n: int(stop - pos)}, true, nil
}

// locate finds the first batch whose last offset isn't below from.
func (r *reading) locate(s *segment, size int64) (pos int64, first model.Offset, err error) {
	rel := int64(r.from - s.base)
	if rel <= 0 {
		return 0, max(r.from, s.base), nil
	}
	if pos, ok := s.marks.get(rel); ok && pos <= size {
		return pos, r.from, nil
	}
	if pos, err = s.lookup(r.from); err != nil {
		return 0, 0, err
	}
	for pos < size {
		h, end, err := r.scan.header(pos)
		if err != nil {
			return 0, 0, err
		}
		if h.LastOffset() >= r.from {
			return pos, h.BaseOffset(), nil
		}
		pos = end
	}
	return size, r.from, nil
}

// extent finds where the batches end that budget and limit allow, and the
// offset that follows them; it returns pos if not even one fits.
func (r *reading) extent(s *segment, pos, size int64, upper model.Offset) (stop int64, next model.Offset, err error) {
	if upper <= r.limit && size-pos <= r.budget {
		return size, upper, nil
	}
	if r.limit < upper {
		if at, ok := s.marks.get(int64(r.limit - s.base)); ok && at > pos && at <= size && at-pos <= r.budget {
			return at, r.limit, nil
		}
	}
	stop, next = pos, r.from
	limit := int64(r.limit - s.base)
	p, err := s.search(func(p place) bool { return p.pos() <= pos+r.budget && p.rel() < limit })
	if err != nil {
		return 0, 0, err
	}
	if p.pos() > pos {
		stop = p.pos()
	}
	for stop < size {
		h, end, err := r.scan.header(stop)
		if errors.Is(err, ErrCorrupt) && next > r.from { // what lies before the damage is intact
			break
		}
		if err != nil {
			return 0, 0, err
		}
		if h.LastOffset() >= r.limit || (end-pos > r.budget && (stop > pos || !r.minOne)) {
			if stop > pos && next < h.BaseOffset() { // stop came from the index
				next = h.BaseOffset()
			}
			break
		}
		stop, next = end, h.NextOffset()
	}
	if stop > pos && next > s.base {
		s.marks.put(int64(next-s.base), stop)
	}
	return stop, next, nil
}

// Batches reads all batches from the one that contains from to the log end, in
// order. The batch passed to fn is valid until fn returns. An error of fn ends
// the scan and is returned. Not for hot paths: it allocates a buffer of 1 MiB,
// or of the largest batch.
func (l *Log) Batches(from model.Offset, fn func(record.Batch) error) error {
	from = max(from, l.Start())
	for from < l.End() {
		sl, err := l.Read(from, l.End(), maxSegmentBytes, true)
		if err != nil {
			return err
		}
		next, err := sl.each(from, fn)
		sl.Release()
		if err != nil {
			return err
		}
		if next <= from {
			return nil
		}
		from = next
	}
	return nil
}

func (s Slice) each(from model.Offset, fn func(record.Batch) error) (model.Offset, error) {
	if s.n == 0 {
		return s.Next, nil
	}
	scan := newBatchScan(s.h.f, s.pos, s.pos+int64(s.n))
	for {
		b, _, err := scan.next()
		if err == io.EOF {
			return s.Next, nil
		}
		if err == nil && b.LastOffset() >= from {
			err = fn(b)
		}
		if err != nil {
			return 0, err
		}
	}
}
