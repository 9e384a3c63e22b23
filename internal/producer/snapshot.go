package producer

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

const (
	snapshotVersion = 1
	snapshotHeader  = 2 + 4 + 4 // version, CRC, count
	snapshotCRCEnd  = 2 + 4     // the CRC covers everything from here
	snapshotEntry   = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot encodes the table as Kafka's .snapshot file, ordered by producer id.
// The file's name must be the log end at this moment.
func (t *Table) Snapshot() []byte {
	be := binary.BigEndian
	p := make([]byte, snapshotHeader, snapshotHeader+len(t.entries)*snapshotEntry)
	be.PutUint16(p, snapshotVersion)
	be.PutUint32(p[snapshotCRCEnd:], uint32(len(t.entries)))
	for _, e := range t.sorted() {
		last := sent{last: record.NoSequence, end: model.NoOffset}
		if e.n > 0 {
			last = e.batches[e.n-1]
		}
		p = be.AppendUint64(p, uint64(e.id))
		p = be.AppendUint16(p, uint16(e.epoch))
		p = be.AppendUint32(p, uint32(last.last))
		p = be.AppendUint64(p, uint64(last.end))
		p = be.AppendUint32(p, uint32(last.delta))
		p = be.AppendUint64(p, uint64(e.timestamp))
		p = be.AppendUint32(p, uint32(e.coordinatorEpoch))
		p = be.AppendUint64(p, uint64(e.txnStart))
	}
	be.PutUint32(p[2:], crc32.Checksum(p[snapshotCRCEnd:], castagnoli))
	return p
}

// Restore decodes a snapshot. ErrCorruptSnapshot: wrong version, checksum or
// length; use the next older snapshot. Follow up with Appended for every batch
// from the snapshot's offset on, and Expire.
func Restore(p []byte) (*Table, error) {
	be := binary.BigEndian
	if len(p) < snapshotHeader {
		return nil, fmt.Errorf("%d bytes, want at least %d: %w", len(p), snapshotHeader, ErrCorruptSnapshot)
	}
	if v := be.Uint16(p); v != snapshotVersion {
		return nil, fmt.Errorf("version %d, want %d: %w", v, snapshotVersion, ErrCorruptSnapshot)
	}
	if sum := crc32.Checksum(p[snapshotCRCEnd:], castagnoli); sum != be.Uint32(p[2:]) {
		return nil, fmt.Errorf("crc stored %08x, computed %08x: %w", be.Uint32(p[2:]), sum, ErrCorruptSnapshot)
	}
	n, body := be.Uint32(p[snapshotCRCEnd:]), p[snapshotHeader:]
	if uint64(n)*snapshotEntry != uint64(len(body)) {
		return nil, fmt.Errorf("%d entries in %d bytes: %w", int32(n), len(body), ErrCorruptSnapshot)
	}
	t := New()
	t.floor = math.MaxInt64 // the snapshot's offset isn't known here; the first batch after it will tell
	for ; len(body) > 0; body = body[snapshotEntry:] {
		t.restore(body)
	}
	slices.SortFunc(t.open, func(a, b openTxn) int { return cmp.Compare(a.first, b.first) })
	return t, nil
}

func (t *Table) restore(p []byte) {
	be := binary.BigEndian
	e := &entry{
		id: model.ProducerID(be.Uint64(p)), epoch: model.ProducerEpoch(be.Uint16(p[8:])),
		timestamp:        int64(be.Uint64(p[26:])),
		coordinatorEpoch: int32(be.Uint32(p[34:])),
		txnStart:         max(model.Offset(be.Uint64(p[38:])), model.NoOffset),
		born:             model.NoOffset, epochStart: model.NoOffset, markerAt: model.NoOffset,
	}
	last := sent{
		last: int32(be.Uint32(p[10:])), end: model.Offset(be.Uint64(p[14:])),
		delta: int32(be.Uint32(p[22:])), timestamp: e.timestamp,
	}
	if last.end >= 0 {
		last.first = subtractSequence(last.last, last.delta)
		e.batches[0], e.n = last, 1
		t.next = max(t.next, last.end+1)
	}
	t.entries[e.id] = e
	if e.txnStart != model.NoOffset {
		t.open = append(t.open, openTxn{e.id, e.txnStart})
	}
}

// subtractSequence is the inverse of record.AddSequence; NoSequence stays.
func subtractSequence(seq, n int32) int32 {
	if seq == record.NoSequence {
		return record.NoSequence
	}
	return int32((int64(seq) - int64(n)) & (1<<31 - 1))
}
