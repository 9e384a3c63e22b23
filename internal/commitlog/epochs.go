package commitlog

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

const epochFileName = "leader-epoch-checkpoint"

// EpochEntry says that the records of a leader epoch begin at Start.
type EpochEntry struct {
	Epoch model.LeaderEpoch
	Start model.Offset
}

// epochCache is the list of leader epochs in a log. Both columns grow strictly
// (invariant 5). Readers take an immutable slice; the log's lock orders writers.
type epochCache struct {
	list  atomic.Pointer[[]EpochEntry]
	dirty bool // differs from the file; guarded by Log.mu
}

func (c *epochCache) entries() []EpochEntry {
	if p := c.list.Load(); p != nil {
		return *p
	}
	return nil
}

func (c *epochCache) set(e []EpochEntry) {
	c.list.Store(&e)
	c.dirty = true
}

func (c *epochCache) latest() (EpochEntry, bool) {
	e := c.entries()
	if len(e) == 0 {
		return EpochEntry{}, false
	}
	return e[len(e)-1], true
}

// assign records that epoch begins at start. Entries at the tail that
// contradict it (an epoch or a start that isn't smaller) are dropped first, so
// of several elections without a write only the last remains. Epoch 0 is an
// epoch like any other (KAFKA-10432).
func (c *epochCache) assign(epoch model.LeaderEpoch, start model.Offset) {
	if last, ok := c.latest(); ok && last.Epoch == epoch && last.Start <= start {
		return
	}
	keep := c.entries()
	for len(keep) > 0 && (keep[len(keep)-1].Epoch >= epoch || keep[len(keep)-1].Start >= start) {
		keep = keep[:len(keep)-1]
	}
	c.set(append(slices.Clone(keep), EpochEntry{epoch, start}))
}

// truncateFromEnd removes what begins at or after end.
func (c *epochCache) truncateFromEnd(end model.Offset) {
	e := c.entries()
	n := len(e)
	for n > 0 && e[n-1].Start >= end {
		n--
	}
	if n < len(e) {
		c.set(slices.Clone(e[:n]))
	}
}

// truncateFromStart forgets the epochs that lie wholly below start; the one
// that start belongs to now begins there.
func (c *epochCache) truncateFromStart(start model.Offset) {
	e := c.entries()
	i := 0
	for i < len(e) && e[i].Start <= start {
		i++
	}
	if i == 0 || (i == 1 && e[0].Start == start) {
		return
	}
	e = slices.Clone(e[i-1:])
	e[0].Start = start
	c.set(e)
}

// endOffsetFor answers OffsetForLeaderEpoch (KIP-101, KIP-279): the largest
// epoch not above the requested one, and the offset at which it ends.
func (c *epochCache) endOffsetFor(want model.LeaderEpoch, logEnd model.Offset) (model.LeaderEpoch, model.Offset) {
	e := c.entries()
	if want == model.NoLeaderEpoch || len(e) == 0 || want > e[len(e)-1].Epoch {
		return model.NoLeaderEpoch, model.NoOffset
	}
	if want == e[len(e)-1].Epoch {
		return want, logEnd
	}
	next := 0 // the first epoch above the requested one
	for e[next].Epoch <= want {
		next++
	}
	if next == 0 {
		return want, e[0].Start
	}
	return e[next-1].Epoch, e[next].Start
}

// at returns the epoch of the record at off.
func (c *epochCache) at(off model.Offset) model.LeaderEpoch {
	e := c.entries()
	for i := len(e) - 1; i >= 0; i-- {
		if e[i].Start <= off {
			return e[i].Epoch
		}
	}
	return model.NoLeaderEpoch
}

// load reads the file. A malformed one is ErrCorrupt and leaves the cache empty.
func (c *epochCache) load(fsys vfs.FS, dir string) error {
	lines, err := checkpointLines(fsys, filepath.Join(dir, epochFileName))
	if err != nil {
		return err
	}
	e, err := parseEpochs(lines)
	if err != nil {
		return err
	}
	c.list.Store(&e)
	return nil
}

func parseEpochs(lines []string) ([]EpochEntry, error) {
	var out []EpochEntry
	for _, line := range lines {
		a, b, _ := strings.Cut(line, " ")
		epoch, err1 := strconv.ParseInt(a, 10, 32)
		start, err2 := strconv.ParseInt(b, 10, 64)
		if err1 != nil || err2 != nil || epoch < 0 || start < 0 {
			return nil, fmt.Errorf("%s: line %.40q: %w", epochFileName, line, ErrCorrupt)
		}
		e := EpochEntry{model.LeaderEpoch(epoch), model.Offset(start)}
		if n := len(out); n > 0 && (out[n-1].Epoch >= e.Epoch || out[n-1].Start >= e.Start) {
			return nil, fmt.Errorf("%s: %q follows %v: %w", epochFileName, line, out[n-1], ErrCorrupt)
		}
		out = append(out, e)
	}
	return out, nil
}

// save writes the file if the cache has changed since.
func (c *epochCache) save(fsys vfs.FS, dir string) error {
	if !c.dirty {
		return nil
	}
	var b bytes.Buffer
	e := c.entries()
	fmt.Fprintf(&b, "0\n%d\n", len(e))
	for _, x := range e {
		fmt.Fprintf(&b, "%d %d\n", x.Epoch, x.Start)
	}
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, epochFileName), b.Bytes()); err != nil {
		return ioError(err)
	}
	c.dirty = false
	return nil
}
