package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	currentName = "replication-journal.jsonl"
	olderName   = "replication-journal.1.jsonl"
	lineMax     = 1 << 20
)

// store appends events to the current file and turns it into the older one
// when it has half the allowed size.
type store struct {
	dir  string
	half int64
	f    *os.File
	size int64
}

func openStore(dir string, maxBytes int64) (*store, []Event, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	old, _, err := readEvents(filepath.Join(dir, olderName))
	if err != nil {
		return nil, nil, err
	}
	cur, whole, err := readEvents(filepath.Join(dir, currentName))
	if err != nil {
		return nil, nil, err
	}
	s := &store{dir: dir, half: maxBytes / 2}
	if err := s.open(); err != nil {
		return nil, nil, err
	}
	if err := s.f.Truncate(whole); err != nil { // drop a torn last line, or the next one would join it
		return nil, nil, fmt.Errorf("journal: %w", errors.Join(err, s.f.Close()))
	}
	s.size = whole
	return s, append(old, cur...), nil
}

func (s *store) open() error {
	f, err := os.OpenFile(filepath.Join(s.dir, currentName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	s.f, s.size = f, 0
	return nil
}

func (s *store) append(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: event %d: %w", e.Seq, err)
	}
	line = append(line, '\n')
	if s.size > 0 && s.size+int64(len(line)) > s.half { // invariant 3
		if err := s.rotate(); err != nil {
			return err
		}
	}
	n, err := s.f.Write(line)
	s.size += int64(n)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (s *store) rotate() error {
	if err := s.f.Close(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := os.Rename(filepath.Join(s.dir, currentName), filepath.Join(s.dir, olderName)); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return s.open()
}

func (s *store) close() error {
	return errors.Join(s.f.Sync(), s.f.Close())
}

// readEvents returns the events of one file and the length of its whole lines.
func readEvents(name string) (out []Event, whole int64, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, lineMax)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			whole += int64(len(line)) // not a line of ours; skip to its end
			continue
		}
		if err != nil {
			return out, whole, nil // end of file; what follows the last newline is torn
		}
		whole += int64(len(line))
		var e Event
		if json.Unmarshal(line, &e) == nil && e.Seq > 0 {
			out = append(out, e)
		}
	}
}
