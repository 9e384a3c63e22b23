//go:build !race

// The race detector makes pools forget.

package api

import (
	"fmt"
	"sync/atomic"
	"testing"

	"tidemark/internal/vfs"
)

// countingFS counts the calls on files.
type countingFS struct {
	vfs.FS
	writes, others atomic.Int64
}

func (c *countingFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &countingFile{File: f, fs: c}, nil
}

func (c *countingFS) Open(n string) (vfs.File, error)         { return c.wrap(c.FS.Open(n)) }
func (c *countingFS) Create(n string) (vfs.File, error)       { return c.wrap(c.FS.Create(n)) }
func (c *countingFS) OpenOrCreate(n string) (vfs.File, error) { return c.wrap(c.FS.OpenOrCreate(n)) }

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (f *countingFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.writes.Add(1)
	return f.File.WriteAt(p, off)
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.others.Add(1)
	return f.File.ReadAt(p, off)
}

func (f *countingFile) Size() (int64, error) { f.fs.others.Add(1); return f.File.Size() }
func (f *countingFile) Sync() error          { f.fs.others.Add(1); return f.File.Sync() }

// From the frame to the acknowledgement a produce request costs one call on a
// file, whatever its size (server.TestCallsPerRequest has those on the socket),
// and next to no memory: the call's frame, and with acks=all what waits.
func TestProduceCosts(t *testing.T) {
	for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
		for acks, most := range map[int16]float64{1: 1, -1: 4} {
			t.Run(fmt.Sprintf("%dKiB, acks=%d", size>>10, acks), func(t *testing.T) {
				fs := &countingFS{FS: vfs.NewMem()}
				ask := asker(t, leadingAlone(t, fs), acks, size)
				for range 20 {
					ask()
				}
				writes, others := fs.writes.Load(), fs.others.Load()
				const n = 50
				allocs := testing.AllocsPerRun(n-1, ask)
				if got := fs.writes.Load() - writes; got != n || fs.others.Load() != others {
					t.Errorf("%d requests: %d writes, %d other calls on files", n, got, fs.others.Load()-others)
				}
				if allocs > most {
					t.Errorf("%v allocations a request, at most %v expected", allocs, most)
				}
			})
		}
	}
}
