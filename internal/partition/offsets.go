package partition

import (
	"fmt"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/replica"
)

// Special timestamps of ListOffsets.
const (
	Latest        int64 = -1
	Earliest      int64 = -2
	MaxTimestamp  int64 = -3
	EarliestLocal int64 = -4
	LatestTiered  int64 = -5
	// EarliestPendingUpload is the first offset that isn't in tiered storage yet (KIP-1023).
	EarliestPendingUpload int64 = -6
)

// Lookup is a ListOffsets request for one partition.
type Lookup struct {
	Timestamp    int64 // ms, or one of the special ones
	CurrentEpoch model.LeaderEpoch
	Isolation    Isolation
	// Replica: a follower or a debugging tool asks; it sees the log end.
	Replica bool
	// AnyRole: a debugging tool asks, which need not ask the leader.
	AnyRole bool
}

// Found is the answer; Offset is NoOffset if no record is that young.
type Found struct {
	Offset    model.Offset
	Timestamp int64 // ms, -1 for the special ones
	Epoch     model.LeaderEpoch
}

// ListOffset finds an offset by time. Errors: ErrNotLeader, ErrFencedEpoch,
// ErrUnknownEpoch, ErrOffsetNotAvailable (KIP-207), ErrStorage.
func (p *Partition) ListOffset(q Lookup) (Found, error) {
	limit, epoch, known, err := p.lookupLimit(q)
	none := Found{Offset: model.NoOffset, Timestamp: -1, Epoch: model.NoLeaderEpoch}
	if err != nil {
		return none, err
	}
	var at Found
	var ok bool
	switch q.Timestamp { // flat switch
	case Earliest, EarliestLocal:
		start := p.log.Start()
		return Found{Offset: start, Timestamp: -1, Epoch: p.log.EpochAt(start)}, nil
	case LatestTiered, EarliestPendingUpload:
		return none, nil // there is no tiered storage
	case Latest:
		if !known {
			return none, p.notAvailable(epoch)
		}
		return Found{Offset: limit, Timestamp: -1, Epoch: epoch}, nil
	case MaxTimestamp:
		at.Offset, at.Timestamp, at.Epoch, ok, err = p.log.MaxTimestampOffset(p.LogEnd())
	default:
		at.Offset, at.Timestamp, at.Epoch, ok, err = p.log.OffsetForTimestamp(q.Timestamp, p.LogEnd())
	}
	switch {
	case err != nil:
		return none, p.writeFailed(err)
	case ok && at.Offset < limit:
		return at, nil
	case !known:
		return none, p.notAvailable(epoch)
	}
	return none, nil
}

func (p *Partition) notAvailable(epoch model.LeaderEpoch) error {
	return fmt.Errorf("%s: high watermark %d in epoch %d: %w", p.tp, p.HighWatermark(), epoch, ErrOffsetNotAvailable)
}

// lookupLimit is how far the asker sees, and whether that is known for sure.
func (p *Partition) lookupLimit(q Lookup) (limit model.Offset, e model.LeaderEpoch, known bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fenceLocked(q.CurrentEpoch); err != nil {
		return 0, 0, false, err
	}
	e = p.mu.role.leaderEpoch()
	l, leads := p.mu.role.(leading)
	if !leads && !q.AnyRole {
		return 0, 0, false, fmt.Errorf("%s: %w", p.tp, ErrNotLeader)
	}
	switch {
	case q.Replica || q.AnyRole:
		return p.mu.leo, e, true, nil
	case q.Isolation == ReadCommitted:
		return p.LastStable(), e, l.core.KnowsCommitted(), nil
	}
	return p.HighWatermark(), e, l.core.KnowsCommitted(), nil
}

// EpochEnd answers OffsetForLeaderEpoch: where the largest epoch that is not
// above requested ends. Errors: ErrNotLeader, ErrFencedEpoch, ErrUnknownEpoch,
// ErrStorage.
func (p *Partition) EpochEnd(requested, current model.LeaderEpoch, anyRole bool) (replica.EpochEnd, error) {
	none := replica.EpochEnd{Epoch: model.NoLeaderEpoch, End: model.NoOffset}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fenceLocked(current); err != nil {
		return none, err
	}
	if _, leads := p.mu.role.(leading); !leads && !anyRole {
		return none, fmt.Errorf("%s: %w", p.tp, ErrNotLeader)
	}
	e, end := p.log.EndOffsetFor(requested)
	return replica.EpochEnd{Epoch: e, End: min(end, p.mu.leo)}, nil
}

// Deleted is the outcome of DeleteRecords.
type Deleted struct {
	Before model.Offset // everything below is to be deleted on all live replicas
	Epoch  model.LeaderEpoch
}

// DeleteRecords moves the log start to before, NoOffset meaning the high
// watermark. It is done when AwaitDeleted says so. Call Perform afterwards.
// Errors: ErrNotLeader, ErrPolicy, ErrOffsetOutOfRange, ErrStorage.
func (p *Partition) DeleteRecords(before model.Offset) (Deleted, error) {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	p.mu.Lock()
	core, err := p.leaderLocked(model.NoLeaderEpoch)
	p.mu.Unlock()
	if err != nil {
		return Deleted{}, err
	}
	if !p.settings.Load().Deletes {
		return Deleted{}, fmt.Errorf("%s: %w", p.tp, ErrPolicy)
	}
	hw := p.HighWatermark()
	if before == model.NoOffset {
		before = hw
	}
	if before < 0 || before > hw {
		return Deleted{}, fmt.Errorf("%s: delete before %d, high watermark is %d: %w", p.tp, before, hw, ErrOffsetOutOfRange)
	}
	if before > p.log.Start() {
		if err := p.log.AdvanceStart(before); err != nil {
			return Deleted{}, p.writeFailed(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.pending.quiet, p.mu.pending.any = true, true
	p.mu.pending.low = core.LowWatermark(p.log.Start())
	return Deleted{Before: before, Epoch: core.Epoch()}, nil
}

// AwaitDeleted lets a slot of r wait until the low watermark has reached d.
func (p *Partition) AwaitDeleted(d Deleted, r *purgatory.Request, slot int, ready *purgatory.Ready) {
	p.deletes.Add(d.Epoch, d.Before, r, slot, ready)
}

// LowWatermark is the smallest log start among the live replicas; NoOffset if
// this one does not lead.
func (p *Partition) LowWatermark() model.Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.mu.role.(leading); ok {
		return l.core.LowWatermark(p.log.Start())
	}
	return model.NoOffset
}

var _ replica.Epochs = (*commitlog.Log)(nil)
