package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"tidemark/internal/model"
)

// HeaderSize is the number of bytes before the records.
const HeaderSize = 61

// Offsets of the fields; the table is in doc.go.
const (
	posLength        = 8
	posLeaderEpoch   = 12
	posMagic         = 16
	posCRC           = 17
	posAttributes    = 21
	posLastDelta     = 23
	posBaseTimestamp = 27
	posMaxTimestamp  = 35
	posProducerID    = 43
	posProducerEpoch = 51
	posBaseSequence  = 53
	posCount         = 57

	lengthEnd = posLength + 4 // batchLength counts from here
)

// Attribute bits.
const (
	codecMask         = 0x07
	attrAppendTime    = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
	attrDeleteHorizon = 1 << 6

	// attrKnown are the bits that mean something. Kafka keeps the others until
	// it has a reason to write the attributes.
	attrKnown = codecMask | attrAppendTime | attrTransactional | attrControl | attrDeleteHorizon
)

// NoSequence and NoTimestamp mark absent values in a batch.
const (
	NoSequence  int32 = -1
	NoTimestamp int64 = -1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is exactly one whole RecordBatch v2, header included (invariant 1).
// Reading is safe for concurrent use as long as nobody stamps it.
type Batch []byte

func (b Batch) u16(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
func (b Batch) u32(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
func (b Batch) u64(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }

// BaseOffset is the offset of the first record that the batch was built with;
// compaction keeps it even when that record is gone.
func (b Batch) BaseOffset() model.Offset { return model.Offset(b.u64(0)) }

// LastOffset is the offset of the last record that the batch was built with, inclusive.
func (b Batch) LastOffset() model.Offset {
	return b.BaseOffset() + model.Offset(b.LastOffsetDelta())
}

// NextOffset is LastOffset + 1: where the following batch may begin.
func (b Batch) NextOffset() model.Offset { return b.LastOffset() + 1 }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() model.LeaderEpoch { return model.LeaderEpoch(b.u32(posLeaderEpoch)) }

// Magic is the format version, 2.
func (b Batch) Magic() int8 { return int8(b[posMagic]) }

// CRC is the stored CRC-32C.
func (b Batch) CRC() uint32 { return b.u32(posCRC) }

// Attributes returns the raw attribute bits.
func (b Batch) Attributes() int16 { return int16(b.u16(posAttributes)) }

// Codec is the compression of the payload; it may be an unknown one (5 to 7).
func (b Batch) Codec() Codec { return Codec(b.Attributes() & codecMask) }

// LogAppendTime reports whether MaxTimestamp is the leader's clock and stands for every record.
func (b Batch) LogAppendTime() bool { return b.Attributes()&attrAppendTime != 0 }

// Transactional reports whether the batch belongs to a transaction.
func (b Batch) Transactional() bool { return b.Attributes()&attrTransactional != 0 }

// Control reports whether the records are control records, invisible to consumers.
func (b Batch) Control() bool { return b.Attributes()&attrControl != 0 }

// DeleteHorizon is the time (ms) from which the cleaner may drop the batch's
// tombstones and markers, if the cleaner has set one (KAFKA-8522).
func (b Batch) DeleteHorizon() (int64, bool) {
	return b.BaseTimestamp(), b.Attributes()&attrDeleteHorizon != 0
}

// LastOffsetDelta is LastOffset - BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return int32(b.u32(posLastDelta)) }

// BaseTimestamp (ms) is what the records' timestamps count from.
func (b Batch) BaseTimestamp() int64 { return int64(b.u64(posBaseTimestamp)) }

// MaxTimestamp (ms) is the largest timestamp of the records, or -1.
func (b Batch) MaxTimestamp() int64 { return int64(b.u64(posMaxTimestamp)) }

// ProducerID is the idempotent producer's id, or model.NoProducerID.
func (b Batch) ProducerID() model.ProducerID { return model.ProducerID(b.u64(posProducerID)) }

// ProducerEpoch is the epoch of ProducerID, -1 if there is none.
func (b Batch) ProducerEpoch() model.ProducerEpoch {
	return model.ProducerEpoch(b.u16(posProducerEpoch))
}

// BaseSequence is the sequence number of the first record, or NoSequence.
func (b Batch) BaseSequence() int32 { return int32(b.u32(posBaseSequence)) }

// LastSequence is the sequence number of the last record, or NoSequence. After
// 2^31-1 sequences continue at 0, also inside a batch.
func (b Batch) LastSequence() int32 {
	if b.BaseSequence() == NoSequence {
		return NoSequence
	}
	return AddSequence(b.BaseSequence(), b.LastOffsetDelta())
}

// Count is the number of records present; compaction may have lowered it, even to 0.
func (b Batch) Count() int32 { return int32(b.u32(posCount)) }

// Payload is everything after the header, compressed if Codec says so.
func (b Batch) Payload() []byte { return b[HeaderSize:] }

// AddSequence returns seq + n, continuing at 0 after 2^31-1. Both must be >= 0.
func AddSequence(seq, n int32) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

// Next frames the first batch of p and returns what follows it. It checks
// length and magic, not the CRC. ErrShort: p is empty or ends inside the batch.
// ErrCorrupt: the length is impossible or the magic isn't 2.
func Next(p []byte) (b Batch, rest []byte, err error) {
	if len(p) < lengthEnd {
		return nil, p, shortError(len(p), lengthEnd)
	}
	n := int32(binary.BigEndian.Uint32(p[posLength:]))
	if n < HeaderSize-lengthEnd {
		return nil, p, fmt.Errorf("batch length %d, want at least %d: %w", n, HeaderSize-lengthEnd, ErrCorrupt)
	}
	if len(p) > posMagic && p[posMagic] != 2 {
		return nil, p, fmt.Errorf("magic %d, want 2: %w", int8(p[posMagic]), ErrCorrupt)
	}
	size := lengthEnd + int(n)
	if len(p) < size {
		return nil, p, shortError(len(p), size)
	}
	return Batch(p[:size:size]), p[size:], nil
}

func shortError(have, want int) error {
	if have == 0 {
		return ErrShort // the usual end of a scan: no need to format
	}
	return fmt.Errorf("%d of %d bytes: %w", have, want, ErrShort)
}

// CheckCRC compares the stored CRC-32C with the bytes; ErrCorrupt if they differ.
func (b Batch) CheckCRC() error {
	if sum := crc32.Checksum(b[posAttributes:], castagnoli); sum != b.CRC() {
		return fmt.Errorf("crc stored %08x, computed %08x, base offset %d, %d bytes: %w",
			b.CRC(), sum, b.BaseOffset(), len(b), ErrCorrupt)
	}
	return nil
}

// Stamp sets base offset and leader epoch in place. Both lie outside the CRC.
func (b Batch) Stamp(base model.Offset, epoch model.LeaderEpoch) {
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// StampAppendTime marks the batch with the leader's clock (ms): it sets the
// append-time bit and maxTimestamp, and recomputes the CRC.
func (b Batch) StampAppendTime(now int64) {
	binary.BigEndian.PutUint16(b[posAttributes:], b.u16(posAttributes)&attrKnown|attrAppendTime)
	b.setMaxTimestamp(now)
}

// setCreateTime says that the timestamps are the producer's, the largest ms.
func (b Batch) setCreateTime(ms int64) {
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(b.Attributes()&attrKnown&^attrAppendTime))
	b.setMaxTimestamp(ms)
}

func (b Batch) setMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ms))
	b.UpdateCRC()
}

// UpdateCRC makes the stored CRC match the bytes, after a change of them.
func (b Batch) UpdateCRC() {
	binary.BigEndian.PutUint32(b[posCRC:], crc32.Checksum(b[posAttributes:], castagnoli))
}

// String describes the header on one line.
func (b Batch) String() string {
	return fmt.Sprintf("batch offsets=[%d, %d] epoch=%d count=%d size=%d codec=%s producer=%d/%d seq=%d",
		b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.Count(), len(b), b.Codec(),
		b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
}
