package broker

import (
	"slices"
	"sync"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/replica"
)

// alterQueue carries ISR proposals to the controller: at most one per
// partition, one request in flight, and whatever gathers meanwhile goes in the
// next. It is bounded by the number of partitions, so it is never full.
type alterQueue struct {
	b    *Broker
	kick chan struct{}
	mu   struct {
		sync.Mutex
		waiting map[model.TopicIDPartition]proposal
	}
}

type proposal struct {
	p *partition.Partition
	c *replica.ISRChange
}

func newAlterQueue(b *Broker) *alterQueue {
	q := &alterQueue{b: b, kick: make(chan struct{}, 1)}
	q.mu.waiting = make(map[model.TopicIDPartition]proposal)
	return q
}

func idOf(p *partition.Partition) model.TopicIDPartition {
	return model.TopicIDPartition{TopicID: p.TopicID(), Partition: p.TP().Partition}
}

// Propose queues c (partition.Sender). It takes the place of one that waits: a
// partition proposes again only after a role change has made the older one void.
func (b *Broker) Propose(p *partition.Partition, c *replica.ISRChange) {
	b.alter.put(proposal{p, c}, true)
}

func (q *alterQueue) put(x proposal, replace bool) {
	q.mu.Lock()
	if _, ok := q.mu.waiting[idOf(x.p)]; !ok || replace {
		q.mu.waiting[idOf(x.p)] = x
	}
	q.mu.Unlock()
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// take returns all that wait, by partition, without those whose leadership has ended.
func (q *alterQueue) take() []proposal {
	q.mu.Lock()
	all := make([]proposal, 0, len(q.mu.waiting))
	for _, x := range q.mu.waiting {
		all = append(all, x)
	}
	clear(q.mu.waiting)
	q.mu.Unlock()
	all = slices.DeleteFunc(all, func(x proposal) bool {
		leads, epoch := x.p.Leads()
		return !leads || epoch != x.c.LeaderEpoch
	})
	slices.SortFunc(all, func(a, b proposal) int { return a.p.TP().Compare(b.p.TP()) })
	return all
}

func (q *alterQueue) run() {
	for {
		select {
		case <-q.b.ctx.Done():
			return
		case <-q.kick:
		}
		for batch := q.take(); len(batch) > 0; batch = q.take() {
			if again := q.send(batch); len(again) > 0 {
				for _, x := range again {
					q.put(x, false)
				}
				select {
				case <-q.b.ctx.Done():
					return
				case <-time.After(q.b.cfg.RetryBackoff):
				}
			}
		}
	}
}

// send returns the proposals that were not decided.
func (q *alterQueue) send(batch []proposal) (again []proposal) {
	epoch := q.b.cfg.Epoch()
	req := make([]peer.AlterPartition, len(batch))
	for i, x := range batch {
		req[i] = peer.AlterPartition{Of: idOf(x.p), LeaderEpoch: x.c.LeaderEpoch, PartitionEpoch: x.c.PartitionEpoch}
		for _, m := range x.c.ISR {
			if m.ID == q.b.cfg.Self {
				m.Epoch = epoch
			}
			req[i].ISR = append(req[i].ISR, peer.ISRMember{Broker: m.ID, Epoch: m.Epoch})
		}
	}
	res, err := q.b.cfg.Alter.AlterPartitions(q.b.ctx, q.b.cfg.Self, epoch, req)
	if err != nil || res.Code != peer.CodeNone {
		return batch
	}
	answers := make(map[model.TopicIDPartition]peer.AlteredPartition, len(res.Partitions))
	for _, a := range res.Partitions {
		answers[a.Of] = a
	}
	for _, x := range batch {
		a, ok := answers[idOf(x.p)]
		if !ok || !q.settle(x, a) {
			again = append(again, x)
		}
	}
	return again
}

// settle gives the verdict to the partition; false if there is none yet.
func (q *alterQueue) settle(x proposal, a peer.AlteredPartition) bool {
	switch a.Code { // flat switch
	case peer.CodeNone:
		x.p.ISRCommitted(replica.ISRAnswer{
			Proposal: x.c.Proposal, LeaderEpoch: a.LeaderEpoch, PartitionEpoch: a.PartitionEpoch, ISR: a.ISR,
		})
	case peer.CodeIneligibleReplica, peer.CodeNotAttempted:
		x.p.ISRRejected(x.c.LeaderEpoch, x.c.Proposal, replica.RefusedIneligible)
	case peer.CodeUnknownTopicOrPartition, peer.CodeUnknownTopicID, peer.CodeInvalidRequest, peer.CodeFencedLeaderEpoch,
		peer.CodeInvalidUpdateVersion, peer.CodeNewLeaderElected:
		x.p.ISRRejected(x.c.LeaderEpoch, x.c.Proposal, replica.RefusedStale)
	default:
		return false
	}
	perform(x.p)
	return true
}
