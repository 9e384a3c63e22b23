package active

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/quorum"
)

const probeTimeout = 300 * time.Millisecond

// probeAt says when a broker is probed after its connections broke: a process
// that is being killed may close its listener after its connections.
var probeAt = []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond}

// hint says that one registration's process is gone.
type hint struct {
	broker model.BrokerID
	epoch  model.BrokerEpoch
}

// BrokerDisconnected tells that the last connection of a broker broke. If it is
// unfenced, its listener is probed; a refusal fences it at once.
func (c *Controller) BrokerDisconnected(id model.BrokerID) {
	b := c.cfg.Quorum.Image().Brokers[id]
	if b != nil && !b.Fenced {
		c.probe(b)
	}
}

// probeAll looks at every unfenced broker before its first heartbeat is due.
func (c *Controller) probeAll(img *metadata.Image) {
	var bs []*metadata.Broker
	for _, b := range img.Brokers {
		if !b.Fenced && b.ID != c.cfg.Core.NodeID {
			bs = append(bs, b)
		}
	}
	slices.SortFunc(bs, func(a, b *metadata.Broker) int { return cmp.Compare(a.ID, b.ID) })
	for _, b := range bs {
		c.probe(b)
	}
}

func (c *Controller) probe(b *metadata.Broker) {
	if c.cfg.Probe == nil || len(b.Endpoints) == 0 || c.ctx.Err() != nil {
		return
	}
	c.spawn(func() {
		var last time.Duration
		for _, at := range probeAt {
			select {
			case <-time.After(at - last):
			case <-c.ctx.Done():
				return
			}
			last = at
			if c.refused(b.Endpoints[0]) {
				select {
				case c.hints <- hint{b.ID, b.Epoch}:
				case <-c.ctx.Done():
				}
				return
			}
		}
	})
}

func (c *Controller) refused(e metadata.Endpoint) bool {
	ctx, cancel := context.WithTimeout(c.ctx, probeTimeout)
	defer cancel()
	return errors.Is(c.cfg.Probe(ctx, e), quorum.ErrRefused)
}

// onHint fences the broker unless it has registered again meanwhile (invariant 4).
func (c *Controller) onHint(h hint) {
	if c.epoch == 0 {
		return
	}
	if c.inFlight { // look again afterwards
		time.AfterFunc(5*time.Millisecond, func() {
			select {
			case c.hints <- h:
			default: // the session time-out decides
			}
		})
		return
	}
	if b := c.core.View().Brokers[h.broker]; b == nil || b.Epoch != h.epoch || b.Fenced {
		return
	}
	c.cfg.Log.Info("broker's process is gone", "broker", h.broker, "epoch", h.epoch)
	recs := c.core.Hint(h.broker, c.env(0))
	c.evidence = append(c.evidence, c.core.DrainEvidence()...)
	c.propose(recs)
}
