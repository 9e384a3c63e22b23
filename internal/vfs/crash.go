package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// crashBlock is the unit in which unsynced data survives a crash, in bytes.
const crashBlock = 512

// CrashClone returns the file system as a machine would find it after losing
// power now. Of what has not been synced, about unsyncedPercent survives: 0
// leaves only what Sync and SyncDir promised, 100 leaves everything (as when
// only the process dies); between them the choice is drawn from seed, block
// by block and, per directory, as a prefix of its changes (invariant 3).
func (m *Mem) CrashClone(unsyncedPercent int, seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{percent: unsyncedPercent, rng: rand.New(rand.NewPCG(seed, 0x7469646d)), done: map[*memNode]*memNode{}}
	return &Mem{root: c.node(m.root), locks: map[string]bool{}, clock: m.clock}
}

type crash struct {
	percent int
	rng     *rand.Rand
	done    map[*memNode]*memNode
}

func (c *crash) survives() bool {
	switch {
	case c.percent <= 0:
		return false
	case c.percent >= 100:
		return true
	}
	return c.rng.IntN(100) < c.percent
}

func (c *crash) node(n *memNode) *memNode {
	if r := c.done[n]; r != nil {
		return r
	}
	r := &memNode{dir: n.dir, mod: n.mod}
	c.done[n] = r
	if !n.dir {
		r.data = c.contents(n)
		r.synced = slices.Clone(r.data)
		return r
	}
	left := maps.Clone(n.durable)
	for _, op := range n.pending {
		if !c.survives() {
			break
		}
		for _, s := range op {
			setEntry(left, s)
		}
	}
	r.entries = make(map[string]*memNode, len(left))
	for _, name := range sortedNames(left) {
		r.entries[name] = c.node(left[name])
	}
	r.durable = maps.Clone(r.entries)
	return r
}

// contents mixes the synced and the current bytes of a file.
func (c *crash) contents(n *memNode) []byte {
	size := len(n.synced)
	if size != len(n.data) && c.survives() {
		size = len(n.data)
	} else if c.percent > 0 && len(n.data) > len(n.synced) {
		size += c.rng.IntN(len(n.data) - len(n.synced)) // the length reached the disk part of the way
	}
	out := make([]byte, size)
	copy(out, n.synced)
	for off := 0; off < size; off += crashBlock {
		if end := min(off+crashBlock, size, len(n.data)); off < end && c.survives() {
			copy(out[off:end], n.data[off:])
		}
	}
	return out
}
