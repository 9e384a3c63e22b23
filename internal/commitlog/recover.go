package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// recover reads the segments from index first on and returns the log end. The
// last one stays open for appends, the others get their index files.
func (ld *loader) recover(first int) (model.Offset, error) {
	from, err := ld.resume(ld.segs[first])
	if err != nil {
		return 0, err
	}
	txns, err := ld.openTransactions(from.at)
	if err != nil {
		return 0, err
	}
	total := len(ld.segs) - first
	if ld.o.OnSegmentRecovered != nil {
		ld.o.OnSegmentRecovered(0, total)
	}
	end := from.at
	for i := first; i < len(ld.segs); i++ {
		s := ld.segs[i]
		// A hole means that the end of the segment before it never reached the
		// disk. Only a jump that doesn't fit into an index is no hole, nor is what
		// Kafka's cleaner, which keeps no batch at the end of a segment, has left.
		if i > first && s.base > end && s.base-end <= math.MaxInt32 && s.base > ld.o.Cleaned {
			ld.o.Log.Warn("records are missing before a segment", "dir", ld.Dir(), "offset", end, "segment", s.base)
			ld.losing(i, 0, end, errHole)
			if err := ld.dropFrom(i); err != nil {
				return 0, err
			}
			break
		}
		upper := model.Offset(math.MaxInt64)
		if i+1 < len(ld.segs) {
			upper = ld.segs[i+1].base
		}
		res, err := ld.scanSegment(s, from, upper, txns)
		if err != nil {
			return 0, err
		}
		end, from = res.end, resumeAt{}
		if ld.o.OnSegmentRecovered != nil {
			ld.o.OnSegmentRecovered(i-first+1, total)
		}
		if res.bad != nil {
			if err := ld.cutBad(i, res); err != nil {
				return 0, err
			}
			break
		}
	}
	return end, ld.sealAllButLast(first)
}

func (ld *loader) sealAllButLast(first int) error {
	for _, s := range ld.segs[first : len(ld.segs)-1] {
		if err := s.seal(); err != nil {
			return ioError(err)
		}
	}
	last := ld.segs[len(ld.segs)-1]
	if last.mem.Load() == nil || last.savedPlaces+last.savedStamps > 0 { // resume has cut the files
		return nil
	}
	for _, suffix := range []string{indexSuffix, timeSuffix} {
		if err := removeIfThere(ld.fs, ld.path(last.base, suffix)); err != nil {
			return ioError(err)
		}
	}
	return nil
}

// cutBad drops everything behind the last good batch of segment i, durably:
// the later segments first, so that a crash leaves no hole.
func (ld *loader) cutBad(i int, res scanned) error {
	s := ld.segs[i]
	ld.o.Log.Warn("log is cut", "dir", ld.Dir(), "offset", res.end, "segment", s.base, "position", res.pos,
		"bytes", s.size()-res.pos, "segments", len(ld.segs)-i-1, "error", res.bad)
	ld.losing(i, res.pos, res.end, res.bad)
	if err := ld.dropFrom(i + 1); err != nil {
		return err
	}
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	if err := h.f.Truncate(res.pos); err != nil {
		return ioError(err)
	}
	s.setTail(int64(res.end-s.base), res.pos)
	return ioError(h.f.Sync())
}

// dropFrom removes segments i and later, the last one first.
func (ld *loader) dropFrom(i int) error {
	gone := ld.segs[i:]
	ld.segs = ld.segs[:i]
	for _, s := range slices.Backward(gone) {
		s.retire()
		for _, suffix := range segmentSuffixes {
			if err := removeIfThere(ld.fs, ld.path(s.base, suffix)); err != nil {
				return ioError(err)
			}
		}
	}
	return ioError(ld.fs.SyncDir(ld.Dir()))
}

// scanned is the result of reading one segment.
type scanned struct {
	pos int64        // after the last good batch
	end model.Offset // after the last good batch
	bad error        // why the scan stopped; nil at the end of the file
}

var errHole = fmt.Errorf("records are missing before a segment: %w", ErrCorrupt)

var errOverlap = errors.New("batch reaches into the next segment")

// scanSegment checks every batch of a segment below upper, from a restart point
// on or (zero) from its begin, and builds its index on the heap. With txns it
// also takes up epochs and the transaction index.
func (ld *loader) scanSegment(s *segment, from resumeAt, upper model.Offset, txns *openTxns) (scanned, error) {
	h, err := s.file()
	if err != nil {
		return scanned{}, err
	}
	defer h.release()
	size := s.size()
	res := scanned{pos: from.pos, end: from.at}
	if from.pos == 0 {
		res.end = s.base
		s.mem.Store(&memIndex{})
		s.savedPlaces, s.savedStamps = 0, 0
		s.maxSeen, s.firstRead = stamp{ts: -1}, false
		if txns != nil {
			if err := ld.resetAborted(s); err != nil {
				return scanned{}, err
			}
		}
	}
	scan := newBatchScan(h.f, from.pos, size)
	for {
		b, pos, err := scan.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = checkBatch(b, res.end, s.base, upper)
		}
		if errors.Is(err, ErrIO) {
			return res, err
		}
		if err != nil {
			res.bad = err
			break
		}
		s.noteBatch(b, pos, ld.config.Load().IndexInterval)
		res.pos, res.end = pos+int64(len(b)), b.NextOffset()
		if txns == nil {
			continue
		}
		// Where the file agrees it says more: compaction may have taken the batch
		// with which the epoch began.
		if e := b.LeaderEpoch(); e >= 0 && ld.epochs.at(b.BaseOffset()) != e {
			ld.epochs.assign(e, b.BaseOffset())
		}
		if err := s.addAborted(txns.add(b)...); err != nil {
			return res, ioError(err)
		}
	}
	s.setTail(int64(res.end-s.base), size)
	return res, nil
}

func checkBatch(b record.Batch, next, base, upper model.Offset) error {
	if err := b.CheckCRC(); err != nil {
		return err
	}
	switch {
	case b.BaseOffset() < next || b.LastOffsetDelta() < 0 || b.LastOffset()-base > math.MaxInt32:
		return ErrOffsetOrder
	case b.LastOffset() >= upper:
		return errOverlap
	}
	return nil
}

// resetAborted empties a transaction index that is about to be built again.
func (ld *loader) resetAborted(s *segment) error {
	if !s.aborted.Swap(false) {
		return nil
	}
	return ioError(removeIfThere(ld.fs, ld.path(s.base, txnSuffix)))
}

// openTransactions returns the transactions that are open at off, as far as
// the producer snapshots tell.
func (ld *loader) openTransactions(off model.Offset) (*openTxns, error) {
	t := &openTxns{first: map[model.ProducerID]model.Offset{}}
	if ld.o.ProducerSnapshot == nil {
		return t, nil
	}
	from, data, ok := ld.LatestProducerSnapshot(off)
	if ok {
		t.restore(data)
	}
	if ok && from == off {
		return t, nil
	}
	for i, s := range ld.segs {
		if s.base >= off || (i+1 < len(ld.segs) && ld.segs[i+1].base <= from) {
			continue
		}
		if err := t.replay(s, from); err != nil && !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
	}
	return t, nil
}

// completeEpochs finds in the batches the epochs between the log start and the
// first one in the file. There are some if the log start went up in a life that
// didn't record it before it crashed: the epochs were cut at the new start and
// saved, and now the log begins at the old one again. Without them a reader of
// these records would be told that it diverges where it begins.
func (ld *loader) completeEpochs(start, end model.Offset) error {
	known := ld.epochs.entries()
	if len(known) > 0 {
		end = known[0].Start
	}
	if start >= end {
		return nil
	}
	enough := errors.New("enough")
	var front []EpochEntry
	err := ld.Batches(start, func(b record.Batch) error {
		e := b.LeaderEpoch()
		if b.BaseOffset() >= end || e < 0 {
			return enough
		}
		if n := len(front); n == 0 || front[n-1].Epoch < e {
			front = append(front, EpochEntry{e, max(b.BaseOffset(), start)})
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return err
	}
	if len(front) == 0 {
		return nil
	}
	for len(known) > 0 && known[0].Epoch <= front[len(front)-1].Epoch {
		known = known[1:]
	}
	ld.epochs.set(append(front, known...))
	return nil
}
