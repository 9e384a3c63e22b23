package record

import (
	"bytes"
	"testing"
)

// FuzzValidate: no bytes make the package panic, and what Validate accepts,
// Records reads without an error and with the counted number of records.
func FuzzValidate(f *testing.F) {
	for _, h := range []string{goldenPlain, goldenGzip, goldenSnappyRaw, goldenXerial, goldenLZ4, goldenZstd, goldenMarker} {
		f.Add(unhex(f, h), true)
	}
	f.Add(unhex(f, goldenPlain)[:70], false)
	f.Fuzz(func(t *testing.T, p []byte, internal bool) {
		rules := open()
		rules.AllowControl, rules.MaxDecompressed = internal, 1<<20
		if b, rest, err := Next(p); err == nil && len(rest) == 0 {
			b.UpdateCRC() // reach what lies behind the checksum
			_, _, _ = b.EndTxn()
			for _, err := range b.Records(1 << 20) {
				if err != nil {
					break
				}
			}
		}
		b, err := Validate(p, rules)
		if err != nil {
			return
		}
		n := int32(0)
		for _, err := range b.Records(1 << 20) {
			if err != nil {
				t.Fatalf("accepted, but record %d: %v", n, err)
			}
			n++
		}
		if n != b.Count() {
			t.Fatalf("%d records, header counts %d", n, b.Count())
		}
	})
}

// FuzzBuild: what is built is valid and gives back what went in.
func FuzzBuild(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), "header", int64(1700000000000), uint8(3), uint8(0))
	f.Add([]byte{}, []byte(nil), "", int64(-1), uint8(100), uint8(4))
	f.Fuzz(func(t *testing.T, key, value []byte, header string, ts int64, count, codec uint8) {
		var bl Builder
		bl.SetCodec(Codec(codec % 5))
		var want []Record
		for i := range int(count%40) + 1 {
			r := Record{Timestamp: ts - int64(i), Key: key, Value: bytes.Repeat(value, i)}
			if i%3 == 0 {
				r.Key, r.Headers = nil, []Header{{Key: header, Value: value}, {Key: "null"}}
			}
			bl.Add(r.Timestamp, r.Key, r.Value, r.Headers...)
			want = append(want, r)
		}
		b, err := Validate(bl.Build(), open())
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for r, err := range b.Records(0) {
			if err != nil {
				t.Fatal(err)
			}
			w := want[i]
			if int(r.Offset) != i || r.Timestamp != w.Timestamp || !bytes.Equal(r.Key, w.Key) ||
				(r.Key == nil) != (w.Key == nil) || !bytes.Equal(r.Value, w.Value) || len(r.Headers) != len(w.Headers) {
				t.Fatalf("record %d: got %+v, want %+v", i, r, w)
			}
			i++
		}
		if i != len(want) {
			t.Fatalf("%d records, want %d", i, len(want))
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	for c := None; c <= Zstd; c++ {
		b.Run(c.String(), func(b *testing.B) {
			var bl Builder
			bl.SetCodec(c)
			for range 160 {
				bl.Add(goldenTime, nil, bytes.Repeat([]byte("tidemark "), 11))
			}
			p := bl.Build()
			b.SetBytes(int64(bl.Size()))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Validate(p, open()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
