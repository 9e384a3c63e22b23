package commitlog

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// headerScan walks the headers of the batches in a file without reading their
// records. It keeps one block: as many small batches as fit cost one read.
type headerScan struct {
	f    io.ReaderAt
	size int64 // nothing is read from here on
	base model.Offset

	buf  *[scanBlock]byte
	at   int64 // position of buf[0]
	have int   // valid bytes in buf
	want int   // bytes to read at once
}

const scanBlock = 4096

var scanBlocks = sync.Pool{New: func() any { return new([scanBlock]byte) }}

// aim points the scan at a file. The block is only taken when it is needed;
// close gives it back.
func (s *headerScan) aim(f io.ReaderAt, size int64, base model.Offset) {
	s.f, s.size, s.base, s.have, s.want = f, size, base, 0, scanBlock
}

func (s *headerScan) close() {
	if s.buf != nil {
		scanBlocks.Put(s.buf)
		s.buf = nil
	}
}

// header returns the header of the batch at pos, and where the batch ends. The
// header is valid until the next call; only accessors may be used on it.
func (s *headerScan) header(pos int64) (h record.Batch, end int64, err error) {
	if pos+record.HeaderSize > s.size {
		return nil, 0, fmt.Errorf("position %d of %d: no room for a header: %w", pos, s.size, ErrCorrupt)
	}
	if s.buf == nil {
		s.buf = scanBlocks.Get().(*[scanBlock]byte)
	}
	if pos < s.at || pos+record.HeaderSize > s.at+int64(s.have) {
		n := min(int64(s.want), s.size-pos)
		if _, err := s.f.ReadAt(s.buf[:n], pos); err == io.EOF {
			s.have = 0
			return nil, 0, fmt.Errorf("position %d: file ends before %d: %w", pos, s.size, ErrCorrupt)
		} else if err != nil {
			s.have = 0
			return nil, 0, ioError(err)
		}
		s.at, s.have = pos, int(n)
	}
	i := pos - s.at
	h = record.Batch(s.buf[i : i+record.HeaderSize])
	n := 12 + int64(int32(binary.BigEndian.Uint32(h[8:])))
	end = pos + n
	if n < record.HeaderSize || end > s.size || h.Magic() != 2 || h.BaseOffset() < s.base || h.LastOffsetDelta() < 0 {
		return nil, 0, fmt.Errorf("position %d of %d: length %d, magic %d, base offset %d: %w",
			pos, s.size, n, h.Magic(), h.BaseOffset(), ErrCorrupt)
	}
	s.want = scanBlock
	if n > scanBlock { // the next header isn't in the block: don't read a block for it
		s.want = record.HeaderSize
	}
	return h, end, nil
}

// loadBlock is the size of the buffer with which whole batches are read.
const loadBlock = 1 << 20

// batchScan reads whole batches of a file in order, through a bounded buffer
// that grows only for a batch larger than it.
type batchScan struct {
	f    io.ReaderAt
	size int64
	buf  []byte
	p    []byte // the unread part of buf
	pos  int64  // position of p[0]
}

func newBatchScan(f io.ReaderAt, pos, size int64) *batchScan {
	return &batchScan{f: f, size: size, pos: pos, buf: make([]byte, min(loadBlock, max(size-pos, 0)))}
}

// next returns the next batch and its position; io.EOF at the end. The batch
// is valid until the next call. ErrCorrupt stops at the first bad byte.
func (s *batchScan) next() (b record.Batch, pos int64, err error) {
	for {
		if s.pos == s.size && len(s.p) == 0 {
			return nil, 0, io.EOF
		}
		b, rest, err := record.Next(s.p)
		if err == nil {
			pos = s.pos
			s.p, s.pos = rest, pos+int64(len(b))
			return b, pos, nil
		}
		unread := s.size - s.pos
		if !isShort(err) || int64(len(s.p)) == unread {
			return nil, 0, fmt.Errorf("position %d: %w: %w", s.pos, ErrCorrupt, err)
		}
		if err := s.fill(unread); err != nil {
			return nil, 0, err
		}
	}
}

func (s *batchScan) fill(unread int64) error {
	need := int64(record.HeaderSize)
	if len(s.p) >= 12 {
		need = 12 + int64(int32(binary.BigEndian.Uint32(s.p[8:])))
	}
	if need > unread {
		return fmt.Errorf("position %d: batch of %d bytes, file has %d more: %w", s.pos, need, unread, ErrCorrupt)
	}
	if need > int64(len(s.buf)) {
		s.buf = make([]byte, need)
	}
	n := min(unread, int64(len(s.buf)))
	if _, err := s.f.ReadAt(s.buf[:n], s.pos); err == io.EOF {
		return fmt.Errorf("position %d: file ends before %d: %w", s.pos, s.size, ErrCorrupt)
	} else if err != nil {
		return ioError(err)
	}
	s.p = s.buf[:n]
	return nil
}
