package producer

import (
	"slices"

	"tidemark/internal/model"
)

// FirstUnstable is the first offset of the earliest transaction that is open,
// or whose marker isn't known to be below the high watermark; false if there
// is none. After retention it may be below the log start: take the larger.
func (t *Table) FirstUnstable() (model.Offset, bool) {
	first := model.NoOffset
	if len(t.open) > 0 {
		first = t.open[0].first
	}
	for _, c := range t.completed {
		if first == model.NoOffset || c.first < first {
			first = c.first
		}
	}
	return first, first != model.NoOffset
}

// LastStable is the last stable offset at high watermark hw, exclusive:
// everything below is replicated and decided, and read_committed consumers
// read up to it. Completed transactions whose marker is below hw are forgotten
// here (invariant 4), so hw must be the replica's real high watermark.
func (t *Table) LastStable(hw model.Offset) model.Offset {
	if len(t.open) == 0 && len(t.completed) == 0 {
		return hw
	}
	n := 0
	for n < len(t.completed) && t.completed[n].last < hw {
		n++
	}
	t.completed = slices.Delete(t.completed, 0, n)
	if first, ok := t.FirstUnstable(); ok {
		return min(hw, first)
	}
	return hw
}

// OpenTxns is the number of transactions without a marker.
func (t *Table) OpenTxns() int { return len(t.open) }

// OldestOpen is the open transaction with the lowest first offset, and the
// time (ms) of its producer's last batch; the source of the "late transaction" gauge.
func (t *Table) OldestOpen() (id model.ProducerID, first model.Offset, lastTimestamp int64, ok bool) {
	if len(t.open) == 0 {
		return model.NoProducerID, model.NoOffset, 0, false
	}
	o := t.open[0]
	return o.id, o.first, t.entries[o.id].timestamp, true
}

// TruncateTo takes back all that was learnt from offsets >= off, after the log
// was cut there (invariant 5). It can do so itself in the usual case of a
// short unreplicated tail of data batches. Where it can't (a marker, a new
// epoch, every cached batch of a producer, or part of a restored snapshot was
// cut away) it empties the table and returns false: the caller must Restore the newest snapshot at or
// below off and call Appended for the rest of the log.
func (t *Table) TruncateTo(off model.Offset) (ok bool) {
	if off >= max(t.next, t.floor) {
		return true
	}
	if off < t.floor || !t.canUndo(off) {
		t.Reset()
		return false
	}
	for id, e := range t.entries {
		if e.born >= off {
			delete(t.entries, id)
			t.closeTxn(id)
			continue
		}
		if e.n == 0 || e.batches[e.n-1].end < off {
			continue
		}
		for e.batches[e.n-1].end >= off {
			e.n--
		}
		last := e.batches[e.n-1]
		if e.timestamp = last.timestamp; e.markerAt > last.end {
			e.timestamp = e.markerTime
		}
		if e.txnStart >= off {
			e.txnStart = model.NoOffset
			t.closeTxn(id)
		}
	}
	t.next = off
	return true
}

func (t *Table) canUndo(off model.Offset) bool {
	if t.marker >= off {
		return false
	}
	for _, e := range t.entries {
		if e.born >= off {
			continue
		}
		if e.epochStart >= off || e.n > 0 && e.batches[0].end >= off {
			return false
		}
	}
	return true
}
