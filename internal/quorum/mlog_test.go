package quorum

import (
	"testing"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// A crash after the log's start moved into a segment leaves files that begin
// below it: the start must be the oldest snapshot's end again, never an offset
// without a snapshot (invariant 8).
func TestLogStartAfterCrashIsASnapshot(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/m"); err != nil {
		t.Fatal(err)
	}
	if err := fs.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	conf := commitlog.DefaultConfig()
	conf.SegmentBytes = 400 // some four batches
	cfg := &Config{FS: fs, Dir: "/m", LogConfig: conf}
	m, err := openLog(cfg, checkpoint{}, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range model.Offset(40) {
		b := metadata.DataBatch([]metadata.Record{&metadata.NoOpRecord{}}, 25, 1)
		b.Stamp(i, 1)
		if _, err := m.log.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	img := metadata.Empty()
	img.Epoch = 1
	id := SnapshotID{EndOffset: 22, Epoch: 1}
	if err := m.writeSnapshot(id, metadata.WriteSnapshot(img, 1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := m.log.AdvanceStart(id.EndOffset); err != nil {
		t.Fatal(err)
	}
	if err := m.log.Flush(m.log.End()); err != nil {
		t.Fatal(err)
	}
	end := m.log.End()
	cfg.FS = fs.CrashClone(0, 1)
	again, err := openLog(cfg, checkpoint{End: end, Epoch: 1}, false)
	if err != nil {
		t.Fatal(err)
	}
	if again.log.Start() != id.EndOffset || again.log.End() != end {
		t.Fatalf("log [%d, %d), want [%d, %d)", again.log.Start(), again.log.End(), id.EndOffset, end)
	}
}
