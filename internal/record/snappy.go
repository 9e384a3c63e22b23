package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
)

// Two forms of snappy exist in Kafka's logs: one bare block, and the framing of
// the xerial library, which the Java client writes: a 16 byte header, then
// blocks that are each preceded by an i32 length. The header may come again
// where two streams were concatenated.
const (
	xerialMagic     = "\x82SNAPPY\x00"
	xerialHeader    = 16
	xerialBlock     = 32 << 10
	xerialMagicHead = 0x82<<24 | 'S'<<16 | 'N'<<8 | 'A'
	// A copy element of snappy turns 3 bytes into at most 64: a block that
	// declares more than this many times its size is lying (invariant 2).
	snappyMaxRatio = 64
	// snappyKept bounds the buffer of an idle decoder.
	snappyKept = 1 << 20
)

var errSnappy = errors.New("broken snappy stream")

type snappyReader struct {
	in     []byte
	framed bool
	limit  int // bytes that may still be produced
	out    []byte
	pos    int
}

func openSnappy(payload []byte, limit int) stream {
	r, ok := freeSnappy.take()
	if !ok {
		r = new(snappyReader)
	}
	framed := len(payload) >= xerialHeader && string(payload[:len(xerialMagic)]) == xerialMagic
	if framed {
		payload = payload[xerialHeader:]
	}
	*r = snappyReader{in: payload, framed: framed, limit: limit, out: r.out[:0]}
	return stream{r, func() {
		if r.in = nil; cap(r.out) <= snappyKept {
			freeSnappy.give(r)
		}
	}}
}

// Read decodes block by block; it implements io.Reader.
func (r *snappyReader) Read(p []byte) (int, error) {
	for r.pos == len(r.out) {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.out[r.pos:])
	r.pos += n
	return n, nil
}

func (r *snappyReader) next() error {
	if len(r.in) == 0 {
		return io.EOF
	}
	if !r.framed {
		block := r.in
		r.in = nil
		return r.decode(block)
	}
	if len(r.in) < 4 { // too short for a block: Java's reader ends here
		return io.EOF
	}
	n := binary.BigEndian.Uint32(r.in)
	if n == xerialMagicHead && len(r.in) >= xerialHeader {
		r.in = r.in[xerialHeader:]
		return nil
	}
	if uint64(n) > uint64(len(r.in)-4) {
		return fmt.Errorf("block of %d bytes, %d left: %w", n, len(r.in)-4, errSnappy)
	}
	block := r.in[4 : 4+n]
	r.in = r.in[4+n:]
	return r.decode(block)
}

func (r *snappyReader) decode(block []byte) error {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return err
	}
	if n > snappyMaxRatio*len(block) {
		return fmt.Errorf("block of %d bytes declares %d: %w", len(block), n, errSnappy)
	}
	if n > r.limit {
		return fmt.Errorf("snappy block of %d bytes, %d allowed: %w", n, r.limit, ErrTooLarge)
	}
	r.limit -= n
	r.pos = 0
	// Decode into the buffer's capacity; it allocates n bytes if that is too small.
	r.out, err = s2.Decode(r.out[:cap(r.out)], block)
	if err != nil {
		r.out = r.out[:0]
	}
	return err
}
