package commitlog

import (
	"io"

	"tidemark/internal/model"
)

// Removal is what recovery is about to cut off a log: raw bytes, which needn't
// be batches.
type Removal struct {
	At    model.Offset // the log will end here
	Bytes int64
	Why   error
	// Copy writes the first limit bytes.
	Copy func(w io.Writer, limit int64) error
}

// Findings is what Open found to be wrong below the recovery point, where the
// log is known to have been on disk: no crash explains it, the disk does.
type Findings struct {
	// Owed is the recovery point if the log had to be cut below it: it ends before
	// records that may be committed. NoOffset if not.
	Owed model.Offset
	// Suspects are the bases of closed segments with records that aren't what was
	// written. They are kept: Verify tells which.
	Suspects []model.Offset
}

// Findings returns what Open found.
func (l *Log) Findings() Findings { return l.found }

// losing notes that the log is about to be cut at end, behind position pos of
// segment i, and lets the caller keep what goes.
func (ld *loader) losing(i int, pos int64, end model.Offset, why error) {
	if end < ld.o.RecoveryPoint {
		ld.found.Owed = ld.o.RecoveryPoint
	}
	r := Removal{At: end, Why: why}
	gone := ld.segs[i:]
	for n, s := range gone {
		r.Bytes += s.size()
		if n == 0 {
			r.Bytes -= pos
		}
	}
	if ld.o.Removing == nil || r.Bytes <= 0 {
		return
	}
	r.Copy = func(w io.Writer, limit int64) error {
		from := pos
		for _, s := range gone {
			n := min(s.size()-from, limit)
			if err := s.copyTo(w, from, n); err != nil {
				return err
			}
			limit -= max(n, 0)
			from = 0
		}
		return nil
	}
	ld.o.Removing(r)
}
