package record

import (
	"encoding/binary"

	"tidemark/internal/model"
)

// Builder collects records and builds one batch of them. The zero value builds
// a plain, uncompressed batch at offset 0 without a producer. Not for
// concurrent use.
type Builder struct {
	base       model.Offset
	epoch      model.LeaderEpoch
	attributes int16
	codec      Codec
	idempotent bool
	pid        model.ProducerID
	pepoch     model.ProducerEpoch
	sequence   int32

	records []byte
	scratch []byte
	count   int32
	baseTS  int64
	maxTS   int64
}

// SetBase sets the offset of the first record; the default is 0.
func (b *Builder) SetBase(o model.Offset) { b.base = o }

// SetLeaderEpoch sets the partition leader epoch; the default is 0.
func (b *Builder) SetLeaderEpoch(e model.LeaderEpoch) { b.epoch = e }

// SetCodec sets the compression of the payload; the default is None.
func (b *Builder) SetCodec(c Codec) { b.codec = c }

// SetControl makes it a batch of control records.
func (b *Builder) SetControl() { b.attributes |= attrControl }

// SetTransactional marks the batch as part of a transaction; SetProducer is needed too.
func (b *Builder) SetTransactional() { b.attributes |= attrTransactional }

// SetProducer sets producer id, epoch and the first record's sequence number
// (NoSequence for markers and coordinator writes).
func (b *Builder) SetProducer(id model.ProducerID, epoch model.ProducerEpoch, sequence int32) {
	b.idempotent = true
	b.pid, b.pepoch, b.sequence = id, epoch, sequence
}

// Add appends one record: ts in ms, nil key or value for null. It copies its arguments.
func (b *Builder) Add(ts int64, key, value []byte, headers ...Header) {
	if b.count == 0 {
		b.baseTS, b.maxTS = ts, ts
	}
	b.maxTS = max(b.maxTS, ts)
	p := append(b.scratch[:0], 0) // attributes
	p = binary.AppendVarint(p, ts-b.baseTS)
	p = binary.AppendVarint(p, int64(b.count))
	p = appendField(p, key)
	p = appendField(p, value)
	p = binary.AppendVarint(p, int64(len(headers)))
	for _, h := range headers {
		p = binary.AppendVarint(p, int64(len(h.Key)))
		p = append(p, h.Key...)
		p = appendField(p, h.Value)
	}
	b.scratch = p
	b.records = binary.AppendVarint(b.records, int64(len(p)))
	b.records = append(b.records, p...)
	b.count++
}

func appendField(p, f []byte) []byte {
	if f == nil {
		return binary.AppendVarint(p, -1)
	}
	p = binary.AppendVarint(p, int64(len(f)))
	return append(p, f...)
}

// Count is the number of records added.
func (b *Builder) Count() int { return int(b.count) }

// Size is the size in bytes of the batch so far, before compression.
func (b *Builder) Size() int { return HeaderSize + len(b.records) }

// Reset forgets the records and keeps the settings.
func (b *Builder) Reset() { b.records, b.count = b.records[:0], 0 }

// Build returns the batch in a buffer of its own, nil if there are no records.
// The builder can be used further.
func (b *Builder) Build() Batch {
	if b.count == 0 {
		return nil
	}
	out := make([]byte, HeaderSize, HeaderSize+len(b.records))
	out = compress(out, b.codec, b.records)
	be := binary.BigEndian
	be.PutUint64(out, uint64(b.base))
	be.PutUint32(out[posLength:], uint32(len(out)-lengthEnd))
	be.PutUint32(out[posLeaderEpoch:], uint32(b.epoch))
	out[posMagic] = 2
	be.PutUint16(out[posAttributes:], uint16(b.attributes|int16(b.codec)))
	be.PutUint32(out[posLastDelta:], uint32(b.count-1))
	be.PutUint64(out[posBaseTimestamp:], uint64(b.baseTS))
	be.PutUint64(out[posMaxTimestamp:], uint64(b.maxTS))
	pid, pepoch, seq := model.NoProducerID, model.ProducerEpoch(-1), NoSequence
	if b.idempotent {
		pid, pepoch, seq = b.pid, b.pepoch, b.sequence
	}
	be.PutUint64(out[posProducerID:], uint64(pid))
	be.PutUint16(out[posProducerEpoch:], uint16(pepoch))
	be.PutUint32(out[posBaseSequence:], uint32(seq))
	be.PutUint32(out[posCount:], uint32(b.count))
	batch := Batch(out)
	batch.UpdateCRC()
	return batch
}

// Restamp returns the batch in another codec, in a new buffer, with every record
// at its largest timestamp: what a leader makes of a batch that claims to have
// the leader's time, and that it has to compress anew. Errors are those of
// Records.
func Restamp(b Batch, to Codec, limit int) (Batch, error) {
	return rebuild(b, to, limit, b.MaxTimestamp())
}

// rebuild writes the records of a batch anew, numbered from its base on: at the
// given timestamp, or at their own if that is NoTimestamp. Errors are those of
// Records.
func rebuild(b Batch, to Codec, limit int, at int64) (Batch, error) {
	n := Builder{
		base: b.BaseOffset(), epoch: b.LeaderEpoch(), codec: to, idempotent: true,
		pid: b.ProducerID(), pepoch: b.ProducerEpoch(), sequence: b.BaseSequence(),
		attributes: b.Attributes() & (attrTransactional | attrControl | attrAppendTime),
	}
	for r, err := range b.Records(limit) {
		if err != nil {
			return nil, err
		}
		ts := r.Timestamp
		if at != NoTimestamp {
			ts = at
		}
		n.Add(ts, r.Key, r.Value, r.Headers...)
	}
	return n.Build(), nil
}

// Recompress returns the batch with its payload in another codec, in a new
// buffer; everything else stays. It decompresses at most limit bytes (0:
// DefaultMaxDecompressed). Errors are those of Records.
func Recompress(b Batch, to Codec, limit int) (Batch, error) {
	plain := b.Payload()
	if b.Codec() != None {
		var err error
		if plain, err = decompress(b.Codec(), plain, limit); err != nil {
			return nil, err
		}
	}
	out := append(make([]byte, 0, HeaderSize+len(plain)), b[:HeaderSize]...)
	out = compress(out, to, plain)
	nb := Batch(out)
	binary.BigEndian.PutUint32(nb[posLength:], uint32(len(nb)-lengthEnd))
	binary.BigEndian.PutUint16(nb[posAttributes:], uint16(b.Attributes()&attrKnown&^(codecMask|attrDeleteHorizon)|int16(to)))
	nb.UpdateCRC()
	return nb, nil
}
