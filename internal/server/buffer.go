package server

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two from 4 KiB to 4 MiB; larger ones are left to
// the garbage collector so that one huge request doesn't stay pinned.
const (
	classMin = 12
	classMax = 22
)

// buffer is a pooled piece of memory; b has the length that is in use.
type buffer struct{ b []byte }

var pools [classMax - classMin + 1]sync.Pool

// getBuffer returns an empty buffer with room for n bytes or more.
func getBuffer(n int) *buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), classMin)
	if class > classMax {
		return &buffer{b: make([]byte, 0, n)}
	}
	if x := pools[class-classMin].Get(); x != nil {
		return x.(*buffer)
	}
	return &buffer{b: make([]byte, 0, 1<<class)}
}

// put gives the buffer back; the caller must not hold its memory any more.
func (b *buffer) put() {
	class := bits.Len(uint(cap(b.b))) - 1
	if class < classMin || class > classMax || cap(b.b) != 1<<class {
		return
	}
	b.b = b.b[:0]
	pools[class-classMin].Put(b)
}
