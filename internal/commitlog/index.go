package commitlog

import (
	"encoding/binary"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"tidemark/internal/vfs"
)

// Sizes of the entries of the index files, in bytes.
const (
	indexEntrySize = 8
	timeEntrySize  = 12
)

// place is one entry of the offset index, packed as it stands in the file: the
// offset relative to the segment's base in the upper half, the position in the
// lower. The offset is the last of the batch that begins at the position, so
// the greatest entry not above a target is where a scan for it may begin.
type place uint64

func placeOf(rel, pos int64) place { return place(uint64(rel)<<32 | uint64(uint32(pos))) }
func (p place) rel() int64         { return int64(p >> 32) }
func (p place) pos() int64         { return int64(uint32(p)) }

// stamp is one entry of the time index: ts is the largest timestamp (ms) of
// the records up to and including the batch whose last offset is rel.
type stamp struct {
	ts  int64
	rel int64
}

// grown is a list with one writer that only appends, and any number of readers
// that take no lock. What a reader got from view never changes.
type grown[T any] struct {
	n atomic.Int64
	p atomic.Pointer[[]T]
}

func (g *grown[T]) add(v T) {
	n := int(g.n.Load())
	p := g.p.Load()
	if p == nil || n == len(*p) {
		bigger := make([]T, max(16, 2*n))
		if p != nil {
			copy(bigger, *p)
		}
		p = &bigger
		g.p.Store(p)
	}
	(*p)[n] = v
	g.n.Store(int64(n + 1))
}

func (g *grown[T]) view() []T {
	n := g.n.Load() // before the pointer: the array only gets larger
	p := g.p.Load()
	if p == nil {
		return nil
	}
	return (*p)[:n]
}

// memIndex is the index of a segment that is being written, or whose index
// files haven't been written yet.
type memIndex struct {
	places grown[place]
	stamps grown[stamp]
	since  int64 // bytes appended since the last entry; owned by the writer
}

func encodePlaces(v []place) []byte {
	out := make([]byte, 0, len(v)*indexEntrySize)
	for _, p := range v {
		out = binary.BigEndian.AppendUint64(out, uint64(p))
	}
	return out
}

func encodeStamps(v []stamp) []byte {
	out := make([]byte, 0, len(v)*timeEntrySize)
	for _, s := range v {
		out = binary.BigEndian.AppendUint64(out, uint64(s.ts))
		out = binary.BigEndian.AppendUint32(out, uint32(s.rel))
	}
	return out
}

// addStamp keeps timestamps strictly increasing, and offsets too.
func (x *memIndex) addStamp(s stamp) {
	if v := x.stamps.view(); s.ts < 0 || (len(v) > 0 && (v[len(v)-1].ts >= s.ts || v[len(v)-1].rel > s.rel)) {
		return
	}
	x.stamps.add(s)
}

// parsePlaces checks an offset index: whole entries, both columns growing, all
// positions inside the segment. A file that a JVM left preallocated ends in
// zeros and fails, as it does in Kafka.
func parsePlaces(p []byte, size int64) ([]place, error) {
	out := leadingPlaces(p, size)
	if n := len(out); n*indexEntrySize != len(p) {
		return nil, fmt.Errorf("offset index of %d bytes, entry %d is %x: %w",
			len(p), n, p[n*indexEntrySize:min((n+1)*indexEntrySize, len(p))], ErrCorrupt)
	}
	return out, nil
}

// leadingPlaces are the entries of an offset index before the first that can't
// be right.
func leadingPlaces(p []byte, size int64) []place {
	out := make([]place, 0, len(p)/indexEntrySize)
	for ; len(p) >= indexEntrySize; p = p[indexEntrySize:] {
		e := place(binary.BigEndian.Uint64(p))
		if n := len(out); e.pos() >= size || (n > 0 && (out[n-1].rel() >= e.rel() || out[n-1].pos() >= e.pos())) {
			break
		}
		out = append(out, e)
	}
	return out
}

// parseStamps checks a time index.
func parseStamps(p []byte) ([]stamp, error) {
	out := leadingStamps(p)
	if n := len(out); n*timeEntrySize != len(p) {
		return nil, fmt.Errorf("time index of %d bytes, entry %d is %x: %w",
			len(p), n, p[n*timeEntrySize:min((n+1)*timeEntrySize, len(p))], ErrCorrupt)
	}
	return out, nil
}

// leadingStamps are the entries of a time index before the first that can't be
// right.
func leadingStamps(p []byte) []stamp {
	out := make([]stamp, 0, len(p)/timeEntrySize)
	for ; len(p) >= timeEntrySize; p = p[timeEntrySize:] {
		e := stamp{int64(binary.BigEndian.Uint64(p)), int64(binary.BigEndian.Uint32(p[8:]))}
		if n := len(out); n > 0 && (out[n-1].ts >= e.ts || out[n-1].rel > e.rel) {
			break
		}
		out = append(out, e)
	}
	return out
}

// indexBlock is what one search of a closed index reads at once, in bytes.
const indexBlock = 4096

var indexBlocks = sync.Pool{New: func() any { return new([indexBlock]byte) }}

// searchFile finds the last entry of a closed index for which before is true;
// entries are sorted so that before is true for a prefix of them. It reads the
// first entry of O(log n) blocks and then one block: the file isn't loaded.
func searchFile(fsys vfs.FS, name string, before func(place) bool) (place, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return 0, ioError(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, ioError(err)
	}
	buf := indexBlocks.Get().(*[indexBlock]byte)
	defer indexBlocks.Put(buf)
	var failed error
	read := func(p []byte, off int64) {
		if _, err := f.ReadAt(p, off); err != nil && failed == nil {
			failed = ioError(err)
		}
	}
	entries := size / indexEntrySize
	blocks := int((entries*indexEntrySize + indexBlock - 1) / indexBlock)
	b := sort.Search(blocks, func(i int) bool {
		read(buf[:indexEntrySize], int64(i)*indexBlock)
		return !before(place(binary.BigEndian.Uint64(buf[:])))
	}) - 1
	if b < 0 || failed != nil {
		return 0, failed
	}
	n := min(indexBlock, entries*indexEntrySize-int64(b)*indexBlock)
	read(buf[:n], int64(b)*indexBlock)
	i := sort.Search(int(n/indexEntrySize), func(i int) bool {
		return !before(place(binary.BigEndian.Uint64(buf[i*indexEntrySize:])))
	}) - 1
	if i < 0 || failed != nil {
		return 0, failed
	}
	return place(binary.BigEndian.Uint64(buf[i*indexEntrySize:])), nil
}

// hints remembers positions of batch boundaries by offset, so that a reader at
// the tail, or one that goes on where it stopped, needs no index. A slot holds
// the last boundary that fell on it; zero means none.
type hints [64]atomic.Uint64

func (h *hints) put(rel, pos int64) {
	if h == nil || pos == 0 {
		return
	}
	h[hintSlot(rel)].Store(uint64(placeOf(rel, pos)))
}

// get returns the position of the first batch whose last offset is not below
// base+rel, if it is remembered.
func (h *hints) get(rel int64) (pos int64, ok bool) {
	if h == nil {
		return 0, false
	}
	p := place(h[hintSlot(rel)].Load())
	return p.pos(), p != 0 && p.rel() == rel
}

func hintSlot(rel int64) uint64 { return uint64(rel) * 0x9e3779b97f4a7c15 >> 58 }
