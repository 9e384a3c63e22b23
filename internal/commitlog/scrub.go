package commitlog

import (
	"errors"
	"fmt"
	"io"

	"tidemark/internal/model"
)

// Damage is the first batch of a closed segment that isn't what was written.
type Damage struct {
	Segment  model.Offset // base offset
	Position int64        // in its file, bytes
	After    model.Offset // everything of the segment below it is intact
	Err      error        // ErrCorrupt with the numbers
}

// ScrubResult says how far a scrub got.
type ScrubResult struct {
	Next   model.Offset // where to go on
	Bytes  int64        // read
	Done   bool         // the closed segments are at their end; Next is the base of the active one
	Damage *Damage      // nil: what was read is intact
}

// Scrub reads closed segments from the batch that contains from on, about
// budget bytes and at least one batch, and compares lengths, offsets and
// checksums. It repairs nothing and doesn't stop the log: the caller decides.
// The error is ErrIO if the disk can't be read. Safe for concurrent use.
func (l *Log) Scrub(from model.Offset, budget int64) (res ScrubResult, err error) {
	for range readTries {
		if l.closed.Load() {
			return res, ErrClosed
		}
		cuts := l.cuts.Load()
		res, err = l.scrub(max(from, l.Start()), budget)
		if cuts%2 == 0 && cuts == l.cuts.Load() && !stale(err) {
			break
		}
		err = fmt.Errorf("scrub from %d: the log keeps changing: %w", from, ErrInterrupted)
	}
	return res, err
}

func (l *Log) scrub(from model.Offset, budget int64) (res ScrubResult, err error) {
	res.Next = from
	v := l.segments()
	for i := max(floorSegment(v, from), 0); i+1 < len(v); i++ {
		if res.Bytes >= budget && res.Bytes > 0 {
			return res, nil
		}
		if err := l.scrubSegment(v[i], v[i+1].base, budget, &res); err != nil || res.Damage != nil {
			return res, err
		}
	}
	res.Done = res.Next >= v[len(v)-1].base
	return res, nil
}

func (l *Log) scrubSegment(s *segment, upper model.Offset, budget int64, res *ScrubResult) error {
	pos, err := s.lookup(res.Next)
	if err != nil {
		return err
	}
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	scan := newBatchScan(h.f, pos, s.size())
	next := s.base
	for {
		b, _, err := scan.next()
		if err == io.EOF {
			res.Next = max(res.Next, upper)
			return nil
		}
		if err == nil {
			err = checkBatch(b, next, s.base, upper)
		}
		if errors.Is(err, ErrIO) {
			return err
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				err = fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			res.Damage = &Damage{Segment: s.base, Position: scan.pos - int64(len(b)), After: next, Err: err}
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
