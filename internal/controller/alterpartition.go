package controller

import (
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// decideAlterPartitions judges each proposal on its own. The order of the checks
// is part of the protocol: the leader draws different conclusions from each code.
func (c *Core) decideAlterPartitions(t *step, r *AlterPartitions) *AlterPartitionsResponse {
	if res := checkEpoch(t.img.Brokers[r.Broker], r.Broker, r.Epoch); res.Failed() {
		return &AlterPartitionsResponse{Result: res}
	}
	resp := &AlterPartitionsResponse{Partitions: make([]AlteredPartition, 0, len(r.Partitions))}
	seen := map[model.TopicIDPartition]bool{}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if seen[p.Partition] {
			t.sync()
		}
		seen[p.Partition] = true
		resp.Partitions = append(resp.Partitions, c.alterPartition(t, r.Broker, p))
	}
	return resp
}

func (c *Core) alterPartition(t *step, from model.BrokerID, r *AlterPartition) AlteredPartition {
	answer := AlteredPartition{Partition: r.Partition}
	where, code := find(t.img, r.Partition)
	if code != OK {
		answer.Code = code
		return answer
	}
	el := voters(t.img)
	if answer.Result = checkProposal(el, where.part(), from, r); answer.Failed() {
		return answer
	}
	ch := c.change(t.img, where)
	ch.next.ISR = members(r.ISR)
	ch.next.Recovery = r.Recovery
	t.apply(ch, el, ch.ballot(), LeaderProposed, from)
	if ch.next.Leader != from {
		// The change is applied; a reassignment that it completed took the
		// leadership away from the asking broker.
		answer.Result = fail(NewLeaderElected, "leader is now %d", ch.next.Leader)
		return answer
	}
	answer.Leader, answer.LeaderEpoch = ch.next.Leader, ch.next.LeaderEpoch
	answer.ISR, answer.Recovery = slices.Clone(ch.next.ISR), ch.next.Recovery
	answer.PartitionEpoch = ch.next.PartitionEpoch
	return answer
}

func checkProposal(el electorate, p *metadata.Partition, from model.BrokerID, r *AlterPartition) Result {
	switch {
	case r.LeaderEpoch > p.LeaderEpoch || r.PartitionEpoch > p.PartitionEpoch:
		// The asking leader knows more than we do: we are not the active
		// controller any more, or not yet up to date.
		return fail(NotController, "epoch %d/%d is ahead of ours, %d/%d",
			r.LeaderEpoch, r.PartitionEpoch, p.LeaderEpoch, p.PartitionEpoch)
	case r.LeaderEpoch < p.LeaderEpoch:
		return fail(FencedLeaderEpoch, "leader epoch %d, now %d", r.LeaderEpoch, p.LeaderEpoch)
	case from != p.Leader:
		return fail(InvalidRequest, "broker %d is not the leader, %d is", from, p.Leader)
	case r.PartitionEpoch < p.PartitionEpoch:
		return fail(InvalidUpdateVersion, "partition epoch %d, now %d", r.PartitionEpoch, p.PartitionEpoch)
	}
	if res := checkISR(p, from, r); res.Failed() {
		return res
	}
	return checkEligible(el, p, r.ISR)
}

func checkISR(p *metadata.Partition, from model.BrokerID, r *AlterPartition) Result {
	isr := members(r.ISR)
	for i, id := range isr {
		switch {
		case slices.Contains(isr[:i], id):
			return fail(InvalidRequest, "isr %v names %d twice", isr, id)
		case !slices.Contains(p.Replicas, id):
			return fail(InvalidRequest, "isr %v names %d, which is not a replica", isr, id)
		}
	}
	switch {
	case !slices.Contains(isr, from):
		return fail(InvalidRequest, "isr %v is without the leader %d", isr, from)
	case r.Recovery != metadata.Recovered && r.Recovery != metadata.Recovering:
		return fail(InvalidRequest, "leader recovery state %d", r.Recovery)
	case r.Recovery == metadata.Recovering && len(isr) > 1:
		return fail(InvalidRequest, "isr %v has more than one member while the leader recovers", isr)
	case r.Recovery == metadata.Recovering && p.Recovery == metadata.Recovered:
		return fail(InvalidRequest, "the leader has already recovered")
	}
	return Result{}
}

// checkEligible is invariant 2. The epoch ties a member to the life of its broker
// that the leader saw catch up: one that restarted with an empty disk since then is
// refused (KIP-903).
func checkEligible(el electorate, p *metadata.Partition, isr []ISRMember) Result {
	for _, m := range isr {
		if v := el.acceptable(p, m.Broker); v != Eligible {
			return fail(IneligibleReplica, "replica %d is %s", m.Broker, v)
		}
		if epoch := el.broker(m.Broker).Epoch; m.Epoch != model.NoBrokerEpoch && m.Epoch != epoch {
			return fail(IneligibleReplica, "replica %d has broker epoch %d, now %d", m.Broker, m.Epoch, epoch)
		}
	}
	return Result{}
}

func members(isr []ISRMember) []model.BrokerID {
	ids := make([]model.BrokerID, len(isr))
	for i, m := range isr {
		ids[i] = m.Broker
	}
	return ids
}
