package wire

import (
	"bytes"
	"fmt"
	"reflect"
)

// prober finds a shape: it changes one field of a message at a time and
// compares encodings.
type prober struct {
	m        message
	root     reflect.Value // what m points to
	inTagged int           // > 0 while inside a tagged field
	err      error
}

type defaulter interface{ Default() }

// unknownTags is the name that kmsg gives to the map of tags it doesn't know.
const unknownTags = "UnknownTags"

func probeShape(t reflect.Type, version int16) (*shape, error) {
	v := reflect.New(t)
	p := &prober{m: v.Interface().(message), root: v.Elem()}
	v.Interface().(defaulter).Default()
	p.m.SetVersion(version)
	s := p.shape(p.root)
	if p.err != nil {
		return nil, p.err
	}
	// What was found must explain the message that the probes leave behind: one
	// element in each array of the version.
	r := reader{p: p.m.AppendTo(nil)}
	memory := memoryMax
	s.walk(&r, p.m.IsFlexible(), &memory)
	if r.bad || len(r.p) != 0 {
		return nil, fmt.Errorf("%v: probe leaves %d bytes: %w", t, len(r.p), ErrUnsupportedVersion)
	}
	return s, nil
}

// shape probes every field of v, a struct inside the message. Arrays keep one
// element afterwards, so that the fields inside of them show.
func (p *prober) shape(v reflect.Value) *shape {
	s := &shape{size: int(v.Type().Size())}
	if p.m.IsFlexible() {
		s.tagged = map[uint32]field{}
	}
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name == unknownTags || name == "Version" && v == p.root {
			continue
		}
		p.probe(s, v.Field(i))
	}
	return s
}

// probe adds the field f to s if the version has it.
func (p *prober) probe(s *shape, f reflect.Value) {
	orig := reflect.New(f.Type()).Elem()
	orig.Set(f)
	before := p.m.AppendTo(nil)
	p.change(f)
	after := p.m.AppendTo(nil)
	if bytes.Equal(before, after) {
		f.Set(orig)
		return
	}
	at := 0
	for before[at] == after[at] {
		at++
	}
	// Only a count of tagged fields goes from 0 to 1: compact lengths are stored
	// plus one, and a present value doesn't change the length.
	tagged := p.m.IsFlexible() && len(after) > len(before) && before[at] == 0 && after[at] == 1
	if !tagged {
		grown := len(after) - len(before)
		if p.inTagged > 0 {
			grown = 1 // the length of the enclosing tagged field may have grown too
		}
		s.fields = append(s.fields, p.field(f, grown))
		return
	}
	p.inTagged++
	s.tagged[uint32(after[at+1])] = p.field(f, 1)
	p.inTagged--
	f.Set(orig) // the count of the enclosing struct must be zero for the next field
}

// field describes f, which the version has. grown is by how many bytes its
// first array element grew the encoding.
func (p *prober) field(f reflect.Value, grown int) field {
	switch f.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8, reflect.Int16, reflect.Uint16,
		reflect.Int32, reflect.Uint32, reflect.Int64, reflect.Uint64, reflect.Float64:
		return field{kind: kindFixed, size: int(f.Type().Size())}
	case reflect.Array:
		return field{kind: kindFixed, size: f.Len()}
	case reflect.String:
		return field{kind: kindString}
	case reflect.Pointer:
		if f.Type().Elem().Kind() == reflect.Struct {
			return field{kind: kindNullable, body: p.shape(f.Elem())}
		}
		return field{kind: kindString}
	case reflect.Struct:
		return field{kind: kindStruct, body: p.plain(f)}
	case reflect.Slice:
		if f.Type().Elem().Kind() == reflect.Uint8 {
			return field{kind: kindBytes}
		}
		var elem field
		if first := f.Index(0); first.Kind() == reflect.Struct {
			elem = field{kind: kindStruct, body: p.shape(first)}
		} else {
			elem = p.field(first, 1)
		}
		return field{kind: kindArray, size: int(f.Type().Elem().Size()), elem: &elem, min: max(grown, 1)}
	}
	p.err = fmt.Errorf("field of type %v: %w", f.Type(), ErrUnsupportedVersion)
	return field{}
}

// plain is the shape of a struct that is a field by itself: all its fields are
// in every version and none is tagged, or probing the others would mislead.
func (p *prober) plain(v reflect.Value) *shape {
	s := &shape{size: int(v.Type().Size()), tagged: map[uint32]field{}}
	for i := range v.NumField() {
		if v.Type().Field(i).Name != unknownTags {
			s.fields = append(s.fields, p.field(v.Field(i), 1))
		}
	}
	return s
}

// change gives f a value that differs from its default: one more, one letter,
// one element. A struct has all its fields changed.
func (p *prober) change(f reflect.Value) {
	switch f.Kind() {
	case reflect.Bool:
		f.SetBool(!f.Bool())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		f.SetInt(f.Int() + 1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		f.SetUint(f.Uint() + 1)
	case reflect.Float64:
		f.SetFloat(f.Float() + 1)
	case reflect.Array:
		f.Index(0).SetUint(f.Index(0).Uint() + 1)
	case reflect.String:
		f.SetString(f.String() + "x")
	case reflect.Pointer:
		e := reflect.New(f.Type().Elem())
		setDefault(e)
		if e.Elem().Kind() == reflect.String {
			e.Elem().SetString("x")
		}
		f.Set(e)
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		setDefault(f.Index(0).Addr())
	case reflect.Struct:
		for i := range f.NumField() {
			if f.Type().Field(i).Name != unknownTags {
				p.change(f.Field(i))
			}
		}
	}
}

func setDefault(ptr reflect.Value) {
	if d, ok := ptr.Interface().(defaulter); ok {
		d.Default()
	}
}
