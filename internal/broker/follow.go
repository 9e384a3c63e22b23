package broker

import (
	"errors"
	"fmt"

	"tidemark/internal/fetcher"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/replica"
)

// following lets a fetcher write into a partition. Each change is performed at
// once: acks of a chained follower and parked consumers depend on it.
type following struct {
	b *Broker
	h *hosted
}

var _ fetcher.Replica = following{}

// Position is where the next fetch begins.
func (f following) Position(epoch model.LeaderEpoch) (fetcher.Position, error) {
	at, ok := f.h.p.FollowPosition()
	if !ok || at.Epoch != epoch {
		return fetcher.Position{}, fmt.Errorf("%s: %w", f.h.p.TP(), fetcher.ErrNotFollowing)
	}
	if at.Offset < at.LogEnd { // with flush on ack, after a change of roles
		if err := f.flush(at.LogEnd); err != nil {
			return fetcher.Position{}, err
		}
		at.Offset = at.LogEnd
	}
	return fetcher.Position{
		Offset: at.Offset, LastEpoch: at.LastFetchedEpoch, LogStart: at.LogStart, HighWatermark: at.HighWatermark,
		Throttled: f.h.p.Settings().ThrottleFollower,
	}, nil
}

// Append writes what was fetched. With flush on ack it asks for a sync, and
// Settle waits for it.
func (f following) Append(in fetcher.Fetched) error {
	p := f.h.p
	err := p.AppendAsFollower(partition.Replicated{
		Epoch: in.Epoch, Offset: in.Offset, Records: in.Records, LeaderHW: in.LeaderHW, LogStart: in.LogStart,
	})
	perform(p)
	if err == nil {
		f.b.repaid(f.h)
	}
	return mapRole(err)
}

// Settle waits until what was appended is on disk, if only that may be
// acknowledged.
func (f following) Settle() error {
	if !f.h.p.Settings().FlushOnAck {
		return nil
	}
	return f.flush(f.h.p.LogEnd())
}

func (f following) flush(upTo model.Offset) error {
	if err := f.h.dir.flushes.await(f.h.p, upTo); err != nil {
		return err
	}
	f.h.p.Flushed(f.h.p.Log().Flushed()) // also what somebody else had flushed
	perform(f.h.p)
	return nil
}

// Diverged cuts the log where it leaves the leader's.
func (f following) Diverged(epoch model.LeaderEpoch, leader replica.EpochEnd, fetched model.Offset) error {
	_, err := f.h.p.TruncateFor(epoch, leader, fetched)
	perform(f.h.p)
	return mapRole(err)
}

// TruncateTo cuts the log; the partition knows the reason.
func (f following) TruncateTo(epoch model.LeaderEpoch, to model.Offset, _ replica.Reason) error {
	err := f.h.p.TruncateTo(epoch, to)
	perform(f.h.p)
	return mapRole(err)
}

// StartAt begins the log anew.
func (f following) StartAt(epoch model.LeaderEpoch, at model.Offset, _ replica.Reason) error {
	err := f.h.p.RestartAt(epoch, at)
	perform(f.h.p)
	return mapRole(err)
}

// mapRole turns "no longer follows" into the fetcher's word for it.
func mapRole(err error) error {
	if errors.Is(err, partition.ErrNoSpace) {
		return fmt.Errorf("%w: %w", fetcher.ErrNoSpace, err)
	}
	if errors.Is(err, partition.ErrNotLeader) || errors.Is(err, partition.ErrFencedEpoch) {
		return fmt.Errorf("%w: %w", fetcher.ErrNotFollowing, err)
	}
	return err
}
