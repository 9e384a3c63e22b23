package differential

import (
	"encoding/binary"
	"hash/crc32"

	"tidemark/internal/record"
)

// odd is a payload that isn't a batch of the current format, or not only one.
func (g *trace) odd() []byte {
	g.spoiled = true
	switch g.IntN(10) { // flat switch
	case 0: // Apache Kafka never answers: each costs a second
		if g.chance(80) {
			return g.noise(1)
		}
		return [][]byte{nil, {}}[g.IntN(2)]
	case 1, 2:
		return g.noise(g.IntN(120))
	case 3:
		return g.message(0, nil)
	case 4:
		return g.message(1, nil)
	case 5:
		return g.message(int(g.pick(0, 1)), g.simple())
	case 6:
		return append(g.simple(), g.message(1, nil)...)
	}
	return append(g.simple(), g.simple()...)
}

func (g *trace) simple() []byte {
	var b record.Builder
	b.Add(g.now, g.bytes(8, false), g.bytes(8, false))
	return b.Build()
}

func (g *trace) noise(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(g.Uint32())
	}
	return out
}

// message is one message of format 0 or 1, and what follows it.
func (g *trace) message(magic int, then []byte) []byte {
	m := []byte{byte(magic), byte(g.pick(0, 0, 0, 1))}
	if magic == 1 {
		m = binary.BigEndian.AppendUint64(m, uint64(g.now))
	}
	for range 2 {
		v := g.bytes(8, false)
		m = append(binary.BigEndian.AppendUint32(m, uint32(len(v))), v...)
	}
	sum := crc32.ChecksumIEEE(m)
	if g.chance(20) {
		sum++
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 8), uint32(len(m)+4))
	out = binary.BigEndian.AppendUint32(out, sum)
	return append(append(out, m...), then...)
}
