package controller

import (
	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// decideElectLeaders elects on request. A preferred election moves leadership to
// the first replica; an unclean one gives a partition without a leader to any live
// replica, whatever it has lost.
func (c *Core) decideElectLeaders(t *step, r *ElectLeaders) *ElectLeadersResponse {
	resp := &ElectLeadersResponse{}
	if r.Type != ElectPreferred && r.Type != ElectUnclean {
		resp.Result = fail(InvalidRequest, "election type %d", r.Type)
		return resp
	}
	if r.All {
		for _, p := range partitions(t.img, func(*metadata.Partition) bool { return true }) {
			if res := c.electOne(t, p, r.Type); res.Code != ElectionNotNeeded {
				resp.Partitions = append(resp.Partitions, PartitionResult{p.name(), res})
			}
		}
		return resp
	}
	seen := map[model.TopicPartition]bool{}
	for _, tp := range r.Partitions {
		if seen[tp] {
			t.sync()
		}
		seen[tp] = true
		p, code := findByName(t.img, tp)
		res := fail(code, "No such partition as %s", tp)
		if code == OK {
			res = c.electOne(t, p, r.Type)
		}
		resp.Partitions = append(resp.Partitions, PartitionResult{tp, res})
	}
	return resp
}

func (c *Core) electOne(t *step, where ref, typ ElectionType) Result {
	p := where.part()
	b, why := ballotPreferred, PreferredElection
	switch {
	case typ == ElectPreferred && p.Leader == p.Replicas[0]:
		return fail(ElectionNotNeeded, "the preferred replica %d already leads", p.Leader)
	case typ == ElectUnclean && p.Leader != model.NoBroker:
		return fail(ElectionNotNeeded, "broker %d leads", p.Leader)
	case typ == ElectUnclean:
		b, why = ballotForced, UncleanElection
	}
	ch := c.change(t.img, where)
	t.apply(ch, voters(t.img), b, why, model.NoBroker)
	switch {
	case typ == ElectPreferred && ch.next.Leader != p.Replicas[0]:
		return fail(PreferredLeaderUnavailable, "the preferred replica %d can't lead", p.Replicas[0])
	case typ == ElectUnclean && ch.next.Leader == model.NoBroker:
		return fail(EligibleLeadersUnavailable, "no replica of %v is alive", p.Replicas)
	}
	return Result{}
}

// rebalance moves leadership back to first replicas that can take it. Reports
// whether it stopped at its limit, so that more may be left.
func (c *Core) rebalance(t *step) (more bool) {
	el := voters(t.img)
	elections := 0
	for _, p := range partitions(t.img, func(p *metadata.Partition) bool { return p.Leader != p.Replicas[0] }) {
		ch := c.change(t.img, p)
		first := p.part().Replicas[0]
		if el.acceptable(p.part(), first) != Eligible || !ch.electable(first) {
			continue
		}
		if elections == maxRebalance {
			return true
		}
		if t.apply(ch, el, ballotPreferred, PreferredElection, model.NoBroker) {
			elections++
		}
	}
	return false
}

// sweepUnclean elects where a topic allows unclean election. Setting that config
// is no trigger of its own, so partitions are looked at from time to time.
func (c *Core) sweepUnclean(t *step) {
	el := voters(t.img)
	for _, p := range partitions(t.img, func(p *metadata.Partition) bool { return p.Leader == model.NoBroker }) {
		if ch := c.change(t.img, p); ch.rules.unclean {
			t.apply(ch, el, ballotUnclean, UncleanElection, model.NoBroker)
		}
	}
}
