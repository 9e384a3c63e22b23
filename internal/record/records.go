package record

import (
	"iter"

	"tidemark/internal/model"
)

// Record is one record of a batch. Key and Value are nil for null.
type Record struct {
	Offset    model.Offset
	Timestamp int64 // ms since 1970; -1 unknown
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header is one header of a record. Value is nil for null.
type Header struct {
	Key   string
	Value []byte
}

// Records iterates over the records. It decompresses at most limit bytes (0:
// DefaultMaxDecompressed) and yields ErrTooLarge if that isn't enough, or an
// *InvalidError if the structure is broken; an error ends the iteration.
// Keys and values alias the batch if it isn't compressed.
func (b Batch) Records(limit int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		plain := b.Payload()
		if b.Codec() != None {
			var err error
			if plain, err = decompress(b.Codec(), plain, limit); err != nil {
				yield(Record{}, err)
				return
			}
		}
		c := cursor{buf: plain}
		for i := range b.Count() {
			r, ok := c.full(b)
			if !ok {
				yield(Record{}, invalidf("record %d of %d has a broken structure", i, b.Count()))
				return
			}
			if !yield(r, nil) {
				return
			}
		}
		if c.more() {
			yield(Record{}, invalidf("%d bytes follow the last of %d records", len(c.buf)-c.pos, b.Count()))
		}
	}
}

// full reads one record with its contents; the structure checks are those of
// cursor.record.
func (c *cursor) full(b Batch) (r Record, ok bool) {
	size, ok := c.varint()
	if !ok || size < 1 || size > len(c.buf)-c.pos {
		return r, false
	}
	in := cursor{buf: c.buf[c.pos : c.pos+size]}
	c.pos += size
	in.pos = 1 // attributes
	delta, ok := in.varlong()
	if !ok {
		return r, false
	}
	r.Timestamp = b.BaseTimestamp() + delta
	if b.LogAppendTime() {
		r.Timestamp = b.MaxTimestamp()
	}
	off, ok := in.varint()
	if !ok {
		return r, false
	}
	r.Offset = b.BaseOffset() + model.Offset(off)
	if r.Key, ok = in.field(); !ok {
		return r, false
	}
	if r.Value, ok = in.field(); !ok {
		return r, false
	}
	r.Headers, ok = in.headers()
	return r, ok && in.pos == len(in.buf)
}

// field reads a nullable byte field; nil only for null.
func (c *cursor) field() ([]byte, bool) {
	n, ok := c.varint()
	if !ok || n < -1 {
		return nil, false
	}
	if n == -1 {
		return nil, true
	}
	return c.take(n)
}

func (c *cursor) headers() ([]Header, bool) {
	n, ok := c.varint()
	if !ok || n < 0 || n > (len(c.buf)-c.pos)/2 { // a header takes 2 bytes or more (invariant 2)
		return nil, false
	}
	if n == 0 {
		return nil, true
	}
	hs := make([]Header, 0, n)
	for range n {
		key, ok := c.field()
		if !ok || key == nil {
			return nil, false
		}
		value, ok := c.field()
		if !ok {
			return nil, false
		}
		hs = append(hs, Header{Key: string(key), Value: value})
	}
	return hs, true
}
