package producer

import (
	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Guard identifies one verification of a producer with the transaction
// coordinator; 0 is none (KIP-890).
type Guard uint64

// verification holds producers that were, or are being, verified and whose
// first transactional batch hasn't been appended. A nil one verifies nothing.
type verification struct {
	last    Guard
	pending map[model.ProducerID]pendingTxn
}

type pendingTxn struct {
	guard  Guard
	epoch  model.ProducerEpoch
	lowest int32 // lowest sequence that asked; a later one must not jump ahead (KAFKA-14920)
	since  int64 // ms
}

// RequireVerification sets transaction.partition.verification.enable.
func (t *Table) RequireVerification(on bool) {
	switch {
	case !on:
		t.verify = nil
	case t.verify == nil:
		t.verify = &verification{pending: map[model.ProducerID]pendingTxn{}}
	}
}

// StartVerification prepares the append of a transactional client batch at now
// (ms). A guard of 0 means that none is needed: verification is off or the
// transaction is already open here. Otherwise ask the transaction coordinator
// whether the partition is part of the producer's transaction, then pass the
// guard to CheckGuarded.
func (t *Table) StartVerification(b record.Batch, now int64) Guard {
	id, v := b.ProducerID(), t.verify
	if v == nil || !b.Transactional() || id < 0 {
		return 0
	}
	if t.entries[id].inTxn(b.ProducerEpoch()) {
		return 0
	}
	p, known := v.pending[id]
	switch {
	case !known:
		v.last++
		p = pendingTxn{guard: v.last, epoch: b.ProducerEpoch(), lowest: b.BaseSequence(), since: now}
	case b.ProducerEpoch() > p.epoch:
		p.epoch, p.lowest = b.ProducerEpoch(), b.BaseSequence()
	case b.ProducerEpoch() == p.epoch:
		p.lowest = min(p.lowest, b.BaseSequence())
	}
	v.pending[id] = p
	return p.guard
}

func (t *Table) missesVerification(b record.Batch, e *entry, g Guard) bool {
	if t.verify == nil || !b.Transactional() || e.inTxn(b.ProducerEpoch()) {
		return false
	}
	return g == 0 || t.verify.pending[b.ProducerID()].guard != g
}

// verified forgets the pending verification: the transaction has begun or ended.
func (t *Table) verified(id model.ProducerID) {
	if t.verify != nil {
		delete(t.verify.pending, id)
	}
}

func (v *verification) lowest(id model.ProducerID) (int32, bool) {
	if v == nil {
		return 0, false
	}
	p, ok := v.pending[id]
	return p.lowest, ok
}

func (v *verification) expire(now, ttl int64) {
	if v == nil {
		return
	}
	for id, p := range v.pending {
		if now-p.since >= ttl {
			delete(v.pending, id)
		}
	}
}
