package wire

import (
	"encoding/binary"

	"tidemark/internal/model"
)

func appendInt16[T ~int16](dst []byte, v T) []byte {
	return binary.BigEndian.AppendUint16(dst, uint16(v))
}

func appendInt32[T ~int32](dst []byte, v T) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(v))
}

func appendInt64[T ~int64](dst []byte, v T) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v))
}

// appendCount appends the length of an array or of bytes.
func appendCount(dst []byte, n int, flexible bool) []byte {
	if flexible {
		return binary.AppendUvarint(dst, uint64(n)+1)
	}
	return appendInt32(dst, int32(n))
}

// appendNull32 appends the length that means null.
func appendNull32(dst []byte, flexible bool) []byte {
	if flexible {
		return append(dst, 0)
	}
	return appendInt32(dst, int32(-1))
}

func appendString[T ~string | ~[]byte](dst []byte, s T, flexible bool) []byte {
	if flexible {
		dst = binary.AppendUvarint(dst, uint64(len(s))+1)
	} else {
		dst = appendInt16(dst, int16(len(s)))
	}
	return append(dst, s...)
}

// appendNullable appends s, the empty string as null.
func appendNullable(dst []byte, s string, flexible bool) []byte {
	switch {
	case s != "":
		return appendString(dst, s, flexible)
	case flexible:
		return append(dst, 0)
	}
	return appendInt16(dst, int16(-1))
}

func appendTags(dst []byte, flexible bool) []byte {
	if flexible {
		return append(dst, 0)
	}
	return dst
}

// LeaderHint tells a client who leads now, so that it need not ask for
// metadata (KIP-951). It is sent only if Known.
type LeaderHint struct {
	Known bool
	ID    model.BrokerID
	Epoch model.LeaderEpoch
}

// appendLeaderTag appends the hint as a tagged field.
func appendLeaderTag(dst []byte, tag byte, l LeaderHint) []byte {
	dst = append(dst, tag, 9)
	dst = appendInt32(dst, l.ID)
	dst = appendInt32(dst, l.Epoch)
	return append(dst, 0)
}

func (r *reader) leaderHint() LeaderHint {
	l := LeaderHint{Known: true, ID: model.BrokerID(r.int32()), Epoch: model.LeaderEpoch(r.int32())}
	r.skipTags()
	return l
}

// NodeEndpoint is where a leader named by a LeaderHint can be reached. An
// empty Rack is null.
type NodeEndpoint struct {
	ID   model.BrokerID
	Host string
	Port int32
	Rack string
}

// appendNodesTag appends the tag section of a response whose only tagged
// field, number 0, are node endpoints.
func appendNodesTag(dst []byte, nodes []NodeEndpoint) []byte {
	if len(nodes) == 0 {
		return append(dst, 0)
	}
	value := appendCount(nil, len(nodes), true)
	for _, n := range nodes {
		value = appendInt32(value, n.ID)
		value = appendString(value, n.Host, true)
		value = appendInt32(value, n.Port)
		value = appendNullable(value, n.Rack, true)
		value = append(value, 0)
	}
	dst = append(dst, 1, 0)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func (r *reader) nodes() []NodeEndpoint {
	n := r.count(true, 8)
	nodes := make([]NodeEndpoint, 0, n)
	for ; n > 0 && !r.bad; n-- {
		e := NodeEndpoint{ID: model.BrokerID(r.int32())}
		host, _ := r.str(true)
		e.Host = string(host)
		e.Port = r.int32()
		rack, _ := r.str(true)
		e.Rack = string(rack)
		r.skipTags()
		nodes = append(nodes, e)
	}
	return nodes
}
