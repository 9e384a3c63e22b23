package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/record"
	"tidemark/internal/replica"
)

// apply takes one partition's part of an answer. The error is about the
// connection, never about the partition (invariant 3).
func (l *loop) apply(r *peer.FetchedPartition) error {
	p := l.find(r)
	if p == nil {
		return nil // removed meanwhile, or never asked for // invariant 2
	}
	l.markDirty(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.phase != Fetching || p.sent.Offset != p.pos.Offset || p.sent.CurrentEpoch != p.a.Epoch {
		return nil // invariant 2
	}
	switch r.Code { // flat switch
	case peer.CodeNone:
		if r.Diverging != nil {
			l.diverged(p, r)
			return nil
		}
		return l.append(p, r)
	case peer.CodeOffsetOutOfRange:
		l.outOfRange(p)
	case peer.CodeFencedLeaderEpoch:
		// The request's epoch is ours (invariant 2): only newer metadata helps.
		l.failLocked(p, replica.TroubleRefused, r.Code.String())
	case peer.CodeUnknownLeaderEpoch:
		l.delayLocked(p, replica.TroubleRefused, "leader has not seen this epoch yet")
	default:
		l.delayLocked(p, replica.TroubleRefused, r.Code.String())
	}
	return nil
}

func (l *loop) append(p *follower, r *peer.FetchedPartition) error {
	if p.pos.Throttled && l.cfg.Quota != nil {
		l.cfg.Quota.Record(len(r.Records))
	}
	err := p.a.Replica.Append(Fetched{
		Epoch: p.a.Epoch, Offset: p.sent.Offset, Records: r.Records, LeaderHW: r.HighWatermark, LogStart: r.LogStart,
	})
	if errors.Is(err, record.ErrCorrupt) || errors.Is(err, record.ErrInvalid) || errors.Is(err, record.ErrShort) {
		// What arrived is not evidence of the leader's disk: ask again on a new
		// connection.
		l.delayLocked(p, replica.TroubleBadRecords, err.Error())
		return fmt.Errorf("%s: %w: %w", p.a.TP, errBadRecords, err)
	}
	if errors.Is(err, ErrNoSpace) {
		l.delayLocked(p, replica.TroubleNoSpace, ErrNoSpace.Error()) // the same words each time: told once
		return nil
	}
	if err != nil {
		l.troubleLocked(p, err)
		return nil
	}
	p.leaderHW = r.HighWatermark
	l.appended = append(l.appended, p)
	if len(r.Records) > 0 {
		l.self.records = true
		l.self.behind++
	}
	return nil
}

// settle ends the partitions that an answer was appended to: their next fetch
// acknowledges it.
func (l *loop) settle() {
	for i, p := range l.appended {
		l.appended[i] = nil
		p.mu.Lock()
		l.settleLocked(p)
		p.mu.Unlock()
	}
	l.appended = l.appended[:0]
}

func (l *loop) settleLocked(p *follower) {
	if p.gone || p.phase != Fetching {
		return
	}
	err := p.a.Replica.Settle()
	if err == nil {
		p.pos, err = p.a.Replica.Position(p.a.Epoch)
	}
	if err != nil {
		l.troubleLocked(p, err)
		return
	}
	p.told, p.tries = "", 0
	l.self.trouble(p, replica.Trouble{})
	p.lag = max(0, int64(p.leaderHW-p.pos.Offset))
	if p.lag == 0 {
		p.caughtUp = time.Now()
	}
}

// diverged cuts the log. Nothing else of such an answer counts (KAFKA-14704).
func (l *loop) diverged(p *follower, r *peer.FetchedPartition) {
	err := p.a.Replica.Diverged(p.a.Epoch, replica.EpochEnd{Epoch: r.Diverging.Epoch, End: r.Diverging.End}, p.sent.Offset)
	if err != nil {
		l.troubleLocked(p, err)
	}
}

// outOfRange finds out on which side of the leader's log the replica is.
// The lookups hold up the loop, as they do in Kafka; an error delays only this
// partition.
func (l *loop) outOfRange(p *follower) {
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.Timeout)
	defer cancel()
	end, ok := l.lookup(ctx, p, peer.LatestOffset)
	if !ok {
		return
	}
	d := replica.DecideOutOfRange(p.pos.Offset, end, model.NoOffset)
	if d.Action == replica.AskEarliest {
		start, ok := l.lookup(ctx, p, peer.EarliestOffset)
		if !ok {
			return
		}
		d = replica.DecideOutOfRange(p.pos.Offset, end, start)
	}
	var err error
	switch d.Action {
	case replica.TruncateTo:
		err = p.a.Replica.TruncateTo(p.a.Epoch, d.Offset, d.Reason)
	case replica.StartAt:
		err = p.a.Replica.StartAt(p.a.Epoch, d.Offset, d.Reason)
	default:
		l.delayLocked(p, replica.TroubleRange, "offset out of range, yet within the leader's log")
	}
	if err != nil {
		l.troubleLocked(p, err)
	}
}

func (l *loop) lookup(ctx context.Context, p *follower, at int64) (model.Offset, bool) {
	res, err := l.conn.ListOffset(ctx, l.cfg.Self, p.a.TP, p.a.Epoch, at)
	switch {
	case err != nil:
		l.delayLocked(p, replica.TroubleRange, err.Error())
	case res.Code == peer.CodeFencedLeaderEpoch:
		l.failLocked(p, replica.TroubleRefused, res.Code.String())
	case res.Code != peer.CodeNone:
		l.delayLocked(p, replica.TroubleRefused, res.Code.String())
	default:
		return res.Offset, true
	}
	return model.NoOffset, false
}

// troubleLocked takes an error of the local replica: a role that ended leaves
// in silence, anything else is not tried again before new metadata.
func (l *loop) troubleLocked(p *follower, err error) {
	if errors.Is(err, ErrNotFollowing) {
		p.phase, p.why = Failed, err.Error() // its removal is on the way
		return
	}
	l.failLocked(p, replica.TroubleAppend, err.Error())
}

func (l *loop) failLocked(p *follower, code replica.TroubleCode, why string) {
	l.self.trouble(p, replica.Trouble{Code: code, Text: why})
	p.phase, p.why, p.lag = Failed, why, -1
	l.emit(p, journal.ReplicaFailed, "fetch-failed", why)
}

func (l *loop) delayLocked(p *follower, code replica.TroubleCode, why string) {
	l.self.trouble(p, replica.Trouble{Code: code, Text: why})
	if p.told != why {
		p.told = why
		l.emit(p, journal.FetchFailed, "backoff", why)
	}
	p.phase, p.why, p.until = Delayed, why, time.Now().Add(quickly(p.tries, l.cfg.Backoff))
	p.tries++
}

// firstPause is how soon a fetch is tried again after its first failure.
const firstPause = 4 * time.Millisecond

// quickly is the pause after so many failures in a row, growing up to limit. A
// follower often hears of an election before its new leader does; acks=all
// waits for it, so it doesn't wait out a whole second then.
func quickly(failures int, limit time.Duration) time.Duration {
	return min(firstPause<<min(failures, 20), limit)
}

func (l *loop) emit(p *follower, k journal.Kind, reason, detail string) {
	e := journal.For(k, p.a.TP)
	e.Leader, e.LeaderEpoch, e.LogEnd, e.Reason, e.Detail = p.a.Leader, p.a.Epoch, p.pos.Offset, reason, detail
	l.cfg.Events.Emit(e)
}
