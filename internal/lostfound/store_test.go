package lostfound

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

func newStore(t *testing.T, fs vfs.FS, limit int64) *Store {
	t.Helper()
	s, err := Open(fs, "state/lost-found", limit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keep(t *testing.T, s *Store, from model.Offset, text string) Item {
	t.Helper()
	i := Item{At: time.Unix(100+int64(from), 0), Topic: "orders", Partition: 3, From: from, To: from + 10, Reason: "diverged"}
	i, err := s.Keep(i, int64(len(text)), func(w io.Writer, i *Item) error {
		i.Whole = true
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func held(t *testing.T, fs vfs.FS) string {
	t.Helper()
	items, err := List(fs, "state/lost-found")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range items {
		p, err := Read(fs, "state/lost-found", i)
		if err != nil || int64(len(p)) != i.Bytes {
			t.Errorf("%s: %v, %d bytes of %d", i.ID, err, len(p), i.Bytes)
		}
		out = append(out, fmt.Sprintf("%d:%s", i.From, p))
	}
	return strings.Join(out, " ")
}

// The oldest items make room for a new one, also after a restart with a
// smaller limit.
func TestOldestGoFirst(t *testing.T) {
	fs := vfs.NewMem()
	s := newStore(t, fs, 10)
	first := keep(t, s, 1, "aaaa")
	keep(t, s, 2, "bbbb")
	if again := keep(t, s, 1, "c"); again.ID == first.ID {
		t.Errorf("%s twice", first.ID)
	}
	if got := held(t, fs); got != "1:aaaa 1:c 2:bbbb" {
		t.Error(got)
	}
	keep(t, s, 4, "dddd")
	if _, err := Find(fs, "state/lost-found", first.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("the oldest item is still there: %v", err)
	}
	newStore(t, fs, 4)
	if got := held(t, fs); got != "4:dddd" {
		t.Error(got)
	}
}

// A failed or interrupted Keep leaves no item and, after the next start, no bytes.
func TestInterruptedKeep(t *testing.T) {
	fs := vfs.NewMem()
	s := newStore(t, fs, 100)
	broken := errors.New("broken")
	if _, err := s.Keep(Item{Topic: "t"}, 3, func(io.Writer, *Item) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := s.Keep(Item{Topic: "t"}, 101, func(w io.Writer, _ *Item) error {
		_, err := w.Write(make([]byte, 101))
		return err
	}); err == nil {
		t.Error("more than the limit was kept")
	}
	if _, err := fs.Create("state/lost-found/x.batches"); err != nil {
		t.Fatal(err)
	}
	newStore(t, fs, 100)
	if left, err := fs.List("state/lost-found"); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}
