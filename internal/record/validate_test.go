package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// open are rules that accept everything that is well-formed.
func open() Rules {
	return Rules{ZstdAllowed: true, TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: math.MaxInt64}
}

// patch returns the plain golden batch with a change, and the CRC of the change.
func patch(t testing.TB, f func(b Batch)) []byte {
	b := frame(t, unhex(t, goldenPlain))
	f(b)
	b.UpdateCRC()
	return b
}

func put16(at int, v int16) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint16(b[at:], uint16(v)) }
}
func put32(at int, v int32) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
}
func put64(at int, v int64) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }
}
func putByte(at int, v byte) func(Batch) { return func(b Batch) { b[at] = v } }

func TestValidate(t *testing.T) {
	good := unhex(t, goldenPlain)
	tooBig := open()
	tooBig.MaxBytes = len(good) - 1
	fits := open()
	fits.MaxBytes = len(good)
	noZstd := open()
	noZstd.ZstdAllowed = false
	internal := open()
	internal.AllowControl = true
	compacted := open()
	compacted.Compacted = true
	before := open()
	before.Now, before.TimestampBeforeMax = goldenTime+10, 12
	after := open()
	after.Now, after.TimestampAfterMax = goldenTime, 4
	appendTime := after
	appendTime.LogAppendTime = true

	crcBroken := append([]byte{}, good...)
	crcBroken[len(crcBroken)-1] ^= 1
	twice := append(append([]byte{}, good...), good...)
	magic1, magic9 := append([]byte{}, good...), append([]byte{}, good...)
	magic1[posMagic], magic9[posMagic] = 1, 9

	for _, c := range []struct {
		name  string
		p     []byte
		rules Rules
		want  error // nil: accepted
		says  string
	}{
		{"good", good, open(), nil, ""},
		{"empty", nil, open(), ErrInvalid, "no whole record batch"},
		{"cut short", good[:len(good)-1], open(), ErrInvalid, "no whole record batch"},
		{"impossible length", patch(t, put32(posLength, 48)), open(), ErrCorrupt, "batch length 48"},
		{"negative length", patch(t, put32(posLength, -1)), open(), ErrCorrupt, "batch length -1"},
		{"magic 1", magic1, open(), ErrInvalid, "magic 1"},
		{"magic 9", magic9, open(), ErrCorrupt, "magic 9"},
		{"partial second batch is cut off", twice[:len(twice)-1], open(), nil, ""},
		{"two batches", twice, open(), ErrInvalid, "more than one"},
		{"base offset", patch(t, put64(0, 5)), open(), ErrInvalid, "base offset 5"},
		{"base offset, internal", patch(t, put64(0, 5)), internal, nil, ""},
		{"at the size limit", good, fits, nil, ""},
		{"above the size limit", good, tooBig, ErrTooLarge, "at most"},
		{"size is checked before the CRC", crcBroken, tooBig, ErrTooLarge, "at most"},
		{"CRC", crcBroken, open(), ErrCorrupt, "crc stored aaaf8e5d"},
		{"CRC is checked before the header", func() []byte {
			p := append([]byte{}, crcBroken...)
			put32(posCount, 0)(p)
			return p
		}(), open(), ErrCorrupt, "crc"},
		{"unknown codec", patch(t, put16(posAttributes, 5)), open(), ErrUnsupportedCodec, "codec(5)"},
		{"zstd in an old request", unhex(t, goldenZstd), noZstd, ErrUnsupportedCodec, "zstd"},
		{"negative last offset delta", patch(t, put32(posLastDelta, -1)), open(), ErrInvalid, "offset range"},
		{"no records", patch(t, func(b Batch) { put32(posCount, 0)(b); put32(posLastDelta, 0)(b) }), open(),
			ErrInvalid, "record count 0"},
		{"count and delta differ", patch(t, put32(posLastDelta, 3)), open(), ErrInvalid, "doesn't fit 3"},
		{"delta overflows int32", patch(t, put32(posLastDelta, math.MaxInt32)), open(), ErrInvalid, "doesn't fit"},
		{"producer id without sequence", patch(t, put32(posBaseSequence, -1)), open(), ErrInvalid, "sequence -1"},
		{"the same, internal", patch(t, put32(posBaseSequence, -1)), internal, nil, ""},
		{"producer id without epoch", patch(t, put16(posProducerEpoch, -1)), open(), ErrInvalid, "epoch -1"},
		{"control batch", patch(t, put16(posAttributes, attrControl)), open(), ErrInvalid, "control"},
		{"control batch, internal", unhex(t, goldenMarker), internal, nil, ""},
		{"transaction without producer", patch(t, func(b Batch) {
			put16(posAttributes, attrTransactional)(b)
			put64(posProducerID, -1)(b)
		}), open(), ErrInvalid, "without a producer id"},
		{"fewer records than counted", patch(t, func(b Batch) { put32(posCount, 4)(b); put32(posLastDelta, 3)(b) }),
			open(), ErrInvalid, "record 3 of 4"},
		{"more records than counted", patch(t, func(b Batch) { put32(posCount, 2)(b); put32(posLastDelta, 1)(b) }),
			open(), ErrInvalid, "more data follows"},
		{"record length beyond the batch", patch(t, putByte(HeaderSize, 0x7e)), open(), ErrInvalid, "record 0 of 3"},
		{"negative record length", patch(t, putByte(HeaderSize, 0x01)), open(), ErrInvalid, "record 0 of 3"},
		{"record length too small", patch(t, putByte(HeaderSize, 0x18)), open(), ErrInvalid, "record 0 of 3"},
		{"key longer than its record", patch(t, putByte(HeaderSize+4, 0x1e)), open(), ErrInvalid, "record 0 of 3"},
		{"key length -2", patch(t, putByte(HeaderSize+4, 0x03)), open(), ErrInvalid, "record 0 of 3"},
		{"negative header count", patch(t, putByte(HeaderSize+13, 0x01)), open(), ErrInvalid, "record 0 of 3"},
		{"null header key", patch(t, putByte(HeaderSize+14+11, 0x01)), open(), ErrInvalid, "record 1 of 3"},
		{"record attributes are ignored", patch(t, putByte(HeaderSize+1, 0xff)), open(), nil, ""},
		{"offset deltas with a gap", patch(t, putByte(HeaderSize+14+3, 0x04)), open(), ErrInvalid, "offset delta 2"},
		{"null key, compacted", good, compacted, ErrInvalid, "record 1: a compacted topic"},
		{"null key, compacted, gzip", unhex(t, goldenGzip), compacted, ErrInvalid, "record 1: a compacted topic"},
		{"too old", good, before, ErrInvalidTimestamp, "record 2: timestamp 1699999999997"},
		{"too far in the future", good, after, ErrInvalidTimestamp, "record 1: timestamp 1700000000005"},
		{"the leader's clock counts", good, appendTime, nil, ""},
		{"append time claimed by the producer", patch(t, put16(posAttributes, attrAppendTime)), open(), nil, ""},
		{"the same where the leader stamps", patch(t, put16(posAttributes, attrAppendTime)), appendTime,
			ErrInvalidTimestamp, "log append time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Validate(c.p, c.rules)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want != nil && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%q doesn't say %q", err, c.says)
			}
			var inv *InvalidError
			if class := c.want == ErrInvalid || c.want == ErrInvalidTimestamp; errors.As(err, &inv) != class {
				t.Fatalf("%T is an InvalidError: %v", err, !class)
			}
		})
	}
}

func TestClaimedAppendTimeIsTakenBack(t *testing.T) {
	b, err := Validate(patch(t, func(b Batch) {
		put16(posAttributes, attrAppendTime)(b)
		put64(posMaxTimestamp, 1)(b) // Kafka believes it, as the time of all records
	}), open())
	if err != nil || b.LogAppendTime() || b.MaxTimestamp() != 1 || b.CheckCRC() != nil {
		t.Fatalf("%v, append time %v, max %d, crc %v", err, b.LogAppendTime(), b.MaxTimestamp(), b.CheckCRC())
	}
	var bl Builder
	bl.Add(NoTimestamp, nil, []byte("v"))
	b = bl.Build()
	put16(posAttributes, attrAppendTime)(b)
	b.UpdateCRC()
	if _, err := Validate(b, open()); !errors.Is(err, ErrInvalidTimestamp) {
		t.Fatalf("a record without a timestamp: %v", err)
	}
}

func TestRecordErrorsNameEveryRecord(t *testing.T) {
	var bl Builder
	for i := range 4 {
		var key []byte
		if i%2 == 0 {
			key = []byte("k")
		}
		bl.Add(0, key, nil)
	}
	rules := open()
	rules.Compacted = true
	_, err := Validate(bl.Build(), rules)
	var inv *InvalidError
	if !errors.As(err, &inv) || len(inv.Records) != 2 || inv.Records[0].Index != 1 || inv.Records[1].Index != 3 {
		t.Fatalf("%v: %+v", err, inv)
	}
}

func TestWrongMaxTimestampIsCorrected(t *testing.T) {
	b, err := Validate(patch(t, put64(posMaxTimestamp, 1)), open())
	if err != nil {
		t.Fatal(err)
	}
	if b.MaxTimestamp() != goldenTime+5 || b.CheckCRC() != nil {
		t.Fatalf("max timestamp %d, %v", b.MaxTimestamp(), b.CheckCRC())
	}
}

func TestRecordsWithoutTimestampAreAccepted(t *testing.T) {
	var bl Builder
	bl.Add(NoTimestamp, nil, nil)
	rules := open()
	rules.Now, rules.TimestampBeforeMax, rules.TimestampAfterMax = goldenTime, 1, 1
	if _, err := Validate(bl.Build(), rules); err != nil {
		t.Fatal(err)
	}
}

func TestValidUncompressedBatchCostsNoAllocation(t *testing.T) {
	var bl Builder
	bl.SetProducer(1, 0, 0)
	for range 200 {
		bl.Add(goldenTime, []byte("key"), bytes.Repeat([]byte("v"), 300), Header{Key: "h", Value: []byte("1")})
	}
	p := bl.Build()
	rules := open()
	rules.Compacted, rules.MaxBytes, rules.Now, rules.TimestampAfterMax = true, 1<<20, goldenTime, 3600000
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Validate(p, rules); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// A megabyte on the wire that unpacks to 64 MiB must stop at the limit, in
// every codec, whether it is validated or read.
func TestBombsStopAtTheLimit(t *testing.T) {
	for c := Gzip; c <= Zstd; c++ {
		var bl Builder
		bl.SetCodec(c)
		bl.Add(0, nil, make([]byte, 16<<20))
		p := bl.Build()
		rules := open()
		rules.MaxDecompressed = 1 << 20
		if _, err := Validate(p, rules); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: Validate: %v", c, err)
		}
		rules.MaxDecompressed = 17 << 20
		if _, err := Validate(p, rules); err != nil {
			t.Errorf("%s: Validate with room: %v", c, err)
		}
		for _, err := range p.Records(1 << 20) {
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: Records: %v", c, err)
			}
		}
	}
}

// rawPayload makes a batch of one record slot around any payload bytes.
func rawPayload(c Codec, payload []byte) Batch {
	var bl Builder
	bl.Add(0, nil, nil)
	b := append(bl.Build()[:HeaderSize:HeaderSize], payload...)
	put32(posLength, int32(len(b)-lengthEnd))(b)
	put16(posAttributes, int16(c))(b)
	b.UpdateCRC()
	return b
}

func TestDeclaredSizesAreNotTrusted(t *testing.T) {
	huge := func() []byte { // a zstd frame that wants a window of 512 MiB
		var h zstd.Header
		p := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (29 - 10) << 3, 0x01, 0x00, 0x00}
		if err := h.Decode(p); err != nil || h.WindowSize != 1<<29 {
			t.Fatalf("window %d %v", h.WindowSize, err)
		}
		return p
	}()
	xerial := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for _, c := range []struct {
		name    string
		codec   Codec
		payload []byte
	}{
		{"snappy declares 2 GiB", Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 0x61}},
		{"xerial block of 2 GiB", Snappy, append(xerial[:16:16], 0x7f, 0xff, 0xff, 0xff, 1)},
		{"xerial block of -1", Snappy, append(xerial[:16:16], 0xff, 0xff, 0xff, 0xff, 1)},
		{"xerial length cut short", Snappy, append(xerial[:16:16], 0, 0)},
		{"zstd window of 512 MiB", Zstd, huge},
		{"empty gzip", Gzip, nil}, {"empty snappy", Snappy, nil}, {"empty lz4", LZ4, nil}, {"empty zstd", Zstd, nil},
		{"noise gzip", Gzip, []byte("noise noise noise")}, {"noise lz4", LZ4, []byte("noise noise noise")},
		{"noise zstd", Zstd, []byte("noise noise noise")}, {"noise snappy", Snappy, []byte("noise noise noise")},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := rawPayload(c.codec, c.payload)
			if _, err := Validate(b, open()); !errors.Is(err, ErrInvalid) {
				t.Errorf("Validate: %v", err)
			}
			n := 0
			for _, err := range b.Records(0) {
				if n++; !errors.Is(err, ErrInvalid) {
					t.Errorf("Records: %v", err)
				}
			}
			if n != 1 {
				t.Errorf("Records yielded %d times", n)
			}
		})
	}
}

// Java's and librdkafka's higher zstd levels declare windows of many MiB.
func TestLargeZstdWindow(t *testing.T) {
	var bl Builder
	bl.Add(0, nil, bytes.Repeat([]byte("tide"), 4<<20))
	plain := bl.Build().Payload()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithWindowSize(64<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for len(plain) > 0 { // in pieces, so that the size isn't known up front
		n := min(len(plain), 1<<20)
		if _, err := w.Write(plain[:n]); err != nil {
			t.Fatal(err)
		}
		plain = plain[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Validate(rawPayload(Zstd, out.Bytes()), open()); err != nil {
		t.Fatal(err)
	}
}

func TestXerialStreamsMayBeConcatenated(t *testing.T) {
	var bl Builder
	bl.Add(0, []byte("k"), []byte("value"))
	plain := bl.Build().Payload()
	payload := compressXerial(compressXerial(nil, plain[:3]), plain[3:])
	if _, err := Validate(rawPayload(Snappy, payload), open()); err != nil {
		t.Fatal(err)
	}
}

// Times so absurd that differences to the clock overflow are refused, and every
// record of a batch that claims the leader's time on a topic that stamps it.
func TestAbsurdTimes(t *testing.T) {
	rules := Rules{Now: 1_700_000_000_000, TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: 3_600_000}
	p := patch(t, put64(posBaseTimestamp, math.MinInt64+5))
	if _, err := Validate(p, rules); !errors.Is(err, ErrInvalidTimestamp) {
		t.Errorf("a time at the beginning of all numbers: %v", err)
	}
	rules.LogAppendTime = true
	_, err := Validate(patch(t, put16(posAttributes, attrAppendTime)), rules)
	var inv *InvalidError
	if !errors.As(err, &inv) || len(inv.Records) != int(Batch(p).Count()) {
		t.Errorf("claimed append time: %v, want an error for each record", err)
	}
}
