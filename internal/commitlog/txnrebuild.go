package commitlog

import (
	"encoding/binary"
	"fmt"
	"io"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// openTxns follows which transactions are open, so that recovery can write the
// transaction index again. It knows nothing else about producers.
type openTxns struct {
	first map[model.ProducerID]model.Offset // first offset of each open transaction
}

const (
	snapshotHeader = 10 // version, crc, count
	snapshotEntry  = 46 // bytes per producer; its open transaction is the last field
)

// restore takes the open transactions from a producer snapshot.
func (t *openTxns) restore(p []byte) {
	for p = p[snapshotHeader:]; len(p) >= snapshotEntry; p = p[snapshotEntry:] {
		id := model.ProducerID(binary.BigEndian.Uint64(p))
		if first := model.Offset(binary.BigEndian.Uint64(p[snapshotEntry-8:])); first >= 0 {
			t.first[id] = first
		}
	}
}

// add follows one batch; it returns the transaction that the batch aborts.
func (t *openTxns) add(b record.Batch) []AbortedTxn {
	if !b.Transactional() {
		return nil
	}
	id := b.ProducerID()
	first, open := t.first[id]
	if !b.Control() {
		if !open {
			t.first[id] = b.BaseOffset()
		}
		return nil
	}
	m, ok, err := b.EndTxn()
	if !ok || err != nil {
		return nil
	}
	delete(t.first, id)
	if m.Commit || !open {
		return nil
	}
	lso := b.LastOffset() + 1
	for _, f := range t.first {
		lso = min(lso, f)
	}
	return []AbortedTxn{{ProducerID: id, First: first, Last: b.LastOffset(), LSO: lso}}
}

// replay follows the batches of a segment from an offset on.
func (t *openTxns) replay(s *segment, from model.Offset) error {
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	scan := newBatchScan(h.f, 0, s.size())
	for {
		b, _, err := scan.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if b.BaseOffset() >= from {
			t.add(b)
		}
	}
}

// dumpSnapshot prints the producers of an intact snapshot.
func dumpSnapshot(p []byte, w io.Writer) {
	for p = p[snapshotHeader:]; len(p) >= snapshotEntry; p = p[snapshotEntry:] {
		u64 := func(i int) int64 { return int64(binary.BigEndian.Uint64(p[i:])) }
		u32 := func(i int) int32 { return int32(binary.BigEndian.Uint32(p[i:])) }
		fmt.Fprintf(w, "  producerId: %d producerEpoch: %d lastSequence: %d lastOffset: %d offsetDelta: %d"+
			" lastTimestamp: %d coordinatorEpoch: %d currentTxnFirstOffset: %d\n",
			u64(0), int16(binary.BigEndian.Uint16(p[8:])), u32(10), u64(14), u32(22), u64(26), u32(34), u64(38))
	}
}
