package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compress appends the payload in codec c to dst. Writing to memory can't
// fail; an error means wrong options, a bug of this file.
func compress(dst []byte, c Codec, plain []byte) []byte {
	switch c {
	case None:
		return append(dst, plain...)
	case Gzip:
		out := bytes.NewBuffer(dst)
		return finish(out, gzip.NewWriter(out), plain)
	case Snappy:
		return compressXerial(dst, plain)
	case LZ4:
		out := bytes.NewBuffer(dst)
		w := lz4.NewWriter(out)
		// What Java's reader accepts: independent blocks, here of 64 KiB, no checksum of the content.
		must(w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)))
		return finish(out, w, plain)
	case Zstd:
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(1<<20))
		must(err)
		return w.EncodeAll(plain, dst)
	}
	panic(fmt.Sprintf("record: building a batch with %s", c))
}

func finish(out *bytes.Buffer, w io.WriteCloser, plain []byte) []byte {
	_, err := w.Write(plain)
	must(err)
	must(w.Close())
	return out.Bytes()
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("record: compressing in memory: %v", err))
	}
}

// compressXerial writes the framing that Java's client writes.
func compressXerial(dst, plain []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = binary.BigEndian.AppendUint32(dst, 1) // version
	dst = binary.BigEndian.AppendUint32(dst, 1) // oldest compatible version
	for len(plain) > 0 {
		n := min(len(plain), xerialBlock)
		block := s2.EncodeSnappy(nil, plain[:n])
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
		plain = plain[n:]
	}
	return dst
}
