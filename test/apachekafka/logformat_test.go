package apachekafka

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/producer"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// source appends to a log what a partition would, with its producer state.
type source struct {
	t     *testing.T
	l     *commitlog.Log
	table *producer.Table
	seq   map[model.ProducerID]int32
	epoch model.LeaderEpoch
	clock int64
}

func newSource(t *testing.T) *source {
	s := &source{t: t, table: producer.New(), seq: map[model.ProducerID]int32{}, clock: 1_700_000_000_000}
	cfg := commitlog.DefaultConfig()
	cfg.SegmentBytes, cfg.IndexInterval = 3000, 300
	var err error
	s.l, err = commitlog.Open(commitlog.Options{FS: vfs.OS, Dir: filepath.Join(t.TempDir(), "orders-0"), Config: cfg,
		ProducerSnapshot: func() []byte { return s.table.Snapshot() }})
	s.must(err)
	return s
}

func (s *source) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *source) append(b record.Batch) {
	s.t.Helper()
	b.Stamp(s.l.End(), s.epoch)
	_, err := s.l.Append(b)
	s.must(err)
	if txn, ok := s.table.Appended(b); ok {
		s.must(s.l.AppendAborted(commitlog.AbortedTxn(txn)))
	}
}

// data appends n records; pid < 0 for a plain producer.
func (s *source) data(codec record.Codec, pid model.ProducerID, txn bool, n int) {
	s.t.Helper()
	var b record.Builder
	b.SetCodec(codec)
	if pid >= 0 {
		b.SetProducer(pid, 1, s.seq[pid])
		s.seq[pid] += int32(n)
	}
	if txn {
		b.SetTransactional()
	}
	for i := range n {
		s.clock += int64(7 - 10*(i%2)) // timestamps go back, too
		key, value := fmt.Appendf(nil, "key-%d", int(s.clock)%5), bytes.Repeat([]byte("value"), i%7+1)
		if i%11 == 10 {
			value = nil
		}
		b.Add(s.clock, key, value, record.Header{Key: "h", Value: []byte{1}}, record.Header{Key: "nil"})
	}
	s.append(b.Build())
}

func (s *source) end(pid model.ProducerID, commit bool) {
	s.t.Helper()
	s.append(record.Marker(pid, 1, record.EndTxn{Commit: commit, CoordinatorEpoch: 3, Timestamp: s.clock}))
}

// fill writes several segments with every codec, three leader epochs, and
// transactions that overlap, one of them aborted across a roll.
func (s *source) fill() {
	s.t.Helper()
	for round := range 6 {
		s.epoch = model.LeaderEpoch(round / 2 * 5)
		s.must(s.l.AssignEpoch(s.epoch, s.l.End()))
		s.data(record.None, 41, true, 2)
		for codec := record.None; codec <= record.Zstd; codec++ {
			s.data(codec, -1, false, 12)
			s.data(codec, 40, false, 3)
			s.data(codec, 42, true, 5)
		}
		s.end(42, round%3 == 0)
		s.end(41, round%2 == 0)
		s.data(record.None, -1, false, 1)
	}
}

// files returns the files of the log with one of the suffixes.
func (s *source) files(suffixes ...string) []string {
	s.t.Helper()
	entries, err := vfs.OS.List(s.l.Dir())
	s.must(err)
	var out []string
	for _, e := range entries {
		if slices.Contains(suffixes, filepath.Ext(e.Name)) {
			out = append(out, filepath.Join(s.l.Dir(), e.Name))
		}
	}
	return out
}

// What Kafka's tool prints about a file that isn't as it should be.
var complaints = regexp.MustCompile(`(?i)mismatch|out of order|isvalid: false|corrupt|invalid bytes|exception|error|non-monotonic`)

func (s *source) dump(args []string, suffixes ...string) string {
	s.t.Helper()
	files := s.files(suffixes...)
	if len(files) < 2 {
		s.t.Fatalf("only %v", files)
	}
	out := Run(s.t, DumpLogSegments, append([]string{"--files", strings.Join(files, ",")}, args...)...)
	if bad := complaints.FindAllString(out, -1); bad != nil {
		s.t.Fatalf("Kafka's tool complains: %q\n%s", bad, out)
	}
	return out
}

func ints(t *testing.T, out, pattern string) (all [][]int64) {
	t.Helper()
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(out, -1) {
		var row []int64
		for _, f := range m[1:] {
			var v int64
			if _, err := fmt.Sscan(f, &v); err != nil {
				t.Fatal(err)
			}
			row = append(row, v)
		}
		all = append(all, row)
	}
	return all
}

// TestKafkaReadsOurSegments has Kafka's own tool read every file of a closed
// log: batches, both indexes, the transaction index and the producer state.
func TestKafkaReadsOurSegments(t *testing.T) {
	Require(t)
	s := newSource(t)
	s.fill()
	var want [][]int64
	s.must(s.l.Batches(0, func(b record.Batch) error {
		want = append(want, []int64{int64(b.BaseOffset()), int64(b.LastOffset()), int64(b.Count()),
			int64(b.BaseSequence()), int64(b.ProducerID()), int64(b.LeaderEpoch())})
		return nil
	}))
	aborted, err := s.l.AbortedTxns(0, s.l.End())
	s.must(err)
	s.must(s.l.Close(true))

	out := s.dump([]string{"--print-data-log", "--deep-iteration"}, ".log", ".index", ".timeindex", ".txnindex", ".snapshot")
	t.Logf("%d segments, %d bytes of output", len(s.files(".log")), len(out))
	got := ints(t, out, `baseOffset: (\d+) lastOffset: (\d+) count: (\d+) baseSequence: (-?\d+) lastSequence: -?\d+`+
		` producerId: (-?\d+) producerEpoch: -?\d+ partitionLeaderEpoch: (\d+)`)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Kafka sees the batches\n%v\nwritten were\n%v", got, want)
	}
	if n := len(ints(t, out, `\n\| offset: (\d+)`)); n != int(s.l.End()) {
		t.Errorf("Kafka sees %d records, written were %d", n, s.l.End())
	}
	var txns [][]int64
	for _, a := range aborted {
		txns = append(txns, []int64{int64(a.ProducerID), int64(a.First), int64(a.Last), int64(a.LSO)})
	}
	seen := ints(t, out, `version: 0 producerId: (\d+) firstOffset: (\d+) lastOffset: (\d+) lastStableOffset: (\d+)`)
	if fmt.Sprint(seen) != fmt.Sprint(txns) || len(txns) < 3 {
		t.Errorf("Kafka sees the aborted transactions %v, written were %v", seen, txns)
	}
	last := out[strings.LastIndex(out, ".snapshot"):]
	for _, st := range s.table.States() {
		if !strings.Contains(last, fmt.Sprintf("producerId: %d producerEpoch: 1 coordinatorEpoch: %d currentTxnFirstOffset: ",
			st.ID, st.CoordinatorEpoch)) || !strings.Contains(last, fmt.Sprintf("lastSequence: %d", st.LastSequence)) {
			t.Errorf("producer %+v isn't in Kafka's reading of the snapshot:\n%s", st, last)
		}
	}
	s.dump([]string{"--index-sanity-check"}, ".index", ".timeindex")
	s.dump([]string{"--verify-index-only"}, ".index", ".timeindex")
}

// TestKafkaReadsCompactedSegments is the same after two compactions: gaps,
// empty batches, delete horizons and rebuilt indexes.
func TestKafkaReadsCompactedSegments(t *testing.T) {
	Require(t)
	s := newSource(t)
	s.fill()
	cfg := s.l.Config()
	cfg.Compact, cfg.Delete, cfg.DeleteRetention = true, false, time.Hour
	s.l.UpdateConfig(cfg)
	now := time.UnixMilli(s.clock)
	for range 2 {
		s.data(record.Zstd, 40, false, 3)
		s.must(s.l.Roll())
		rep, err := s.l.Compact(commitlog.CompactOptions{Bound: s.l.End(), Now: now, Producers: func() (out []commitlog.ProducerTail) {
			for _, p := range s.table.States() {
				out = append(out, commitlog.ProducerTail{ID: p.ID, Epoch: p.Epoch, LastOffset: p.LastOffset})
			}
			return out
		}})
		s.must(err)
		t.Logf("%+v", rep)
	}
	var horizons [][]int64
	empty, records := 0, 0
	s.must(s.l.Batches(0, func(b record.Batch) error {
		records += int(b.Count())
		if b.Count() == 0 {
			empty++
		}
		if ms, ok := b.DeleteHorizon(); ok {
			horizons = append(horizons, []int64{ms, int64(b.BaseOffset())})
		}
		return nil
	}))
	s.data(record.None, -1, false, 1)
	records++
	s.must(s.l.Close(true))
	out := s.dump([]string{"--print-data-log", "--deep-iteration"}, ".log", ".index", ".timeindex", ".txnindex", ".snapshot")
	seen := ints(t, out, `deleteHorizonMs: OptionalLong\[(\d+)\]`)
	if len(seen) != len(horizons) || len(seen) == 0 || seen[0][0] != horizons[0][0] {
		t.Errorf("Kafka sees the delete horizons %v, written were %v", seen, horizons)
	}
	if n := len(ints(t, out, ` count: (0) `)); n != empty || n == 0 {
		t.Errorf("Kafka sees %d empty batches, there are %d", n, empty)
	}
	if n := len(ints(t, out, `\n\| offset: (\d+)`)); n != records {
		t.Errorf("Kafka sees %d records, there are %d", n, records)
	}
	s.dump([]string{"--index-sanity-check"}, ".index", ".timeindex")
	s.dump([]string{"--verify-index-only"}, ".index", ".timeindex")
}
