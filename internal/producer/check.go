package producer

import (
	"fmt"
	"math"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Origin says who appends; it decides which rules are enforced.
type Origin int8

const (
	// Client: a produce request. All rules.
	Client Origin = iota
	// Replication: a follower copies its leader, or the log is being loaded.
	// Nothing is refused; the leader has decided.
	Replication
	// Coordinator: the broker's own writers, markers included. Epochs are
	// checked, sequences and duplicates are not.
	Coordinator
)

// Verdict is the outcome of Check when the batch isn't refused.
type Verdict struct {
	// Duplicate: the batch is in the log already, at [Base, Last]. Write
	// nothing; answer as the first time, after the high watermark passes Last
	// if acks=all.
	Duplicate  bool
	Base, Last model.Offset
	AppendTime int64 // ms, largest timestamp of the original; only for a duplicate
	// Warning is what a leader would have refused, for Replication only: log it.
	Warning error
}

// Check judges a batch that is about to be appended and changes nothing.
// Batches without a producer id always pass. Errors, in the order of the
// checks: ErrInvalidTxnState (not verified), ErrInvalidProducerEpoch,
// ErrOutOfOrderSequence, ErrInvalidTxnState, ErrCoordinatorFenced, and
// record.ErrInvalid for a malformed marker.
func (t *Table) Check(b record.Batch, origin Origin) (Verdict, error) {
	return t.CheckGuarded(b, origin, 0)
}

// CheckGuarded is Check for a transactional batch whose producer was verified
// with the transaction coordinator under g.
func (t *Table) CheckGuarded(b record.Batch, origin Origin, g Guard) (Verdict, error) {
	if b.ProducerID() < 0 {
		return Verdict{}, nil
	}
	e := t.entries[b.ProducerID()]
	if origin == Client && e != nil {
		if s, ok := e.duplicate(b); ok {
			return Verdict{Duplicate: true, Base: s.base(), Last: s.end, AppendTime: s.timestamp}, nil
		}
	}
	err := t.refuse(b, e, origin, g)
	if origin == Replication {
		return Verdict{Warning: err}, nil
	}
	return Verdict{}, err
}

func (t *Table) refuse(b record.Batch, e *entry, origin Origin, g Guard) error {
	if origin == Client && t.missesVerification(b, e, g) {
		return fmt.Errorf("producer %d: batch isn't part of a verified transaction: %w",
			b.ProducerID(), ErrInvalidTxnState)
	}
	if e != nil && b.ProducerEpoch() < e.epoch {
		return fmt.Errorf("producer %d: epoch %d, known epoch %d: %w",
			b.ProducerID(), b.ProducerEpoch(), e.epoch, ErrInvalidProducerEpoch)
	}
	if b.Control() {
		return refuseMarker(b, e)
	}
	if origin == Client {
		if err := t.checkSequence(b, e); err != nil {
			return err
		}
	}
	if e != nil && e.txnStart != model.NoOffset && !b.Transactional() {
		return fmt.Errorf("producer %d: plain batch while its transaction from offset %d is open: %w",
			e.id, e.txnStart, ErrInvalidTxnState)
	}
	return nil
}

func refuseMarker(b record.Batch, e *entry) error {
	m, ok, err := b.EndTxn()
	if err != nil || !ok {
		return err
	}
	if e != nil && m.CoordinatorEpoch < e.coordinatorEpoch {
		return fmt.Errorf("producer %d: marker of coordinator epoch %d, known epoch %d: %w",
			e.id, m.CoordinatorEpoch, e.coordinatorEpoch, ErrCoordinatorFenced)
	}
	return nil
}

func (t *Table) checkSequence(b record.Batch, e *entry) error {
	first := b.BaseSequence()
	if low, ok := t.verify.lowest(b.ProducerID()); ok && first > low {
		return fmt.Errorf("producer %d: sequence %d, but %d was verified before it (KAFKA-14920): %w",
			b.ProducerID(), first, low, ErrOutOfOrderSequence)
	}
	if e == nil {
		return nil // first seen, expired or deleted: any sequence may come first
	}
	want := int32(0)
	if b.ProducerEpoch() == e.epoch {
		want = nextSequence(e.lastSequence())
	}
	if first != want {
		return fmt.Errorf("producer %d epoch %d: sequence %d, expected %d: %w",
			e.id, b.ProducerEpoch(), first, want, ErrOutOfOrderSequence)
	}
	return nil
}

// nextSequence follows last; 0 follows 2^31-1 and NoSequence.
func nextSequence(last int32) int32 {
	if last == math.MaxInt32 {
		return 0
	}
	return last + 1
}
