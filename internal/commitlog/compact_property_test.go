package commitlog

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// TestCompactKeepsTheTable appends, compacts, truncates and restarts at random.
// Against a list of all records it holds that: what is left was appended, with
// the same offset; every key has its last value; a tombstone that is younger
// than delete.retention.ms is still there; the log end never moves.
func TestCompactKeepsTheTable(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { compactAtRandom(t, seed) })
	}
}

type tableModel struct {
	at    map[model.Offset]kv
	birth map[model.Offset]time.Time
}

func compactAtRandom(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	now := time.UnixMilli(1_000_000)
	o := compactOptions(t)
	o.Config.SegmentBytes = int64(200 + rng.IntN(2000))
	o.Config.DeleteRetention = time.Minute
	o.Now = func() time.Time { return now }
	l := open(t, o)
	m := tableModel{map[model.Offset]kv{}, map[model.Offset]time.Time{}}
	compacted := 0
	for range 120 {
		now = now.Add(time.Duration(rng.IntN(20)) * time.Second)
		switch rng.IntN(12) {
		case 0, 1:
			rep := compactAll(t, l, CompactOptions{MapBytes: 24 * int64(3+rng.IntN(40))})
			compacted += int(rep.RecordsRead - rep.RecordsLeft)
			m.check(t, l, now)
		case 2:
			must(t, l.Close(true))
			o.Clean, o.Cleaned = true, l.FirstDirty()
			end := l.End()
			if l = open(t, o); l.End() != end {
				t.Fatalf("end %d after a restart, was %d", l.End(), end)
			}
		case 3:
			if l.End() > 0 && l.FirstDirty() < l.End() && rng.IntN(3) == 0 { // a dirty record goes
				_, err := l.TruncateTo(l.FirstDirty() + model.Offset(rng.Int64N(int64(l.End()-l.FirstDirty()))))
				must(t, err)
				maps.DeleteFunc(m.at, func(off model.Offset, _ kv) bool { return off >= l.End() })
			}
		default:
			m.append(t, l, rng, now)
		}
	}
	m.check(t, l, now)
	if compacted == 0 {
		t.Error("nothing was ever compacted")
	}
}

func (m *tableModel) append(t *testing.T, l *Log, rng *rand.Rand, now time.Time) {
	var kvs []kv
	for i := range 1 + rng.IntN(5) {
		r := kv{key: fmt.Sprint(rng.IntN(12)), value: fmt.Sprint(rng.IntN(1000)), null: rng.IntN(4) == 0}
		kvs = append(kvs, r)
		off := l.End() + model.Offset(i)
		m.at[off], m.birth[off] = r, now
	}
	_, err := l.Append(keyed(l.End(), 0, record.Codec(rng.IntN(5)), now.UnixMilli(), kvs...))
	must(t, err)
}

func (m *tableModel) check(t *testing.T, l *Log, now time.Time) {
	t.Helper()
	last := map[string]model.Offset{}
	for off, r := range m.at {
		if old, ok := last[r.key]; !ok || off > old {
			last[r.key] = off
		}
	}
	seen := map[string]model.Offset{}
	must(t, l.Batches(0, func(b record.Batch) error {
		must(t, b.CheckCRC())
		for r, err := range b.Records(0) {
			must(t, err)
			if want, ok := m.at[r.Offset]; !ok || want.key != string(r.Key) || want.null != (r.Value == nil) ||
				!want.null && want.value != string(r.Value) || r.Timestamp != m.birth[r.Offset].UnixMilli() {
				t.Fatalf("offset %d holds %s=%s @%d, appended was %+v", r.Offset, r.Key, r.Value, r.Timestamp, want)
			}
			seen[string(r.Key)] = r.Offset
		}
		return nil
	}))
	for key, off := range last {
		gone := m.at[off].null && now.Sub(m.birth[off]) >= time.Minute
		if got, ok := seen[key]; got != off && !(gone && !ok) {
			t.Fatalf("the last record of %s is at %d, found %d (%t)", key, off, got, ok)
		}
	}
}
