package commitlog

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// Readers run beside appends, rolls, truncations, retention and a file budget
// of two. They only ever see whole, intact batches that follow each other.
func TestReadersBesideEverything(t *testing.T) {
	o := memOptions(vfs.OS)
	o.Dir = filepath.Join(t.TempDir(), "t-0")
	o.Config.SegmentBytes = 2000
	o.Config.RetentionBytes = 20000
	o.Files = NewFiles(2)
	l := open(t, o)
	fill(t, l, 0, 20, 3)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readThrough(l, 500+i*2000); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readers.Go(func() { // the flusher of the log directory
		for l.Start() >= 0 {
			select {
			case <-done:
				return
			default:
			}
			if err := l.Flush(l.End()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 130 {
		epoch := model.LeaderEpoch(i)
		fill(t, l, epoch, 10, 3)
		switch i % 8 {
		case 3:
			_, err := l.TruncateTo(l.End() - 20)
			must(t, err)
		case 5:
			must(t, l.Flush(l.End()-5))
		case 6:
			_, err := l.ApplyRetention(l.now(), l.End()-10)
			must(t, err)
			_, err = l.RemoveDeleted(l.now().Add(o.Config.FileDeleteDelay))
			must(t, err)
		case 7:
			if i%64 == 63 {
				must(t, l.TruncateFullyAndStartAt(l.End()+10))
			}
		}
	}
	close(done)
	readers.Wait()
	must(t, l.Close(true))
}

// readThrough reads the log from start to end once.
func readThrough(l *Log, most int) error {
	from := l.Start()
	buf := make([]byte, 1<<16)
	for from < l.End() {
		sl, err := l.Read(from, l.End(), most, true)
		if errors.Is(err, ErrOffsetOutOfRange) {
			return nil // retention or truncation overtook us
		}
		if err != nil {
			return err
		}
		n, err := sl.ReadInto(buf)
		next := sl.Next
		sl.Release()
		if errors.Is(err, ErrTruncated) {
			return nil
		}
		if err != nil {
			return err
		}
		last := model.NoOffset
		for rest := buf[:n]; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if err == nil {
				err = b.CheckCRC()
			}
			if err == nil && b.BaseOffset() <= last {
				err = errors.New("offsets go back")
			}
			if err != nil {
				return err
			}
			last, rest = b.LastOffset(), after
		}
		if next <= from {
			return nil
		}
		from = next
	}
	return nil
}
