package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Damage is a run of batches in one segment that aren't what was written. All
// that is known to be intact lies outside [After, Next).
type Damage struct {
	Segment  model.Offset // base offset
	Position int64        // of the first bad batch in its file, bytes
	After    model.Offset // everything of the segment below it is intact
	Next     model.Offset // the next intact batch; the segment's end if the frames are lost
	Err      error        // ErrCorrupt with the numbers
}

// ScrubResult says how far a scrub got.
type ScrubResult struct {
	Next   model.Offset // where to go on
	Bytes  int64        // read
	Done   bool         // the closed segments are at their end; Next is the base of the active one
	Damage *Damage      // nil: what was read is intact; else go on at Damage.Next
}

// Scrub reads closed segments from the batch that contains from on, about
// budget bytes and at least one batch, and compares lengths, offsets and
// checksums. Damage that ends at or below from isn't told again. It repairs
// nothing and doesn't stop the log: the caller decides. The error is ErrIO if
// the disk can't be read. Safe for concurrent use.
func (l *Log) Scrub(from model.Offset, budget int64) (res ScrubResult, err error) {
	err = l.quietly("scrub", from, func() error {
		res = ScrubResult{}
		return l.scrub(max(from, l.Start()), budget, &res)
	})
	return res, err
}

// Verify checks the whole segment that contains off, which may be the active
// one. Nil: it is intact. Errors and concurrency as for Scrub.
func (l *Log) Verify(off model.Offset) (d *Damage, err error) {
	err = l.quietly("verify", off, func() error {
		v := l.segments()
		i := max(floorSegment(v, off), 0)
		tail := place(v[i].tail.Load())
		upper := v[i].base + model.Offset(tail.rel())
		if i+1 < len(v) {
			upper = v[i+1].base
		}
		res := ScrubResult{Next: v[i].base}
		err := l.scrubSegment(v[i], extentOf{tail.pos(), upper}, math.MaxInt64, &res)
		d = res.Damage
		return err
	})
	return d, err
}

// quietly runs a check until no truncation or compaction came in between.
func (l *Log) quietly(what string, from model.Offset, check func() error) (err error) {
	for range readTries {
		if l.closed.Load() {
			return ErrClosed
		}
		cuts := l.cuts.Load()
		err = check()
		if cuts%2 == 0 && cuts == l.cuts.Load() && !stale(err) {
			return err
		}
		err = fmt.Errorf("%s from %d: the log keeps changing: %w", what, from, ErrInterrupted)
	}
	return err
}

func (l *Log) scrub(from model.Offset, budget int64, res *ScrubResult) error {
	res.Next = from
	v := l.segments()
	for i := max(floorSegment(v, from), 0); i+1 < len(v); i++ {
		if res.Bytes >= budget && res.Bytes > 0 {
			return nil
		}
		if err := l.scrubSegment(v[i], extentOf{v[i].size(), v[i+1].base}, budget, res); err != nil || res.Damage != nil {
			return err
		}
	}
	res.Done = res.Next >= v[len(v)-1].base
	return nil
}

// extentOf says how many bytes of a segment there are, and where it ends.
type extentOf struct {
	size  int64
	upper model.Offset
}

func (l *Log) scrubSegment(s *segment, x extentOf, budget int64, res *ScrubResult) error {
	pos, err := s.lookup(res.Next)
	if err != nil {
		return err
	}
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	scan := newBatchScan(h.f, pos, x.size)
	next, from := s.base, res.Next
	var bad *Damage
	for {
		b, _, err := scan.next()
		end := err == io.EOF
		if err == nil {
			err = checkBatch(b, next, s.base, x.upper)
		}
		if errors.Is(err, ErrIO) {
			return err
		}
		if !end && err != nil {
			if bad == nil {
				bad = s.damage(b, scan.pos, next, err)
			}
			if len(b) > 0 { // its frame leads to the next one
				continue
			}
			end = true // the rest can't be told apart
		}
		if bad != nil {
			if bad.Next = x.upper; !end {
				bad.Next = max(b.BaseOffset(), next)
			}
			if bad.Next > from {
				res.Damage = bad
				return nil
			}
			bad = nil
		}
		if end {
			res.Next = max(res.Next, x.upper)
			return nil
		}
		next = b.NextOffset()
		if next <= res.Next {
			continue
		}
		res.Next = next
		if res.Bytes += int64(len(b)); res.Bytes >= budget {
			return nil
		}
	}
}

func (s *segment) damage(b record.Batch, end int64, after model.Offset, err error) *Damage {
	if !errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return &Damage{Segment: s.base, Position: end - int64(len(b)), After: after, Err: err}
}
