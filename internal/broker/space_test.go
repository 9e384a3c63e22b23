package broker

import (
	"errors"
	"testing"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/partition"
	"tidemark/internal/vfs"
)

// tinyDisk is a file system of a thousand bytes.
type tinyDisk struct {
	vfs.FS
	free  uint64
	asked int
}

func (d *tinyDisk) DiskFree(string) (free, total uint64, err error) {
	d.asked++
	return d.free, 1000, nil
}

type kinds []journal.Kind

func (k *kinds) Emit(e journal.Event) { *k = append(*k, e.Kind) }

func TestReserveIsKept(t *testing.T) {
	disk, now, events := &tinyDisk{free: 250}, time.Unix(0, 0), kinds{}
	s := newSpace(&logDir{fs: disk}, &Config{ReserveBytes: 500, Now: func() time.Time { return now }, Events: &events})
	take := func(n int, want error) {
		t.Helper()
		err := s.Take(n)
		if !errors.Is(err, want) {
			t.Fatalf("%d bytes with %d free: %v, want %v", n, disk.free, err, want)
		}
		if err == nil {
			disk.free -= uint64(n)
		}
	}
	// The reserve is a twentieth of the disk, 50 bytes, although 500 were asked for.
	for range 10 {
		take(20, nil)
	}
	if disk.free != 50 || disk.asked > 7 {
		t.Errorf("%d free after %d questions", disk.free, disk.asked)
	}
	if s.isFull(50, 1000) || !s.isFull(49, 1000) {
		t.Error("shown as full at another mark")
	}
	take(1, partition.ErrNoSpace)
	if !s.isFull(50, 1000) {
		t.Error("records are refused, and it doesn't show")
	}
	disk.free, disk.asked = 900, 0
	take(1, partition.ErrNoSpace) // asked too shortly before
	if disk.asked != 0 {
		t.Error("a full disk was asked for every append")
	}
	now = now.Add(fullQuestion)
	take(1, nil)
	if len(events) != 2 || events[0] != journal.DirFull || events[1] != journal.DirHasSpace {
		t.Errorf("events %v", events)
	}
}
