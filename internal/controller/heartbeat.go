package controller

import (
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// brokerState is what the controller thinks a broker may do.
type brokerState uint8

const (
	stateFenced brokerState = iota
	stateUnfenced
	stateShuttingDown
	stateShutdownNow
)

// decideHeartbeat renews the session and moves the broker through its states. A
// heartbeat that changes nothing yields no record, so it costs no consensus.
//
//	now            heartbeat                                        next
//	fenced         wants shutdown                                   shutdown now
//	fenced         doesn't want the fence, has applied its record   unfenced
//	fenced         else                                             fenced
//	unfenced       wants the fence                                  fenced (shutdown now)
//	unfenced       wants shutdown, leads something                  shutting down
//	unfenced       wants shutdown, leads nothing                    shutdown now
//	shutting down  leads something, or the others haven't seen it   shutting down
//	shutting down  else                                             shutdown now
func (c *Core) decideHeartbeat(t *step, r *BrokerHeartbeat) *BrokerHeartbeatResponse {
	b := t.img.Brokers[r.Broker]
	if res := checkEpoch(b, r.Broker, r.Epoch); res.Failed() {
		return &BrokerHeartbeatResponse{Result: res, Fenced: true}
	}
	s := c.session(b, t.env.Now)
	s.last = t.env.Now
	s.offset = max(s.offset, r.MetadataOffset)
	caughtUp := r.MetadataOffset >= registeredAt(b, s)

	if c.directoriesOffline(t, b, r.OfflineDirs) {
		t.sync()
		b = t.img.Brokers[r.Broker]
	}
	next := c.nextState(t.img, b, s, r, caughtUp)
	c.enter(t, b, s, next)
	return &BrokerHeartbeatResponse{
		CaughtUp:       caughtUp,
		Fenced:         next == stateFenced || next == stateShutdownNow,
		ShouldShutdown: next == stateShutdownNow,
	}
}

// checkEpoch refuses requests of an earlier life of a broker (KIP-631).
func checkEpoch(b *metadata.Broker, id model.BrokerID, epoch model.BrokerEpoch) Result {
	switch {
	case b == nil:
		return fail(StaleBrokerEpoch, "No broker registration found for broker id %d", id)
	case b.Epoch != epoch:
		return fail(StaleBrokerEpoch, "Expected broker epoch %d, but got broker epoch %d", b.Epoch, epoch)
	}
	return Result{}
}

// registeredAt is the offset that the broker must have applied to know its own
// registration.
func registeredAt(b *metadata.Broker, s *session) model.Offset {
	if s.registered != model.NoOffset {
		return s.registered
	}
	return b.RegisteredAt
}

func (c *Core) nextState(img *metadata.Image, b *metadata.Broker, s *session, r *BrokerHeartbeat,
	caughtUp bool) brokerState {
	switch {
	case b.Fenced && r.WantShutdown:
		return stateShutdownNow
	case b.Fenced && !r.WantFence && caughtUp:
		return stateUnfenced
	case b.Fenced:
		return stateFenced
	case b.InControlledShutdown:
		return c.shutdownState(img, b, s)
	case r.WantFence && r.WantShutdown:
		return stateShutdownNow
	case r.WantFence:
		return stateFenced
	case r.WantShutdown && leads(img, b.ID):
		return stateShuttingDown
	case r.WantShutdown:
		return stateShutdownNow
	}
	return stateUnfenced
}

// shutdownState lets a broker go once it leads nothing and every other active
// broker has applied the records that moved its leaderships (KAFKA-14292): until
// then clients that ask them are still sent here, and must find somebody to say no.
func (c *Core) shutdownState(img *metadata.Image, b *metadata.Broker, s *session) brokerState {
	if leads(img, b.ID) || s.shutdown == model.NoOffset {
		return stateShuttingDown
	}
	if low, others := c.acknowledged(b.ID); others && low < s.shutdown {
		return stateShuttingDown
	}
	return stateShutdownNow
}

func (c *Core) enter(t *step, b *metadata.Broker, s *session, next brokerState) {
	switch next {
	case stateFenced, stateShutdownNow:
		if next == stateShutdownNow {
			s.end()
		}
		if b.Fenced {
			return
		}
		why := BrokerAsked
		if next == stateShutdownNow {
			why = ShuttingDown
		}
		c.fence(t, b, why, 0)
	case stateUnfenced:
		if b.Fenced {
			c.unfence(t, b)
		}
	case stateShuttingDown:
		if !b.InControlledShutdown || leads(t.img, b.ID) {
			c.shutDown(t, b)
		}
		// Fixed once, at the first heartbeat in this state: a later one would
		// chase the end of the log for ever (KAFKA-14292).
		if s.shutdown == model.NoOffset {
			s.shutdown = t.offset() - 1
		}
	}
}

// directoriesOffline takes the replicas in newly offline directories out of ISR
// and leadership, as if their broker were fenced, and registers the directories
// that are left. Reports whether anything was new.
func (c *Core) directoriesOffline(t *step, b *metadata.Broker, offline []model.DirectoryID) bool {
	if t.img.MetadataVersion() < levelDirs {
		return false
	}
	left := slices.DeleteFunc(slices.Clone(b.Dirs), func(d model.DirectoryID) bool {
		return slices.Contains(offline, d)
	})
	if len(left) == len(b.Dirs) || len(left) == 0 {
		return false // nothing new; or all, and then the broker stops itself
	}
	after := *b
	after.Dirs = left
	el := voters(t.img).with(b.ID, &after)
	for _, p := range partitions(t.img, func(p *metadata.Partition) bool {
		return (slices.Contains(p.ISR, b.ID) || p.Leader == b.ID) && !hasDir(&after, dirOf(p, b.ID))
	}) {
		ch := c.change(t.img, p)
		ch.next.ISR = without(ch.next.ISR, b.ID)
		t.apply(ch, el, ch.ballot(), DirectoryOffline, b.ID)
	}
	t.emit(&metadata.BrokerRegistrationChangeRecord{BrokerID: b.ID, BrokerEpoch: b.Epoch, Dirs: left})
	return true
}
