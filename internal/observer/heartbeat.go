package observer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/peer"
)

func (l *Lifecycle) heartbeats() {
	retry := retryMin
	for {
		next := l.cfg.HeartbeatInterval
		if err := l.heartbeat(); err != nil {
			next, retry = retry, min(2*retry, l.cfg.HeartbeatInterval)
		} else {
			retry = retryMin
			switch l.State() {
			case Starting:
				next = startingInterval
			case Draining:
				next = drainInterval
			}
		}
		if !l.maybeReregister() || !l.dirsReported() {
			return
		}
		t := time.NewTimer(next)
		select {
		case <-l.ctx.Done():
			t.Stop()
			return
		case <-l.kick:
			t.Stop()
		case <-t.C:
		}
	}
}

// maybeReregister returns false when the lifecycle is over.
func (l *Lifecycle) maybeReregister() bool {
	l.mu.Lock()
	again := l.mu.reregister
	l.mu.reregister = false
	l.mu.Unlock()
	if again {
		_ = l.register(l.cfg.SessionTimeout) // the next image asks again if it failed
	}
	return l.ctx.Err() == nil
}

// dirsReported returns false, and fails the broker, when a failed directory
// could not be reported in time: the controller would leave leaderships on it.
func (l *Lifecycle) dirsReported() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, d := range l.mu.offline {
		if !d.reported && time.Since(d.since) >= l.cfg.DirFailureTimeout {
			l.fail(fmt.Errorf("%w: %s after %s", ErrDirNotReported, id, l.cfg.DirFailureTimeout))
			return false
		}
	}
	return true
}

// heartbeat sends one heartbeat with the wishes of this moment.
func (l *Lifecycle) heartbeat() error {
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.SessionTimeout/2)
	defer cancel()
	h := peer.Heartbeat{Broker: l.cfg.Registration.Broker, Epoch: l.Epoch(), MetadataOffset: l.cfg.MetadataOffset()}
	l.mu.Lock()
	h.WantShutdown = l.mu.drain
	h.WantFence = !l.mu.ready && !l.mu.drain
	for id := range l.mu.offline {
		h.OfflineDirs = append(h.OfflineDirs, id)
	}
	l.mu.cancelCall = cancel
	if l.mu.drain {
		l.mu.cancelCall = nil
	}
	l.mu.Unlock()
	slices.SortFunc(h.OfflineDirs, model.UUID.Compare)
	res, err := l.cfg.Channel.BrokerHeartbeat(ctx, h)
	if err == nil && res.Code != peer.CodeNone {
		err = &peer.CodeError{API: "BrokerHeartbeat", Code: res.Code}
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.mu.lastAnswer = time.Now()
	for _, id := range h.OfflineDirs {
		l.mu.offline[id].reported = true
	}
	l.mu.Unlock()
	l.onAnswer(h, res)
	return nil
}

func (l *Lifecycle) onAnswer(h peer.Heartbeat, res peer.HeartbeatResult) {
	if was := l.fenced.Swap(res.Fenced); was != res.Fenced && !h.WantShutdown {
		k := journal.Fenced
		if !res.Fenced {
			k = journal.Unfenced
		}
		l.cfg.Events.Emit(l.event(k, "", ""))
	}
	if res.CaughtUp && l.state.CompareAndSwap(int32(Starting), int32(Recovery)) {
		l.cfg.Events.Emit(l.event(journal.CaughtUp, "", ""))
		l.wake() // say at once that it may be unfenced, if it may
	}
	if !res.Fenced && l.state.CompareAndSwap(int32(Recovery), int32(Running)) {
		close(l.unfenced)
	}
	if h.WantShutdown && res.ShouldShutdown && l.State() == Draining {
		select {
		case <-l.granted:
		default:
			close(l.granted)
		}
	}
}
