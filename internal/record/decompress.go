package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is the compression of a batch's payload, as in the attribute bits.
type Codec int8

// The codecs of Kafka.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String returns Kafka's name of the codec, as in compression.type.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec(%d)", int8(c))
}

// ParseCodec reads a name as in compression.type; "uncompressed" means none.
func ParseCodec(s string) (Codec, error) {
	for c := None; c <= Zstd; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	if s == "uncompressed" {
		return None, nil
	}
	return None, fmt.Errorf("compression %q: %w", s, ErrUnsupportedCodec)
}

// DefaultMaxDecompressed bounds a payload when the caller gives no limit.
const DefaultMaxDecompressed = 256 << 20

const (
	// A zstd frame declares its window and the decoder allocates it. Up to
	// pooledWindow decoders are reused; up to maxWindow (level 22, the most
	// that other implementations accept by default) one is made and dropped.
	pooledWindow = 8 << 20
	maxWindow    = 128 << 20
	// decodersKept bounds what idle decoders hold, per codec.
	decodersKept = 4
)

// freelist keeps idle decoders. A channel, because this layer has no locks.
type freelist[T any] chan T

func (f freelist[T]) take() (v T, ok bool) {
	select {
	case v = <-f:
		return v, true
	default:
		return v, false
	}
}

func (f freelist[T]) give(v T) {
	select {
	case f <- v:
	default: // enough are kept: let the garbage collector have it
	}
}

var (
	freeGzip   = make(freelist[*gzip.Reader], decodersKept)
	freeLZ4    = make(freelist[*lz4.Reader], decodersKept)
	freeZstd   = make(freelist[*zstd.Decoder], decodersKept)
	freeSnappy = make(freelist[*snappyReader], decodersKept)
	freeWindow = make(freelist[[]byte], decodersKept)
)

// stream is an open decompressor; close gives its buffers back.
type stream struct {
	io.Reader
	release func()
}

func (s stream) close() {
	if s.release != nil {
		s.release()
	}
}

// openStream starts to decompress. limit is only a hint for codecs that
// declare a block's size up front; the reader of the stream enforces it.
func openStream(c Codec, payload []byte, limit int) (stream, error) {
	switch c {
	case None:
		return stream{Reader: bytes.NewReader(payload)}, nil
	case Gzip:
		return openGzip(payload)
	case Snappy:
		return openSnappy(payload, limit), nil
	case LZ4:
		return openLZ4(payload), nil
	case Zstd:
		return openZstd(payload)
	}
	return stream{}, fmt.Errorf("%s: %w", c, ErrUnsupportedCodec)
}

func openGzip(payload []byte) (stream, error) {
	r, ok := freeGzip.take()
	if !ok {
		r = new(gzip.Reader)
	}
	m := &gzipMembers{in: bytes.NewReader(payload), r: r}
	if err := r.Reset(m.in); err != nil {
		freeGzip.give(r)
		return stream{}, streamError(err)
	}
	r.Multistream(false)
	return stream{m, func() { freeGzip.give(r) }}, nil
}

// gzipMembers reads one member of a stream after the other. What follows the
// last, and isn't one, is ignored, as by Java's reader.
type gzipMembers struct {
	in *bytes.Reader
	r  *gzip.Reader
}

func (m *gzipMembers) Read(p []byte) (int, error) {
	for {
		n, err := m.r.Read(p)
		if err != io.EOF || n > 0 {
			return n, noEOF(err)
		}
		if m.in.Len() == 0 || m.r.Reset(m.in) != nil {
			return 0, io.EOF
		}
		m.r.Multistream(false)
	}
}

// noEOF drops an end that came with data: it comes again.
func noEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func openLZ4(payload []byte) stream {
	r, ok := freeLZ4.take()
	if !ok {
		r = lz4.NewReader(nil)
	}
	r.Reset(bytes.NewReader(lz4Frame(payload)))
	return stream{r, func() { r.Reset(nil); freeLZ4.give(r) }}
}

// Parts of an LZ4 frame.
const (
	lz4Magic       = 4
	lz4BlockSum    = 1 << 4 // flag: a checksum follows every block
	lz4ContentSize = 1 << 3 // flag: 8 bytes of the header
	lz4ContentSum  = 1 << 2 // flag: a checksum follows the last block
	lz4DictID      = 1 << 0 // flag: 4 bytes of the header
	lz4Plain       = 1 << 31
)

// lz4Frame cuts off what follows the first frame: Java's reader doesn't look at
// it. What isn't a frame is returned as it is, for the decoder to refuse.
func lz4Frame(p []byte) []byte {
	if len(p) < lz4Magic+3 {
		return p
	}
	flags := p[lz4Magic]
	at, after := lz4Magic+3, 0 // flags, block descriptor, header checksum
	if flags&lz4ContentSize != 0 {
		at += 8
	}
	if flags&lz4DictID != 0 {
		at += 4
	}
	if flags&lz4BlockSum != 0 {
		after = 4
	}
	for len(p)-at >= 4 {
		n := binary.LittleEndian.Uint32(p[at:])
		if at += 4; n == 0 { // the end mark
			if flags&lz4ContentSum != 0 {
				at += 4
			}
			return p[:min(at, len(p))]
		}
		if n = n &^ lz4Plain; uint64(n)+uint64(after) > uint64(len(p)-at) {
			return p
		}
		at += int(n) + after
	}
	return p
}

func openZstd(payload []byte) (stream, error) {
	var h zstd.Header
	if err := h.Decode(payload); err != nil {
		return stream{}, streamError(err)
	}
	if h.WindowSize > maxWindow {
		return stream{}, invalidf("zstd window of %d bytes, at most %d", h.WindowSize, maxWindow)
	}
	if h.WindowSize > pooledWindow {
		return newZstd(payload, maxWindow, false)
	}
	if r, ok := freeZstd.take(); ok {
		if err := r.Reset(bytes.NewReader(payload)); err != nil {
			return stream{}, streamError(err)
		}
		return stream{r, func() { parkZstd(r) }}, nil
	}
	return newZstd(payload, pooledWindow, true)
}

// newZstd makes a decoder that works in the caller's goroutine.
func newZstd(payload []byte, window uint64, keep bool) (stream, error) {
	r, err := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window))
	if err != nil {
		return stream{}, streamError(err)
	}
	if !keep {
		return stream{r, r.Close}, nil
	}
	return stream{r, func() { parkZstd(r) }}, nil
}

func parkZstd(r *zstd.Decoder) {
	if r.Reset(nil) == nil {
		freeZstd.give(r)
	}
}

// decompress returns the whole plain payload, at most limit bytes.
func decompress(c Codec, payload []byte, limit int) ([]byte, error) {
	if limit <= 0 {
		limit = DefaultMaxDecompressed
	}
	s, err := openStream(c, payload, limit)
	if err != nil {
		return nil, err
	}
	defer s.close()
	// Grow with what really arrives, never by what the stream declares (invariant 2).
	out := make([]byte, 0, min(limit, max(2*len(payload), 512)))
	for {
		if len(out) > limit {
			return nil, fmt.Errorf("decompresses to more than %d bytes: %w", limit, ErrTooLarge)
		}
		if len(out) == cap(out) {
			out = append(out, 0)[:len(out)]
		}
		n, err := s.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if err == io.EOF && len(out) <= limit {
			return out, nil
		}
		if err != nil && err != io.EOF {
			return nil, streamError(err)
		}
	}
}
