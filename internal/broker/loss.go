package broker

import (
	"fmt"
	"slices"

	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
)

// A stop without a clean shutdown may lose what was not yet on disk. Usually
// that is harmless: the replica follows and reads it again. But a replica whose
// log ends below the high watermark that it had itself written down has lost
// records that were committed. If it led, they would be gone everywhere.
//
// The controller doesn't know, and there is no request to tell it so. What
// there is: a replica may report that it is on a lost directory
// (AssignReplicasToDirs, KIP-858). Any controller then takes it out of the ISR
// and doesn't elect it, but leaves the broker alone. The replica goes on
// following; once a leader has brought it to the offset, or back into the ISR,
// it reports its true directory. Until the report arrives it refuses to lead.
//
// If nobody else can lead, the partition has no leader until somebody accepts
// the loss: an unclean election, the topic's unclean.leader.election.enable, or
// AcceptLoss.

func (h *hosted) isOwing() bool { return model.Offset(h.owed.Load()) != model.NoOffset }

// lost notes at load that committed records are missing.
func (b *Broker) lost(h *hosted, promised, end model.Offset, mp *metadata.Partition) {
	e := b.event(journal.UncleanLogLoss, h.p.TP(), "below-own-high-watermark", "")
	e.Offset, e.LogEnd, e.Leader, e.LeaderEpoch = promised, end, mp.Leader, mp.LeaderEpoch
	e.PartitionEpoch, e.OldISR, e.Dir = mp.PartitionEpoch, mp.ISR, h.dir.Path
	if h.unsafe {
		e.Detail = "accepted: unclean.leader.election.enable"
		b.cfg.Events.Emit(e)
		return
	}
	b.cfg.Events.Emit(e)
	h.owed.Store(int64(promised))
	if b.counted(mp) {
		b.dirq.put(idOf(h.p), model.LostDir)
	}
}

// mayLead is called for a replica that the metadata names leader.
func (b *Broker) mayLead(h *hosted, mp *metadata.Partition) bool {
	owed := model.Offset(h.owed.Load())
	switch {
	case owed == model.NoOffset:
		return true
	case h.p.LogEnd() >= owed:
		b.settle(h, "caught-up")
		return true
	case mp.Recovery == metadata.Recovering:
		b.settle(h, "unclean-election")
		return true
	case h.unsafe:
		b.settle(h, "unclean.leader.election.enable")
		return true
	}
	e := b.event(journal.LeadershipRefused, h.p.TP(), "below-own-high-watermark", fmt.Sprintf(
		"the log ends at %d, records up to %d were committed before the unclean stop", h.p.LogEnd(), owed))
	e.Offset, e.LogEnd, e.Leader = owed, h.p.LogEnd(), mp.Leader
	e.LeaderEpoch, e.PartitionEpoch = mp.LeaderEpoch, mp.PartitionEpoch
	b.cfg.Events.Emit(e)
	b.dirq.put(idOf(h.p), model.LostDir)
	return false
}

// repaid looks after an append whether the records are there again.
func (b *Broker) repaid(h *hosted) {
	if owed := model.Offset(h.owed.Load()); owed != model.NoOffset && h.p.LogEnd() >= owed {
		b.settle(h, "caught-up")
	}
}

// released looks whether the controller has stopped counting on the replica
// and somebody else leads: then no clean election can choose it before a leader
// has taken it back into the ISR.
func (b *Broker) released(h *hosted, mp *metadata.Partition) {
	if h.isOwing() && !h.refetching.Load() && mp.Leader >= 0 && mp.Leader != b.cfg.Self && !b.counted(mp) {
		b.settle(h, "out-of-isr")
	}
}

// counted tells whether an election may choose this broker's replica as one
// that has every committed record.
func (b *Broker) counted(mp *metadata.Partition) bool {
	for _, set := range [][]model.BrokerID{mp.ISR, mp.ELR, mp.LastKnownELR} {
		if slices.Contains(set, b.cfg.Self) {
			return true
		}
	}
	return mp.Leader == b.cfg.Self
}

// settle ends the debt, and tells the controller where the replica is.
func (b *Broker) settle(h *hosted, why string) {
	owed := model.Offset(h.owed.Swap(int64(model.NoOffset)))
	if owed == model.NoOffset {
		return
	}
	h.refetching.Store(false)
	e := b.event(journal.ReplicaRecovered, h.p.TP(), why, "")
	e.Offset, e.LogEnd, e.HighWatermark = owed, h.p.LogEnd(), h.p.HighWatermark()
	b.cfg.Events.Emit(e)
	if _, mp, ok := b.Image().PartitionByID(idOf(h.p)); ok {
		b.dirq.restore(idOf(h.p), h.dir.ID, mp.Dir(b.cfg.Self))
	}
}

// AcceptLoss lets a replica lead although committed records are missing in it.
// It is an operator's decision. A controller that has been told of the loss may
// still want an unclean election before it elects the replica; one that has not
// is taken at its word at once. Errors: ErrNotHosted; an error too if the replica
// lacks nothing.
func (b *Broker) AcceptLoss(tp model.TopicPartition) error {
	b.apply.Lock()
	defer b.apply.Unlock()
	h := b.apply.hosted[tp]
	if h == nil {
		return fmt.Errorf("%s: %w", tp, partition.ErrNotHosted)
	}
	if !h.isOwing() {
		return fmt.Errorf("%s lacks no committed records", tp)
	}
	b.settle(h, "accepted-by-operator")
	if _, mp, ok := b.Image().PartitionByID(idOf(h.p)); ok && mp.Leader == b.cfg.Self {
		leaders := []change{{tp, h.p.TopicID(), mp, mp}}
		b.lead(leaders, b.Image())
		b.elect(leaders)
	}
	return nil
}
