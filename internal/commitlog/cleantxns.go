package commitlog

import (
	"cmp"
	"slices"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// cleanTxns follows the transactions of a log that is being compacted, batch
// by batch from its begin: the records of an aborted one go, and a marker may
// go once no batch of its transaction is left.
type cleanTxns struct {
	waiting   []AbortedTxn // by First, those that the scan hasn't reached
	aborted   map[model.ProducerID]*abortedTxn
	committed map[model.ProducerID]bool // a batch of an undecided or committed transaction was seen
	kept      []AbortedTxn              // entries of the new transaction index
}

type abortedTxn struct {
	AbortedTxn
	seen bool // a batch of it is still in the log
}

func newCleanTxns(aborted []AbortedTxn) *cleanTxns {
	aborted = slices.Clone(aborted)
	slices.SortStableFunc(aborted, func(a, b AbortedTxn) int { return cmp.Compare(a.First, b.First) })
	return &cleanTxns{waiting: aborted, aborted: map[model.ProducerID]*abortedTxn{}, committed: map[model.ProducerID]bool{}}
}

// observe takes up the next batch and reports whether its records are of no
// use: data of an aborted transaction, or a marker without any data.
func (t *cleanTxns) observe(b record.Batch) (useless bool) {
	if !b.Transactional() {
		return false
	}
	for len(t.waiting) > 0 && t.waiting[0].First <= b.LastOffset() {
		txn := t.waiting[0]
		t.waiting = t.waiting[1:]
		if t.aborted[txn.ProducerID] == nil {
			t.aborted[txn.ProducerID] = &abortedTxn{AbortedTxn: txn}
		}
	}
	id := b.ProducerID()
	if b.Control() {
		return t.marker(b, id)
	}
	if a := t.aborted[id]; a != nil {
		a.seen = true
		return true
	}
	t.committed[id] = true
	return false
}

func (t *cleanTxns) marker(b record.Batch, id model.ProducerID) bool {
	m, ok, err := b.EndTxn()
	switch {
	case err != nil: // not a transaction marker: none of our business
		return false
	case !ok: // an earlier pass took the marker
		return true
	case m.Commit:
		seen := t.committed[id]
		delete(t.committed, id)
		return !seen
	}
	a := t.aborted[id]
	delete(t.aborted, id)
	if a == nil || !a.seen {
		return true
	}
	t.kept = append(t.kept, a.AbortedTxn)
	return false
}
