package metadata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

//go:generate go run ./gen

// Errors of decoding. Both are fatal to a node that meets them below the high
// watermark: it can't know what the cluster looks like.
var (
	// ErrCorruptRecord means that bytes are not what their key and version say.
	ErrCorruptRecord = errors.New("corrupt metadata record")
	// ErrUnknownRecord means a frame, key or version of a later Kafka.
	ErrUnknownRecord = errors.New("unknown metadata record")
)

// frameVersion is the version of the envelope around every record.
const frameVersion = 1

// Record is one change of the cluster's metadata. The structs of this package
// are the only implementations; a record is never modified once it was replayed
// or encoded.
type Record interface {
	// Key is the number of the record's type in Kafka's format.
	Key() int16

	levels() []int16
	encode(w *writer, version int16)
	decode(d *reader, version int16)
}

// Encode returns the value under which r stands in the metadata log: frame
// version, key, version, body. The version is the highest that may be written
// at the finalised metadata.version; fields that it doesn't have are left out.
func Encode(r Record, level int16) []byte {
	version := Version(r, level)
	w := &writer{b: make([]byte, 0, 64)}
	w.uvarint(frameVersion)
	w.uvarint(uint32(r.Key()))
	w.uvarint(uint32(version))
	r.encode(w, version)
	return w.b
}

// Version returns the version of r that is written at a finalised
// metadata.version. Below the level that introduced the record it is 0.
func Version(r Record, level int16) int16 {
	levels := r.levels()
	v := len(levels) - 1
	for v > 0 && levels[v] > level {
		v--
	}
	return int16(v)
}

// Decode reads one value of the metadata log. Unknown tagged fields are
// skipped; anything else unexpected is ErrUnknownRecord or ErrCorruptRecord.
// It never allocates more than a small multiple of len(value).
func Decode(value []byte) (Record, error) {
	d := &reader{b: value}
	frame, key, version := d.uvarint(), d.uvarint(), d.uvarint()
	if d.err != nil {
		return nil, d.err
	}
	if frame != frameVersion || key > math.MaxInt16 {
		return nil, fmt.Errorf("%w: frame %d key %d", ErrUnknownRecord, frame, key)
	}
	r := newRecord(int16(key))
	if r == nil || version >= uint32(len(r.levels())) {
		return nil, fmt.Errorf("%w: key %d version %d", ErrUnknownRecord, key, version)
	}
	r.decode(d, int16(version))
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes after the record", len(d.b))
	}
	if d.err != nil {
		return nil, fmt.Errorf("%T v%d: %w", r, version, d.err)
	}
	return r, nil
}

// Control is a record of the quorum itself, in a control batch.
type Control interface {
	// Type is the number in the record's key.
	Type() int16

	maxVersion() int16
	encode(w *writer, version int16)
	decode(d *reader, version int16)
}

// EncodeControl returns key and value of a control record. Everything is
// written in version 0, which every Kafka reads.
func EncodeControl(c Control) (key, value []byte) {
	key = binary.BigEndian.AppendUint16(make([]byte, 2, 4), uint16(c.Type()))
	w := &writer{}
	w.i16(0)
	c.encode(w, 0)
	return key, w.b
}

// DecodeControl reads a control record. A type that is not one of this
// package's (for example a transaction marker) is ErrUnknownRecord.
func DecodeControl(key, value []byte) (Control, error) {
	if len(key) < 4 {
		return nil, fmt.Errorf("%w: control key of %d bytes", ErrCorruptRecord, len(key))
	}
	typ := int16(binary.BigEndian.Uint16(key[2:]))
	c := newControl(typ)
	if c == nil {
		return nil, fmt.Errorf("%w: control type %d", ErrUnknownRecord, typ)
	}
	d := &reader{b: value}
	version := d.i16()
	if d.err == nil && (version < 0 || version > c.maxVersion()) {
		return nil, fmt.Errorf("%w: control type %d version %d", ErrUnknownRecord, typ, version)
	}
	c.decode(d, version)
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes after the record", len(d.b))
	}
	if d.err != nil {
		return nil, fmt.Errorf("%T v%d: %w", c, version, d.err)
	}
	return c, nil
}
