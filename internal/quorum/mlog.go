package quorum

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// SnapshotID names a snapshot: the state of the log below EndOffset, whose last
// record has Epoch (KIP-630).
type SnapshotID struct {
	EndOffset model.Offset
	Epoch     model.LeaderEpoch
}

func (s SnapshotID) fileName() string {
	return fmt.Sprintf("%020d-%010d.checkpoint", s.EndOffset, s.Epoch)
}

func (s SnapshotID) isBootstrap() bool { return s == SnapshotID{} }

var checkpointName = regexp.MustCompile(`^(\d{20})-(\d{10})\.checkpoint$`)

// mlog is the materialised log with its snapshots. The applier writes; anyone
// may read.
type mlog struct {
	fs  vfs.FS
	dir string
	log *commitlog.Log
	// known is where the log ended before it was cut at open: what lies below is
	// committed, and this node's broker may have acted on it (invariant 10).
	known model.Offset

	mu struct {
		sync.Mutex
		snapshots []SnapshotID // ascending, without the bootstrap checkpoint
	}
}

// openLog opens the materialised log and cuts it to the WAL's checkpoint: what
// lies behind is delivered again (invariant 5). With a fresh WAL there must be no
// log: it would be cut to nothing.
func openLog(cfg *Config, ckpt checkpoint, fresh bool) (*mlog, error) {
	m := &mlog{fs: cfg.FS, dir: cfg.Dir}
	if err := m.listSnapshots(); err != nil {
		return nil, err
	}
	if err := commitlog.WritePartitionMetadata(cfg.FS, cfg.Dir, model.MetadataTopicID); err != nil {
		return nil, err
	}
	conf := cfg.LogConfig
	conf.RetentionBytes, conf.Retention, conf.Delete = -1, -1, false
	l, err := commitlog.Open(commitlog.Options{
		FS: cfg.FS, Dir: cfg.Dir, Config: conf, RecoveryPoint: ckpt.End,
		Now: time.Now, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	m.log, m.known = l, l.End()
	if _, some := m.latest(math.MaxInt64); fresh && (l.End() > 0 || some) {
		err = fmt.Errorf("log [%d, %d): %w", l.Start(), l.End(), ErrForeignLog)
	} else {
		err = m.recover(ckpt)
	}
	if err == nil {
		err = m.restoreStart()
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(false))
	}
	return m, nil
}

func (m *mlog) recover(ckpt checkpoint) error {
	end := m.log.End()
	switch {
	case end == ckpt.End:
		return nil
	case end > ckpt.End && ckpt.End >= m.log.Start():
		_, err := m.log.TruncateTo(ckpt.End)
		return err
	}
	// A snapshot was being installed: the WAL already stands at its end.
	id := SnapshotID{ckpt.End, ckpt.Epoch}
	if !m.has(id) {
		return fmt.Errorf("log [%d, %d) doesn't reach the applied offset %d and snapshot %s is missing: %w",
			m.log.Start(), end, ckpt.End, id.fileName(), ErrCorrupt)
	}
	return m.log.TruncateFullyAndStartAt(ckpt.End)
}

// restoreStart finds the log's start again, which is kept in no file: a crash
// leaves the log beginning at a segment's base, below the oldest snapshot that
// retain left (invariant 8).
func (m *mlog) restoreStart() error {
	id, ok := m.earliest()
	if start := m.log.Start(); !ok || start == 0 || id.EndOffset <= start || id.EndOffset > m.log.End() {
		return nil
	}
	return m.log.AdvanceStart(id.EndOffset)
}

func (m *mlog) listSnapshots() error {
	list, err := m.fs.List(m.dir)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range list {
		if strings.HasSuffix(e.Name, ".checkpoint.part") {
			if err := m.fs.Remove(path.Join(m.dir, e.Name)); err != nil {
				return err
			}
		}
		g := checkpointName.FindStringSubmatch(e.Name)
		if g == nil {
			continue
		}
		end, err1 := strconv.ParseInt(g[1], 10, 64)
		epoch, err2 := strconv.ParseInt(g[2], 10, 32)
		id := SnapshotID{model.Offset(end), model.LeaderEpoch(epoch)}
		if errors.Join(err1, err2) == nil && !id.isBootstrap() {
			m.addLocked(id)
		}
	}
	return nil
}

func (m *mlog) addLocked(id SnapshotID) {
	i, found := slices.BinarySearchFunc(m.mu.snapshots, id, func(a, b SnapshotID) int {
		return int(a.EndOffset - b.EndOffset)
	})
	if !found {
		m.mu.snapshots = slices.Insert(m.mu.snapshots, i, id)
	}
}

// latest is the newest snapshot that doesn't end above end. After a crash there
// can be one that the log hasn't reached again.
func (m *mlog) latest(end model.Offset) (SnapshotID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Backward(m.mu.snapshots) {
		if id.EndOffset <= end {
			return id, true
		}
	}
	return SnapshotID{}, false
}

func (m *mlog) earliest() (SnapshotID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mu.snapshots) > 0 {
		return m.mu.snapshots[0], true
	}
	return SnapshotID{}, false
}

func (m *mlog) has(id SnapshotID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.mu.snapshots, id)
}

// epochEnd is the largest epoch of the log that is not above e, and where it
// ends. An epoch below the log belongs to the snapshot that it starts at.
func (m *mlog) epochEnd(e model.LeaderEpoch) EpochEnd {
	epochs, end := m.log.Epochs(), m.log.End()
	i := 0
	for i < len(epochs) && epochs[i].Epoch <= e {
		i++
	}
	if i < len(epochs) {
		end = epochs[i].Start
	}
	if i > 0 {
		return EpochEnd{Epoch: epochs[i-1].Epoch, End: end}
	}
	start := m.log.Start()
	if id, ok := m.earliest(); ok && id.EndOffset == start && id.Epoch <= e {
		return EpochEnd{Epoch: id.Epoch, End: end}
	}
	return EpochEnd{Epoch: e, End: start} // below everything: nothing of e was ever kept here
}

// read returns whole batches from at, below end.
func (m *mlog) read(at, end model.Offset, maxBytes int) ([]byte, error) {
	s, err := m.log.Read(at, end, maxBytes, true)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	out := make([]byte, s.Len())
	n, err := s.ReadInto(out)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return out[:n], nil
}

// writeSnapshot stores the image's records as a checkpoint file, durable under
// its final name.
func (m *mlog) writeSnapshot(id SnapshotID, batches []record.Batch) error {
	var size int
	for _, b := range batches {
		size += len(b)
	}
	data := make([]byte, 0, size)
	for _, b := range batches {
		data = append(data, b...)
	}
	return m.adoptSnapshot(id, data)
}

func (m *mlog) adoptSnapshot(id SnapshotID, data []byte) error {
	if err := m.storePart(path.Join(m.dir, id.fileName()+".part"), data); err != nil {
		return err
	}
	return m.adoptPart(id)
}

// adoptPart gives a complete, durable .part file its name.
func (m *mlog) adoptPart(id SnapshotID) error {
	name := path.Join(m.dir, id.fileName())
	if err := m.fs.Rename(name+".part", name); err != nil {
		return err
	}
	if err := m.fs.SyncDir(m.dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addLocked(id)
	return nil
}

// dropBelow removes the snapshots older than id, after id has been installed.
func (m *mlog) dropBelow(id SnapshotID) error {
	m.mu.Lock()
	var old []SnapshotID
	for len(m.mu.snapshots) > 0 && m.mu.snapshots[0].EndOffset < id.EndOffset {
		old, m.mu.snapshots = append(old, m.mu.snapshots[0]), m.mu.snapshots[1:]
	}
	m.mu.Unlock()
	for _, o := range old {
		if err := m.fs.Remove(path.Join(m.dir, o.fileName())); err != nil {
			return err
		}
	}
	return nil
}

func (m *mlog) storePart(name string, data []byte) error {
	f, err := m.fs.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// readChunk reads up to n bytes of a snapshot file at pos; size is the file's.
func (m *mlog) readChunk(id SnapshotID, pos int64, n int) (chunk []byte, size int64, err error) {
	if !m.has(id) {
		return nil, 0, ErrSnapshotNotFound
	}
	f, err := m.fs.Open(path.Join(m.dir, id.fileName()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, ErrSnapshotNotFound
	} else if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if size, err = f.Size(); err != nil {
		return nil, 0, err
	}
	if pos < 0 || pos >= size {
		return nil, size, fmt.Errorf("position %d of %d: %w", pos, size, ErrPositionOutOfRange)
	}
	chunk = make([]byte, min(int64(n), size-pos))
	if _, err := f.ReadAt(chunk, pos); err != nil && !errors.Is(err, io.EOF) {
		return nil, size, err
	}
	return chunk, size, nil
}

// loadImage reads a snapshot file.
func (m *mlog) loadImage(id SnapshotID) (*metadata.Image, error) {
	data, err := vfs.ReadFile(m.fs, path.Join(m.dir, id.fileName()))
	if err != nil {
		return nil, err
	}
	return parseSnapshot(id, data)
}

func parseSnapshot(id SnapshotID, data []byte) (*metadata.Image, error) {
	batches, err := splitBatches(data)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id.fileName(), err)
	}
	img, err := metadata.ReadSnapshot(batches, id.EndOffset-1, id.Epoch)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id.fileName(), err)
	}
	return img, nil
}

func splitBatches(data []byte) ([]record.Batch, error) {
	var out []record.Batch
	for len(data) > 0 {
		b, rest, err := record.Next(data)
		if err != nil {
			return nil, err
		}
		if err := b.CheckCRC(); err != nil {
			return nil, err
		}
		out, data = append(out, b), rest
	}
	return out, nil
}

// retain moves the log's start up to newer snapshots while the log is larger or
// older than allowed, and removes the snapshots below (invariant 8).
func (m *mlog) retain(maxBytes int64, maxAge time.Duration, now time.Time) error {
	for {
		m.mu.Lock()
		if len(m.mu.snapshots) < 2 {
			m.mu.Unlock()
			return nil
		}
		old, next := m.mu.snapshots[0], m.mu.snapshots[1]
		m.mu.Unlock()
		large := maxBytes >= 0 && m.log.Size() > maxBytes
		if !large && (maxAge < 0 || !m.olderThan(old, now.Add(-maxAge))) {
			return nil
		}
		if next.EndOffset > m.log.Start() {
			if err := m.log.AdvanceStart(next.EndOffset); err != nil {
				return err
			}
		}
		m.mu.Lock()
		m.mu.snapshots = m.mu.snapshots[1:]
		m.mu.Unlock()
		if err := m.fs.Remove(path.Join(m.dir, old.fileName())); err != nil {
			return err
		}
	}
}

func (m *mlog) olderThan(id SnapshotID, t time.Time) bool {
	e, err := m.fs.Stat(path.Join(m.dir, id.fileName()))
	return err == nil && e.ModTime.Before(t)
}
