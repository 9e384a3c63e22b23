package differential

import (
	"encoding/binary"
	"fmt"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Positions in a batch's header that the trace spoils.
const (
	atBaseOffset = 0
	atLength     = 8
	atEpoch      = 12
	atMagic      = 16
	atCRC        = 17
	atAttributes = 21
	atLastDelta  = 23
	atBaseTime   = 27
	atMaxTime    = 35
	atProducer   = 43
	atPEpoch     = 51
	atSequence   = 53
	atCount      = 57
)

func put16(b []byte, at int, v int16) { binary.BigEndian.PutUint16(b[at:], uint16(v)) }
func put32(b []byte, at int, v int32) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
func put64(b []byte, at int, v int64) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }

// records is one produced payload: usually one good batch.
func (g *trace) records(topic *topic) []byte {
	if g.chance(5) {
		return g.odd()
	}
	var b record.Builder
	codec := record.None
	if g.chance(40) {
		codec = record.Codec(g.IntN(5))
	}
	b.SetCodec(codec)
	n := 1 + g.IntN(5)
	size := g.IntN(60)
	switch {
	case topic.name == "small" && g.chance(40):
		size = 1500 + g.IntN(600)
	case topic.name == "snappysmall":
		n, size = 1, g.IntN(100)
		if g.chance(30) { // far from the limit: compressors differ
			size = 2000
		}
	case topic.name == "segments" && g.chance(60):
		n, size = 1, 100_000+g.IntN(100_000)
		if g.chance(10) {
			size = 1_000_000 + g.IntN(100_000)
		}
	}
	for i := range n {
		b.Add(g.timestamp(i), g.bytes(8, !topic.compacted() || g.chance(10)), g.bytes(size, true), g.headers()...)
	}
	g.idempotent(&b)
	batch := b.Build()
	if g.chance(25) {
		return g.spoil(batch)
	}
	return batch
}

func (g *trace) timestamp(i int) int64 {
	switch g.IntN(12) {
	case 0:
		return -1
	case 1:
		return g.now - 2*hour
	case 2:
		return g.now + 2*hour
	case 3:
		return g.now - int64(g.IntN(1000))
	}
	return g.now - 60_000 + int64(10*g.step+i)%60_000
}

// bytes may be nil if null is allowed.
func (g *trace) bytes(n int, null bool) []byte {
	switch {
	case null && g.chance(15):
		return nil
	case g.chance(5):
		return []byte{}
	}
	out := make([]byte, n)
	for i := range out {
		out[i] = byte('a' + g.IntN(26))
	}
	return out
}

func (g *trace) headers() []record.Header {
	var out []record.Header
	for range max(0, g.IntN(6)-3) {
		out = append(out, record.Header{Key: fmt.Sprint("h", g.IntN(3)), Value: g.bytes(4, true)})
	}
	if g.chance(3) {
		out = append(out, record.Header{})
	}
	return out
}

// idempotent numbers the batch: mostly as the next of a producer, sometimes
// again, with a gap, under another epoch or near the end of the numbers.
func (g *trace) idempotent(b *record.Builder) {
	if !g.chance(35) {
		return
	}
	id := 1000 + int64(g.IntN(4))
	key := fmt.Sprint(g.target, id)
	s, known := g.producers[key]
	if !known {
		s = &sequence{next: int32(g.pick(0, 0, 5, 1<<31-3))}
		g.producers[key] = s
	}
	epoch, seq := s.epoch, s.next
	switch g.IntN(12) {
	case 0:
		seq = s.last // a duplicate, if the count is the same
	case 1:
		seq = int32(g.pick(int64(uint32(s.next+1)&(1<<31-1)), 0, 1<<31-1))
	case 2:
		epoch = max(0, epoch-1)
	case 3:
		epoch, seq = epoch+1, int32(g.pick(0, 0, 3))
	case 4:
		if len(s.sent) > 0 {
			seq = s.sent[g.IntN(len(s.sent))]
		}
	}
	b.SetProducer(model.ProducerID(id), model.ProducerEpoch(epoch), seq)
	s.tried, s.triedEpoch, s.count = seq, epoch, int32(b.Count())
	g.pending = s
}

// sequence is what the trace knows of a producer on one partition.
type sequence struct {
	epoch        int16
	next, last   int32
	sent         []int32
	tried, count int32
	triedEpoch   int16
}

// accepted moves the producer on, unless what was accepted was a duplicate.
func (s *sequence) accepted() {
	again := s.triedEpoch == s.epoch && s.tried != s.next && len(s.sent) > 0
	if again {
		return
	}
	s.epoch, s.last, s.next = s.triedEpoch, s.tried, record.AddSequence(s.tried, s.count)
	s.sent = append(s.sent, s.tried)
	if len(s.sent) > 8 {
		s.sent = s.sent[1:]
	}
}

// spoil breaks one thing of a batch. What lies under the checksum is summed anew.
func (g *trace) spoil(b record.Batch) []byte {
	g.spoiled = true
	n := int64(b.Count())
	switch g.IntN(25) { // flat switch
	case 0:
		b[len(b)-1] ^= 0xff // not summed anew
		return b
	case 1:
		put64(b, atBaseOffset, g.pick(1, -1, 1000))
	case 2:
		put32(b, atEpoch, int32(g.pick(-1, 0, 7, -5)))
	case 3:
		b[atMagic] = byte(g.pick(0, 1, 3, 255))
	case 4:
		put32(b, atCRC, int32(g.Uint32()))
		return b
	case 5:
		put16(b, atAttributes, b.Attributes()|0x20) // control
	case 6:
		put16(b, atAttributes, b.Attributes()|0x10) // transactional
	case 7:
		put16(b, atAttributes, b.Attributes()|0x08) // log append time
	case 8:
		put16(b, atAttributes, b.Attributes()|int16(g.pick(0x40, 0x80, 0x4000)))
	case 9:
		put16(b, atAttributes, b.Attributes()&^7|int16(5+g.IntN(3)))
	case 10:
		put32(b, atLastDelta, int32(g.pick(n, n-2, -1, -2, 1<<31-1)))
	case 11:
		put32(b, atCount, int32(g.pick(n+1, n-1, 0, -1, 1<<31-1)))
	case 12:
		put32(b, atCount, int32(n+1))
		put32(b, atLastDelta, int32(n))
	case 13:
		put64(b, atMaxTime, g.pick(-1, 0, g.now+hour, -7, 1<<62))
	case 14:
		put64(b, atProducer, g.pick(-1, -2, 77))
	case 15:
		put16(b, atPEpoch, int16(g.pick(-1, -2, 3)))
	case 16:
		put32(b, atSequence, int32(g.pick(-1, -2, 9)))
	case 17:
		return b[:max(1, g.IntN(len(b)))]
	case 18:
		return append(b, b[:1+g.IntN(len(b)-1)]...) // and a part of another
	case 19:
		return append(b, b...)
	case 20:
		put32(b, atLength, int32(g.pick(0, -1, 13, 49, int64(len(b))-11, int64(len(b))+100, 1<<31-1)))
	case 21:
		if len(b) > record.HeaderSize {
			b[record.HeaderSize+g.IntN(len(b)-record.HeaderSize)] ^= byte(1 + g.IntN(255))
		}
	case 22:
		b = b[:len(b)-1]
		put32(b, atLength, int32(len(b)-12))
	case 23:
		b = append(b, 0)
		put32(b, atLength, int32(len(b)-12))
	case 24:
		put64(b, atBaseTime, g.pick(-1, -100, 0, 1<<63-1))
	}
	b.UpdateCRC()
	return b
}
