package differential

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// mangle is how a request's frame is spoilt before it is sent; nil: not at all.
type mangle struct {
	name string
	do   func(frame []byte) []byte
}

// sized writes the frame's length anew.
func sized(frame []byte) []byte {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

// mangle draws one; most frames are sent as they are.
func (g *trace) mangle(req kmsg.Request) *mangle {
	if !g.chance(3) || req.Key() == 18 {
		return nil
	}
	length := func(n int32) *mangle {
		return &mangle{fmt.Sprintf("length %d", n), func(f []byte) []byte {
			binary.BigEndian.PutUint32(f, uint32(n))
			return f[:min(len(f), max(4, 4+int(n)))]
		}}
	}
	n, at := 1+g.IntN(6), g.IntN(1<<20)
	switch g.IntN(9) { // flat switch
	case 0:
		return &mangle{fmt.Sprintf("%d bytes more", n), func(f []byte) []byte { return sized(append(f, make([]byte, n)...)) }}
	case 1:
		return &mangle{fmt.Sprintf("%d bytes less", n), func(f []byte) []byte { return sized(f[:len(f)-n]) }}
	case 2:
		return length(int32(g.pick(-1, math.MinInt32, math.MaxInt32)))
	case 3:
		return length(int32(g.pick(0, 1, 3, 4, 7, 8, 9)))
	case 4:
		key := g.pick(4, 5, 6, 7, 999, -1, math.MaxInt16, math.MinInt16)
		return &mangle{fmt.Sprintf("key %d", key), func(f []byte) []byte { put16(f, 4, int16(key)); return f }}
	case 5:
		v := g.pick(-1, 99, math.MaxInt16, math.MinInt16)
		return &mangle{fmt.Sprintf("version %d", v), func(f []byte) []byte { put16(f, 6, int16(v)); return f }}
	case 6:
		v := g.pick(-2, math.MinInt16, math.MaxInt16)
		return &mangle{fmt.Sprintf("client id of %d bytes", v), func(f []byte) []byte { put16(f, 12, int16(v)); return f }}
	}
	return g.flip(req, at, n)
}

// flip inverts a bit of the body, behind what would let the answer come late
// or never.
func (g *trace) flip(req kmsg.Request, at, bit int) *mangle {
	skip := map[int16]int{1: 32, 2: 8, 3: 1, 23: 8}[req.Key()]
	ids := req.Key() == 1 && req.GetVersion() >= 13 || req.Key() == 3 && req.GetVersion() >= 10 // they differ from peer to peer
	if skip == 0 || ids {
		return nil
	}
	return &mangle{fmt.Sprintf("bit %d of byte %d", bit, at), func(f []byte) []byte {
		body := 4 + 8 + 2 + int(binary.BigEndian.Uint16(f[12:])) + skip
		if body < len(f) {
			f[body+at%(len(f)-body)] ^= 1 << bit
		}
		return f
	}}
}
