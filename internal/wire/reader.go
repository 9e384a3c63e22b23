package wire

import (
	"encoding/binary"
	"unsafe"
)

// reader walks a message. After the first read past the end bad is set, p is
// empty and every further read returns zero, so callers check once. Counts are
// returned only if that many elements could still follow.
type reader struct {
	p   []byte
	bad bool
	// strict: no list may be null.
	strict bool
}

func (r *reader) fail() {
	r.bad = true
	r.p = nil
}

func (r *reader) span(n int) []byte {
	if n < 0 || n > len(r.p) {
		r.fail()
		return nil
	}
	s := r.p[:n:n]
	r.p = r.p[n:]
	return s
}

func (r *reader) int8() int8 {
	if len(r.p) < 1 {
		r.fail()
		return 0
	}
	v := int8(r.p[0])
	r.p = r.p[1:]
	return v
}

func (r *reader) int16() int16 {
	if len(r.p) < 2 {
		r.fail()
		return 0
	}
	v := int16(binary.BigEndian.Uint16(r.p))
	r.p = r.p[2:]
	return v
}

func (r *reader) int32() int32 {
	if len(r.p) < 4 {
		r.fail()
		return 0
	}
	v := int32(binary.BigEndian.Uint32(r.p))
	r.p = r.p[4:]
	return v
}

func (r *reader) int64() int64 {
	if len(r.p) < 8 {
		r.fail()
		return 0
	}
	v := int64(binary.BigEndian.Uint64(r.p))
	r.p = r.p[8:]
	return v
}

func (r *reader) uuid() (u [16]byte) {
	copy(u[:], r.span(16))
	return u
}

// uvarint reads at most five bytes; more, or a value above 2^32-1, is malformed.
func (r *reader) uvarint() uint32 {
	var v uint64
	for i := 0; i < 5 && i < len(r.p); i++ {
		b := r.p[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if v > 0xffffffff {
				break
			}
			r.p = r.p[i+1:]
			return uint32(v)
		}
	}
	r.fail()
	return 0
}

// compactLen reads a length that is stored plus one; -1 means null.
func (r *reader) compactLen() int { return int(r.uvarint()) - 1 }

// nullableString16 reads a string with a 16-bit length; a negative one is null.
func (r *reader) nullableString16() (s []byte, null bool) {
	n := r.int16()
	if n < 0 {
		return nil, true
	}
	return r.span(int(n)), false
}

// str reads a string in the encoding of the version.
func (r *reader) str(flexible bool) (s []byte, null bool) {
	if !flexible {
		return r.nullableString16()
	}
	n := r.compactLen()
	if n < 0 {
		return nil, true
	}
	return r.span(n), false
}

// bytes reads a byte array in the encoding of the version; nil is null.
func (r *reader) bytes(flexible bool) []byte {
	n := 0
	if flexible {
		n = r.compactLen()
	} else {
		n = int(r.int32())
	}
	if n < 0 {
		return nil
	}
	return r.span(n)
}

// count reads an array's length and refuses it if that many elements of at
// least minSize bytes can't follow; null counts as empty, unless r is strict. // invariant 1
func (r *reader) count(flexible bool, minSize int) int {
	n := 0
	if flexible {
		n = r.compactLen()
	} else {
		n = int(r.int32())
	}
	if n < 0 && r.strict {
		r.fail()
		return 0
	}
	if n <= 0 {
		return 0
	}
	if n > len(r.p)/minSize {
		r.fail()
		return 0
	}
	return n
}

// skipTags skips a section of tagged fields.
func (r *reader) skipTags() {
	for n := r.tagCount(); n > 0 && !r.bad; n-- {
		r.tag()
	}
}

// tagCount reads the number of tagged fields; each takes two bytes at least.
func (r *reader) tagCount() uint32 {
	n := r.uvarint()
	if uint64(n) > uint64(len(r.p)/2) {
		r.fail()
		return 0
	}
	return n
}

// tag reads one tagged field.
func (r *reader) tag() (key uint32, value reader) {
	key = r.uvarint()
	n := r.uvarint()
	if uint64(n) > uint64(len(r.p)) {
		r.fail()
		return 0, reader{bad: true}
	}
	return key, reader{p: r.span(int(n))}
}

// view is b as a string without a copy; it lives as long as b is not changed.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
