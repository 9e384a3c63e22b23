package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"tidemark/internal/model"
)

// ErrRecord marks a record of __consumer_offsets that can't be decoded.
var ErrRecord = errors.New("malformed record of a group")

// Record is a record of __consumer_offsets. A nil Value is a tombstone.
type Record struct{ Key, Value []byte }

// Versions of keys; the version of a key tells the kind of its record.
const (
	keyOffsetLegacy int16 = 0
	keyOffset       int16 = 1
	keyGroup        int16 = 2
)

// offsetKey names a committed offset.
type offsetKey struct {
	group string
	tp    model.TopicPartition
}

// groupValue is the persistent part of a group.
//
//	v0  protocol type, generation, protocol, leader, members {id, client id,
//	    client host, session timeout, subscription, assignment}
//	v1  members: rebalance timeout before the session timeout
//	v2  time of the current state after the leader
//	v3  members: instance id after the id
//	v4  compact lengths and tagged fields
type groupValue struct {
	protocolType     string
	generation       int32
	protocol, leader *string
	stateTime        int64 // ms, -1 unknown
	members          []memberValue
}

type memberValue struct {
	id                       string
	instance                 *string
	clientID, clientHost     string
	rebalance, session       int32 // ms
	subscription, assignment []byte
}

const groupValueVersion = 3

func offsetCommitKey(group string, tp model.TopicPartition) []byte {
	p := appendInt16(make([]byte, 0, 10+len(group)+len(tp.Topic)), keyOffset)
	p = appendString(p, group)
	p = appendString(p, tp.Topic)
	return binary.BigEndian.AppendUint32(p, uint32(tp.Partition))
}

// offsetCommitValue encodes an offset:
//
//	v0  offset, metadata, commit time
//	v1  and an expire time
//	v2  without it
//	v3  leader epoch after the offset
//	v4  compact lengths; tag 0: topic id
//
// Version 4, or 1 if the commit brought its own retention.
func offsetCommitValue(o Offset) []byte {
	p := make([]byte, 0, 48+len(o.Metadata))
	if o.ExpireTime >= 0 {
		p = appendInt16(p, 1)
		p = binary.BigEndian.AppendUint64(p, uint64(o.Offset))
		p = appendString(p, o.Metadata)
		p = binary.BigEndian.AppendUint64(p, uint64(o.CommitTime))
		return binary.BigEndian.AppendUint64(p, uint64(o.ExpireTime))
	}
	p = appendInt16(p, 4)
	p = binary.BigEndian.AppendUint64(p, uint64(o.Offset))
	p = binary.BigEndian.AppendUint32(p, uint32(o.LeaderEpoch))
	p = binary.AppendUvarint(p, uint64(len(o.Metadata))+1)
	p = append(p, o.Metadata...)
	p = binary.BigEndian.AppendUint64(p, uint64(o.CommitTime))
	if o.TopicID.IsZero() {
		return append(p, 0)
	}
	p = append(p, 1, 0, byte(len(o.TopicID)))
	return append(p, o.TopicID[:]...)
}

func groupMetadataKey(group string) []byte {
	return appendString(appendInt16(nil, keyGroup), group)
}

func groupMetadataValue(g groupValue) []byte {
	p := appendInt16(nil, groupValueVersion)
	p = appendString(p, g.protocolType)
	p = binary.BigEndian.AppendUint32(p, uint32(g.generation))
	p = appendNullable(p, g.protocol)
	p = appendNullable(p, g.leader)
	p = binary.BigEndian.AppendUint64(p, uint64(g.stateTime))
	p = binary.BigEndian.AppendUint32(p, uint32(len(g.members)))
	for _, m := range g.members {
		p = appendString(p, m.id)
		p = appendNullable(p, m.instance)
		p = appendString(p, m.clientID)
		p = appendString(p, m.clientHost)
		p = binary.BigEndian.AppendUint32(p, uint32(m.rebalance))
		p = binary.BigEndian.AppendUint32(p, uint32(m.session))
		p = appendBytes(p, m.subscription)
		p = appendBytes(p, m.assignment)
	}
	return p
}

func appendInt16(p []byte, v int16) []byte { return binary.BigEndian.AppendUint16(p, uint16(v)) }

// appendString writes a string; the wire's requests have no longer ones.
func appendString(p []byte, s string) []byte {
	s = s[:min(len(s), math.MaxInt16)]
	return append(appendInt16(p, int16(len(s))), s...)
}

func appendNullable(p []byte, s *string) []byte {
	if s == nil {
		return appendInt16(p, -1)
	}
	return appendString(p, *s)
}

func appendBytes(p, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(p, uint32(len(b))), b...)
}

// decodeOffsetKey reads what follows the version of an offset key.
func decodeOffsetKey(key []byte) (offsetKey, error) {
	r := reader{p: key[2:]}
	k := offsetKey{group: r.str()}
	k.tp.Topic = r.str()
	k.tp.Partition = r.int32()
	return k, r.done("offset key")
}

func decodeGroupKey(key []byte) (string, error) {
	r := reader{p: key[2:]}
	g := r.str()
	return g, r.done("group key")
}

func decodeOffsetValue(value []byte) (Offset, error) {
	r := reader{p: value}
	v := r.int16()
	if v < 0 || v > 4 {
		return Offset{}, fmt.Errorf("offset value of version %d: %w", v, ErrRecord)
	}
	r.compact = v >= 4
	o := Offset{Offset: model.Offset(r.int64()), LeaderEpoch: model.NoLeaderEpoch, ExpireTime: -1}
	if v >= 3 {
		o.LeaderEpoch = model.LeaderEpoch(r.int32())
	}
	o.Metadata = r.str()
	o.CommitTime = r.int64()
	if v == 1 {
		o.ExpireTime = max(r.int64(), -1)
	}
	r.tags(func(tag uint64, field []byte) {
		if tag == 0 && len(field) == len(o.TopicID) {
			copy(o.TopicID[:], field)
		}
	})
	return o, r.done("offset value")
}

func decodeGroupValue(value []byte) (groupValue, error) {
	r := reader{p: value}
	v := r.int16()
	if v < 0 || v > 4 {
		return groupValue{}, fmt.Errorf("group value of version %d: %w", v, ErrRecord)
	}
	r.compact = v >= 4
	g := groupValue{protocolType: r.str(), generation: r.int32(), stateTime: -1}
	g.protocol, g.leader = r.nullable(), r.nullable()
	if v >= 2 {
		g.stateTime = r.int64()
	}
	n := r.arrayLen()
	for i := 0; i < n && r.err == nil; i++ {
		m := memberValue{id: r.str()}
		if v >= 3 {
			m.instance = r.nullable()
		}
		m.clientID, m.clientHost = r.str(), r.str()
		if v >= 1 {
			m.rebalance = r.int32()
		}
		m.session = r.int32()
		if v == 0 {
			m.rebalance = m.session
		}
		m.subscription, m.assignment = r.bytes(), r.bytes()
		r.tags(nil)
		g.members = append(g.members, m)
	}
	r.tags(nil)
	return g, r.done("group value")
}

// reader takes fields off the front of p. After the first error it returns
// zero values.
type reader struct {
	p       []byte
	compact bool
	err     error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.p) {
		if r.err == nil {
			r.err = fmt.Errorf("%d bytes needed, %d left: %w", n, len(r.p), ErrRecord)
		}
		return nil
	}
	b := r.p[:n]
	r.p = r.p[n:]
	return b
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.p)
	if n <= 0 || v > math.MaxInt32 {
		r.err = fmt.Errorf("bad varint: %w", ErrRecord)
		return 0
	}
	r.p = r.p[n:]
	return v
}

// length reads a length whose plain form has 2 or 4 bytes; -1 is null.
func (r *reader) length(plain func() int) int {
	if r.compact {
		return int(r.uvarint()) - 1
	}
	return plain()
}

func (r *reader) nullable() *string {
	n := r.length(func() int { return int(r.int16()) })
	if n < 0 {
		return nil
	}
	s := string(r.take(n))
	return &s
}

func (r *reader) str() string {
	if s := r.nullable(); s != nil {
		return *s
	}
	if r.err == nil {
		r.err = fmt.Errorf("null where a string is needed: %w", ErrRecord)
	}
	return ""
}

func (r *reader) bytes() []byte {
	n := r.length(func() int { return int(r.int32()) })
	if n < 0 {
		return nil
	}
	return append([]byte{}, r.take(n)...)
}

// arrayLen refuses more elements than there are bytes.
func (r *reader) arrayLen() int {
	n := r.length(func() int { return int(r.int32()) })
	if n > len(r.p) && r.err == nil {
		r.err = fmt.Errorf("%d elements in %d bytes: %w", n, len(r.p), ErrRecord)
	}
	return n
}

func (r *reader) tags(fn func(tag uint64, field []byte)) {
	if !r.compact {
		return
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		tag := r.uvarint()
		field := r.take(int(r.uvarint()))
		if fn != nil && r.err == nil {
			fn(tag, field)
		}
	}
}

func (r *reader) done(what string) error {
	if r.err != nil {
		return fmt.Errorf("%s: %w", what, r.err)
	}
	if len(r.p) > 0 {
		return fmt.Errorf("%s: %d bytes too many: %w", what, len(r.p), ErrRecord)
	}
	return nil
}
