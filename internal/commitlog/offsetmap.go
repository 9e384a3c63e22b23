package commitlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"tidemark/internal/model"
)

// mapEntryBytes is the size of one entry: 16 bytes of hash, 8 of offset.
const mapEntryBytes = 24

// mapLoadPercent is how full the table may get.
const mapLoadPercent = 90

type mapEntry struct {
	hash [16]byte
	next int64 // offset + 1; 0 is a free entry
}

// offsetMap remembers the last offset of every key of the dirty range, in
// memory of a fixed size. Keys are known by 16 bytes of SHA-256: that two keys
// collide isn't expected to happen, by chance or by intent.
type offsetMap struct {
	slots  []mapEntry
	n, max int
	latest model.Offset // everything up to here is in the map
}

// newOffsetMap takes at most budget bytes, and no more than keys need.
func newOffsetMap(budget, keys int64) *offsetMap {
	slots := min(max(budget/mapEntryBytes, 2), min(keys, 1<<40)*100/mapLoadPercent+2)
	return &offsetMap{slots: make([]mapEntry, slots), max: int(max(slots*mapLoadPercent/100, 1)), latest: model.NoOffset}
}

// find returns the entry of the key, or the free one where it belongs.
func (m *offsetMap) find(key []byte) (e *mapEntry, hash [16]byte) {
	sum := sha256.Sum256(key)
	hash = [16]byte(sum[:16])
	i := binary.BigEndian.Uint64(sum[16:]) % uint64(len(m.slots))
	for {
		e = &m.slots[i]
		if e.next == 0 || bytes.Equal(e.hash[:], hash[:]) {
			return e, hash
		}
		if i++; i == uint64(len(m.slots)) {
			i = 0
		}
	}
}

// put remembers that the key is at off; false if the map is full.
func (m *offsetMap) put(key []byte, off model.Offset) bool {
	e, hash := m.find(key)
	if e.next == 0 {
		if m.n == m.max {
			return false
		}
		m.n++
		e.hash = hash
	}
	e.next = int64(off) + 1
	m.latest = off
	return true
}

// get returns the last offset of the key, NoOffset if it isn't in the map.
func (m *offsetMap) get(key []byte) model.Offset {
	e, _ := m.find(key)
	return model.Offset(e.next - 1)
}
