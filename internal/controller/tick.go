package controller

import (
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// Tick does what is due: it fences at most one silent broker a pass, so that ISR
// and leader stay consistent from one to the next (KAFKA-13173); moves leaders
// back; elects uncleanly where the config allows it; writes a no-op.
func (c *Core) Tick(env Env) []metadata.Record {
	if !c.active {
		return nil
	}
	t := c.begin(env)
	if b, s := c.stalest(); b != nil && !env.Now.Before(s.last.Add(c.cfg.SessionTimeout)) {
		c.fence(t, b, SessionExpired, env.Now.Sub(s.last))
		return c.commit(t)
	}
	switch {
	case c.cfg.AutoRebalance && !env.Now.Before(c.nextRebalance):
		next := c.cfg.RebalanceInterval
		if c.rebalance(t) {
			next = rebalanceQuickly
		}
		c.nextRebalance = env.Now.Add(next)
	case !env.Now.Before(c.nextUnclean):
		c.sweepUnclean(t)
		c.nextUnclean = env.Now.Add(c.cfg.UncleanInterval)
	case c.cfg.NoOpInterval > 0 && !env.Now.Before(c.nextNoOp):
		t.emit(&metadata.NoOpRecord{})
	}
	return c.commit(t)
}

// NextTick is when Tick next has something to do. It moves when sessions are
// renewed, so ask again after every decision. Zero while not active.
func (c *Core) NextTick() time.Time {
	if !c.active {
		return time.Time{}
	}
	next := c.nextUnclean
	if c.cfg.AutoRebalance && c.nextRebalance.Before(next) {
		next = c.nextRebalance
	}
	if c.cfg.NoOpInterval > 0 && c.nextNoOp.Before(next) {
		next = c.nextNoOp
	}
	if _, s := c.stalest(); s != nil {
		if expiry := s.last.Add(c.cfg.SessionTimeout); expiry.Before(next) {
			next = expiry
		}
	}
	return next
}

// Hint reports that all connections of a broker broke and that a probe of its
// listener was refused at once: the process is gone. It is fenced now; epochs make
// that safe even if the hint is wrong, because the broker is unfenced again by its
// next heartbeat. Its session ends, so a restarted process registers at once.
func (c *Core) Hint(broker model.BrokerID, env Env) []metadata.Record {
	b, ok := c.view.Brokers[broker]
	if !c.active || !ok {
		return nil
	}
	s := c.session(b, env.Now)
	silent := env.Now.Sub(s.last)
	s.end()
	if b.Fenced {
		return nil
	}
	t := c.begin(env)
	c.fence(t, b, ConnectionRefused, silent)
	return c.commit(t)
}
