package controller

import (
	"slices"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// session is the soft state of one broker; it lives for one term.
type session struct {
	epoch      model.BrokerEpoch
	last       time.Time    // last contact
	offset     model.Offset // last metadata offset the broker reported
	registered model.Offset // offset of its registration, if made in this term
	shutdown   model.Offset // the others must apply up to here; NoOffset if unset
}

func newSession(epoch model.BrokerEpoch, now time.Time) *session {
	return &session{epoch: epoch, last: now, offset: model.NoOffset,
		registered: model.NoOffset, shutdown: model.NoOffset}
}

// end makes the session as old as can be: the process is gone, so another may
// register at once, and if the broker isn't fenced yet, it is due.
func (s *session) end() { s.last = time.Time{} }

// Touch renews a session without a decision. The shell calls it when a heartbeat
// arrives, so that one that waits in the queue too long doesn't get its sender
// fenced (KAFKA-15019).
func (c *Core) Touch(id model.BrokerID, epoch model.BrokerEpoch, now time.Time) {
	b, ok := c.view.Brokers[id]
	if !c.active || !ok || b.Epoch != epoch {
		return
	}
	c.session(b, now).last = now
}

// session returns the broker's session, new if it has none for this epoch.
func (c *Core) session(b *metadata.Broker, now time.Time) *session {
	s := c.sessions[b.ID]
	if s == nil || s.epoch != b.Epoch {
		s = newSession(b.Epoch, now)
		c.sessions[b.ID] = s
	}
	return s
}

func (c *Core) sessionValid(b *metadata.Broker, now time.Time) bool {
	s := c.sessions[b.ID]
	return s != nil && s.epoch == b.Epoch && now.Before(s.last.Add(c.cfg.SessionTimeout))
}

// expired lists the unfenced brokers whose session is over.
func (c *Core) expired(now time.Time) (ids []model.BrokerID) {
	for id, b := range c.view.Brokers {
		if s := c.sessions[id]; !b.Fenced && s != nil && !now.Before(s.last.Add(c.cfg.SessionTimeout)) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// stalest returns the unfenced broker with the oldest contact; ties go to the
// smaller id.
func (c *Core) stalest() (*metadata.Broker, *session) {
	var worst *metadata.Broker
	var ws *session
	for id, b := range c.view.Brokers {
		s := c.sessions[id]
		if b.Fenced || s == nil {
			continue
		}
		if ws == nil || s.last.Before(ws.last) || s.last.Equal(ws.last) && id < worst.ID {
			worst, ws = b, s
		}
	}
	return worst, ws
}

// acknowledged is the lowest metadata offset that every active broker but id has
// reported. ok is false when there is no other active broker.
func (c *Core) acknowledged(except model.BrokerID) (low model.Offset, ok bool) {
	for id, b := range c.view.Brokers {
		if id == except || b.Fenced || b.InControlledShutdown {
			continue
		}
		off := model.NoOffset
		if s := c.sessions[id]; s != nil {
			off = s.offset
		}
		if !ok || off < low {
			low, ok = off, true
		}
	}
	return low, ok
}
