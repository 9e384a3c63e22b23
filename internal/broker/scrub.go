package broker

import (
	"errors"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
)

const (
	// scrubStep is how many bytes are read at once, at most.
	scrubStep = 1 << 20
	// scrubFloor paces small directories: a pass takes at least as long as one
	// over so many bytes, so that a few segments are not read again and again.
	scrubFloor = 1 << 30
)

// scrubber reads the closed segments of a directory, one log after the other,
// at a bounded rate, and compares them with their checksums. It begins anew
// when it is through.
func (b *Broker) scrubber(d *logDir) {
	rate := b.cfg.ScrubRate
	if rate <= 0 {
		return
	}
	pass := scrubTime(scrubFloor, rate)
	for began := b.cfg.Now(); b.rest(pass - b.cfg.Now().Sub(began)); {
		began = b.cfg.Now()
		if !b.loaded.Load() {
			continue
		}
		for _, h := range b.set.Load().sorted {
			if h.dir == d && !d.offline.Load() && !b.scrub(h, rate) {
				return
			}
		}
	}
}

// scrub reads one log; false when the broker is being closed.
func (b *Broker) scrub(h *hosted, rate int64) bool {
	for from := model.Offset(0); ; {
		res, err := h.p.Log().Scrub(from, min(scrubStep, max(rate, 1)))
		b.repairs.scrubbed.Add(res.Bytes)
		switch {
		case errors.Is(err, commitlog.ErrIO) && b.hosts(h.p):
			b.Failed(h.p, err)
			return true
		case err != nil: // deleted, or it changes too fast: next time
			return b.ctx.Err() == nil
		}
		if from = res.Next; res.Damage != nil {
			b.repairs.found(h, res.Damage, "scrub")
			from = res.Damage.Next
		}
		if !b.rest(scrubTime(res.Bytes, rate)) {
			return false
		}
		if res.Done && res.Damage == nil {
			return true
		}
	}
}

func scrubTime(bytes, rate int64) time.Duration {
	return time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
}

// rest waits; false when the broker is being closed.
func (b *Broker) rest(d time.Duration) bool {
	if d <= 0 {
		return b.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-b.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
