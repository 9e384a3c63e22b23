package controller

import (
	"slices"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// departure describes a broker that leaves ISRs: who, its state afterwards, why.
type departure struct {
	id     model.BrokerID
	after  *metadata.Broker // nil: unregistered
	reason Reason
	// unclean: what it had beyond its last flush may be gone, so it isn't even
	// eligible from the ELR.
	unclean bool
}

// depart takes the broker out of every ISR that it is in, and elects. Partitions
// come before the broker's own record, so no replay sees a fenced leader.
//
// Where nobody who is left in the ISR could lead, it is kept as it is: all of them
// have what was committed, so whoever returns first may lead. To go on removing
// them would leave one by chance, and the partition waiting for that one alone,
// after all brokers stopped at once. (With the ELR, that remembers them.)
func (c *Core) depart(t *step, d departure) {
	expired := c.expired(t.env.Now)
	for _, p := range partitions(t.img, func(p *metadata.Partition) bool {
		return slices.Contains(p.ISR, d.id) || d.unclean && slices.Contains(p.ELR, d.id)
	}) {
		ch := c.change(t.img, p)
		ch.next.ISR = without(ch.next.ISR, d.id)
		el := voters(t.img).with(d.id, d.after)
		if !ch.rules.elr {
			el.silent = expired
			if d.after != nil && !el.anyAcceptable(&ch.next, ch.next.ISR) {
				ch.next.ISR = slices.Clone(ch.from.ISR)
			}
		}
		if d.unclean {
			ch.unclean = []model.BrokerID{d.id}
			ch.next.ELR = without(ch.next.ELR, d.id)
		}
		t.apply(ch, el, ch.ballot(), d.reason, d.id)
	}
}

// fence moves everything off b and then fences it.
func (c *Core) fence(t *step, b *metadata.Broker, why Reason, silent time.Duration) {
	after := *b
	after.Fenced = true
	c.depart(t, departure{id: b.ID, after: &after, reason: why})
	t.emit(&metadata.BrokerRegistrationChangeRecord{
		BrokerID: b.ID, BrokerEpoch: b.Epoch, Fenced: metadata.Fence,
	})
	ev := Evidence{Kind: BrokerFenced, Reason: why, Broker: b.ID, Epoch: b.Epoch, Silent: silent}
	if why == SessionExpired {
		ev.Limit = c.cfg.SessionTimeout
	}
	t.saw(ev)
}

// unfence admits b and elects for partitions without a leader that it may lead.
// The broker's record comes first: a leader is never fenced.
func (c *Core) unfence(t *step, b *metadata.Broker) {
	after := *b
	after.Fenced = false
	t.emit(&metadata.BrokerRegistrationChangeRecord{
		BrokerID: b.ID, BrokerEpoch: b.Epoch, Fenced: metadata.Unfence,
	})
	t.saw(Evidence{Kind: BrokerUnfenced, Reason: CaughtUp, Broker: b.ID, Epoch: b.Epoch})
	c.electLeaderless(t, voters(t.img).with(b.ID, &after), b.ID, CaughtUp)
}

// electLeaderless tries every partition without a leader that has a replica on id.
func (c *Core) electLeaderless(t *step, el electorate, id model.BrokerID, why Reason) {
	for _, p := range partitions(t.img, func(p *metadata.Partition) bool {
		return p.Leader == model.NoBroker && slices.Contains(p.Replicas, id)
	}) {
		ch := c.change(t.img, p)
		t.apply(ch, el, ch.ballot(), why, id)
		if ch.next.Leader == model.NoBroker && awaited(p.part(), id) && !hasDir(el.broker(id), dirOf(p.part(), id)) {
			t.saw(offline(ch, el, id))
		}
	}
}

// offline is the evidence that a partition waits for data that id came back
// without.
func offline(ch *change, el electorate, id model.BrokerID) Evidence {
	ev := ch.evidence(el, DirectoryLost, id)
	ev.Kind, ev.Candidates = PartitionOffline, el.candidates(ch.from)
	return ev
}

// shutDown begins a controlled shutdown: leaderships and ISR memberships go at
// once, the broker stays unfenced until the others have seen it.
func (c *Core) shutDown(t *step, b *metadata.Broker) {
	after := *b
	after.InControlledShutdown = true
	c.depart(t, departure{id: b.ID, after: &after, reason: ShuttingDown})
	if b.InControlledShutdown {
		return
	}
	t.emit(&metadata.BrokerRegistrationChangeRecord{
		BrokerID: b.ID, BrokerEpoch: b.Epoch, InControlledShutdown: 1,
	})
	t.saw(Evidence{Kind: ControlledShutdown, Reason: BrokerAsked, Broker: b.ID, Epoch: b.Epoch})
}

// leads reports whether broker id leads any partition.
func leads(img *metadata.Image, id model.BrokerID) bool {
	for _, topic := range img.Topics.ByID {
		for _, p := range topic.Partitions {
			if p.Leader == id {
				return true
			}
		}
	}
	return false
}
