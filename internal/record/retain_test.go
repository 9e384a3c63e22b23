package record

import (
	"fmt"
	"strings"
	"testing"

	"tidemark/internal/model"
)

func retainable(codec Codec) Batch {
	var b Builder
	b.SetBase(100)
	b.SetLeaderEpoch(7)
	b.SetCodec(codec)
	b.SetProducer(9, 2, 50)
	b.Add(1000, []byte("a"), []byte("1"), Header{Key: "h", Value: []byte("x")})
	b.Add(990, []byte("b"), nil)
	b.Add(1020, []byte("c"), []byte("3"))
	b.Add(1010, []byte("d"), []byte{})
	return b.Build()
}

func describe(t *testing.T, b Batch) string {
	t.Helper()
	if b == nil {
		return "nil"
	}
	if err := b.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	if f, rest, err := Next(b); err != nil || len(rest) > 0 || len(f) != len(b) {
		t.Fatalf("doesn't frame: %v", err)
	}
	horizon, has := b.DeleteHorizon()
	out := []string{fmt.Sprintf("[%d, %d] epoch=%d pid=%d/%d seq=[%d, %d] max=%d horizon=%d/%t", b.BaseOffset(), b.LastOffset(),
		b.LeaderEpoch(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence(), b.MaxTimestamp(), horizon, has)}
	for r, err := range b.Records(0) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d@%d %s=%q/%t %v", r.Offset, r.Timestamp, r.Key, r.Value, r.Value != nil, r.Headers))
	}
	return strings.Join(out, "\n")
}

// Offsets, sequences, timestamps, headers and codec survive; the base
// timestamp becomes the delete horizon when a tombstone stays.
func TestRetain(t *testing.T) {
	const head = "[100, 103] epoch=7 pid=9/2 seq=[50, 53]"
	for codec := None; codec <= Zstd; codec++ {
		for _, c := range []struct {
			keep    string
			mark    bool
			horizon int64
			want    string
		}{
			{"abcd", false, 5000, head + " max=1020 horizon=5000/true\n100@1000 a=\"1\"/true [{h [120]}]\n" +
				"101@990 b=\"\"/false []\n102@1020 c=\"3\"/true []\n103@1010 d=\"\"/true []"},
			{"d", false, 5000, head + " max=1010 horizon=1010/false\n103@1010 d=\"\"/true []"},
			{"a", true, 5000, head + " max=1000 horizon=5000/true\n100@1000 a=\"1\"/true [{h [120]}]"},
			{"", true, 5000, "nil"},
		} {
			b := retainable(codec)
			got, n, err := b.Retain(Retention{Horizon: c.horizon, Mark: c.mark,
				Keep: func(r Record) bool { return strings.Contains(c.keep, string(r.Key)) }})
			if err != nil || n != len(c.keep) {
				t.Fatalf("%s keep %q: kept %d, %v", codec, c.keep, n, err)
			}
			if d := describe(t, got); d != c.want {
				t.Errorf("%s keep %q:\n%s\nwant\n%s", codec, c.keep, d, c.want)
			}
			if got != nil && got.Codec() != codec {
				t.Errorf("codec %s became %s", codec, got.Codec())
			}
		}
	}
}

// A horizon is set once: later passes keep it, whatever they drop, and a batch
// in which nothing changes is the same bytes.
func TestRetainKeepsHorizon(t *testing.T) {
	all := func(Record) bool { return true }
	b, _, err := retainable(LZ4).Retain(Retention{Horizon: 5000, Keep: all})
	if err != nil {
		t.Fatal(err)
	}
	same, _, err := b.Retain(Retention{Horizon: 9000, Mark: true, Keep: all})
	if err != nil || &same[0] != &b[0] {
		t.Errorf("an unchanged batch was rebuilt (%v)", err)
	}
	less, _, err := b.Retain(Retention{Horizon: 9000, Keep: func(r Record) bool { return r.Offset == 102 }})
	if err != nil {
		t.Fatal(err)
	}
	want := "[100, 103] epoch=7 pid=9/2 seq=[50, 53] max=1020 horizon=5000/true\n102@1020 c=\"3\"/true []"
	if d := describe(t, less); d != want {
		t.Errorf("got\n%s\nwant\n%s", d, want)
	}
}

// With append time every record has the batch's time, also after a rewrite.
func TestRetainAppendTime(t *testing.T) {
	b := retainable(None)
	b.StampAppendTime(7777)
	got, _, err := b.Retain(Retention{Horizon: 5000, Keep: func(r Record) bool { return r.Offset >= 102 }})
	if err != nil {
		t.Fatal(err)
	}
	want := "[100, 103] epoch=7 pid=9/2 seq=[50, 53] max=7777 horizon=7777/false\n102@7777 c=\"3\"/true []\n103@7777 d=\"\"/true []"
	if d := describe(t, got); d != want {
		t.Errorf("got\n%s\nwant\n%s", d, want)
	}
}

// An emptied batch still tells offsets, epoch and sequences.
func TestEmptied(t *testing.T) {
	want := "[100, 103] epoch=7 pid=9/2 seq=[50, 53] max=1020 horizon=-1/false"
	if d := describe(t, retainable(Gzip).Emptied()); d != want {
		t.Errorf("got\n%s\nwant\n%s", d, want)
	}
	m := Marker(model.ProducerID(3), 1, EndTxn{})
	e := m.Emptied()
	if _, ok, err := e.EndTxn(); ok || err != nil || !e.Control() || !e.Transactional() || e.Count() != 0 {
		t.Errorf("emptied marker: %v %v, %s", ok, err, e)
	}
}

// A broken payload is an error, never a panic or a silent loss.
func TestRetainBroken(t *testing.T) {
	b := retainable(None)
	for i := HeaderSize; i < len(b); i++ {
		c := append(Batch{}, b[:i]...)
		c.putCounts(c.Attributes(), c.BaseTimestamp(), c.MaxTimestamp(), int(b.Count()))
		if _, _, err := c.Retain(Retention{Keep: func(Record) bool { return true }}); err == nil {
			t.Fatalf("cut to %d bytes: no error", i)
		}
	}
}
