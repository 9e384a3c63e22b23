package controller

import (
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// electorate answers who may lead: the image, with one broker in the state that
// it will have after this decision. The records of partitions are written before
// that of the broker, so the image doesn't have that state yet.
type electorate struct {
	img *metadata.Image
	// changed, unless NoBroker, is in the state after; nil means unregistered.
	changed model.BrokerID
	after   *metadata.Broker
	// silent are brokers whose session has expired too: they are fenced next, one
	// after the other, and don't count as active before.
	silent []model.BrokerID
}

func voters(img *metadata.Image) electorate { return electorate{img: img, changed: model.NoBroker} }

func (e electorate) with(id model.BrokerID, after *metadata.Broker) electorate {
	return electorate{img: e.img, changed: id, after: after}
}

func (e electorate) broker(id model.BrokerID) *metadata.Broker {
	if id == e.changed {
		return e.after
	}
	return e.img.Brokers[id]
}

// active says why broker id can't hold an in-sync replica now, or Eligible.
func (e electorate) active(id model.BrokerID) Verdict {
	b := e.broker(id)
	switch {
	case b == nil:
		return CandidateUnregistered
	case b.Fenced, slices.Contains(e.silent, id) && id != e.changed:
		return CandidateFenced
	case b.InControlledShutdown:
		return CandidateShuttingDown
	}
	return Eligible
}

// anyAcceptable reports whether any of ids could lead.
func (e electorate) anyAcceptable(p *metadata.Partition, ids []model.BrokerID) bool {
	return slices.ContainsFunc(ids, func(id model.BrokerID) bool { return e.acceptable(p, id) == Eligible })
}

// acceptable also asks for the replica's directory (invariant 3).
func (e electorate) acceptable(p *metadata.Partition, id model.BrokerID) Verdict {
	if v := e.active(id); v != Eligible {
		return v
	}
	if !hasDir(e.broker(id), dirOf(p, id)) {
		return CandidateDirectoryLost
	}
	return Eligible
}

// hasDir reports whether b has the directory online. A replica that has no
// directory yet may be anywhere; a broker that registered none predates KIP-858.
func hasDir(b *metadata.Broker, dir model.DirectoryID) bool {
	switch dir {
	case model.UnassignedDir, model.MigratingDir:
		return true
	case model.LostDir:
		return false
	}
	return b == nil || len(b.Dirs) == 0 || slices.Contains(b.Dirs, dir)
}

// dirOf is the directory of broker id's replica, MigratingDir if unknown.
func dirOf(p *metadata.Partition, id model.BrokerID) model.DirectoryID {
	i := slices.Index(p.Replicas, id)
	if i < 0 || i >= len(p.Dirs) {
		return model.MigratingDir
	}
	return p.Dirs[i]
}

// defaultDir is where a new replica on b goes: its only directory, or the broker
// chooses.
func defaultDir(b *metadata.Broker) model.DirectoryID {
	switch {
	case b == nil:
		return model.UnassignedDir
	case len(b.Dirs) == 0:
		return model.MigratingDir
	case len(b.Dirs) == 1:
		return b.Dirs[0]
	}
	return model.UnassignedDir
}

// ballot is how far an election may go.
type ballot uint8

const (
	ballotOnline    ballot = iota // from ISR, ELR or the last known leader
	ballotPreferred               // the same, the first replica before the present leader
	ballotUnclean                 // then any acceptable replica: the topic's config allows it
	ballotForced                  // then even one whose directory is lost: an operator asked
)

// elect chooses the leader of ch.next. There is no comparison of log ends: the
// position in the replica list decides.
func (ch *change) elect(el electorate, b ballot) {
	next := &ch.next
	valid := func(r model.BrokerID) bool {
		return el.acceptable(next, r) == Eligible && ch.electable(r)
	}
	switch {
	case b == ballotPreferred && len(next.Replicas) > 0 && valid(next.Replicas[0]):
		ch.lead(el, next.Replicas[0])
		return
	case ch.from.Leader != model.NoBroker && valid(ch.from.Leader):
		return
	}
	if i := slices.IndexFunc(next.Replicas, valid); i >= 0 {
		ch.lead(el, next.Replicas[i])
		return
	}
	acceptable := func(r model.BrokerID) bool { return el.acceptable(next, r) == Eligible }
	if r, ok := ch.lastKnownLeader(); ok && acceptable(r) {
		ch.leadUncleanly(r, FromLastKnown)
		return
	}
	if b >= ballotUnclean {
		if i := slices.IndexFunc(next.Replicas, acceptable); i >= 0 {
			ch.leadUncleanly(next.Replicas[i], FromUnclean)
			return
		}
	}
	if b == ballotForced && ch.leadWithoutData(el) {
		return
	}
	next.Leader = model.NoBroker
	ch.election = NoneEligible
}

// electable reports whether r has all committed data: it is in the ISR or, when
// nobody is, in the ELR.
func (ch *change) electable(r model.BrokerID) bool {
	if slices.Contains(ch.next.ISR, r) {
		return true
	}
	return ch.rules.elr && len(ch.next.ISR) == 0 && slices.Contains(ch.next.ELR, r)
}

// lastKnownLeader is the leader that went last, once ISR and ELR are empty.
func (ch *change) lastKnownLeader() (model.BrokerID, bool) {
	n := &ch.next
	if !ch.rules.elr || len(n.ISR) > 0 || len(n.ELR) > 0 || len(n.LastKnownELR) != 1 {
		return model.NoBroker, false
	}
	r := n.LastKnownELR[0]
	return r, slices.Contains(n.Replicas, r)
}

// lead makes r, a member of the ISR or the ELR, the leader. An ISR that was kept
// while nobody could lead is left by those who still can't hold an in-sync replica.
func (ch *change) lead(el electorate, r model.BrokerID) {
	ch.next.Leader = r
	if r == ch.from.Leader {
		return
	}
	ch.election = FromISR
	if ch.from.Leader == model.NoBroker {
		ch.next.ISR = slices.DeleteFunc(ch.next.ISR, func(id model.BrokerID) bool {
			return el.acceptable(&ch.next, id) != Eligible
		})
	}
	if !slices.Contains(ch.next.ISR, r) {
		ch.election = FromELR
		ch.next.ISR = []model.BrokerID{r}
		ch.next.ELR = without(ch.next.ELR, r)
	}
}

// leadUncleanly makes r the leader although it may lack committed records: the
// others have to follow it, and it recovers first (KIP-704).
func (ch *change) leadUncleanly(r model.BrokerID, by ElectionKind) {
	n := &ch.next
	n.Leader, n.ISR, n.ELR, n.LastKnownELR = r, []model.BrokerID{r}, nil, nil
	n.Recovery = metadata.Recovering
	ch.election = by
}

// leadWithoutData elects a replica whose directory is lost: what an operator asks
// for who knows that no copy comes back. The replica starts empty in a new place.
func (ch *change) leadWithoutData(el electorate) bool {
	for i, r := range ch.next.Replicas {
		if el.acceptable(&ch.next, r) != CandidateDirectoryLost {
			continue
		}
		ch.leadUncleanly(r, FromUnclean)
		ch.next.Dirs[i] = defaultDir(el.broker(r))
		return true
	}
	return false
}

// Candidates says of every replica of p, in replica order, whether it could be
// elected and if not, why. A replica whose directory is lost is called that even
// while its broker is fenced: it is what doesn't pass by itself.
func Candidates(img *metadata.Image, p *metadata.Partition) []Candidate {
	return voters(img).candidates(p)
}

func (e electorate) candidates(p *metadata.Partition) []Candidate {
	cs := make([]Candidate, 0, len(p.Replicas))
	for _, r := range p.Replicas {
		v := e.acceptable(p, r)
		switch b := e.broker(r); {
		case b != nil && !hasDir(b, dirOf(p, r)):
			v = CandidateDirectoryLost
		case v == Eligible && !slices.Contains(p.ISR, r) && !slices.Contains(p.ELR, r):
			v = NotInISR
		}
		cs = append(cs, Candidate{Broker: r, Verdict: v})
	}
	return cs
}
