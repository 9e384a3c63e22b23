package sim

import (
	"tidemark/internal/controller"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/replica"
)

// alterQueue sends ISR proposals to the controller, one request at a time.
type alterQueue struct {
	b       *broker
	waiting []alterItem
	busy    bool
}

type alterItem struct {
	p *partition.Partition
	c *replica.ISRChange
}

// Propose implements partition.Sender.
func (q *alterQueue) Propose(p *partition.Partition, c *replica.ISRChange) {
	b := q.b
	b.w.logf(&b.node, "proposes isr %v of %s, epoch %d/%d", c.IDs(), p.TP(), c.LeaderEpoch, c.PartitionEpoch)
	q.waiting = append(q.waiting, alterItem{p, c})
	b.w.after(0, &b.node, "alter partition", func() {
		q.send()
		b.w.nemesis.proposed(b, c)
	})
}

func (q *alterQueue) send() {
	if q.busy || len(q.waiting) == 0 {
		return
	}
	items := q.waiting
	q.waiting, q.busy = nil, true
	b := q.b
	req := &controller.AlterPartitions{Broker: model.BrokerID(b.id), Epoch: b.epoch}
	for _, i := range items {
		a := controller.AlterPartition{
			Partition:   model.TopicIDPartition{TopicID: i.p.TopicID(), Partition: i.p.TP().Partition},
			LeaderEpoch: i.c.LeaderEpoch, PartitionEpoch: i.c.PartitionEpoch,
		}
		for _, m := range i.c.ISR {
			e := m.Epoch
			if m.ID == req.Broker {
				e = b.epoch
			}
			a.ISR = append(a.ISR, controller.ISRMember{Broker: m.ID, Epoch: e})
		}
		req.Partitions = append(req.Partitions, a)
	}
	if b.w.nemesis.loseRequest() {
		b.w.logf(&b.node, "AlterPartition is lost on its way")
		b.w.after(100*ms+b.w.upTo(2*second), &b.node, "alter retry", func() {
			q.busy = false
			q.retry(items)
			q.send()
		})
		return
	}
	b.askController("alter partition", req, func(resp any, err error) {
		r, ok := resp.(*controller.AlterPartitionsResponse)
		if ok && b.w.nemesis.loseAlter() {
			b.w.logf(&b.node, "the answer to AlterPartition is lost")
			ok = false
		}
		q.busy = false
		if err != nil || !ok || r.Failed() {
			b.w.rare.hit(AlterRetried)
			b.w.after(50*ms+b.w.upTo(100*ms), &b.node, "alter retry", func() { q.retry(items) })
		} else {
			q.answered(items, r)
		}
		q.send()
	})
}

func (q *alterQueue) retry(items []alterItem) {
	for _, i := range items {
		q.refuse(i, replica.RefusedRetry)
	}
}

func (q *alterQueue) refuse(i alterItem, why replica.Refusal) {
	if h := q.b.find(i.p.TP()); h != nil && h.p == i.p {
		i.p.ISRRejected(i.c.LeaderEpoch, i.c.Proposal, why)
		q.b.perform(h)
	}
}

func (q *alterQueue) answered(items []alterItem, r *controller.AlterPartitionsResponse) {
	for n, i := range items {
		a := r.Partitions[n]
		switch a.Code {
		case controller.OK:
			if h := q.b.find(i.p.TP()); h != nil && h.p == i.p {
				i.p.ISRCommitted(replica.ISRAnswer{
					Proposal: i.c.Proposal, LeaderEpoch: a.LeaderEpoch, PartitionEpoch: a.PartitionEpoch, ISR: a.ISR,
				})
				q.b.perform(h)
			}
		case controller.IneligibleReplica:
			q.b.w.rare.hit(CandidateIneligible)
			q.b.w.logf(&q.b.node, "refused: %v", a.Result)
			q.refuse(i, replica.RefusedIneligible)
		case controller.FencedLeaderEpoch, controller.InvalidUpdateVersion, controller.InvalidRequest,
			controller.UnknownTopicID, controller.UnknownTopic, controller.NewLeaderElected:
			q.b.w.rare.hit(AlterStale)
			q.refuse(i, replica.RefusedStale)
		default:
			q.b.w.after(50*ms, &q.b.node, "alter retry", func() { q.refuse(i, replica.RefusedRetry) })
		}
	}
}
