package commitlog

import (
	"fmt"
	"math"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// cleanBlock is how much of a rewritten segment is gathered before a write.
const cleanBlock = 1 << 20

// cleanWriter writes the segment that replaces a group of others.
type cleanWriter struct {
	c       *compaction
	s       *segment // its index stays on the heap until the files have their names
	h       *handle  // a reference of its own: the file budget may not close it
	f       vfs.File
	buf     []byte
	pos     int64 // bytes written to the file
	upper   model.Offset
	next    model.Offset
	changed bool // something differs from the original
}

// clean rewrites one group, which ends at upper, and puts the result in its place.
func (c *compaction) clean(group []*segment, upper model.Offset) error {
	w, err := c.newWriter(group[0], upper)
	if err != nil {
		return err
	}
	old := 0
	before := int64(0)
	for _, s := range group {
		before += s.size()
		txns, err := s.readAborted()
		if err == nil {
			old += len(txns)
			err = c.scan(s, 0, w.batch)
		}
		if err != nil {
			w.discard()
			return err
		}
	}
	if err := w.write(); err != nil {
		w.discard()
		return err
	}
	c.rep.Segments += len(group)
	c.rep.SegmentsLeft++
	c.rep.Bytes, c.rep.BytesLeft = c.rep.Bytes+before, c.rep.BytesLeft+w.pos
	kept := c.txns.kept
	c.txns.kept = nil
	if len(group) == 1 && !w.changed && len(kept) == old {
		w.discard()
		return nil
	}
	if err := w.finish(kept); err != nil {
		w.discard()
		return err
	}
	defer w.release()
	return c.l.replace(c, group, w)
}

func (c *compaction) newWriter(first *segment, upper model.Offset) (*cleanWriter, error) {
	s := newSegment(&c.l.env, first.base, first.created)
	s.mem.Store(&memIndex{})
	s.swap.Store(true)
	w := &cleanWriter{c: c, s: s, upper: upper, next: first.base}
	w.remove()
	f, err := c.l.fs.Create(w.name(logSuffix))
	if err != nil {
		return nil, ioError(err)
	}
	w.f = f
	h := &handle{f: f}
	h.refs.Store(2)
	w.h = h
	s.open.Store(h)
	s.used.Store(true)
	s.env.files.add(s)
	return w, nil
}

func (w *cleanWriter) name(suffix string) string { return w.c.l.path(w.s.base, suffix+cleanedSuffix) }

// batch decides about one batch of the originals.
func (w *cleanWriter) batch(b record.Batch) error {
	if b.BaseOffset() < w.next || b.LastOffsetDelta() < 0 || b.LastOffset() >= w.upper {
		return fmt.Errorf("batch [%d, %d] in [%d, %d): %w", b.BaseOffset(), b.LastOffset(), w.next, w.upper, ErrCorrupt)
	}
	w.next = b.NextOffset()
	w.c.rep.RecordsRead += int64(b.Count())
	out, err := w.c.retain(b, w.upper)
	if err != nil {
		return fmt.Errorf("batch [%d, %d]: %w: %w", b.BaseOffset(), b.LastOffset(), ErrCorrupt, err)
	}
	if out == nil {
		w.changed = true
		return nil
	}
	w.changed = w.changed || &out[0] != &b[0]
	w.c.rep.RecordsLeft += int64(out.Count())
	pos := w.pos + int64(len(w.buf))
	if pos+int64(len(out)) > maxSegmentBytes || out.LastOffset()-w.s.base > math.MaxInt32 {
		return fmt.Errorf("compacted segment %d of %d bytes has no room for %s: %w", w.s.base, pos, out, ErrCorrupt)
	}
	w.s.noteBatch(out, pos, w.c.l.config.Load().IndexInterval)
	if w.buf = append(w.buf, out...); len(w.buf) >= cleanBlock {
		return w.write()
	}
	return nil
}

// retain applies Kafka's rules to one batch; upper is where its group ends.
func (c *compaction) retain(b record.Batch, upper model.Offset) (record.Batch, error) {
	useless := c.txns.observe(b)
	drop := useless
	now := c.o.Now.UnixMilli()
	horizon, has := b.DeleteHorizon()
	if b.Control() {
		drop = useless && has && horizon <= now
	}
	if drop && !b.Control() {
		c.rep.AbortedBatches++
	}
	var out record.Batch
	if !drop {
		var err error
		out, _, err = b.Retain(record.Retention{
			Horizon: now + c.l.config.Load().DeleteRetention.Milliseconds(), Mark: useless && b.Control(),
			Limit: maxDecompressed,
			Keep: func(r record.Record) bool {
				switch {
				case b.Control() || r.Offset >= c.end:
					return true
				case r.Key == nil: // refused when it was produced; old ones have no meaning here
					return false
				}
				return r.Offset >= c.keys.get(r.Key) && (r.Value != nil || !has || now < horizon)
			},
		})
		if err != nil {
			return nil, err
		}
	}
	if out != nil || !c.mustStay(b, upper) {
		return out, nil
	}
	if b.Count() == 0 {
		return b, nil
	}
	return b.Emptied(), nil
}

// mustStay reports whether the header of a batch without records is needed: it
// is the last one of a live producer (KAFKA-8335), or tells where the cleaned
// range ends (KAFKA-17076). Here the last batch of every group stays, so that
// segments join without a hole, which recovery would take for lost data.
func (c *compaction) mustStay(b record.Batch, upper model.Offset) bool {
	if b.NextOffset() == upper || b.NextOffset() == c.end {
		return true
	}
	p, ok := c.producers[b.ProducerID()]
	switch {
	case !ok || b.ProducerID() < 0:
		return false
	case p.LastOffset != model.NoOffset:
		return b.LastOffset() == p.LastOffset
	}
	return b.Control() && b.ProducerEpoch() == p.Epoch
}

// write brings the gathered batches to the file.
func (w *cleanWriter) write() error {
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.f.WriteAt(w.buf, w.pos); err != nil {
		return ioError(err)
	}
	n := len(w.buf)
	w.pos += int64(n)
	w.buf = w.buf[:0]
	w.c.rep.BytesWritten += int64(n)
	return w.c.pay(n)
}

// finish writes the indexes and makes all files durable.
func (w *cleanWriter) finish(aborted []AbortedTxn) error {
	s := w.s
	s.setTail(int64(w.upper-s.base), w.pos)
	x := s.mem.Load()
	x.addStamp(s.maxSeen)
	last := s.maxSeen
	s.largest.Store(&last)
	s.abortedMem.Store(&aborted)
	s.aborted.Store(len(aborted) > 0)
	places, stamps := encodePlaces(x.places.view()), encodeStamps(x.stamps.view())
	files := []struct {
		suffix string
		p      []byte
	}{{indexSuffix, places}, {timeSuffix, stamps}, {txnSuffix, nil}}
	for _, t := range aborted {
		files[2].p = appendAbortedTxn(files[2].p, t)
	}
	if len(aborted) == 0 {
		files = files[:2]
	}
	for _, f := range files {
		if err := writePlain(w.c.l.fs, w.name(f.suffix), f.p); err != nil {
			return err
		}
		if err := syncFile(w.c.l.fs, w.name(f.suffix)); err != nil {
			return err
		}
	}
	s.indexVersion.Store(1)
	s.indexSynced.Store(1)
	return ioError(w.f.Sync())
}

// discard throws the unfinished segment away. Open does so too if this fails.
func (w *cleanWriter) discard() {
	w.release()
	w.s.retire()
	w.remove()
}

func (w *cleanWriter) release() {
	if w.h != nil {
		w.h.release()
		w.h = nil
	}
}

// remove deletes the files under both passing names, the log of a half renamed
// set last: as long as it is there, Open knows that the set isn't complete.
func (w *cleanWriter) remove() {
	for _, suffix := range segmentSuffixes {
		_ = removeIfThere(w.c.l.fs, w.c.l.path(w.s.base, suffix+swapSuffix))
	}
	for i := range segmentSuffixes {
		_ = removeIfThere(w.c.l.fs, w.name(segmentSuffixes[len(segmentSuffixes)-1-i]))
	}
}
