package quorum

import (
	"encoding/binary"
	"fmt"

	"tidemark/internal/record"
)

// Kinds of entry payload. An entry without payload is Raft's own, after an election.
const (
	kindData    = 1 // batch of metadata records
	kindControl = 2 // batch of control records
)

const payloadHeader = 1 + 8 + 8

// payload is what a normal entry carries.
//
//	kind u8 | proposer's term u64 | proposal u64 | batch
type payload struct {
	kind     byte
	term     uint64 // of the proposer (invariant 4)
	proposal uint64 // identifies the waiter on the proposer
	batch    record.Batch
}

func (p payload) encode() []byte {
	out := make([]byte, 0, payloadHeader+len(p.batch))
	out = append(out, p.kind)
	out = binary.BigEndian.AppendUint64(out, p.term)
	out = binary.BigEndian.AppendUint64(out, p.proposal)
	return append(out, p.batch...)
}

func decodePayload(data []byte) (payload, error) {
	if len(data) < payloadHeader || (data[0] != kindData && data[0] != kindControl) {
		return payload{}, fmt.Errorf("entry payload of %d bytes: %w", len(data), ErrCorrupt)
	}
	p := payload{
		kind:     data[0],
		term:     binary.BigEndian.Uint64(data[1:]),
		proposal: binary.BigEndian.Uint64(data[9:]),
	}
	b, rest, err := record.Next(data[payloadHeader:])
	if err != nil {
		return payload{}, err
	}
	if len(rest) > 0 {
		return payload{}, fmt.Errorf("%d bytes after the batch: %w", len(rest), ErrCorrupt)
	}
	p.batch = b
	return p, b.CheckCRC()
}
