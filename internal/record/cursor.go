package record

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// cursor reads forward through plain record bytes: a slice, or the window onto
// a stream that is being decompressed. It never holds more than the window, so
// a bomb costs time up to the limit but no memory (invariant 3).
type cursor struct {
	buf   []byte    // the window; buf[pos:] is unread
	pos   int       //
	base  int       // position of buf[0] in the whole
	src   io.Reader // nil if buf is everything
	limit int       // bytes that src may yield in total
	err   error     // sticky reason of the last failure, nil at a clean end
}

const windowSize = 32 << 10

// errRecord is a broken record structure; validate adds the place.
var errRecord = errors.New("broken record structure")

// offset is the number of bytes consumed since the beginning.
func (c *cursor) offset() int { return c.base + c.pos }

// fill replaces the consumed window by the next bytes; false at the end or on an error.
func (c *cursor) fill() bool {
	if c.src == nil || c.err != nil {
		return false
	}
	c.base += len(c.buf)
	c.pos = 0
	c.buf = c.buf[:cap(c.buf)]
	n, err := c.src.Read(c.buf)
	for n == 0 && err == nil {
		n, err = c.src.Read(c.buf)
	}
	c.buf = c.buf[:n]
	if err != nil {
		c.src = nil
		if err != io.EOF {
			c.err = streamError(err)
		}
	}
	if c.base+n > c.limit {
		c.src, c.buf = nil, c.buf[:0]
		c.err = fmt.Errorf("decompresses to more than %d bytes: %w", c.limit, ErrTooLarge)
		return false
	}
	return n > 0
}

// streamError classifies what a decompressor said: the checksum was right, so
// the producer wrote it like this and sending it again can't help.
func streamError(err error) error {
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnsupportedCodec) {
		return err
	}
	return invalidf("the payload doesn't decompress: %v", err)
}

// more reports whether at least one byte is left.
func (c *cursor) more() bool { return c.pos < len(c.buf) || c.fill() }

func (c *cursor) byte() (byte, bool) {
	if c.pos >= len(c.buf) && !c.fill() {
		return 0, false
	}
	v := c.buf[c.pos]
	c.pos++
	return v, true
}

// skip consumes n >= 0 bytes.
func (c *cursor) skip(n int) bool {
	for n > len(c.buf)-c.pos {
		n -= len(c.buf) - c.pos
		c.pos = len(c.buf)
		if !c.fill() {
			return false
		}
	}
	c.pos += n
	return true
}

// take returns the next n bytes, aliasing the window. Only for a cursor without src.
func (c *cursor) take(n int) ([]byte, bool) {
	if n > len(c.buf)-c.pos {
		return nil, false
	}
	p := c.buf[c.pos : c.pos+n : c.pos+n]
	c.pos += n
	return p, true
}

// varint reads a zig-zag number of at most 5 bytes that fits in 32 bits.
func (c *cursor) varint() (int, bool) {
	// Nearly all have one or two bytes: this is the hot spot of validation.
	if p := c.buf[c.pos:]; len(p) >= 2 {
		if v := int(p[0]); v < 0x80 {
			c.pos++
			return v>>1 ^ -(v & 1), true
		}
		if p[1] < 0x80 {
			v := int(p[0]&0x7f) | int(p[1])<<7
			c.pos += 2
			return v>>1 ^ -(v & 1), true
		}
	}
	v, ok := c.uvarint(5)
	if !ok || v > math.MaxUint32 {
		return 0, false
	}
	return int(v>>1) ^ -int(v&1), true
}

// varlong reads a zig-zag number of at most 10 bytes that fits in 64 bits.
func (c *cursor) varlong() (int64, bool) {
	v, ok := c.uvarint(10)
	return int64(v>>1) ^ -int64(v&1), ok
}

func (c *cursor) uvarint(maxBytes int) (uint64, bool) {
	var v uint64
	for i := range maxBytes {
		b, ok := c.byte()
		if !ok {
			return 0, false
		}
		if i == 9 && b > 1 {
			return 0, false // a 65th bit
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v, true
		}
	}
	return 0, false
}

// shape is what validation needs of one record.
type shape struct {
	timestampDelta int64
	offsetDelta    int
	hasKey         bool
}

// record consumes one record and checks its structure: every length against
// what its record still holds, and the record's own length against the sum.
func (c *cursor) record() (s shape, ok bool) {
	size, ok := c.varint()
	if !ok || size < 0 || c.src == nil && size > len(c.buf)-c.pos {
		return s, false
	}
	end := c.offset() + size
	if _, ok = c.byte(); !ok { // attributes: unused, Kafka ignores them
		return s, false
	}
	if s.timestampDelta, ok = c.varlong(); !ok {
		return s, false
	}
	if s.offsetDelta, ok = c.varint(); !ok {
		return s, false
	}
	key, ok := c.skipField(end)
	if !ok {
		return s, false
	}
	s.hasKey = key >= 0
	if _, ok = c.skipField(end); !ok {
		return s, false
	}
	return s, c.skipHeaders(end) && c.offset() == end
}

// skipField consumes a nullable byte field and returns its length, -1 for null.
func (c *cursor) skipField(end int) (int, bool) {
	n, ok := c.varint()
	if !ok || n < -1 || n > end-c.offset() {
		return 0, false
	}
	return n, n <= 0 || c.skip(n)
}

func (c *cursor) skipHeaders(end int) bool {
	n, ok := c.varint()
	if !ok || n < 0 {
		return false
	}
	for range n {
		if k, ok := c.skipField(end); !ok || k < 0 {
			return false
		}
		if _, ok := c.skipField(end); !ok {
			return false
		}
	}
	return true
}
