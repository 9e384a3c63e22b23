package commitlog

import (
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// TestLargestTimestampWhereThereIsNone: the first record without a time, as in
// Apache Kafka; a time before 1970 doesn't count.
func TestLargestTimestampWhereThereIsNone(t *testing.T) {
	l := open(t, Options{FS: vfs.NewMem(), Dir: "t-0", Config: DefaultConfig()})
	if _, _, _, ok, err := l.MaxTimestampOffset(l.End()); ok || err != nil {
		t.Fatalf("an empty log: %t, %v", ok, err)
	}
	for i, ts := range []int64{-50, record.NoTimestamp, record.NoTimestamp} {
		var b record.Builder
		b.Add(ts, nil, []byte("v"))
		batch := b.Build()
		batch.Stamp(model.Offset(i), 0)
		_, err := l.Append(batch)
		must(t, err)
	}
	off, at, epoch, ok, err := l.MaxTimestampOffset(l.End())
	if err != nil || !ok || off != 1 || at != record.NoTimestamp || epoch != 0 {
		t.Fatalf("%d at %d, epoch %d, %t, %v", off, at, epoch, ok, err)
	}
	if _, _, _, ok, err := l.MaxTimestampOffset(1); ok || err != nil {
		t.Fatalf("only the one before 1970: %t, %v", ok, err)
	}
}
