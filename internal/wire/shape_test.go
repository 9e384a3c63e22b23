package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill gives every field a value that differs from its default; arrays get n
// elements.
func fill(v reflect.Value, n int, seed *int64) {
	*seed++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(*seed%100 + 1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*seed%100) + 1)
	case reflect.Float64:
		v.SetFloat(float64(*seed))
	case reflect.String:
		v.SetString(fmt.Sprint("s", *seed))
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n, seed)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefault(v)
		fill(v.Elem(), n, seed)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			setDefault(v.Index(i).Addr())
			fill(v.Index(i), n, seed)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != unknownTags && name != "Version" {
				fill(v.Field(i), n, seed)
			}
		}
	}
}

// eachMessage calls fn for every request and response of the table in every
// version, filled with n elements per array.
func eachMessage(t *testing.T, n int, fn func(name string, m decoded, response bool)) {
	t.Helper()
	for _, a := range APIs() {
		for v := a.Min; v <= a.Max; v++ {
			for _, response := range []bool{false, true} {
				var m any = kmsg.RequestForKey(a.Key)
				if response {
					m = kmsg.ResponseForKey(a.Key)
				}
				d := m.(decoded)
				d.(defaulter).Default()
				d.SetVersion(v)
				seed := int64(v)
				if n >= 0 {
					fill(reflect.ValueOf(d).Elem(), n, &seed)
					d.SetVersion(v)
				}
				fn(fmt.Sprintf("%s v%d response=%v n=%d", a.Name, v, response, n), d, response)
			}
		}
	}
}

func TestShapeExplainsEveryMessage(t *testing.T) {
	for n := -1; n <= 3; n++ {
		eachMessage(t, n, func(name string, m decoded, response bool) {
			body := m.AppendTo(nil)
			if err := check(m, body, response); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(body) == 0 {
				return
			}
			if err := check(m, body[:len(body)-1], response); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s, last byte cut: %v", name, err)
			}
			if err := check(m, append(body, 0), response); err != nil {
				t.Errorf("%s, a byte more: %v", name, err) // is ignored, as in Kafka
			}
		})
	}
}

func TestEveryAPIHasTheFlexibilityOfItsMessage(t *testing.T) {
	eachMessage(t, -1, func(name string, m decoded, response bool) {
		if got := requestFlexible(m.Key(), m.GetVersion()); got != m.IsFlexible() {
			t.Errorf("%s: flexible %v, message says %v", name, got, m.IsFlexible())
		}
	})
}

// A tag count of 2^32-1 makes kmsg spin for minutes; an array of one-byte
// elements makes it allocate a hundred times its input.
func TestDecodeRefusesBombs(t *testing.T) {
	flex := []byte{0, 0, 0, 0, 0} // room for a few fields
	tags := append(append([]byte{1}, flex...), 0xff, 0xff, 0xff, 0xff, 0x0f)
	meta := []byte{2, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f} // CreateTopics: topics, then tags
	for _, body := range [][]byte{tags, meta, {0xff, 0xff, 0xff, 0xff, 0x0f}, {0xff, 0xff, 0xff, 0xff, 0xff}} {
		for _, a := range APIs() {
			for v := a.Min; v <= a.Max; v++ {
				_, _ = DecodeRequest(Header{Key: a.Key, Version: v}, body)
			}
		}
	}
	many := binary.AppendUvarint(nil, bodyMax-10) // Metadata v9: topics
	many = append(many, make([]byte, bodyMax-len(many))...)
	if _, err := DecodeRequest(Header{Key: KeyMetadata, Version: 9}, many); err == nil {
		t.Error("an array of empty names was accepted")
	}
	if _, err := DecodeRequest(Header{Key: KeyMetadata, Version: 9}, make([]byte, bodyMax+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("oversized body: %v", err)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, a := range APIs() {
		req := kmsg.RequestForKey(a.Key)
		seed := int64(0)
		fill(reflect.ValueOf(req).Elem(), 2, &seed)
		req.SetVersion(a.Max)
		f.Add(a.Key, a.Max, req.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		h := Header{Key: key, Version: version}
		req, err := DecodeRequest(h, body)
		if err != nil {
			return
		}
		// What was accepted must survive a second trip.
		again, err := DecodeRequest(h, req.AppendTo(nil))
		if err != nil {
			t.Fatalf("%s v%d: own encoding refused: %v", APIName(key), version, err)
		}
		if a, b := req.AppendTo(nil), again.AppendTo(nil); string(a) != string(b) {
			t.Fatalf("%s v%d: %x became %x", APIName(key), version, a, b)
		}
	})
}
