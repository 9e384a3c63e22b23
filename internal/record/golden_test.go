package record

import (
	"bytes"
	"encoding/hex"
	"testing"

	"tidemark/internal/model"
)

// The golden batches were written by other programs: the frame and the records
// by a Python script after the format's table, the payloads by zlib, liblz4
// 1.9.4, libzstd 1.5.4, and snappy literals by hand.
const (
	goldenHead  = "00000000000000000000"
	goldenTail  = "0000018bcfe568000000018bcfe5680500000000000012670003000000070000000"
	goldenPlain = goldenHead + "005b0000000002aaaf8e5d000000000002" + goldenTail + "31a000000046b310a68656c6c6f0024000a" +
		"02010a776f726c640402680278026e0110000504046b330100"
	goldenGzip = goldenHead + "006f0000000002908cd7fe000100000002" + goldenTail + "31f8b08000000000002039362606060c936e4" +
		"ca48cdc9c9675061e06262e42acf2fca496161ca60aa60ca631460606561c9366664000029ddd8202a000000"
	goldenSnappyRaw = goldenHead + "005d0000000002b5976c17000200000002" + goldenTail + "32aa41a000000046b310a68656c6c6f" +
		"0024000a02010a776f726c640402680278026e0110000504046b330100"
	goldenXerial = goldenHead + "007700000000026be95fbe000200000002" + goldenTail + "382534e415050590000000001000000010000" +
		"0016144c1a000000046b310a68656c6c6f0024000a02010a000000181654776f726c640402680278026e0110000504046b330100"
	goldenZstd = goldenHead + "00640000000002f367355a000400000002" + goldenTail + "328b52ffd202a5101001a000000046b310a6865" +
		"6c6c6f0024000a02010a776f726c640402680278026e0110000504046b330100"
	goldenLZ4 = goldenHead + "006a0000000002ae0293a1000300000002" + goldenTail + "304224d186040822a0000801a000000046b310a68" +
		"656c6c6f0024000a02010a776f726c640402680278026e0110000504046b33010000000000"
	goldenMarker = goldenHead + "00420000000002a8da8731003000000000" +
		"0000018bcfe568000000018bcfe5680000000000000012670003ffffffff000000012000000008000000010c00000000000900"
)

const goldenTime = int64(1700000000000)

func goldenRecords() []Record {
	return []Record{
		{Offset: 0, Timestamp: goldenTime, Key: []byte("k1"), Value: []byte("hello")},
		{Offset: 1, Timestamp: goldenTime + 5, Value: []byte("world"),
			Headers: []Header{{Key: "h", Value: []byte("x")}, {Key: "n"}}},
		{Offset: 2, Timestamp: goldenTime - 3, Key: []byte("k3")},
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func frame(t testing.TB, p []byte) Batch {
	t.Helper()
	b, rest, err := Next(p)
	if err != nil || len(rest) != 0 {
		t.Fatalf("Next: %d bytes left, %v", len(rest), err)
	}
	return b
}

func collect(t testing.TB, b Batch) []Record {
	t.Helper()
	var out []Record
	for r, err := range b.Records(0) {
		if err != nil {
			t.Fatalf("Records: %v", err)
		}
		out = append(out, r)
	}
	return out
}

func TestReadsForeignBatches(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		codec     Codec
	}{
		{"none", goldenPlain, None}, {"gzip", goldenGzip, Gzip}, {"snappy raw", goldenSnappyRaw, Snappy},
		{"snappy xerial", goldenXerial, Snappy}, {"lz4", goldenLZ4, LZ4}, {"zstd", goldenZstd, Zstd},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 3 { // the second round uses a pooled decoder
				b, err := Validate(unhex(t, c.hex), open())
				if err != nil {
					t.Fatal(err)
				}
				if b.Codec() != c.codec || b.Count() != 3 || b.LastOffset() != 2 || b.ProducerID() != 4711 ||
					b.ProducerEpoch() != 3 || b.BaseSequence() != 7 || b.LastSequence() != 9 ||
					b.BaseTimestamp() != goldenTime || b.MaxTimestamp() != goldenTime+5 {
					t.Fatalf("header: %v", b)
				}
				diffRecords(t, collect(t, b), goldenRecords())
			}
		})
	}
}

func diffRecords(t testing.TB, got, want []Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Offset != w.Offset || g.Timestamp != w.Timestamp || !same(g.Key, w.Key) || !same(g.Value, w.Value) ||
			len(g.Headers) != len(w.Headers) {
			t.Fatalf("record %d: got %+v, want %+v", i, g, w)
		}
		for j := range g.Headers {
			if g.Headers[j].Key != w.Headers[j].Key || !same(g.Headers[j].Value, w.Headers[j].Value) {
				t.Fatalf("record %d header %d: got %+v, want %+v", i, j, g.Headers[j], w.Headers[j])
			}
		}
	}
}

// same tells null from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

func TestBuilderWritesGoldenBytes(t *testing.T) {
	var b Builder
	b.SetProducer(4711, 3, 7)
	for _, r := range goldenRecords() {
		b.Add(r.Timestamp, r.Key, r.Value, r.Headers...)
	}
	if got := hex.EncodeToString(b.Build()); got != goldenPlain {
		t.Errorf("built   %s\nwant    %s", got, goldenPlain)
	}
	m := Marker(4711, 3, EndTxn{Commit: true, CoordinatorEpoch: 9, Timestamp: goldenTime})
	if got := hex.EncodeToString(m); got != goldenMarker {
		t.Errorf("marker  %s\nwant    %s", got, goldenMarker)
	}
}

func TestMarkerRoundTrip(t *testing.T) {
	want := EndTxn{CoordinatorEpoch: 2, Timestamp: 55}
	b := Marker(1, 2, want)
	if !b.Control() || !b.Transactional() || b.BaseSequence() != NoSequence || b.LastSequence() != NoSequence {
		t.Fatalf("attributes %b of %v", b.Attributes(), b)
	}
	if got, ok, err := b.EndTxn(); err != nil || !ok || got != want {
		t.Fatalf("EndTxn = %+v %v %v", got, ok, err)
	}
	var lc Builder
	lc.SetControl()
	lc.Add(0, ControlKey(ControlLeaderChange), []byte{0, 0})
	if _, ok, err := lc.Build().EndTxn(); ok || err == nil {
		t.Fatal("a leader change was read as a transaction marker")
	}
}

func TestStampKeepsTheCRC(t *testing.T) {
	b := frame(t, unhex(t, goldenPlain))
	b.Stamp(1000, 12)
	if err := b.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	if b.BaseOffset() != 1000 || b.LastOffset() != 1002 || b.NextOffset() != 1003 || b.LeaderEpoch() != 12 {
		t.Fatalf("stamped %v", b)
	}
	if r := collect(t, b); r[2].Offset != 1002 {
		t.Fatalf("offset of the last record is %d", r[2].Offset)
	}
}

func TestStampAppendTime(t *testing.T) {
	b := frame(t, unhex(t, goldenPlain))
	b.StampAppendTime(99)
	if err := b.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	if !b.LogAppendTime() || b.MaxTimestamp() != 99 || b.BaseTimestamp() != goldenTime {
		t.Fatalf("append time %v, max %d, base %d", b.LogAppendTime(), b.MaxTimestamp(), b.BaseTimestamp())
	}
	for i, r := range collect(t, b) {
		if r.Timestamp != 99 {
			t.Fatalf("record %d has timestamp %d", i, r.Timestamp)
		}
	}
}

func TestLastSequenceWraps(t *testing.T) {
	for _, c := range []struct{ seq, delta, want int32 }{
		{0, 0, 0}, {7, 2, 9}, {1<<31 - 1, 0, 1<<31 - 1}, {1<<31 - 1, 1, 0}, {1<<31 - 2, 4, 2}, {NoSequence, 3, NoSequence},
	} {
		var bl Builder
		bl.SetProducer(1, 0, c.seq)
		for range c.delta + 1 {
			bl.Add(0, nil, nil)
		}
		if got := bl.Build().LastSequence(); got != c.want {
			t.Errorf("base %d + %d = %d, want %d", c.seq, c.delta, got, c.want)
		}
	}
}

func TestRecompress(t *testing.T) {
	for from := None; from <= Zstd; from++ {
		for to := None; to <= Zstd; to++ {
			var bl Builder
			bl.SetCodec(from)
			bl.SetProducer(4711, 3, 7)
			for _, r := range goldenRecords() {
				bl.Add(r.Timestamp, r.Key, r.Value, r.Headers...)
			}
			b, err := Recompress(bl.Build(), to, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Validate(b, open()); err != nil || b.Codec() != to {
				t.Fatalf("%s -> %s: %v, codec %s", from, to, err, b.Codec())
			}
			diffRecords(t, collect(t, b), goldenRecords())
		}
	}
}

func TestControlKey(t *testing.T) {
	for _, typ := range []int16{ControlAbort, ControlCommit, ControlKRaftVoters} {
		if got, err := ParseControlKey(ControlKey(typ)); got != typ || err != nil {
			t.Errorf("type %d: %d %v", typ, got, err)
		}
	}
	for _, bad := range [][]byte{nil, {0, 0, 0}, {0xff, 0xff, 0, 1}} {
		if _, err := ParseControlKey(bad); err == nil {
			t.Errorf("key %x accepted", bad)
		}
	}
}

func TestNext(t *testing.T) {
	one := unhex(t, goldenPlain)
	two := append(append([]byte{}, one...), one...)
	b, rest, err := Next(two)
	if err != nil || len(b) != len(one) || len(rest) != len(one) || b.BaseOffset() != model.Offset(0) {
		t.Fatalf("first of two: %d bytes, %d left, %v", len(b), len(rest), err)
	}
	if cap(b) != len(b) {
		t.Error("appending to a batch would overwrite the next one")
	}
}
