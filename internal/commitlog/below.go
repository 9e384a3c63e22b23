package commitlog

import (
	"errors"
	"io"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Below reads the batches that lie wholly below the log start and are still in
// the files, from the one that contains from on: nobody may fetch them, but what
// their producers did counts. Not for a log that is being written: a segment may
// go at any time. The batch passed to fn is valid until fn returns.
func (l *Log) Below(from model.Offset, fn func(record.Batch) error) error {
	start := l.Start()
	v := l.segments()
	for i, s := range v {
		if s.base >= start {
			break
		}
		if l.upperOf(v, i, l.End()) <= from {
			continue
		}
		if done, err := s.below(from, start, fn); done || err != nil {
			return err
		}
	}
	return nil
}

// below is Below for one segment; done says that the log start was reached.
func (s *segment) below(from, start model.Offset, fn func(record.Batch) error) (done bool, err error) {
	h, err := s.file()
	if err != nil {
		return false, ioError(err)
	}
	defer h.release()
	scan := newBatchScan(h.f, 0, s.size())
	for {
		b, _, err := scan.next()
		switch {
		case err == io.EOF || errors.Is(err, ErrCorrupt): // nobody reads this any more
			return false, nil
		case err != nil:
			return false, err
		case b.LastOffset() >= start:
			return true, nil
		case b.LastOffset() < from:
			continue
		}
		if err := fn(b); err != nil {
			return false, err
		}
	}
}

// Oldest is the base of the first segment: what Below can reach.
func (l *Log) Oldest() model.Offset {
	if v := l.segments(); len(v) > 0 {
		return v[0].base
	}
	return l.Start()
}
