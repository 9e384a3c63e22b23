package observer

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

const (
	snapshotSuffix = ".checkpoint"
	// defaultSegmentBytes of the metadata log; whole segments below a snapshot go.
	defaultSegmentBytes = 64 << 20
)

// DiskOptions configure a DiskStore; zero values take the defaults.
type DiskOptions struct {
	// SnapshotBytes of new records make a snapshot due; 20 MiB:
	// metadata.log.max.record.bytes.between.snapshots.
	SnapshotBytes int64
	// SegmentBytes is the size of the log's segments; at most 64 MiB count.
	SegmentBytes int64
	Log          *slog.Logger
}

// DiskStore keeps the metadata log of a node without the controller role.
type DiskStore struct {
	fs       vfs.FS
	dir      string
	log      *commitlog.Log
	snapshot SnapshotID // newest; End 0 if none
	since    int64      // bytes appended after it
	o        DiskOptions
}

// OpenDiskStore opens dir, which is __cluster_metadata-0 in the metadata log
// dir, and returns what it holds. Contents that can't be used are dropped: the
// controllers have them.
func OpenDiskStore(fsys vfs.FS, dir string, o DiskOptions) (*DiskStore, Saved, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.SnapshotBytes <= 0 {
		o.SnapshotBytes = 20 << 20
	}
	if o.SegmentBytes <= 0 || o.SegmentBytes > defaultSegmentBytes {
		o.SegmentBytes = defaultSegmentBytes
	}
	d := &DiskStore{fs: fsys, dir: dir, o: o}
	saved, err := d.open()
	if err == nil {
		return d, saved, nil
	}
	o.Log.Warn("local metadata log is unusable and will be read again", "dir", dir, "error", err)
	if d.log != nil {
		err = errors.Join(err, d.log.Close(false))
	}
	if rmErr := fsys.RemoveAll(dir); rmErr != nil {
		return nil, Saved{}, errors.Join(err, rmErr)
	}
	d = &DiskStore{fs: fsys, dir: dir, o: o}
	saved, err = d.open()
	return d, saved, err
}

func (d *DiskStore) open() (Saved, error) {
	if err := d.fs.MkdirAll(d.dir); err != nil {
		return Saved{}, err
	}
	if err := commitlog.WritePartitionMetadata(d.fs, d.dir, model.MetadataTopicID); err != nil {
		return Saved{}, err
	}
	q, err := readQuorumState(d.fs, d.dir)
	if err != nil {
		return Saved{}, err
	}
	saved := Saved{Leader: q.LeaderID, Epoch: q.LeaderEpoch}
	if err := d.newestSnapshot(&saved); err != nil {
		return Saved{}, err
	}
	c := commitlog.DefaultConfig()
	c.SegmentBytes, c.Delete, c.Compact = d.o.SegmentBytes, false, false
	d.log, err = commitlog.Open(commitlog.Options{FS: d.fs, Dir: d.dir, Config: c, Log: d.o.Log})
	if err != nil {
		return Saved{}, err
	}
	switch {
	case d.log.End() < d.snapshot.End:
		err = d.log.TruncateFullyAndStartAt(d.snapshot.End)
	case d.log.Start() > d.snapshot.End:
		err = fmt.Errorf("log starts at %d, snapshot ends at %d", d.log.Start(), d.snapshot.End)
	}
	d.since = d.log.Size()
	return saved, err
}

// newestSnapshot loads the newest complete snapshot and removes leftovers.
func (d *DiskStore) newestSnapshot(saved *Saved) error {
	entries, err := d.fs.List(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, snapshotSuffix+vfs.TempSuffix) || strings.HasSuffix(e.Name, snapshotSuffix+".part") {
			if err := d.fs.Remove(path.Join(d.dir, e.Name)); err != nil {
				return err
			}
		}
		if id, ok := parseSnapshotName(e.Name); ok && id.End > 0 && id.End >= d.snapshot.End {
			d.snapshot = id
		}
	}
	if d.snapshot.End == 0 {
		return nil
	}
	saved.ID = d.snapshot
	saved.Snapshot, err = vfs.ReadFile(d.fs, path.Join(d.dir, snapshotName(d.snapshot)))
	if err == nil {
		_, err = readSnapshot(saved.ID, saved.Snapshot)
	}
	return err
}

func snapshotName(id SnapshotID) string {
	return fmt.Sprintf("%020d-%010d%s", id.End, id.Epoch, snapshotSuffix)
}

func parseSnapshotName(name string) (id SnapshotID, ok bool) {
	base, found := strings.CutSuffix(name, snapshotSuffix)
	if !found || len(base) != 31 || base[20] != '-' {
		return id, false
	}
	end, err1 := strconv.ParseInt(base[:20], 10, 64)
	epoch, err2 := strconv.ParseInt(base[21:], 10, 32)
	return SnapshotID{End: model.Offset(end), Epoch: model.LeaderEpoch(epoch)}, err1 == nil && err2 == nil
}

// Position is the log end, and the snapshot's epoch if nothing follows it.
func (d *DiskStore) Position() (model.Offset, model.LeaderEpoch) {
	end := d.log.End()
	if e, ok := d.log.LatestEpoch(); ok {
		return end, e
	}
	return end, d.snapshot.Epoch
}

// EndOffsetFor asks the leader-epoch cache, and the snapshot below it.
func (d *DiskStore) EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset) {
	if got, end := d.log.EndOffsetFor(e); end != model.NoOffset {
		return got, end
	}
	if d.snapshot.End > 0 && e >= d.snapshot.Epoch {
		return d.snapshot.Epoch, d.snapshot.End
	}
	return model.NoLeaderEpoch, model.NoOffset
}

// Append adds batches. They are not synced: the controllers have them.
func (d *DiskStore) Append(p []byte) error {
	d.since += int64(len(p))
	_, err := d.log.Append(p)
	return err
}

// TruncateTo cuts the log.
func (d *DiskStore) TruncateTo(to model.Offset) error {
	_, err := d.log.TruncateTo(to)
	return err
}

var errStop = errors.New("stop")

// Read scans the log.
func (d *DiskStore) Read(from, to model.Offset, fn func(record.Batch) error) error {
	err := d.log.Batches(from, func(b record.Batch) error {
		if b.LastOffset() >= to {
			return errStop
		}
		if b.BaseOffset() < from {
			return nil
		}
		return fn(b)
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// Install writes the snapshot, then begins the log anew behind it. A crash in
// between leaves a log that ends below the snapshot, which open mends.
func (d *DiskStore) Install(id SnapshotID, file []byte) error {
	if err := d.writeSnapshot(id, file); err != nil {
		return err
	}
	return d.log.TruncateFullyAndStartAt(id.End)
}

func (d *DiskStore) writeSnapshot(id SnapshotID, file []byte) error {
	if err := vfs.WriteFileAtomic(d.fs, path.Join(d.dir, snapshotName(id)), file); err != nil {
		return err
	}
	d.snapshot, d.since = id, 0
	entries, err := d.fs.List(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if old, ok := parseSnapshotName(e.Name); ok && old != id && old.End > 0 {
			if err := d.fs.Remove(path.Join(d.dir, e.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Applied writes a snapshot when enough records have come since the last one,
// and drops the segments below it.
func (d *DiskStore) Applied(img *metadata.Image) error {
	if d.since < d.o.SnapshotBytes || img.Offset < d.snapshot.End {
		return nil
	}
	id := SnapshotID{End: img.Offset + 1, Epoch: img.Epoch}
	now := time.Now().UnixMilli()
	file := slices.Concat(metadata.WriteSnapshot(img, now, now)...)
	if err := d.writeSnapshot(id, file); err != nil {
		return err
	}
	return d.log.AdvanceStart(id.End)
}

// Elected writes quorum-state.
func (d *DiskStore) Elected(leader model.BrokerID, epoch model.LeaderEpoch) error {
	return writeQuorumState(d.fs, d.dir, leader, epoch)
}

// Close closes the log.
func (d *DiskStore) Close() error { return d.log.Close(true) }
