package metadata

import (
	"encoding/binary"
	"fmt"
	"math"

	"tidemark/internal/model"
)

// writer appends Kafka's flexible encoding to a buffer.
type writer struct{ b []byte }

func (w *writer) uvarint(v uint32)  { w.b = binary.AppendUvarint(w.b, uint64(v)) }
func (w *writer) i8(v int8)         { w.b = append(w.b, byte(v)) }
func (w *writer) i16(v int16)       { w.b = binary.BigEndian.AppendUint16(w.b, uint16(v)) }
func (w *writer) u16(v uint16)      { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) i32(v int32)       { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w *writer) i64(v int64)       { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }
func (w *writer) f64(v float64)     { w.b = binary.BigEndian.AppendUint64(w.b, math.Float64bits(v)) }
func (w *writer) uuid(v model.UUID) { w.b = append(w.b, v[:]...) }

func (w *writer) boolean(v bool) {
	if v {
		w.i8(1)
		return
	}
	w.i8(0)
}

// length writes the length of something that can't be null: n+1.
func (w *writer) length(n int) { w.uvarint(uint32(n) + 1) }

func (w *writer) nullableLen(n int, null bool) {
	if null {
		w.uvarint(0)
		return
	}
	w.length(n)
}

func (w *writer) str(s string) {
	w.length(len(s))
	w.b = append(w.b, s...)
}

func (w *writer) nullableStr(s *string) {
	if s == nil {
		w.uvarint(0)
		return
	}
	w.str(*s)
}

func (w *writer) bytes(p []byte) {
	w.length(len(p))
	w.b = append(w.b, p...)
}

func (w *writer) noTags() { w.uvarint(0) }

func (w *writer) tags(t *tagSection) {
	w.uvarint(t.count)
	w.b = append(w.b, t.out.b...)
}

// tagSection collects the tagged fields of one struct, in ascending order.
type tagSection struct {
	count      uint32
	field, out writer
}

func (t *tagSection) begin() *writer {
	t.field.b = t.field.b[:0]
	return &t.field
}

func (t *tagSection) end(tag uint32) {
	t.count++
	t.out.uvarint(tag)
	t.out.uvarint(uint32(len(t.field.b)))
	t.out.b = append(t.out.b, t.field.b...)
}

// reader decodes Kafka's flexible encoding. The first error sticks, and every
// read after it returns a zero. No length is trusted before it has been
// compared with the bytes that are left (invariant 5).
type reader struct {
	b   []byte
	err error
}

func (d *reader) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorruptRecord, fmt.Sprintf(format, args...))
	}
	d.b = nil
}

// take returns the next n bytes, nil after an error.
func (d *reader) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.b) {
		d.fail("need %d bytes, have %d", n, len(d.b))
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *reader) uvarint() uint32 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 5 || v > math.MaxUint32 {
		d.fail("bad varint")
		return 0
	}
	d.b = d.b[n:]
	return uint32(v)
}

func (d *reader) i8() int8 {
	if p := d.take(1); p != nil {
		return int8(p[0])
	}
	return 0
}

func (d *reader) u16() uint16 {
	if p := d.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (d *reader) i32() int32 {
	if p := d.take(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

func (d *reader) i64() int64 {
	if p := d.take(8); p != nil {
		return int64(binary.BigEndian.Uint64(p))
	}
	return 0
}

func (d *reader) i16() int16    { return int16(d.u16()) }
func (d *reader) f64() float64  { return math.Float64frombits(uint64(d.i64())) }
func (d *reader) boolean() bool { return d.i8() != 0 }

func (d *reader) uuid() model.UUID {
	var u model.UUID
	copy(u[:], d.take(len(u)))
	return u
}

// nullableLen reads the length of something whose elements take at least least
// bytes each; -1 is null.
func (d *reader) nullableLen(least int) int {
	n := int64(d.uvarint()) - 1
	if d.err != nil {
		return -1
	}
	if n > int64(len(d.b)/least) {
		d.fail("length %d exceeds the %d bytes left", n, len(d.b))
		return -1
	}
	return int(n)
}

func (d *reader) length(least int) int {
	n := d.nullableLen(least)
	if n < 0 {
		d.fail("null where none is allowed")
		return 0
	}
	return n
}

func (d *reader) str() string { return string(d.take(d.length(1))) }

func (d *reader) nullableStr() *string {
	n := d.nullableLen(1)
	if n < 0 {
		return nil
	}
	s := string(d.take(n))
	return &s
}

// bytes copies, so that a record doesn't keep its batch alive.
func (d *reader) bytes() []byte {
	p := d.take(d.length(1))
	if len(p) == 0 {
		return nil
	}
	return append([]byte(nil), p...)
}

func (d *reader) skipTags() { d.tags(func(uint32, *reader) bool { return false }) }

// tags reads a tagged section. Unknown fields (known reports false) are
// skipped; a known one must use exactly the bytes it claims.
func (d *reader) tags(known func(tag uint32, d *reader) bool) {
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		tag := d.uvarint()
		size := d.uvarint()
		if int64(size) > int64(len(d.b)) {
			d.fail("tagged field %d of %d bytes, %d left", tag, size, len(d.b))
			return
		}
		f := reader{b: d.take(int(size)), err: d.err}
		if known(tag, &f) && f.err == nil && len(f.b) > 0 {
			f.fail("tagged field %d has %d bytes too many", tag, len(f.b))
		}
		if f.err != nil {
			d.err, d.b = f.err, nil
		}
	}
}
