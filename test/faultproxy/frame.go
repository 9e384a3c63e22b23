package faultproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frameMax bounds the memory of one frame, as socket.request.max.bytes does.
const frameMax = 100 << 20

// ErrFrame means that bytes weren't frames of Kafka's protocol.
var ErrFrame = errors.New("not a frame of Kafka's protocol")

// Frame is one request or response as it passes. Valid only during the call.
type Frame struct {
	From        string // client id of the connection's latest request
	Response    bool
	Key         int16 // of the API, for a response the one of its request; -1 if unknown
	Version     int16
	Correlation int32
	Bytes       []byte // with the four bytes of its length
}

// Body is what follows the length.
func (f Frame) Body() []byte { return f.Bytes[4:] }

// readFrame reads one frame with its length.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int32(binary.BigEndian.Uint32(head[:]))
	if n < 4 || n > frameMax {
		return nil, fmt.Errorf("a length of %d bytes, want 4 to %d: %w", n, frameMax, ErrFrame)
	}
	b := make([]byte, 0, 4+min(int(n), 64<<10)) // grows with what arrives
	b = append(b, head[:]...)
	for left := int(n); left > 0; {
		step := min(left, max(cap(b)-len(b), 64<<10))
		at := len(b)
		b = append(b, make([]byte, step)...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, err
		}
		left -= step
	}
	return b, nil
}

// parseRequest fills the fields of a request's header.
func parseRequest(b []byte) Frame {
	f := Frame{Key: -1, Bytes: b}
	if len(b) < 12 {
		return f
	}
	f.Key, f.Version = int16(binary.BigEndian.Uint16(b[4:])), int16(binary.BigEndian.Uint16(b[6:]))
	f.Correlation = int32(binary.BigEndian.Uint32(b[8:]))
	if len(b) >= 14 {
		if n := int(int16(binary.BigEndian.Uint16(b[12:]))); n > 0 && len(b) >= 14+n {
			f.From = string(b[14 : 14+n])
		}
	}
	return f
}

func parseResponse(b []byte) Frame {
	return Frame{Response: true, Key: -1, Correlation: int32(binary.BigEndian.Uint32(b[4:])), Bytes: b}
}
