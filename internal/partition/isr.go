package partition

import (
	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// Tick looks for followers that have fallen behind. Call it every
// LagTimeMax/2, and Perform afterwards.
func (p *Partition) Tick() {
	watch := p.watch()
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.mu.role.(leading)
	if !ok {
		return
	}
	p.takeLocked(l.core.Tick(watch, p.now()))
	if p.settings.Load().FlushOnAck && p.log.Flushed() < p.mu.leo { // a flush that got lost
		p.mu.pending.rolled, p.mu.pending.any = p.mu.leo, true
	}
}

// BrokersChanged looks again at followers that may now join the ISR. Call it
// when a broker was unfenced, and Perform afterwards.
func (p *Partition) BrokersChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.mu.role.(leading); ok {
		p.takeLocked(l.core.Reconsider(p.now()))
		p.lowWatermarkLocked(l.core)
	}
}

// ISRCommitted takes the controller's agreement to a proposal. Call Perform
// afterwards.
func (p *Partition) ISRCommitted(a replica.ISRAnswer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.mu.role.(leading); ok {
		p.takeLocked(l.core.ISRCommitted(a, p.now()))
		if pe := l.core.PartitionEpoch(); pe > p.mu.pe {
			p.mu.pe = pe
		}
	}
}

// ISRRejected takes the refusal of a proposal, under the leader epoch in which
// it was made, or the failure to send it. With RefusedRetry the same proposal
// is sent again by Perform: wait before the call, not after. Call Perform
// afterwards.
func (p *Partition) ISRRejected(epoch model.LeaderEpoch, proposal uint64, why replica.Refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.mu.role.(leading); ok && l.core.Epoch() == epoch {
		p.takeLocked(l.core.ISRRejected(proposal, why, p.now()))
	}
}
