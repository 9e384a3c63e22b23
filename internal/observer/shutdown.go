package observer

import (
	"context"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
)

// Shutdown asks the controller to move this broker's leaderships away and
// returns true when it agrees. It gives up, and returns false, when ctx ends,
// when no active controller answers for SilenceLimit, or soon when no other
// broker lives. Heartbeats end with it.
func (l *Lifecycle) Shutdown(ctx context.Context) bool {
	defer l.Stop()
	if l.Epoch() == model.NoBrokerEpoch {
		return false
	}
	l.cfg.Events.Emit(l.event(journal.ShutdownRequested, "", ""))
	began := time.Now()
	l.mu.Lock()
	l.mu.drain = true
	l.mu.lastAnswer = began
	if l.mu.cancelCall != nil {
		l.mu.cancelCall() // the heartbeat in flight doesn't carry the wish
	}
	l.mu.Unlock()
	l.state.Store(int32(Draining))
	l.wake()
	check := time.NewTicker(drainInterval)
	defer check.Stop()
	for {
		select {
		case <-l.granted:
			l.cfg.Events.Emit(l.event(journal.ShutdownGranted, "", ""))
			return true
		case <-ctx.Done():
			l.cfg.Events.Emit(l.event(journal.ShutdownForced, "time-limit", ""))
			return false
		case <-check.C:
		}
		l.mu.Lock()
		silent := time.Since(l.mu.lastAnswer)
		l.mu.Unlock()
		switch {
		case silent >= l.cfg.SilenceLimit:
			l.cfg.Events.Emit(l.event(journal.ShutdownForced, "controller-silent", ""))
			return false
		case time.Since(began) >= lonelyWait && !l.cfg.OthersAlive():
			l.cfg.Events.Emit(l.event(journal.ShutdownForced, "no-other-broker", ""))
			return false
		}
	}
}
