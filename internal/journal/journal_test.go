package journal

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/internal/model"
)

var tp = model.TopicPartition{Topic: "orders", Partition: 3}

func open(t *testing.T, o Options) *Journal {
	t.Helper()
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func TestEventsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir, Node: 7})
	for range 3 {
		j.Emit(For(Truncated, tp))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// The process died in the middle of a line.
	f, err := os.OpenFile(filepath.Join(dir, currentName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"seq":4,"kind":"trunc`); err != nil {
		t.Fatal(err)
	}
	f.Close()

	j = open(t, Options{Dir: dir, Node: 7})
	j.Emit(New(Unfenced))
	got := j.Events(Filter{})
	if len(got) != 4 || got[3].Seq != 4 || got[3].Kind != Unfenced || got[0].Node != 7 || got[0].Topic != "orders" {
		t.Fatalf("after restart: %+v", got)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Options{Dir: dir})
	if n := len(j.Events(Filter{})); n != 4 {
		t.Fatalf("the line after a torn one is lost: %d events, want 4", n)
	}
}

func TestFilesStayBounded(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir, MaxBytes: 8 << 10, RingSize: 16})
	for range 500 {
		j.Emit(For(ISRCommitted, tp))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, n := range []string{currentName, olderName} {
		st, err := os.Stat(filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	if total > 8<<10 {
		t.Fatalf("files hold %d bytes, limit 8192", total)
	}
	j = open(t, Options{Dir: dir, RingSize: 16})
	got := j.Events(Filter{})
	if len(got) != 16 || got[15].Seq != 500 {
		t.Fatalf("newest after restart: %d events, last %d", len(got), got[len(got)-1].Seq)
	}
}

func TestFilter(t *testing.T) {
	j := open(t, Options{RingSize: 8})
	other := model.TopicPartition{Topic: "orders", Partition: 4}
	for i := range 6 {
		k := Truncated
		if i%2 == 1 {
			k = LogReset
		}
		j.Emit(For(k, tp))
		j.Emit(For(k, other))
	}
	seqs := func(f Filter) (s []uint64) {
		for _, e := range j.Events(f) {
			s = append(s, e.Seq)
		}
		return s
	}
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "[5,6,7,8,9,10,11,12]"},
		{Filter{Of: tp}, "[5,7,9,11]"},
		{Filter{Of: tp, Kinds: []Kind{LogReset}}, "[7,11]"},
		{Filter{After: 10}, "[11,12]"},
		{Filter{Newest: 3}, "[10,11,12]"},
	} {
		b, _ := json.Marshal(seqs(c.f))
		if string(b) != c.want {
			t.Errorf("%+v: got %s, want %s", c.f, b, c.want)
		}
	}
}

func TestSlowSubscriberMissesAndNothingWaits(t *testing.T) {
	j := open(t, Options{})
	s := j.Subscribe(2)
	for range 5 {
		j.Emit(New(Note))
	}
	if s.Missed() != 3 {
		t.Fatalf("missed %d, want 3", s.Missed())
	}
	if e := <-s.C; e.Seq != 1 {
		t.Fatalf("first %d", e.Seq)
	}
	s.Close()
	s.Close()
	<-s.C // the buffered second one
	if _, ok := <-s.C; ok {
		t.Fatal("closed subscription still delivers")
	}
	j.Emit(New(Note))
}

func TestKafkasPhrases(t *testing.T) {
	var out bytes.Buffer
	j := open(t, Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	e := For(ShrinkProposed, tp)
	e.OldISR, e.NewISR = []model.BrokerID{1, 2, 3}, []model.BrokerID{1, 2}
	e.HighWatermark, e.LogEnd, e.Reason = 110, 120, "lagging"
	e.Replicas = []ReplicaSeen{{Broker: 3, LogEnd: 110, LastCaughtUp: time.UnixMilli(99)}}
	j.Emit(e)
	e = For(ISRCommitted, tp)
	e.NewISR, e.PartitionEpoch, e.MinISR = []model.BrokerID{1}, 8, 2
	j.Emit(e)
	j.Close()
	for _, want := range []string{
		"Shrinking ISR from 1,2,3 to 1,2. Leader: (highWatermark: 110, endOffset: 120). Out of sync replicas:" +
			" (brokerId: 3, endOffset: 110, lastCaughtUpTimeMs: 99). [lagging]",
		"ISR updated to 1 (under-min-isr) and version updated to 8",
		"partition=orders-3",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, out.String())
		}
	}
}
