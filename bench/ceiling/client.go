package ceiling

import (
	"encoding/binary"
	"fmt"
	"time"

	"tidemark/bench/driver"
)

// Lanes prepares the producer's side: one lane per leader, for acks 1 or -1 (all).
func (c Config) Lanes(acks, batchBytes, valueBytes int) []driver.Lane {
	batch := driver.BuildBatch(batchBytes, valueBytes, time.Now())
	lanes := make([]driver.Lane, min(c.Partitions, len(c.Addrs)))
	for p := range c.Partitions {
		f := binary.BigEndian.AppendUint32(nil, uint32(4+len(batch)))
		f = append(f, opProduce, byte(acks), byte(p>>8), byte(p))
		l := &lanes[p%len(c.Addrs)]
		l.Addr, l.Bytes, l.Records = c.Addrs[p%len(c.Addrs)], int64(len(batch)), int64(batch.Count())
		l.Frames, l.ErrorAt = append(l.Frames, append(f, batch...)), append(l.ErrorAt, 0)
	}
	return lanes
}

// consumeMax is how much of one partition a consumer asks for at once. With
// Kafka's protocol one answer carries every partition of a leader; here its
// partitions are asked for in turn.
const consumeMax = 1 << 20

// Readers prepares the consumer's side: one reader per leader, which reads all
// its partitions from the beginning, and again after the end.
func (c Config) Readers() []driver.Reader {
	var out []driver.Reader
	for i := range min(c.Partitions, len(c.Addrs)) {
		r := &reader{}
		for p := i; p < c.Partitions; p += len(c.Addrs) {
			r.ids, r.at = append(r.ids, p), append(r.at, 0)
		}
		out = append(out, driver.Reader{Addr: c.Addrs[i], Next: r.next, Took: r.took})
	}
	return out
}

type reader struct {
	ids  []int
	at   []int64
	turn int
}

func (r *reader) next(dst []byte) []byte {
	dst = append(dst, 0, 0, 0, 15, opConsume)
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.ids[r.turn]))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.at[r.turn]))
	return binary.BigEndian.AppendUint32(dst, consumeMax)
}

func (r *reader) took(answer []byte) (bytes, records int64, err error) {
	if len(answer) < 8 {
		return 0, 0, fmt.Errorf("an answer of %d bytes", len(answer))
	}
	end, p := int64(binary.BigEndian.Uint64(answer)), answer[8:]
	for len(p) >= batchHeader {
		size := 12 + int(binary.BigEndian.Uint32(p[8:]))
		if size > len(p) {
			break
		}
		bytes, records = bytes+int64(size), records+1+int64(binary.BigEndian.Uint32(p[23:]))
		p = p[size:]
	}
	if r.at[r.turn] += bytes; r.at[r.turn] >= end {
		r.at[r.turn] = 0
	}
	r.turn = (r.turn + 1) % len(r.ids)
	return bytes, records, nil
}

// Ping returns when a node answers, at most after limit.
func Ping(addr string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		err := ping(addr)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}
