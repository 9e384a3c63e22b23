package record

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

// TestBytesBehindAStream: what follows a compressed stream is ignored where
// Java's readers ignore it, and an error where they fail; a gzip stream may
// have several members.
func TestBytesBehindAStream(t *testing.T) {
	plain := bytes.Repeat([]byte("abcdefgh"), 100)
	for _, tc := range []struct {
		name   string
		codec  Codec
		behind []byte
		fails  bool
	}{
		{"gzip, nothing", Gzip, nil, false},
		{"gzip, a byte", Gzip, []byte{0}, false},
		{"gzip, many bytes", Gzip, bytes.Repeat([]byte{7}, 60), false},
		{"lz4, a byte", LZ4, []byte{0}, false},
		{"lz4, many bytes", LZ4, bytes.Repeat([]byte{7}, 60), false},
		{"lz4, another frame", LZ4, compress(nil, LZ4, plain), false},
		{"snappy, less than a length", Snappy, []byte{0, 0, 1}, false},
		{"snappy, half a block", Snappy, []byte{0, 0, 0, 9, 1}, true},
		{"zstd, a byte", Zstd, []byte{0}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decompress(tc.codec, append(compress(nil, tc.codec, plain), tc.behind...), 0)
			if tc.fails != (err != nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil && !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes, want %d", len(got), len(plain))
			}
		})
	}
	two := append(compress(nil, Gzip, plain), compress(nil, Gzip, plain)...)
	if got, err := decompress(Gzip, two, 0); err != nil || len(got) != 2*len(plain) {
		t.Fatalf("two members: %d bytes, %v", len(got), err)
	}
}

// TestAnLZ4FrameThatIsCut stays an error: lz4Frame mustn't hide it.
func TestAnLZ4FrameThatIsCut(t *testing.T) {
	whole := compress(nil, LZ4, bytes.Repeat([]byte("abcdefgh"), 100))
	for n := range whole {
		if n == 0 {
			continue // an empty stream is no stream
		}
		if _, err := decompress(LZ4, whole[:n], 0); err == nil {
			t.Errorf("%d of %d bytes decompress", n, len(whole))
		}
	}
}

// anyTime accepts any timestamp.
var anyTime = Rules{TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: math.MaxInt64}

// TestFramesOfAnyFormat: what Kafka looks at before it knows the format.
func TestFramesOfAnyFormat(t *testing.T) {
	good := func() []byte {
		var b Builder
		b.Add(1, nil, []byte("v"))
		return b.Build()
	}
	length := func(p []byte, n byte) []byte { copy(p[posLength:], []byte{0, 0, 0, n}); return p }
	magic := func(p []byte, m byte) []byte { p[posMagic] = m; return p }
	for _, tc := range []struct {
		name string
		p    []byte
		want error
	}{
		{"too short for any format", length(good(), 13), ErrCorrupt},
		{"shorter than its header", length(good()[:40], 28), ErrCorrupt},
		{"an old format", magic(good(), 1), ErrInvalid},
		{"an old format, too short for any", length(magic(good(), 0), 13), ErrCorrupt},
		{"no format", magic(good(), 3), ErrCorrupt},
		{"then an old one", append(good(), magic(good(), 0)...), ErrInvalid},
		{"then a short one", append(good(), length(good(), 20)...), ErrInvalid},
		{"then one too short for any format", append(good(), length(good(), 13)...), ErrCorrupt},
		{"then a part", append(good(), good()[:30]...), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Validate(tc.p, anyTime)
			if !is(err, tc.want) {
				t.Fatalf("%v, want %v", err, tc.want)
			}
		})
	}
}

// TestCheckFrameAndCodecs: a codec that doesn't exist is found with the request
// only where the version has to be compared with it.
func TestCheckFrameAndCodecs(t *testing.T) {
	for _, tc := range []struct {
		codec   byte
		allowed bool
		frame   error
	}{
		{4, true, nil}, {4, false, ErrUnsupportedCodec}, {6, true, nil}, {6, false, ErrUnsupportedCodec}, {3, false, nil},
	} {
		var b Builder
		b.Add(1, nil, []byte("v"))
		p := b.Build()
		p[posAttributes+1] |= tc.codec
		p.UpdateCRC()
		if err := CheckFrame(p, tc.allowed); !is(err, tc.frame) {
			t.Errorf("codec %d, allowed %t: %v", tc.codec, tc.allowed, err)
		}
		r := anyTime
		if r.ZstdAllowed = tc.allowed; tc.codec > 4 {
			if _, err := Validate(p, r); !is(err, ErrUnsupportedCodec) {
				t.Errorf("codec %d is stored: %v", tc.codec, err)
			}
		}
	}
}

// TestClaimsTransaction: only a whole batch of the current format can.
func TestClaimsTransaction(t *testing.T) {
	var b Builder
	b.Add(1, nil, []byte("v"))
	p := b.Build()
	if ClaimsTransaction(p) {
		t.Error("a plain batch")
	}
	p[posAttributes+1] |= attrTransactional
	if !ClaimsTransaction(p) {
		t.Error("not a transactional batch")
	}
	if ClaimsTransaction(p[:len(p)-1]) {
		t.Error("a part of one")
	}
	if p[posMagic] = 0; ClaimsTransaction(p) {
		t.Error("an old message with that bit at the same place")
	}
}

// TestRestamp: the claimed time becomes every record's.
func TestRestamp(t *testing.T) {
	var b Builder
	b.SetProducer(7, 1, 3)
	b.Add(10, []byte("k"), []byte("v"), Header{Key: "h"})
	b.Add(20, nil, nil)
	p := b.Build()
	p[posAttributes+1] |= attrAppendTime
	p.UpdateCRC()
	if !ClaimsAppendTime(p) {
		t.Fatal("claims nothing")
	}
	valid, err := Validate(p, anyTime)
	if err != nil || ClaimsAppendTime(valid) {
		t.Fatalf("%v, %v", valid, err)
	}
	got, err := Restamp(valid, Zstd, 0)
	if err != nil || got.CheckCRC() != nil || got.Codec() != Zstd || got.ProducerID() != 7 || got.BaseSequence() != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	n := 0
	for r, err := range got.Records(0) {
		if err != nil || r.Timestamp != 20 {
			t.Errorf("%+v, %v", r, err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d records", n)
	}
}

// TestMisnumberedRecords: a compressed batch, or one that will be, is numbered
// anew; an uncompressed one is refused.
func TestMisnumberedRecords(t *testing.T) {
	odd := func(codec Codec) Batch {
		var b Builder
		b.SetProducer(7, 1, 3)
		b.Add(10, []byte("k"), []byte("v"))
		b.Add(20, []byte("k"), nil)
		plain := b.Build()
		at := HeaderSize + 1 + int(plain[HeaderSize]>>1) // the second record
		plain[at+3] = 71                                 // size, attributes, timestamp, number
		plain.UpdateCRC()
		if codec == None {
			return plain
		}
		p, err := Recompress(plain, codec, 0)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if _, err := Validate(odd(None), anyTime); !is(err, ErrInvalid) {
		t.Errorf("uncompressed: %v", err)
	}
	rebuilt := anyTime
	rebuilt.Rebuilt = true
	for codec, r := range map[Codec]Rules{None: rebuilt, Gzip: anyTime, Snappy: anyTime, LZ4: rebuilt} {
		b, err := Validate(odd(codec), r)
		if err != nil || b.CheckCRC() != nil || b.Codec() != codec || b.ProducerID() != 7 || b.BaseSequence() != 3 || b.MaxTimestamp() != 20 {
			t.Fatalf("%v: %v, %v", codec, b, err)
		}
		i := 0
		for rec, err := range b.Records(0) {
			if err != nil || int(rec.Offset) != i || rec.Timestamp != int64(10*(i+1)) {
				t.Errorf("%v: record %d is %+v, %v", codec, i, rec, err)
			}
			i++
		}
		if i != 2 {
			t.Errorf("%v: %d records", codec, i)
		}
	}
}

// TestAttributesWithoutMeaning go when the leader writes the attributes anew,
// and stay when it doesn't.
func TestAttributesWithoutMeaning(t *testing.T) {
	odd := func() Batch {
		var b Builder
		b.Add(1, nil, []byte("v"))
		p := b.Build()
		p[posAttributes], p[posAttributes+1] = 0x40, p[posAttributes+1]|0xc0
		p.UpdateCRC()
		return p
	}
	kept, err := Validate(odd(), anyTime)
	if err != nil || kept.Attributes() != 0x40c0 {
		t.Fatalf("%#x, %v", kept.Attributes(), err)
	}
	stamped := odd()
	if stamped.StampAppendTime(7); stamped.Attributes() != attrAppendTime|attrDeleteHorizon {
		t.Fatalf("stamped: %#x", stamped.Attributes())
	}
	packed, err := Recompress(odd(), Gzip, 0)
	if err != nil || packed.Attributes() != int16(Gzip) {
		t.Fatalf("compressed anew: %#x, %v", packed.Attributes(), err)
	}
}

func is(err, want error) bool { return err == want || want != nil && errors.Is(err, want) }
