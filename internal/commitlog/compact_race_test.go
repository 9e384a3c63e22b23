package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// Readers, the writer, a flusher and the cleaner run at once, on real files
// and with a file budget of two. Readers see intact batches in order, and
// never miss a key that was written once and then left alone.
func TestReadersBesideCompaction(t *testing.T) {
	o := memOptions(vfs.OS)
	o.Dir = filepath.Join(t.TempDir(), "t-0")
	o.Config.SegmentBytes, o.Config.Compact, o.Config.Delete = 2000, true, false
	o.Config.FileDeleteDelay = 0
	o.Files = NewFiles(2)
	l := open(t, o)
	const fixed = 30
	for i := range fixed {
		_, err := l.Append(keyed(l.End(), 0, 0, 1, kv{key: fmt.Sprint("fixed", i), value: "1"}))
		must(t, err)
	}
	done := make(chan struct{})
	var others sync.WaitGroup
	loop := func(fn func() error) {
		others.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		loop(func() error {
			if got := latest(t, l); len(got) < fixed {
				return fmt.Errorf("only %d keys: %v", len(got), got)
			}
			return nil
		})
	}
	loop(func() error {
		off, _, _, ok, err := l.OffsetForTimestamp(1, l.End())
		if err == nil && (!ok || off >= fixed) {
			err = fmt.Errorf("offset %d %t for the first timestamp", off, ok)
		}
		return err
	})
	loop(func() error { return l.Flush(l.End()) })
	passes := 0
	loop(func() error {
		if _, err := l.RemoveDeleted(l.now()); err != nil {
			return err
		}
		_, err := l.Compact(CompactOptions{Bound: l.End(), Now: l.now()})
		if errors.Is(err, ErrInterrupted) {
			err = nil
		}
		passes++
		return err
	})
	for i := range 3000 {
		_, err := l.Append(keyed(l.End(), model.LeaderEpoch(i/500), 0, int64(i+2), kv{key: fmt.Sprint(i % 10), value: fmt.Sprint(i)}))
		must(t, err)
	}
	close(done)
	others.Wait()
	if len(latest(t, l)) != fixed+10 || passes == 0 {
		t.Errorf("%d keys after %d passes", len(latest(t, l)), passes)
	}
}
