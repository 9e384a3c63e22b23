package commitlog

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// kv is one record as the compaction tests write it; value nil is a tombstone.
type kv struct {
	key, value string
	null       bool
}

func keyed(base model.Offset, epoch model.LeaderEpoch, codec record.Codec, ts int64, kvs ...kv) record.Batch {
	var b record.Builder
	b.SetBase(base)
	b.SetLeaderEpoch(epoch)
	b.SetCodec(codec)
	addAll(&b, ts, kvs)
	return b.Build()
}

func addAll(b *record.Builder, ts int64, kvs []kv) {
	for _, r := range kvs {
		if r.null {
			b.Add(ts, []byte(r.key), nil)
		} else {
			b.Add(ts, []byte(r.key), []byte(r.value))
		}
	}
}

func txnKeyed(base model.Offset, pid model.ProducerID, pepoch model.ProducerEpoch, seq int32, kvs ...kv) record.Batch {
	var b record.Builder
	b.SetBase(base)
	b.SetProducer(pid, pepoch, seq)
	b.SetTransactional()
	addAll(&b, 1000, kvs)
	return b.Build()
}

// latest is what a read_committed consumer ends up with: the last value of
// every key, tombstones removed; and where it saw it.
func latest(t testing.TB, l *Log) map[string]string {
	t.Helper()
	out := map[string]string{}
	for from := l.Start(); from < l.End(); {
		sl, aborted, err := l.ReadCommitted(from, l.End(), 1<<20, true)
		must(t, err)
		from = sl.Next
		p := bytesOf(t, sl)
		for len(p) > 0 {
			b, rest, err := record.Next(p)
			must(t, err)
			must(t, b.CheckCRC())
			p = rest
			if b.Control() || isAborted(b, aborted) {
				continue
			}
			for r, err := range b.Records(0) {
				must(t, err)
				if r.Value == nil {
					delete(out, string(r.Key))
				} else {
					out[string(r.Key)] = fmt.Sprintf("%s@%d", r.Value, r.Offset)
				}
			}
		}
	}
	return out
}

func isAborted(b record.Batch, aborted []AbortedTxn) bool {
	for _, a := range aborted {
		if b.Transactional() && a.ProducerID == b.ProducerID() && a.First <= b.BaseOffset() && b.LastOffset() < a.Last {
			return true
		}
	}
	return false
}

func compactAll(t testing.TB, l *Log, o CompactOptions) CompactReport {
	t.Helper()
	if o.Bound == 0 {
		o.Bound = l.End()
	}
	if o.Now.IsZero() {
		o.Now = l.now()
	}
	rep, err := l.Compact(o)
	must(t, err)
	return rep
}

func compactOptions(t testing.TB) Options {
	o := memOptions(newMem(t))
	o.Config.Compact, o.Config.Delete = true, false
	o.Config.SegmentBytes = 500
	return o
}

func TestOffsetMap(t *testing.T) {
	m := newOffsetMap(24*10, 1000)
	n := 0
	for m.put(fmt.Append(nil, n), model.Offset(n)) {
		n++
	}
	if n != 9 || m.latest != 8 {
		t.Errorf("%d keys in 10 slots, latest %d", n, m.latest)
	}
	for i := range n {
		if !m.put(fmt.Append(nil, i), model.Offset(100+i)) || m.get(fmt.Append(nil, i)) != model.Offset(100+i) {
			t.Errorf("key %d is at %d", i, m.get(fmt.Append(nil, i)))
		}
	}
	if got := m.get([]byte("x")); got != model.NoOffset {
		t.Errorf("an unknown key is at %d", got)
	}
	if small := newOffsetMap(1<<30, 10); len(small.slots) > 20 {
		t.Errorf("%d slots for 10 keys", len(small.slots))
	}
}

// A map that is too small cleans a part of the range per pass, and the passes
// together do the same.
func TestSmallMap(t *testing.T) {
	l := open(t, compactOptions(t))
	for i := range 200 {
		_, err := l.Append(keyed(l.End(), 0, record.None, int64(i), kv{key: fmt.Sprint(i % 50), value: fmt.Sprint(i)}))
		must(t, err)
	}
	must(t, l.Roll())
	want := latest(t, l)
	passes := 0
	for from := l.FirstDirty(); from < l.End(); from = l.FirstDirty() {
		rep := compactAll(t, l, CompactOptions{MapBytes: 24 * 20})
		if rep.Keys > 18 || rep.To <= rep.From || rep.From != from || rep.To != l.FirstDirty() {
			t.Fatalf("report %+v", rep)
		}
		passes++
	}
	if got := latest(t, l); fmt.Sprint(got) != fmt.Sprint(want) || len(got) != 50 {
		t.Errorf("got %v, want %v", got, want)
	}
	if passes < 5 || l.End() != 200 {
		t.Errorf("%d passes, end %d", passes, l.End())
	}
}

// A log of which nothing is left but its end survives a restart with that end.
func TestFullyCompactedLogKeepsItsEnd(t *testing.T) {
	o := compactOptions(t)
	o.Config.DeleteRetention = 0
	l := open(t, o)
	for range 60 {
		_, err := l.Append(keyed(l.End(), 3, record.LZ4, 5, kv{key: "k", null: true}))
		must(t, err)
	}
	must(t, l.Roll())
	compactAll(t, l, CompactOptions{})
	must(t, l.Roll()) // empty: changes nothing
	_, err := l.Append(keyed(l.End(), 3, record.None, 5, kv{key: "x", value: "1"}))
	must(t, err)
	must(t, l.Roll())
	rep := compactAll(t, l, CompactOptions{Now: l.now().Add(time.Hour)})
	if rep.RecordsLeft != 1 || len(latest(t, l)) != 1 {
		t.Errorf("left %+v", rep)
	}
	for _, clean := range []bool{true, false} {
		want := contents(t, l)
		must(t, l.Close(clean))
		o.Clean, o.RecoveryPoint, o.Cleaned = clean, 0, l.FirstDirty()
		l = open(t, o)
		if l.End() != 61 || contents(t, l) != want || l.FirstDirty() != 61 {
			t.Errorf("clean=%t: [%d, %d) first dirty %d: %s, was %s", clean, l.Start(), l.End(), l.FirstDirty(), contents(t, l), want)
		}
		if e := fmt.Sprint(l.Epochs()); e != "[{3 0}]" {
			t.Errorf("epochs %s", e)
		}
	}
}

// The checkpoint of the cleaner is not trusted beyond the log's ends, and
// truncation takes it back (KAFKA-9133, KAFKA-9826).
func TestCleanerCheckpointOutOfRange(t *testing.T) {
	for _, c := range []struct{ cleaned, start, want model.Offset }{{0, 0, 0}, {50, 0, 50}, {101, 0, 0}, {100, 0, 100}, {20, 40, 40}, {-1, 0, 0}} {
		o := compactOptions(t)
		l := open(t, o)
		fill(t, l, 0, 10, 10)
		must(t, l.Close(true))
		o.Clean, o.Cleaned, o.LogStart = true, c.cleaned, c.start
		l = open(t, o)
		if got := l.FirstDirty(); got != c.want {
			t.Errorf("checkpoint %d, log [%d, %d): first dirty %d, want %d", c.cleaned, l.Start(), l.End(), got, c.want)
		}
		if c.cleaned != 50 {
			continue
		}
		info, err := l.TruncateTo(30)
		must(t, err)
		if !info.CleanedLowered || l.FirstDirty() != 30 {
			t.Errorf("after a truncation to 30: %+v, first dirty %d", info, l.FirstDirty())
		}
	}
}

// Damage is never hidden under a new checksum.
func TestCompactRefusesDamage(t *testing.T) {
	o := compactOptions(t)
	l := open(t, o)
	fill(t, l, 0, 10, 10)
	must(t, l.Roll())
	f, err := o.FS.Open(testDir + "/00000000000000000000.log")
	must(t, err)
	_, err = f.WriteAt([]byte{0xff}, 100)
	must(t, err)
	before := l.Segments()
	_, err = l.Compact(CompactOptions{Bound: l.End(), Now: l.now()})
	wantErr(t, err, ErrCorrupt)
	if fmt.Sprint(before) != fmt.Sprint(l.Segments()) || l.Failed() != nil || l.FirstDirty() != 0 {
		t.Errorf("the log changed: %v, failed %v", l.Segments(), l.Failed())
	}
}

// Whatever stops a compaction, the log is whole and goes on.
func TestCompactInterrupted(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int // progress reports until it happens
		do   func(l *Log, stop chan struct{}) error
	}{
		{"stop", 1, func(_ *Log, stop chan struct{}) error { close(stop); return nil }},
		{"truncate", 2, func(l *Log, _ chan struct{}) error { _, err := l.TruncateTo(30); return err }},
		{"restart", 2, func(l *Log, _ chan struct{}) error { return l.TruncateFullyAndStartAt(70) }},
		{"advance", 2, func(l *Log, _ chan struct{}) error { return l.AdvanceStart(55) }},
	} {
		o := compactOptions(t)
		l := open(t, o)
		fill(t, l, 0, 5, 10)
		for range 4 { // progress is told once per MiB
			_, err := l.Append(batch(l.End(), 0, 10, 1, 1<<17))
			must(t, err)
		}
		must(t, l.Roll())
		stop, n := make(chan struct{}), 0
		_, err := l.Compact(CompactOptions{Bound: l.End(), Now: l.now(), Stop: stop, Progress: func(CompactReport) {
			if n++; n == c.at {
				must(t, c.do(l, stop))
			}
		}})
		if !errors.Is(err, ErrInterrupted) {
			t.Errorf("%s: %v", c.name, err)
		}
		must(t, l.Failed())
		for _, e := range must2(o.FS.List(testDir)) {
			if s := e.Name[len(e.Name)-5:]; s == ".swap" || s == "eaned" {
				t.Errorf("%s: left %s", c.name, e.Name)
			}
		}
		contents(t, l)
		fill(t, l, 0, 1, 1)
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Close waits for a compaction to notice.
func TestCloseEndsCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, compactOptions(t))
		for range 40 {
			_, err := l.Append(batch(l.End(), 0, 10, 1, 1<<17))
			must(t, err)
		}
		must(t, l.Roll())
		done := make(chan error)
		go func() {
			_, err := l.Compact(CompactOptions{Bound: l.End(), Now: l.now(), Throttle: NewThrottle(1 << 10)})
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		go func() { must(t, l.Close(true)) }()
		if err := <-done; !errors.Is(err, ErrInterrupted) && !errors.Is(err, ErrClosed) {
			t.Errorf("compaction ended with %v", err)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("Close took %v", d)
		}
	})
}

// The throttle is shared: two compactions together don't exceed it.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(1 << 20)
		start := time.Now()
		done := make(chan int64)
		for range 2 {
			o := compactOptions(t)
			l := open(t, o)
			for range 8 {
				_, err := l.Append(batch(l.End(), 0, 4, 1, 1<<18))
				must(t, err)
			}
			must(t, l.Roll())
			go func() {
				rep := compactAll(t, l, CompactOptions{Throttle: th})
				done <- rep.BytesRead + rep.BytesWritten
			}()
		}
		total := <-done + <-done
		want := time.Duration(float64(total) / (1 << 20) * float64(time.Second))
		if took := time.Since(start); took < want-4*time.Second || took > want+time.Second {
			t.Errorf("%d bytes took %v, want about %v", total, took, want)
		}
	})
}

// Dirty tells what the cleaner chooses logs by.
func TestDirty(t *testing.T) {
	o := compactOptions(t)
	o.Config.SegmentBytes = 251 // one batch each
	l := open(t, o)
	for i := range 10 {
		_, err := l.Append(batch(l.End(), 0, 10, int64(1000*(i+1)), 10))
		must(t, err)
	}
	at := func(bound model.Offset, ms int64) DirtyStat {
		st, err := l.Dirty(bound, time.UnixMilli(ms))
		must(t, err)
		return st
	}
	if st := at(l.End(), 20_000); st.Bound != 90 || st.Ratio != 1 || !st.Needed || st.EarliestDirty != 1009 {
		t.Errorf("%+v", st)
	}
	if st := at(35, 20_000); st.Bound != 30 || st.DirtyBytes == 0 {
		t.Errorf("a bound inside a segment: %+v", st)
	}
	cfg := l.Config()
	cfg.MinCompactionLag = 5 * time.Second
	l.UpdateConfig(cfg)
	if st := at(l.End(), 10_500); st.Bound != 50 {
		t.Errorf("min.compaction.lag.ms: %+v", st)
	}
	cfg.MinCompactionLag = 0
	l.UpdateConfig(cfg)
	compactAll(t, l, CompactOptions{Bound: 60})
	if st := at(l.End(), 20_000); st.FirstDirty != 60 || st.Needed || st.Ratio > 0.5 || st.EarliestDirty != 7009 {
		t.Errorf("after a compaction: %+v", st)
	}
	cfg.MaxCompactionLag = 10 * time.Second
	l.UpdateConfig(cfg)
	if st := at(l.End(), 17_009); st.Needed || st.Overdue != 0 {
		t.Errorf("max.compaction.lag.ms: %+v", st)
	}
	if st := at(l.End(), 17_010); !st.Needed || st.Overdue != time.Millisecond {
		t.Errorf("max.compaction.lag.ms: %+v", st)
	}
	if st := at(60, 17_010); st.Needed || math.IsNaN(st.Ratio) {
		t.Errorf("nothing below the bound: %+v", st)
	}
}
