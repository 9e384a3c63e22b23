package metadata

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestDecodeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		hex  string
		want error
	}{
		"empty":                   {"", ErrCorruptRecord},
		"frame version 0":         {"00140000", ErrUnknownRecord},
		"frame version 2":         {"02140000", ErrUnknownRecord},
		"unused key 6":            {"01060000", ErrUnknownRecord},
		"key 200":                 {"01c8010000", ErrUnknownRecord},
		"later version":           {"01140100", ErrUnknownRecord},
		"trailing byte":           {"0114000000", ErrCorruptRecord},
		"cut uuid":                {"010900010203", ErrCorruptRecord},
		"null name":               {"01020000" + "00000000000000000000000000000000" + "00", ErrCorruptRecord},
		"string beyond the end":   {"011c00" + "7f7400", ErrCorruptRecord},
		"array of 2^31 replicas":  {"01030000000002010203040506070800000000000000" + "05ffffffff0f", ErrCorruptRecord},
		"tag longer than value":   {"01140001" + "0010", ErrCorruptRecord},
		"tag with a rest":         {"0111000000000300000000000000" + "4d" + "01" + "0002ff00", ErrCorruptRecord},
		"varint of six bytes":     {"ffffffffff01", ErrCorruptRecord},
		"2^32-1 tags, no content": {"011400ffffffff0f", ErrCorruptRecord},
	} {
		if r, err := Decode(unhex(t, c.hex)); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, r, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		key, value string
		want       error
	}{
		"short key":     {"0000", "0000", ErrCorruptRecord},
		"commit marker": {"00000001", "0000", ErrUnknownRecord},
		"later version": {"00000005", "0001000100", ErrUnknownRecord},
		"negative":      {"00000005", "ffff000100", ErrUnknownRecord},
		"trailing":      {"00000004", "00000000", ErrCorruptRecord},
		"no value":      {"00000004", "", ErrCorruptRecord},
	} {
		if r, err := DecodeControl(unhex(t, c.key), unhex(t, c.value)); !errors.Is(err, c.want) {
			t.Errorf("control, %s: %+v, %v, want %v", name, r, err, c.want)
		}
	}
}

// A record is written in the version that the finalised level allows, not in
// the newest one.
func TestVersionFollowsLevel(t *testing.T) {
	for _, c := range []struct {
		r     Record
		level int16
		want  int16
	}{
		{&RegisterBrokerRecord{}, 0, 0}, {&RegisterBrokerRecord{}, 6, 0}, {&RegisterBrokerRecord{}, 7, 1},
		{&RegisterBrokerRecord{}, 16, 2}, {&RegisterBrokerRecord{}, 17, 3}, {&RegisterBrokerRecord{}, 29, 3},
		{&RegisterBrokerRecord{}, 30, 4}, {&PartitionRecord{}, 22, 1}, {&PartitionChangeRecord{}, 25, 2},
		{&BrokerRegistrationChangeRecord{}, 25, 2}, {&NoOpRecord{}, 30, 0},
	} {
		if got := Version(c.r, c.level); got != c.want {
			t.Errorf("%T at %d: v%d, want v%d", c.r, c.level, got, c.want)
		}
		if got := Encode(c.r, c.level)[2]; int16(got) != c.want {
			t.Errorf("%T at %d: encoded as v%d, want v%d", c.r, c.level, got, c.want)
		}
	}
}

// Whatever decodes must survive its own encoding, and never panics.
func FuzzDecode(f *testing.F) {
	for _, g := range goldenLines(f) {
		f.Add(g.data)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := Decode(p)
		if err != nil {
			if r != nil || !errors.Is(err, ErrCorruptRecord) && !errors.Is(err, ErrUnknownRecord) {
				t.Fatalf("%v, %v", r, err)
			}
			return
		}
		d := &reader{b: p}
		d.uvarint()
		d.uvarint()
		level := r.levels()[d.uvarint()]
		first := Encode(r, level)
		again, err := Decode(first)
		if err != nil {
			t.Fatalf("%+v encodes to %x: %v", r, first, err)
		}
		if second := Encode(again, level); !bytes.Equal(first, second) {
			t.Fatalf("%x decodes to %+v, encodes to %x", first, again, second)
		}
		// Whatever it says, replaying it on some cluster must not panic.
		_ = NewDelta(cluster(t, 1)).Replay(r)
	})
}

func FuzzDecodeControl(f *testing.F) {
	for _, g := range goldenLines(f) {
		if g.name[:3] == "con" {
			f.Add(byte(g.name[8]-'0'), g.data)
		}
	}
	f.Fuzz(func(t *testing.T, typ byte, p []byte) {
		c, err := DecodeControl([]byte{0, 0, 0, typ}, p)
		if err != nil {
			return
		}
		if l, ok := c.(*LeaderChange); ok { // written in v0, without directories
			for _, vs := range [][]LeaderVoter{l.Voters, l.Granting} {
				for i := range vs {
					vs[i].Dir = [16]byte{}
				}
			}
		}
		again, err := DecodeControl(EncodeControl(c))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%+v becomes %+v, %v", c, again, err)
		}
	})
}
