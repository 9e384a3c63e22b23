package commitlog

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"tidemark/internal/vfs"
)

// handle is a counted reference to an open segment file. The segment owns one
// reference, every Slice another: eviction, roll and deletion only drop the
// owner's, so a descriptor is never closed under a reader.
type handle struct {
	f    vfs.File
	refs atomic.Int64
}

func (h *handle) acquire() bool {
	for {
		n := h.refs.Load()
		if n <= 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (h *handle) release() {
	if h.refs.Add(-1) == 0 {
		h.f.Close()
	}
}

// Files bounds the number of segment files that stay open while nobody uses
// them. One is shared by all the logs of a process. When it is full, a file
// that hasn't been used since the last sweep is closed; it is opened again on
// its next use.
type Files struct {
	max int

	mu struct {
		sync.Mutex
		ring []*segment // those with an open file
		hand int
	}
}

// NewFiles returns a budget of max open files, at least 1.
func NewFiles(max int) *Files { return &Files{max: max1(max)} }

func max1(n int) int { return max(n, 1) }

// sharedFiles is the process's budget: a quarter of its descriptors.
var sharedFiles = sync.OnceValue(func() *Files {
	n := 4096
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil && lim.Cur/4 < uint64(n) {
		n = int(lim.Cur / 4)
	}
	return NewFiles(n)
})

// Open is the number of files that are held open now.
func (c *Files) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.ring)
}

// add registers a segment that has just been opened and makes room for it.
func (c *Files) add(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.mu.ring) >= c.max {
		if c.mu.hand >= len(c.mu.ring) {
			c.mu.hand = 0
		}
		v := c.mu.ring[c.mu.hand]
		if v.used.Swap(false) {
			c.mu.hand++
			continue
		}
		c.dropLocked(c.mu.hand)
		v.dropHandle()
	}
	s.slot = len(c.mu.ring)
	c.mu.ring = append(c.mu.ring, s)
}

// remove closes the segment's file, unless somebody else still reads it.
func (c *Files) remove(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.slot >= 0 {
		c.dropLocked(s.slot)
	}
	s.dropHandle()
}

func (c *Files) dropLocked(i int) {
	ring := c.mu.ring
	last := len(ring) - 1
	ring[i].slot = -1
	if i != last {
		ring[i] = ring[last]
		ring[i].slot = i
	}
	ring[last] = nil
	c.mu.ring = ring[:last]
}
