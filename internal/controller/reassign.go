package controller

import (
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// decideReassign starts, replaces or cancels moves of replicas (KIP-455). A move
// ends by itself, at the ISR change that brings the last target replica in.
func (c *Core) decideReassign(t *step, r *AlterPartitionReassignments) *AlterPartitionReassignmentsResponse {
	resp := &AlterPartitionReassignmentsResponse{}
	seen := map[model.TopicPartition]bool{}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if seen[p.Partition] {
			t.sync()
		}
		seen[p.Partition] = true
		resp.Partitions = append(resp.Partitions, PartitionResult{p.Partition, c.reassign(t, p, r.AllowRFChange)})
	}
	if len(t.records) > maxRecords {
		t.discard()
		return &AlterPartitionReassignmentsResponse{Result: tooManyRecords()}
	}
	return resp
}

func (c *Core) reassign(t *step, r *Reassign, allowRF bool) Result {
	where, code := findByName(t.img, r.Partition)
	if code != OK {
		return fail(code, "Unable to find partition %s", r.Partition)
	}
	if r.Cancel {
		return c.cancelReassign(t, where)
	}
	p := where.part()
	if res := checkAssignment(t.img, r.Replicas); res.Failed() {
		return res
	}
	stay := minus(p.Replicas, p.Adding)
	if !allowRF && len(r.Replicas) != len(stay) {
		return fail(InvalidReplicationFactor, "The replication factor is changed from %d to %d",
			len(stay), len(r.Replicas))
	}
	ch := c.change(t.img, where)
	el := voters(t.img)
	ch.next.Removing = sortedIDs(minus(p.Replicas, r.Replicas))
	ch.next.Adding = sortedIDs(addingFor(p, r.Replicas))
	ch.replace(append(slices.Clone(r.Replicas), ch.next.Removing...), el)
	t.apply(ch, el, ch.ballot(), ReassignmentStep, model.NoBroker)
	return Result{}
}

// addingFor is what the target has beyond the present replicas, and what an
// earlier, unfinished move was adding and the target keeps.
func addingFor(p *metadata.Partition, target []model.BrokerID) []model.BrokerID {
	return minus(target, minus(p.Replicas, p.Adding))
}

// cancelReassign goes back to the replicas of before the move.
func (c *Core) cancelReassign(t *step, where ref) Result {
	p := where.part()
	if len(p.Adding) == 0 && len(p.Removing) == 0 {
		return fail(NoReassignment, "No partition reassignment in progress.")
	}
	ch := c.change(t.img, where)
	el := voters(t.img)
	back := original(p)
	ch.replace(back, el)
	ch.next.ISR = minus(p.ISR, p.Adding)
	ch.next.Adding, ch.next.Removing = nil, nil
	b := ch.ballot()
	if len(ch.next.ISR) == 0 && !ch.rules.unclean {
		return fail(InvalidAssignment, "Unable to revert partition assignment for %s because it would require "+
			"an unclean leader election.", where.name())
	}
	if len(ch.next.ISR) == 0 {
		ch.next.ISR = []model.BrokerID{back[0]}
		ch.next.Recovery = metadata.Recovering
	}
	t.apply(ch, el, b, ReassignmentStep, model.NoBroker)
	return Result{}
}

// original is the replica list without the added replicas.
func original(p *metadata.Partition) []model.BrokerID { return minus(p.Replicas, p.Adding) }

// decideListReassignments reads; it yields no record.
func (c *Core) decideListReassignments(t *step, r *ListPartitionReassignments) *ListPartitionReassignmentsResponse {
	resp := &ListPartitionReassignmentsResponse{}
	running := func(p *metadata.Partition) bool { return len(p.Adding) > 0 || len(p.Removing) > 0 }
	for _, p := range partitions(t.img, running) {
		if !r.All && !slices.Contains(r.Partitions, p.name()) {
			continue
		}
		part := p.part()
		resp.Partitions = append(resp.Partitions, Reassignment{
			Partition: p.name(), Replicas: slices.Clone(part.Replicas),
			Adding: slices.Clone(part.Adding), Removing: slices.Clone(part.Removing),
		})
	}
	return resp
}

// checkAssignment judges a replica list given by hand. Racks are not looked at.
func checkAssignment(img *metadata.Image, replicas []model.BrokerID) Result {
	if len(replicas) == 0 {
		return fail(InvalidAssignment, "The manual partition assignment includes an empty replica list.")
	}
	sorted := sortedIDs(replicas)
	for i, id := range sorted {
		switch {
		case id < 0:
			return fail(InvalidAssignment, "The manual partition assignment includes invalid broker ID %d.", id)
		case i > 0 && sorted[i-1] == id:
			return fail(InvalidAssignment, "The manual partition assignment includes the broker %d more than "+
				"once.", id)
		case img.Brokers[id] == nil:
			return fail(InvalidAssignment, "The manual partition assignment includes broker %d, but no such "+
				"broker is registered.", id)
		}
	}
	return Result{}
}

func tooManyRecords() Result {
	return fail(PolicyViolation, "Unable to perform excessively large batch operation.")
}

func sortedIDs(ids []model.BrokerID) []model.BrokerID {
	if len(ids) == 0 {
		return nil
	}
	return slices.Sorted(slices.Values(ids))
}
