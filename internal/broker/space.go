package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/partition"
	"tidemark/internal/vfs"
)

// space keeps a reserve free on the disk of a log directory. A disk that is full
// to the last byte would take the directory offline, and with it the process:
// indexes, checkpoints and the metadata log need some. With the reserve, records
// are refused early, reads go on, and appends do too as soon as there is space.
//
// The file system is asked once per a quarter of what is left, so that a fast
// writer, or several, can't run past the reserve between two questions.
type space struct {
	fs      vfs.FS
	path    string
	reserve int64
	now     func() time.Time
	events  Sink
	left    atomic.Int64 // bytes that may be written before the next question

	mu    sync.Mutex
	full  bool
	asked time.Time // the last time that it was full
}

const (
	maxUnasked   = 64 << 20               // bytes written between two questions
	fullQuestion = 200 * time.Millisecond // how often a full disk is asked
	reserveShare = 20                     // the reserve is at most this part of the disk
)

func newSpace(d *logDir, c *Config) *space {
	return &space{fs: d.fs, path: d.Path, reserve: c.ReserveBytes, now: c.Now, events: c.Events}
}

// Take implements partition.Space.
func (s *space) Take(bytes int) error {
	if s.left.Add(-int64(bytes)) >= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full && s.now().Sub(s.asked) < fullQuestion {
		return fmt.Errorf("%s: %w", s.path, partition.ErrNoSpace)
	}
	free, total, err := s.fs.DiskFree(s.path)
	if err != nil {
		return nil // a directory that can't be asked shows its failure when it is written to
	}
	over := int64(free) - s.kept(total) - int64(bytes)
	if over < 0 {
		s.asked = s.now()
		s.turn(true, journal.DirFull, free, total)
		return fmt.Errorf("%s: %d bytes free: %w", s.path, free, partition.ErrNoSpace)
	}
	s.turn(false, journal.DirHasSpace, free, total)
	s.left.Store(min(over/4, maxUnasked))
	return nil
}

// isFull tells whether records are refused: the last ones were, or only the
// reserve is free.
func (s *space) isFull(free, total uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full || int64(free) < s.kept(total)
}

// kept is the reserve on a disk of that size.
func (s *space) kept(total uint64) int64 { return min(s.reserve, int64(total/reserveShare)) }

// turn notes that the disk has become full, or isn't any more. The caller holds mu.
func (s *space) turn(full bool, k journal.Kind, free, total uint64) {
	if s.full == full {
		return
	}
	s.full = full
	e := journal.New(k)
	e.Dir, e.Detail = s.path, fmt.Sprintf("%d of %d bytes are free", free, total)
	s.events.Emit(e)
}
