package lostfound

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

const (
	batchesSuffix  = ".batches"
	manifestSuffix = ".json"
)

// DirName is the store's directory in tidemark.state.dir.
const DirName = "lost-found"

// ErrUnknown means that there is no item of this id.
var ErrUnknown = errors.New("no such item in lost and found")

// Epoch is a leader epoch of an item, and where it begins.
type Epoch struct {
	Epoch model.LeaderEpoch `json:"epoch"`
	Start model.Offset      `json:"start"`
}

// Item is what was kept of one removal.
type Item struct {
	ID            string        `json:"id"`
	At            time.Time     `json:"at"`
	Topic         string        `json:"topic"`
	Partition     int32         `json:"partition"`
	TopicID       model.TopicID `json:"topicId"`
	From          model.Offset  `json:"from"` // the batches begin here
	To            model.Offset  `json:"to"`   // the log end then
	Cut           model.Offset  `json:"cut"`  // the log was cut here
	HighWatermark model.Offset  `json:"highWatermark"`
	Epochs        []Epoch       `json:"epochs,omitempty"`
	Reason        string        `json:"reason"` // the reason code of the journal
	Why           string        `json:"why"`    // a sentence
	File          string        `json:"file"`   // in the store's directory
	Bytes         int64         `json:"bytes"`
	Whole         bool          `json:"whole"` // false: the limits cut it short
}

// Store is a directory of items.
type Store struct {
	fs    vfs.FS
	dir   string
	limit int64
	mu    struct {
		sync.Mutex
		items []Item // oldest first
	}
}

// Open reads the manifests of dir, which need not exist, and removes what an
// interrupted Keep left behind. limit is in bytes.
func Open(fsys vfs.FS, dir string, limit int64) (*Store, error) {
	s := &Store{fs: fsys, dir: dir, limit: limit}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("lost and found: %w", err)
	}
	items, err := List(fsys, dir)
	if err != nil {
		return nil, err
	}
	s.mu.items = items
	entries, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("lost and found: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name, batchesSuffix)
		if ok && !slices.ContainsFunc(items, func(i Item) bool { return i.ID == id }) {
			_ = fsys.Remove(path.Join(dir, e.Name)) // tried again at the next start
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s, s.evictLocked(0)
}

// List reads the items of a directory, oldest first, while its owner may be
// running. A manifest that can't be read is left out.
func List(fsys vfs.FS, dir string) ([]Item, error) {
	entries, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("lost and found: %w", err)
	}
	var out []Item
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name, manifestSuffix)
		if !ok || e.IsDir {
			continue
		}
		var i Item
		p, err := vfs.ReadFile(fsys, path.Join(dir, e.Name))
		if err != nil || json.Unmarshal(p, &i) != nil || i.ID != id || i.File != id+batchesSuffix {
			continue
		}
		out = append(out, i)
	}
	return out, nil
}

// Find returns one item of a directory. Error: ErrUnknown.
func Find(fsys vfs.FS, dir, id string) (Item, error) {
	items, err := List(fsys, dir)
	if err != nil {
		return Item{}, err
	}
	if i := slices.IndexFunc(items, func(i Item) bool { return i.ID == id }); i >= 0 {
		return items[i], nil
	}
	return Item{}, fmt.Errorf("%s in %s: %w", id, dir, ErrUnknown)
}

// Limit is the most bytes that one item may have.
func (s *Store) Limit() int64 { return s.limit }

// Keep stores an item of about size bytes, which write produces, at most Limit
// of them. ID and File are set here; write sets the rest that it knows.
func (s *Store) Keep(i Item, size int64, write func(w io.Writer, i *Item) error) (Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.evictLocked(min(size, s.limit)); err != nil {
		return i, err
	}
	i.ID = s.idLocked(i)
	i.File = i.ID + batchesSuffix
	name := path.Join(s.dir, i.File)
	f, err := s.fs.Create(name)
	if err != nil {
		return i, fmt.Errorf("lost and found: %w", err)
	}
	w := &fileWriter{f: f, left: s.limit}
	err = write(w, &i)
	i.Bytes = w.at
	err = errors.Join(err, f.Sync(), f.Close())
	var text []byte
	if err == nil {
		text, err = json.MarshalIndent(i, "", "  ")
	}
	if err == nil {
		err = vfs.WriteFileAtomic(s.fs, path.Join(s.dir, i.ID+manifestSuffix), append(text, '\n')) // invariant 2
	}
	if err != nil {
		_ = s.fs.Remove(name) // what stays is removed by Open
		return i, fmt.Errorf("lost and found: %s: %w", i.ID, err)
	}
	s.mu.items = append(s.mu.items, i)
	return i, nil
}

// idLocked names an item by its time and place.
func (s *Store) idLocked(i Item) string {
	at := i.At.UTC()
	for {
		id := fmt.Sprintf("%s-%s-%d-%d", at.Format("20060102T150405.000000"), i.Topic, i.Partition, i.From)
		if !slices.ContainsFunc(s.mu.items, func(o Item) bool { return o.ID == id }) {
			return id
		}
		at = at.Add(time.Microsecond)
	}
}

// evictLocked removes the oldest items until incoming bytes fit. // invariant 1
func (s *Store) evictLocked(incoming int64) error {
	total := incoming
	for _, i := range s.mu.items {
		total += i.Bytes
	}
	for total > s.limit && len(s.mu.items) > 0 {
		i := s.mu.items[0]
		for _, name := range []string{i.ID + manifestSuffix, i.File} {
			if err := s.fs.Remove(path.Join(s.dir, name)); err != nil {
				return fmt.Errorf("lost and found: %w", err)
			}
		}
		total -= i.Bytes
		s.mu.items = s.mu.items[1:]
	}
	return nil
}

var errFull = errors.New("item is larger than the limit")

// fileWriter appends to a file.
type fileWriter struct {
	f        vfs.File
	at, left int64
}

func (w *fileWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		return 0, errFull
	}
	n, err := w.f.WriteAt(p, w.at)
	w.at += int64(n)
	w.left -= int64(n)
	return n, err
}

// Read returns an item's batches.
func Read(fsys vfs.FS, dir string, i Item) ([]byte, error) {
	p, err := vfs.ReadFile(fsys, path.Join(dir, i.File))
	if err != nil {
		return nil, fmt.Errorf("lost and found: %w", err)
	}
	return p, nil
}
