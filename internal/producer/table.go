package producer

import (
	"cmp"
	"errors"
	"slices"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Errors of Check; compare with errors.Is.
var (
	// ErrOutOfOrderSequence: a batch is missing before this one, or it is a
	// duplicate too old to be recognised.
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	// ErrInvalidProducerEpoch: a newer instance of the producer exists.
	ErrInvalidProducerEpoch = errors.New("producer epoch is older than the known one")
	// ErrInvalidTxnState: the batch doesn't fit the producer's transaction.
	ErrInvalidTxnState = errors.New("invalid transaction state")
	// ErrCoordinatorFenced: the marker comes from an older transaction coordinator.
	ErrCoordinatorFenced = errors.New("transaction coordinator epoch is older than the known one")
	// ErrCorruptSnapshot: the bytes aren't a producer snapshot, or are damaged.
	ErrCorruptSnapshot = errors.New("producer snapshot is corrupt")
)

// cachedBatches is how many batches per producer are recognised when they are
// sent again: max.in.flight.requests.per.connection of an idempotent client.
const cachedBatches = 5

// noCoordinatorEpoch: no marker of this producer has been seen.
const noCoordinatorEpoch int32 = -1

// sent is one batch of a producer.
type sent struct {
	first, last int32        // sequence numbers, inclusive; first > last if they wrap
	end         model.Offset // offset of the last record
	delta       int32        // end - offset of the first record
	timestamp   int64        // ms, the batch's largest
}

func (s sent) base() model.Offset { return s.end - model.Offset(s.delta) }

// entry is the state of one producer id.
type entry struct {
	id               model.ProducerID
	epoch            model.ProducerEpoch
	coordinatorEpoch int32
	timestamp        int64        // ms, of the last batch or marker; expiry counts from it
	txnStart         model.Offset // first offset of the open transaction, or NoOffset
	batches          [cachedBatches]sent
	n                int // batches[:n] are valid, oldest first (invariant 2)

	// For TruncateTo: the base offsets of the batches that created this entry
	// and that began its epoch; NoOffset if a snapshot did.
	born, epochStart model.Offset
	// Its last marker, for the same purpose.
	markerAt   model.Offset
	markerTime int64 // ms
}

func (e *entry) lastSequence() int32 {
	if e.n == 0 {
		return record.NoSequence
	}
	return e.batches[e.n-1].last
}

// inTxn reports whether a transaction of this epoch is open; e may be nil.
func (e *entry) inTxn(epoch model.ProducerEpoch) bool {
	return e != nil && e.txnStart != model.NoOffset && e.epoch == epoch
}

// duplicate finds the cached batch that b repeats.
func (e *entry) duplicate(b record.Batch) (sent, bool) {
	if b.ProducerEpoch() != e.epoch {
		return sent{}, false
	}
	first, last := b.BaseSequence(), b.LastSequence()
	for _, s := range e.batches[:e.n] {
		if s.first == first && s.last == last {
			return s, true
		}
	}
	return sent{}, false
}

func (e *entry) remember(s sent) {
	if e.n == cachedBatches {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = s
	e.n++
	e.timestamp = s.timestamp
}

// moveTo changes the epoch; sequences of another epoch mean nothing in it.
func (e *entry) moveTo(epoch model.ProducerEpoch, at model.Offset) {
	if e.epoch != epoch {
		e.epoch, e.n, e.epochStart = epoch, 0, at
	}
}

// Table is the producer state of one partition. The zero value is not usable;
// see New and Restore. Not for concurrent use.
type Table struct {
	entries   map[model.ProducerID]*entry
	open      []openTxn      // invariant 3
	completed []completedTxn // invariant 4
	floor     model.Offset   // nothing below it can be taken back; all of a restored snapshot lies there
	next      model.Offset   // after the last batch folded in
	marker    model.Offset   // offset of the newest marker folded in, or NoOffset
	verify    *verification  // nil: transactional batches need no verification
}

type openTxn struct {
	id    model.ProducerID
	first model.Offset
}

type completedTxn struct {
	id          model.ProducerID
	first, last model.Offset // last is the marker
}

// New returns an empty table.
func New() *Table {
	return &Table{entries: map[model.ProducerID]*entry{}, marker: model.NoOffset}
}

// Len is the number of known producer ids.
func (t *Table) Len() int { return len(t.entries) }

// Reset forgets everything except the verification setting, for a log that
// was truncated completely or whose state will be replayed.
func (t *Table) Reset() {
	v := t.verify
	*t = *New()
	if v != nil {
		clear(v.pending) // guards given out stay unique: v.last goes on
		t.verify = v
	}
}

// AbortedTxn is an entry of the transaction index: consumers with
// read_committed skip the producer's records in [First, Last].
type AbortedTxn struct {
	ProducerID model.ProducerID
	First      model.Offset // first record of the transaction
	Last       model.Offset // the abort marker
	LSO        model.Offset // last stable offset once this transaction was decided
}

// Appended folds in a batch that is now in the log, with its final offsets. It
// never refuses: the log is the truth, on a leader, on a follower and in
// recovery (invariant 1). If the batch aborts a transaction, the entry for the
// transaction index is returned.
func (t *Table) Appended(b record.Batch) (AbortedTxn, bool) {
	t.floor = min(t.floor, b.BaseOffset())
	if b.ProducerID() < 0 {
		return AbortedTxn{}, false
	}
	t.next = max(t.next, b.NextOffset())
	if b.Control() {
		m, ok, err := b.EndTxn()
		if !ok || err != nil {
			// Compaction emptied it, or it is no marker: nothing to learn.
			return AbortedTxn{}, false
		}
		return t.ended(b, m)
	}
	t.data(b)
	return AbortedTxn{}, false
}

func (t *Table) data(b record.Batch) {
	e := t.entry(b)
	e.moveTo(b.ProducerEpoch(), b.BaseOffset())
	e.remember(sent{
		first: b.BaseSequence(), last: b.LastSequence(),
		end: b.LastOffset(), delta: b.LastOffsetDelta(), timestamp: b.MaxTimestamp(),
	})
	if b.Transactional() && e.txnStart == model.NoOffset {
		e.txnStart = b.BaseOffset()
		t.open = append(t.open, openTxn{e.id, e.txnStart})
		t.verified(e.id)
	}
}

// ended closes the producer's transaction, if one is open here.
func (t *Table) ended(b record.Batch, m record.EndTxn) (AbortedTxn, bool) {
	e := t.entry(b)
	at := b.BaseOffset()
	e.moveTo(b.ProducerEpoch(), at)
	e.coordinatorEpoch, e.timestamp = m.CoordinatorEpoch, m.Timestamp
	e.markerAt, e.markerTime = at, m.Timestamp
	t.marker = max(t.marker, at)
	t.verified(e.id)
	first := e.txnStart
	if first == model.NoOffset {
		return AbortedTxn{}, false // the transaction had no records in this partition
	}
	e.txnStart = model.NoOffset
	t.closeTxn(e.id)
	t.completed = append(t.completed, completedTxn{e.id, first, at})
	if m.Commit {
		return AbortedTxn{}, false
	}
	lso := at + 1
	if len(t.open) > 0 {
		lso = t.open[0].first
	}
	return AbortedTxn{ProducerID: e.id, First: first, Last: at, LSO: lso}, true
}

func (t *Table) entry(b record.Batch) *entry {
	id := b.ProducerID()
	e := t.entries[id]
	if e == nil {
		e = &entry{
			id: id, epoch: b.ProducerEpoch(), coordinatorEpoch: noCoordinatorEpoch,
			txnStart: model.NoOffset, born: b.BaseOffset(), epochStart: b.BaseOffset(), markerAt: model.NoOffset,
		}
		t.entries[id] = e
	}
	return e
}

func (t *Table) closeTxn(id model.ProducerID) {
	t.open = slices.DeleteFunc(t.open, func(o openTxn) bool { return o.id == id })
}

// Expire removes producers that have been idle for ttl milliseconds at now
// (ms); never one with an open transaction. Returns how many went.
func (t *Table) Expire(now, ttl int64) int {
	gone := 0
	for id, e := range t.entries {
		if e.txnStart == model.NoOffset && now-e.timestamp >= ttl {
			delete(t.entries, id)
			gone++
		}
	}
	t.verify.expire(now, ttl)
	return gone
}

// State describes one producer, for DescribeProducers and the console.
type State struct {
	ID               model.ProducerID
	Epoch            model.ProducerEpoch
	LastSequence     int32        // record.NoSequence if none in this epoch
	LastTimestamp    int64        // ms
	CoordinatorEpoch int32        // -1 if no marker was seen
	TxnStart         model.Offset // model.NoOffset if no transaction is open
	Cached           int          // batches that would be recognised as duplicates
	LastOffset       model.Offset // of the last data record of this epoch, or model.NoOffset
}

// States returns all producers, ordered by id.
func (t *Table) States() []State {
	out := make([]State, 0, len(t.entries))
	for _, e := range t.sorted() {
		last := model.NoOffset
		if e.n > 0 {
			last = e.batches[e.n-1].end
		}
		out = append(out, State{
			ID: e.id, Epoch: e.epoch, LastSequence: e.lastSequence(), LastTimestamp: e.timestamp,
			CoordinatorEpoch: e.coordinatorEpoch, TxnStart: e.txnStart, Cached: e.n, LastOffset: last,
		})
	}
	return out
}

func (t *Table) sorted() []*entry {
	es := make([]*entry, 0, len(t.entries))
	for _, e := range t.entries {
		es = append(es, e)
	}
	slices.SortFunc(es, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
	return es
}
