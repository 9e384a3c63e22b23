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
//
// Kafka stores the last batch of a producer only, so that a producer with several
// requests in flight, which sends them again after a restart, is refused as out of
// order and may begin anew, with duplicates. Here a producer has an entry for each
// cached batch, the last one at the end: of several, Kafka keeps the last too.
func (t *Table) Snapshot() []byte {
	be := binary.BigEndian
	p := make([]byte, snapshotHeader, snapshotHeader+len(t.entries)*snapshotEntry)
	be.PutUint16(p, snapshotVersion)
	for _, e := range t.sorted() {
		last := sent{last: record.NoSequence, end: model.NoOffset}
		if e.n > 0 {
			for _, older := range e.batches[:e.n-1] {
				p = e.encode(p, older, older.timestamp, model.NoOffset)
			}
			last = e.batches[e.n-1]
		}
		p = e.encode(p, last, e.timestamp, e.txnStart)
	}
	be.PutUint32(p[snapshotCRCEnd:], uint32((len(p)-snapshotHeader)/snapshotEntry))
	be.PutUint32(p[2:], crc32.Checksum(p[snapshotCRCEnd:], castagnoli))
	return p
}

func (e *entry) encode(p []byte, b sent, timestamp int64, txnStart model.Offset) []byte {
	be := binary.BigEndian
	p = be.AppendUint64(p, uint64(e.id))
	p = be.AppendUint16(p, uint16(e.epoch))
	p = be.AppendUint32(p, uint32(b.last))
	p = be.AppendUint64(p, uint64(b.end))
	p = be.AppendUint32(p, uint32(b.delta))
	p = be.AppendUint64(p, uint64(timestamp))
	p = be.AppendUint32(p, uint32(e.coordinatorEpoch))
	return be.AppendUint64(p, uint64(txnStart))
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
	old := t.entries[e.id]
	if last.end >= 0 {
		last.first = subtractSequence(last.last, last.delta)
		if old != nil && old.epoch == e.epoch {
			e.batches, e.n = old.batches, old.n
		}
		e.remember(last)
		t.next = max(t.next, last.end+1)
	}
	if old != nil && old.txnStart != model.NoOffset {
		t.open = slices.DeleteFunc(t.open, func(o openTxn) bool { return o.id == e.id })
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
