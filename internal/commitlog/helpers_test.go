package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

const testDir = "/d/t-0"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// batch is a batch of n records of the given epoch; ts grows by 1 per record.
func batch(base model.Offset, epoch model.LeaderEpoch, n int, ts int64, size int) record.Batch {
	var b record.Builder
	b.SetBase(base)
	b.SetLeaderEpoch(epoch)
	for i := range n {
		off := base + model.Offset(i)
		b.Add(ts+int64(i), fmt.Appendf(nil, "k%d", off), bytes.Repeat([]byte{byte('a' + int(epoch)%26)}, size))
	}
	return b.Build()
}

func marker(base model.Offset, epoch model.LeaderEpoch, pid model.ProducerID, commit bool) record.Batch {
	b := record.Marker(pid, 0, record.EndTxn{Commit: commit})
	b.Stamp(base, epoch)
	return b
}

func txnBatch(base model.Offset, epoch model.LeaderEpoch, pid model.ProducerID, n int) record.Batch {
	var b record.Builder
	b.SetBase(base)
	b.SetLeaderEpoch(epoch)
	b.SetProducer(pid, 0, 0)
	b.SetTransactional()
	for range n {
		b.Add(1, nil, []byte("x"))
	}
	return b.Build()
}

func memOptions(fsys vfs.FS) Options {
	cfg := DefaultConfig()
	cfg.IndexInterval = 100
	return Options{FS: fsys, Dir: testDir, Config: cfg, Now: func() time.Time { return time.UnixMilli(1_000_000) }}
}

func newMem(t testing.TB) *vfs.Mem {
	m := vfs.NewMem()
	must(t, m.MkdirAll("/d"))
	must(t, m.SyncDir("/"))
	return m
}

func open(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	must(t, err)
	return l
}

// fill appends count batches of n records each.
func fill(t testing.TB, l *Log, epoch model.LeaderEpoch, count, n int) {
	t.Helper()
	for range count {
		_, err := l.Append(batch(l.End(), epoch, n, int64(l.End())*10, 10))
		must(t, err)
	}
}

// contents returns the batches of a log as "base-last@epoch" words.
func contents(t testing.TB, l *Log) string {
	t.Helper()
	var b bytes.Buffer
	must(t, l.Batches(l.Start(), func(x record.Batch) error {
		must(t, x.CheckCRC())
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d-%d@%d", x.BaseOffset(), x.LastOffset(), x.LeaderEpoch())
		return nil
	}))
	return b.String()
}

// bytesOf reads a slice and releases it.
func bytesOf(t testing.TB, s Slice) []byte {
	t.Helper()
	p := make([]byte, s.Len())
	_, err := s.ReadInto(p)
	must(t, err)
	s.Release()
	return p
}

func wantErr(t testing.TB, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got %v, want %v", err, class)
	}
}
