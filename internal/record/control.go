package record

import (
	"encoding/binary"
	"fmt"

	"tidemark/internal/model"
)

// Types of control records.
const (
	ControlAbort          int16 = 0
	ControlCommit         int16 = 1
	ControlLeaderChange   int16 = 2
	ControlSnapshotHeader int16 = 3
	ControlSnapshotFooter int16 = 4
	ControlKRaftVersion   int16 = 5
	ControlKRaftVoters    int16 = 6
)

// ControlKey returns the key of a control record: i16 version 0, i16 type.
func ControlKey(typ int16) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(typ))
}

// ParseControlKey returns the type in a control record's key; ErrInvalid if
// the key is too short or its version negative. Later versions may be longer.
func ParseControlKey(key []byte) (typ int16, err error) {
	if len(key) < 4 {
		return 0, invalidf("control key of %d bytes, want 4", len(key))
	}
	if v := int16(binary.BigEndian.Uint16(key)); v < 0 {
		return 0, invalidf("control key version %d", v)
	}
	return int16(binary.BigEndian.Uint16(key[2:])), nil
}

// EndTxn is a transaction marker.
type EndTxn struct {
	Commit           bool // false: abort
	CoordinatorEpoch int32
	Timestamp        int64 // ms
}

// Marker builds the batch that ends the transaction of a producer.
func Marker(id model.ProducerID, epoch model.ProducerEpoch, m EndTxn) Batch {
	var b Builder
	b.SetControl()
	b.SetTransactional()
	b.SetProducer(id, epoch, NoSequence)
	typ := ControlAbort
	if m.Commit {
		typ = ControlCommit
	}
	value := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.CoordinatorEpoch)) // i16 version 0
	b.Add(m.Timestamp, ControlKey(typ), value)
	return b.Build()
}

// EndTxn reads the marker of a control batch that has a producer id. ok is
// false, without an error, if compaction has emptied the batch: its
// transaction is gone from the log.
func (b Batch) EndTxn() (m EndTxn, ok bool, err error) {
	const small = 4 << 10 // control records aren't compressed; bounded all the same
	for r, err := range b.Records(small) {
		if err != nil {
			return m, false, err
		}
		typ, err := ParseControlKey(r.Key)
		if err != nil {
			return m, false, err
		}
		if typ != ControlAbort && typ != ControlCommit {
			return m, false, invalidf("control record type %d where a transaction marker is expected", typ)
		}
		if len(r.Value) < 6 {
			return m, false, invalidf("transaction marker of %d bytes, want 6", len(r.Value))
		}
		if v := int16(binary.BigEndian.Uint16(r.Value)); v < 0 {
			return m, false, fmt.Errorf("transaction marker version %d: %w", v, ErrInvalid)
		}
		m = EndTxn{Commit: typ == ControlCommit, Timestamp: r.Timestamp,
			CoordinatorEpoch: int32(binary.BigEndian.Uint32(r.Value[2:]))}
		return m, true, nil
	}
	return m, false, nil
}
