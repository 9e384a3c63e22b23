package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// Open opens the log in a directory, or makes an empty one. After a clean
// shutdown the files are trusted. Otherwise the segments that reach beyond the
// recovery point are read: the log is cut at the first byte that isn't a batch,
// later segments are dropped, indexes and epochs are built again. A log that
// ends below Options.LogStart is emptied and begins there.
func Open(o Options) (*Log, error) {
	o = o.withDefaults()
	l := &Log{o: o, done: make(chan struct{}), found: Findings{Owed: model.NoOffset}}
	l.fs, l.files, l.readFailed = o.FS, o.Files, o.OnReadError
	l.dir.Store(&o.Dir)
	l.UpdateConfig(o.Config)
	ld := &loader{Log: l, clean: o.Clean, point: o.RecoveryPoint}
	if err := ld.load(); err != nil {
		for _, s := range ld.segs {
			s.retire()
		}
		return nil, fmt.Errorf("open log %s: %w", o.Dir, err)
	}
	return l, nil
}

// loader is the state of Open.
type loader struct {
	*Log
	clean bool
	point model.Offset // what is below is trusted
	// rebuild says that everything is read, though trusted, to build derived files again.
	rebuild bool
	segs    []*segment
	sizes   map[string]int64 // of all files, by name
}

func (ld *loader) load() error {
	if err := ld.makeDir(); err != nil {
		return ioError(err)
	}
	if err := ld.tidy(); err != nil {
		return ioError(err)
	}
	ld.list()
	if err := ld.epochs.load(ld.fs, ld.Dir()); errors.Is(err, ErrCorrupt) {
		// Everything that matters in the file can be found in the batches.
		ld.o.Log.Warn("epochs are rebuilt from the log", "dir", ld.Dir(), "error", err)
		ld.clean, ld.point, ld.epochs.dirty = false, 0, true
	} else if err != nil {
		return err
	}
	end, err := ld.loadSegments()
	if err != nil {
		return err
	}
	return ld.finish(end)
}

// makeDir makes the directory and its name durable.
func (ld *loader) makeDir() error {
	there, err := vfs.Exists(ld.fs, ld.Dir())
	if there || err != nil {
		return err
	}
	if err := ld.fs.MkdirAll(ld.Dir()); err != nil {
		return err
	}
	return ld.fs.SyncDir(filepath.Dir(ld.Dir()))
}

// tidy finishes or undoes what a crash interrupted: deletions, compaction.
func (ld *loader) tidy() error {
	entries, err := ld.fs.List(ld.Dir())
	if err != nil {
		return err
	}
	ld.sizes = map[string]int64{}
	var cleaned []string
	swaps := map[model.Offset][]string{}
	for _, e := range entries {
		suffix := filepath.Ext(e.Name)
		switch {
		case e.IsDir:
			continue
		case suffix == swapSuffix:
			if base, _, ok := parseSegmentName(strings.TrimSuffix(e.Name, swapSuffix)); ok {
				swaps[base] = append(swaps[base], e.Name)
			}
			continue
		case suffix == cleanedSuffix:
			cleaned = append(cleaned, e.Name)
			continue
		case suffix != deletedSuffix && suffix != vfs.TempSuffix:
			ld.sizes[e.Name] = e.Size
			continue
		}
		if err := ld.fs.Remove(ld.file(e.Name)); err != nil {
			return err
		}
	}
	return ld.finishSwaps(swaps, cleaned)
}

// list makes a segment of every log file, and removes indexes without one.
func (ld *loader) list() {
	for _, name := range slices.Sorted(maps.Keys(ld.sizes)) {
		base, suffix, ok := parseSegmentName(name)
		if !ok || suffix != logSuffix {
			continue
		}
		s := newSegment(&ld.env, base, ld.now())
		s.setTail(0, ld.sizes[name])
		_, txn := ld.sizes[segmentFile(base, txnSuffix)]
		s.aborted.Store(txn)
		ld.segs = append(ld.segs, s)
	}
	slices.SortFunc(ld.segs, func(a, b *segment) int { return int(min(max(a.base-b.base, -1), 1)) })
}

func segmentFile(base model.Offset, suffix string) string { return segmentName("", base, suffix) }

// loadSegments brings the segments into shape and returns the log end.
func (ld *loader) loadSegments() (model.Offset, error) {
	if err := ld.dropOrphans(); err != nil {
		return 0, ioError(err)
	}
	n := len(ld.segs)
	if n == 0 {
		ld.epochs.truncateFromEnd(0)
		return ld.o.LogStart, nil
	}
	first := n // the first segment that isn't trusted
	if !ld.clean {
		first = max(floorSegment(ld.segs, ld.point), 0)
	}
	for i, s := range ld.segs[:min(first, n-1)] {
		if err := ld.checkIndex(s, ld.segs[i+1].base); err != nil {
			return 0, err
		}
	}
	if first == n {
		if end, err := ld.trustLast(); err == nil || !errors.Is(err, ErrCorrupt) {
			return end, err
		} else {
			ld.o.Log.Warn("last segment is checked", "dir", ld.Dir(), "error", err)
		}
		first = n - 1
	}
	return ld.recover(first)
}

// dropOrphans removes index files whose log is gone.
func (ld *loader) dropOrphans() error {
	for _, name := range slices.Sorted(maps.Keys(ld.sizes)) {
		base, suffix, ok := parseSegmentName(name)
		if !ok || !slices.Contains(segmentSuffixes[1:], suffix) {
			continue
		}
		if _, there := ld.sizes[segmentFile(base, logSuffix)]; there {
			continue
		}
		if err := ld.fs.Remove(ld.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkIndex builds the index of a trusted segment again if it is missing or
// can't be right. Without a clean shutdown the last entry is looked at too.
func (ld *loader) checkIndex(s *segment, upper model.Offset) error {
	places, ok1 := ld.sizes[segmentFile(s.base, indexSuffix)]
	stamps, ok2 := ld.sizes[segmentFile(s.base, timeSuffix)]
	sane := ok1 && ok2 && places%indexEntrySize == 0 && stamps%timeEntrySize == 0
	if sane && !ld.clean && places > 0 {
		f, err := ld.fs.Open(ld.path(s.base, indexSuffix))
		if err != nil {
			return ioError(err)
		}
		var p [indexEntrySize]byte
		_, err = f.ReadAt(p[:], places-indexEntrySize)
		f.Close()
		if err != nil {
			return ioError(err)
		}
		last, err := parsePlaces(p[:], s.size())
		sane = err == nil && last[0].rel() > 0 && s.base+model.Offset(last[0].rel()) < upper
	}
	if sane {
		return nil
	}
	ld.o.Log.Info("index is rebuilt", "dir", ld.Dir(), "offset", s.base)
	res, err := ld.scanSegment(s, resumeAt{}, upper, nil)
	if err != nil {
		return err
	}
	if res.bad != nil { // the caller looks after it; what is in front of it can be found
		ld.o.Log.Warn("damaged below the recovery point", "dir", ld.Dir(), "offset", res.end, "segment", s.base, "error", res.bad)
		ld.found.Suspects = append(ld.found.Suspects, s.base)
	}
	if err := s.seal(); err != nil {
		return ioError(err)
	}
	return s.syncIndexes()
}

// trustLast loads the index of the last segment and finds the log end from the
// headers behind its last entry.
func (ld *loader) trustLast() (model.Offset, error) {
	s := ld.segs[len(ld.segs)-1]
	places, err := readPlaces(ld.fs, ld.path(s.base, indexSuffix), s.size())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s has no index: %w", s, ErrCorrupt)
	}
	if err != nil {
		return 0, err
	}
	stamps, err := s.stamps()
	if err != nil {
		return 0, err
	}
	x := &memIndex{}
	for _, p := range places {
		x.places.add(p)
	}
	for _, t := range stamps {
		x.addStamp(t)
	}
	s.mem.Store(x)
	s.savedPlaces, s.savedStamps = len(places), len(stamps)
	h, err := s.file()
	if err != nil {
		return 0, err
	}
	defer h.release()
	if err := s.rescanTail(h.f); err != nil {
		return 0, err
	}
	s.restart = s.base + model.Offset(place(s.tail.Load()).rel())
	s.restartPos.Store(s.size())
	return s.base + model.Offset(place(s.tail.Load()).rel()), nil
}

func readPlaces(fsys vfs.FS, name string, size int64) ([]place, error) {
	p, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return nil, ioError(err)
	}
	return parsePlaces(p, size)
}

// finish publishes the log: [LogStart, end), epochs and snapshots in range.
func (ld *loader) finish(end model.Offset) error {
	l, start := ld.Log, max(ld.o.LogStart, 0)
	if n := len(ld.segs); n > 0 && end >= start {
		start = max(start, ld.segs[0].base)
		l.setSegments(ld.segs)
	} else {
		if n > 0 {
			l.o.Log.Warn("log ends below its start and is emptied", "dir", l.Dir(), "end", end, "start", start)
			l.epochs.set(nil)
		}
		for _, s := range ld.segs {
			if err := l.deleteSegment(s); err != nil {
				return ioError(err)
			}
		}
		s, err := l.createSegment(start)
		if err != nil {
			return ioError(err)
		}
		end = start
		l.setSegments([]*segment{s})
	}
	l.mu.dirDirty = true
	l.end.Store(int64(end))
	l.start.Store(int64(start))
	flushed := min(max(ld.point, start), end)
	if ld.clean {
		flushed = end
	}
	l.flushed.Store(int64(flushed))
	if l.o.Cleaned <= end { // beyond the end it means nothing: all is dirty (KAFKA-9826)
		l.firstDirty.Store(int64(max(l.o.Cleaned, 0)))
	}
	l.epochs.truncateFromEnd(end)
	l.epochs.truncateFromStart(start)
	if err := ld.completeEpochs(start, end); err != nil {
		return err
	}
	return ioError(l.dropStraySnapshots(end, flushed))
}
