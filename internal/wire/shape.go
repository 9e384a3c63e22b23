package wire

import (
	"fmt"
	"reflect"
	"sync"
)

// A shape is what must be known of a message to walk it without building it:
// the order and kind of its fields. It is found by asking kmsg: each field of
// an empty message is changed in turn, and where and how the encoding differs
// tells whether the version has the field, and whether it is a tagged one.
// Nobody has to keep a second description of the protocol, and an API that
// kmsg learns is covered at once. A shape is made once per key and version.
type shape struct {
	fields []field
	tagged map[uint32]field // known tagged fields; nil if the version isn't flexible
	size   int              // bytes that one value takes in memory
}

type kind uint8

const (
	kindFixed  kind = iota // size bytes
	kindString             // null allowed: kmsg decides
	kindBytes
	kindArray
	kindStruct
	kindNullable // a struct behind an int8 that is negative for null
)

type field struct {
	kind kind
	size int    // kindFixed: bytes on the wire; kindArray: bytes of one element in memory
	elem *field // kindArray
	body *shape // kindStruct, kindNullable
	min  int    // kindArray: smallest encoding of one element
}

// memoryMax bounds what kmsg may allocate for one message; tagCost is what an
// unknown tagged field costs, in a map.
const (
	memoryMax = 192 << 20
	tagCost   = 512
)

// walk checks that r begins with one value of this shape and skips it.
// *memory goes down by what kmsg would allocate.
func (s *shape) walk(r *reader, flexible bool, memory *int) {
	for i := range s.fields {
		s.fields[i].walk(r, flexible, memory)
		if r.bad {
			return
		}
	}
	if !flexible {
		return
	}
	for n := r.tagCount(); n > 0 && !r.bad; n-- {
		key, value := r.tag()
		f, known := s.tagged[key]
		if !known {
			if *memory -= tagCost; *memory < 0 {
				r.fail()
			}
			continue
		}
		f.walk(&value, flexible, memory)
		if value.bad || len(value.p) > 0 {
			r.fail()
		}
	}
}

func (f *field) walk(r *reader, flexible bool, memory *int) {
	switch f.kind {
	case kindFixed:
		r.span(f.size)
	case kindString:
		if _, null := r.str(flexible); null && r.strict {
			r.fail()
		}
	case kindBytes:
		r.bytes(flexible)
	case kindStruct:
		f.body.walk(r, flexible, memory)
	case kindNullable:
		if r.int8() >= 0 {
			*memory -= f.body.size
			f.body.walk(r, flexible, memory)
		}
	case kindArray:
		n := r.count(flexible, max(f.min, 1))
		if *memory -= n * f.size; *memory < 0 {
			r.fail()
			return
		}
		if f.elem.kind == kindFixed {
			r.span(n * f.elem.size)
			return
		}
		for ; n > 0 && !r.bad; n-- {
			f.elem.walk(r, flexible, memory)
		}
	}
}

// message is what requests and responses have in common.
type message interface {
	SetVersion(int16)
	IsFlexible() bool
	AppendTo([]byte) []byte
}

type shapeKey struct {
	key, version int16
	response     bool
}

var shapes sync.Map // shapeKey -> *shape

// shapeOf returns the shape of a message; m tells the type and is not changed.
// ErrUnsupportedVersion if kmsg doesn't encode the version consistently.
func shapeOf(key, version int16, m message, response bool) (*shape, error) {
	id := shapeKey{key, version, response}
	if s, ok := shapes.Load(id); ok {
		return s.(*shape), nil
	}
	s, err := probeShape(reflect.TypeOf(m).Elem(), version)
	if err != nil {
		return nil, fmt.Errorf("shape of %s v%d: %w", APIName(key), version, err)
	}
	shapes.Store(id, s)
	return s, nil
}
