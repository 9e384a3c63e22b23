package quorum

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Frame types of the WAL.
const (
	frameIdentity   = 1
	frameFormation  = 2
	frameHardState  = 3
	frameEntries    = 4
	frameCheckpoint = 5
	frameSnapshot   = 6
)

const (
	walMagic      = 0x544d574c // "TMWL"
	walHeaderSize = 4 + 4 + 4 + 8
	walMaxFrame   = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame adds one frame; synced is the durable size of the file.
func appendFrame(dst []byte, typ byte, synced int64, payload ...[]byte) []byte {
	n := 1
	for _, p := range payload {
		n += len(p)
	}
	at := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, walMagic)
	dst = binary.BigEndian.AppendUint32(dst, uint32(n))
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(synced))
	dst = append(dst, typ)
	for _, p := range payload {
		dst = append(dst, p...)
	}
	binary.BigEndian.PutUint32(dst[at+8:], crc32.Checksum(dst[at+12:], castagnoli))
	return dst
}

type frame struct {
	typ     byte
	synced  int64
	payload []byte
	size    int
}

// parseFrame reads the frame at the start of p; ok is false for anything that
// isn't one whole valid frame.
func parseFrame(p []byte) (f frame, ok bool) {
	if len(p) < walHeaderSize+1 || binary.BigEndian.Uint32(p) != walMagic {
		return f, false
	}
	n := binary.BigEndian.Uint32(p[4:])
	if n == 0 || n > walMaxFrame || int(n) > len(p)-walHeaderSize {
		return f, false
	}
	f.size = walHeaderSize + int(n)
	if crc32.Checksum(p[12:f.size], castagnoli) != binary.BigEndian.Uint32(p[8:]) {
		return f, false
	}
	f.synced = int64(binary.BigEndian.Uint64(p[12:]))
	f.typ = p[walHeaderSize]
	f.payload = p[walHeaderSize+1 : f.size]
	return f, true
}

// scanFrames calls fn for each frame and returns the size of the valid prefix.
// A bad frame that a later one knows to have been durable is ErrCorrupt.
func scanFrames(p []byte, fn func(frame) error) (int64, error) {
	at := 0
	for at < len(p) {
		f, ok := parseFrame(p[at:])
		if !ok {
			if end, later := laterSynced(p[at+1:]); later && end > int64(at) {
				return 0, fmt.Errorf("bad frame at %d, but %d bytes were durable: %w", at, end, ErrCorrupt)
			}
			break
		}
		if err := fn(f); err != nil {
			return 0, fmt.Errorf("frame at %d, type %d: %w", at, f.typ, err)
		}
		at += f.size
	}
	return int64(at), nil
}

// laterSynced finds the largest durable size that any whole frame in p knows of.
func laterSynced(p []byte) (most int64, found bool) {
	for i := 0; i+walHeaderSize < len(p); i++ {
		if p[i] != walMagic>>24 {
			continue
		}
		if f, ok := parseFrame(p[i:]); ok {
			most, found = max(most, f.synced), true
			i += f.size - 1
		}
	}
	return most, found
}
