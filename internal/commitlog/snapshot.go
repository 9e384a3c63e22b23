package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshots returns the offsets of the producer snapshots, ascending.
func (l *Log) snapshots() ([]model.Offset, error) {
	entries, err := l.fs.List(l.Dir())
	if err != nil {
		return nil, ioError(err)
	}
	var out []model.Offset
	for _, e := range entries {
		if off, suffix, ok := parseSegmentName(e.Name); ok && suffix == snapshotSuffix {
			out = append(out, off)
		}
	}
	return out, nil
}

// LatestProducerSnapshot returns the newest intact producer snapshot whose
// offset isn't above max. A snapshot holds the state of all records below its
// offset. Damaged ones are passed over: replaying more of the log gives the
// same state.
func (l *Log) LatestProducerSnapshot(max model.Offset) (off model.Offset, data []byte, ok bool) {
	offs, err := l.snapshots()
	if err != nil {
		return 0, nil, false
	}
	for i := len(offs) - 1; i >= 0; i-- {
		if offs[i] > max {
			continue
		}
		p, err := vfs.ReadFile(l.fs, l.path(offs[i], snapshotSuffix))
		if err == nil && intactSnapshot(p) {
			return offs[i], p, true
		}
		l.o.Log.Warn("producer snapshot ignored", "dir", l.Dir(), "offset", offs[i], "bytes", len(p), "error", err)
	}
	return 0, nil, false
}

// intactSnapshot checks the frame of Kafka's format: i16 version 1, u32
// CRC-32C of what follows.
func intactSnapshot(p []byte) bool {
	return len(p) >= 10 && binary.BigEndian.Uint16(p) == 1 &&
		binary.BigEndian.Uint32(p[2:]) == crc32.Checksum(p[6:], castagnoli)
}

// WriteProducerSnapshot stores the producer state of all records below off.
func (l *Log) WriteProducerSnapshot(off model.Offset, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if off < l.Start() || off > l.End() {
		return l.outOfRange("producer snapshot", off)
	}
	return l.fail(l.writeSnapshot(off, data))
}

// takeSnapshot asks the caller for the producer state at the log end.
func (l *Log) takeSnapshot() (bool, error) {
	if l.o.ProducerSnapshot == nil {
		return false, nil
	}
	p := l.o.ProducerSnapshot()
	if p == nil {
		return false, nil
	}
	return true, l.writeSnapshot(l.End(), p)
}

// writeSnapshot doesn't sync: a snapshot that a crash damages is ignored.
func (l *Log) writeSnapshot(off model.Offset, data []byte) error {
	return writePlain(l.fs, l.path(off, snapshotSuffix), data)
}

// dropSnapshots removes those at [from, to).
func (l *Log) dropSnapshots(from, to model.Offset) error {
	offs, err := l.snapshots()
	if err != nil {
		return err
	}
	for _, off := range offs {
		if off < from || off >= to {
			continue
		}
		if err := removeIfThere(l.fs, l.path(off, snapshotSuffix)); err != nil {
			return err
		}
	}
	return nil
}

// dropStraySnapshots removes those above end, and those inside segments that are
// of no use: all but the newest, and the newest at or below the recovery point.
func (l *Log) dropStraySnapshots(end, point model.Offset) error {
	offs, err := l.snapshots()
	if err != nil {
		return err
	}
	newest, last := model.NoOffset, model.NoOffset
	for _, off := range offs {
		if off <= end {
			newest = off
		}
		if off <= min(end, point) {
			last = off
		}
	}
	for _, off := range offs {
		i := floorSegment(l.segments(), off)
		aligned := i >= 0 && l.segments()[i].base == off
		switch {
		case off <= end && aligned:
		case off == newest, off == last:
			l.mu.restarts = append(l.mu.restarts, off)
		default:
			if err := removeIfThere(l.fs, l.path(off, snapshotSuffix)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) outOfRange(what string, off model.Offset) error {
	return fmt.Errorf("%s %d, log is [%d, %d]: %w", what, off, l.Start(), l.End(), ErrOffsetOutOfRange)
}
