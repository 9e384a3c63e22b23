package record

import (
	"encoding/binary"
	"math"

	"tidemark/internal/model"
)

// Retention is how compaction treats one batch.
type Retention struct {
	// Keep decides about one record. Headers aren't decoded; key and value are
	// valid during the call.
	Keep func(Record) bool
	// Horizon (ms) is the delete horizon that the batch gets if it has none yet
	// and either a record without a value stays in it, or Mark is set.
	Horizon int64
	Mark    bool
	// Limit bounds what the batch may decompress to, in bytes; 0 is DefaultMaxDecompressed.
	Limit int
}

// Retain returns the batch with the records that r keeps: b itself if nothing
// changes, nil if no record stays. Base offset, last offset, producer fields,
// epoch, codec and a delete horizon that is set survive, so that sequence
// numbers and the log end can still be read from it (KAFKA-8335, KAFKA-8522).
// Errors are those of Records.
func (b Batch) Retain(r Retention) (out Batch, kept int, err error) {
	plain := b.Payload()
	if b.Codec() != None {
		if plain, err = decompress(b.Codec(), plain, r.Limit); err != nil {
			return nil, 0, err
		}
	}
	horizon, has := b.DeleteHorizon()
	stay := make([]kept1, 0, min(int(b.Count()), 1+len(plain)/7)) // a record takes 7 bytes or more
	c := cursor{buf: plain}
	tombstones := false
	for i := range b.Count() {
		k, ok := c.bare(b)
		if !ok {
			return nil, 0, invalidf("record %d of %d has a broken structure", i, b.Count())
		}
		if r.Keep(k.Record) {
			tombstones = tombstones || k.Value == nil
			stay = append(stay, k)
		}
	}
	if c.more() {
		return nil, 0, invalidf("%d bytes follow the last of %d records", len(c.buf)-c.pos, b.Count())
	}
	mark := !has && (tombstones || r.Mark)
	switch {
	case len(stay) == 0:
		return nil, 0, nil
	case len(stay) == int(b.Count()) && !mark:
		return b, len(stay), nil
	case mark:
		horizon, has = r.Horizon, true
	}
	return b.rebuild(stay, horizon, has), len(stay), nil
}

// kept1 is a record with the bytes that don't depend on the base timestamp.
type kept1 struct {
	Record
	attributes byte
	tail       []byte // from the offset delta on
}

// bare reads one record without its headers.
func (c *cursor) bare(b Batch) (k kept1, ok bool) {
	start := *c
	if _, ok = c.record(); !ok {
		return k, false
	}
	size, _ := start.varint()
	in := cursor{buf: start.buf[start.pos : start.pos+size]}
	k.attributes, _ = in.byte()
	delta, _ := in.varlong()
	k.tail = in.buf[in.pos:]
	k.Timestamp = b.BaseTimestamp() + delta
	if b.LogAppendTime() {
		k.Timestamp = b.MaxTimestamp()
	}
	off, _ := in.varint()
	k.Offset = b.BaseOffset() + model.Offset(off)
	if k.Key, ok = in.field(); !ok {
		return k, false
	}
	k.Value, ok = in.field()
	return k, ok
}

// rebuild writes a batch of some of b's records.
func (b Batch) rebuild(stay []kept1, horizon int64, has bool) Batch {
	base, largest := stay[0].Timestamp, int64(math.MinInt64)
	attributes := b.Attributes() &^ attrDeleteHorizon
	if has {
		base, attributes = horizon, attributes|attrDeleteHorizon
	}
	var plain, one []byte
	for _, k := range stay {
		largest = max(largest, k.Timestamp)
		one = append(one[:0], k.attributes)
		one = binary.AppendVarint(one, k.Timestamp-base)
		one = append(one, k.tail...)
		plain = binary.AppendVarint(plain, int64(len(one)))
		plain = append(plain, one...)
	}
	out := append(make([]byte, 0, HeaderSize+len(plain)), b[:HeaderSize]...)
	out = compress(out, b.Codec(), plain)
	nb := Batch(out)
	nb.putCounts(attributes, base, largest, len(stay))
	return nb
}

func (b Batch) putCounts(attributes int16, base, largest int64, count int) {
	be := binary.BigEndian
	be.PutUint32(b[posLength:], uint32(len(b)-lengthEnd))
	be.PutUint16(b[posAttributes:], uint16(attributes))
	be.PutUint64(b[posBaseTimestamp:], uint64(base))
	be.PutUint64(b[posMaxTimestamp:], uint64(largest))
	be.PutUint32(b[posCount:], uint32(count))
	b.UpdateCRC()
}

// Emptied returns the header of b as a batch without records. Compaction keeps
// such a batch where the header still tells something: a producer's last
// sequence number, or the last offset of what was cleaned (KAFKA-17076).
func (b Batch) Emptied() Batch {
	nb := append(make(Batch, 0, HeaderSize), b[:HeaderSize]...)
	keep := b.Attributes() & (attrAppendTime | attrTransactional | attrControl)
	nb.putCounts(keep, NoTimestamp, b.MaxTimestamp(), 0)
	return nb
}
