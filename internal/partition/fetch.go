package partition

import (
	"errors"
	"fmt"
	"slices"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// Isolation is how far a reader may see.
type Isolation int8

const (
	// ReadUncommitted reads up to the high watermark.
	ReadUncommitted Isolation = iota
	// ReadCommitted reads up to the last stable offset.
	ReadCommitted
)

// Fetch is a read of one partition by a follower or a consumer.
type Fetch struct {
	Replica      model.BrokerID // < 0: a consumer
	ReplicaEpoch model.BrokerEpoch
	// Acknowledge makes a follower's fetch count as its acknowledgement: true
	// once per request that names the partition, on arrival.
	Acknowledge bool
	// FromFollower allows a consumer to read a follower (KIP-392).
	FromFollower     bool
	Offset           model.Offset
	CurrentEpoch     model.LeaderEpoch
	LastFetchedEpoch model.LeaderEpoch
	LogStart         model.Offset   // the fetching replica's own
	Report           replica.Report // what a follower tells of itself
	MaxBytes         int
	Asked            int  // what a follower asked for; MaxBytes may be less, for want of room
	MinOne           bool // at least one batch, even if larger than MaxBytes
	Isolation        Isolation
}

// Fetched is the outcome. Slice must be released, whatever else is in it.
type Fetched struct {
	Slice      commitlog.Slice
	HW, LSO    model.Offset
	LogStart   model.Offset
	LogEnd     model.Offset
	Diverging  bool // Divergence is set and Slice is empty
	Divergence replica.EpochEnd
	Aborted    []commitlog.AbortedTxn // with ReadCommitted
	Leads      bool
	Withheld   bool // there is more than Slice, but the replication quota is used up

	complaint bool
}

// Fetch reads whole batches, verbatim. A follower's fetch updates the leader's
// books, if Acknowledge; call Perform afterwards.
//
// Errors: ErrNotLeader, ErrFencedEpoch, ErrUnknownEpoch, ErrOffsetOutOfRange,
// ErrNegativeSize, ErrStorage, and for a follower outside the assignment ErrUnknownEpoch or
// ErrNotLeader (KAFKA-13837).
func (p *Partition) Fetch(f Fetch) (Fetched, error) {
	res, err := p.read(f)
	p.countFetch(err)
	return res, err
}

func (p *Partition) read(f Fetch) (Fetched, error) {
	res, limit, err := p.position(f)
	if res.complaint {
		p.suspect(f.Offset, SuspectComplaint)
	}
	if res.Withheld { // after mu is released
		p.quota.Withheld(p)
	}
	if err != nil || res.Diverging || limit <= f.Offset {
		return res, err
	}
	if f.MaxBytes < 0 { // Kafka, too, notices it only where there is something to read
		return res, fmt.Errorf("%s: at most %d bytes: %w", p.tp, f.MaxBytes, ErrNegativeSize)
	}
	if limit, err = p.beforeDamage(f.Offset, limit); err != nil {
		return res, err
	}
	res.Slice, err = p.readLog(f, limit)
	switch {
	case errors.Is(err, commitlog.ErrOffsetOutOfRange):
		return res, fmt.Errorf("%s: %w: %w", p.tp, ErrOffsetOutOfRange, err)
	case errors.Is(err, commitlog.ErrIO):
		return res, p.failed(err)
	case errors.Is(err, commitlog.ErrCorrupt):
		p.suspect(f.Offset, SuspectRead)
		return res, fmt.Errorf("%s: %w: %w", p.tp, ErrStorage, err)
	case err != nil:
		return res, fmt.Errorf("%s: %w: %w", p.tp, ErrStorage, err)
	}
	if f.Replica >= 0 {
		if n := res.Slice.Len(); n > f.MaxBytes {
			p.oversized(f, n)
		}
		p.stats.replicationBytesOut.Add(int64(res.Slice.Len()))
		if p.isAdding(f.Replica) {
			p.stats.reassignmentBytesOut.Add(int64(res.Slice.Len()))
		}
		return res, nil
	}
	p.stats.bytesOut.Add(int64(res.Slice.Len()))
	if f.Isolation == ReadCommitted {
		return p.withAborted(res)
	}
	return res, nil
}

func (p *Partition) withAborted(res Fetched) (Fetched, error) {
	if res.Slice.Len() == 0 {
		return res, nil
	}
	aborted, err := p.log.AbortedTxns(res.Slice.First, res.Slice.Next)
	if err != nil {
		res.Slice.Release()
		res.Slice = commitlog.Slice{}
		return res, p.failed(err)
	}
	res.Aborted = aborted
	return res, nil
}

// position does what needs mu: fences, checks the lineage, takes the
// acknowledgement, and says how far the reader may read.
func (p *Partition) position(f Fetch) (res Fetched, limit model.Offset, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fenceLocked(f.CurrentEpoch); err != nil {
		p.refusedLocked(f, err)
		return res, 0, err
	}
	lead, leads := p.mu.role.(leading)
	if !leads && (f.Replica >= 0 || !f.FromFollower) {
		return res, 0, fmt.Errorf("%s: %w", p.tp, ErrNotLeader)
	}
	from := replica.ReplicaFetch{Broker: f.Replica, Epoch: f.ReplicaEpoch, Offset: f.Offset, LogStart: f.LogStart, Report: f.Report}
	if f.Replica >= 0 {
		if err := lead.core.CheckFetch(from); errors.Is(err, replica.ErrNotAssigned) {
			return res, 0, p.notAssigned(f, err)
		}
	}
	res.LogStart, res.LogEnd, res.Leads = p.log.Start(), p.mu.leo, leads
	at := replica.FetchPosition{Offset: f.Offset, LastFetchedEpoch: f.LastFetchedEpoch}
	switch v, div := replica.CheckLineage(at, res.LogStart, p.mu.leo, p.log); v {
	case replica.OutOfRange:
		p.divergedLocked(f, p.mu.leo)
		return res, 0, fmt.Errorf("%s: fetch at %d (epoch %d), log is [%d, %d): %w",
			p.tp, f.Offset, f.LastFetchedEpoch, res.LogStart, p.mu.leo, ErrOffsetOutOfRange)
	case replica.Diverges:
		res.Diverging, res.Divergence = true, div
		p.divergedLocked(f, div.End)
	}
	if f.Replica >= 0 && !res.Diverging && f.Acknowledge { // invariant 6
		eff, err := lead.core.Fetched(from, p.now())
		if err != nil {
			p.refusedLocked(f, err)
			return res, 0, fmt.Errorf("%s: %w: %w", p.tp, ErrNotLeader, err)
		}
		p.takeLocked(eff)
		p.lowWatermarkLocked(lead.core)
		res.complaint = p.complainsLocked(f)
	}
	res.HW, res.LSO = p.HighWatermark(), p.LastStable()
	switch {
	case f.Replica >= 0 && p.throttledLocked(lead.core, f) && !res.Diverging:
		limit, res.Withheld = f.Offset, true
	case f.Replica >= 0:
		limit = p.mu.leo
		if f.Offset < limit {
			lead.core.Served(f.Replica, p.now())
		}
	case f.Isolation == ReadCommitted:
		limit = res.LSO
	default:
		limit = res.HW
	}
	return res, limit, nil
}

// throttledLocked tells whether the replication quota forbids to send a
// follower what there is for it. Members of the ISR are never throttled, or the
// throttle would shrink it.
func (p *Partition) throttledLocked(core *replica.Leader, f Fetch) bool {
	if p.quota == nil || !p.settings.Load().ThrottleLeader || f.Offset >= p.mu.leo || core.InISR(f.Replica) || !p.quota.Exceeded() {
		return false
	}
	p.takeLocked(core.Withheld(f.Replica, p.now()))
	return true
}

// Sent counts bytes that a follower was sent towards the replication quota, if
// this replica is throttled.
func (p *Partition) Sent(bytes int) {
	if p.quota != nil && bytes > 0 && p.settings.Load().ThrottleLeader {
		p.quota.Record(bytes)
	}
}

// Release lets followers look again: the quota allows to send what was
// withheld. Call Perform afterwards.
func (p *Partition) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.pending.data, p.mu.pending.any = 1<<30, true
}

// notAssigned: a replica that was given a leader epoch learns more from
// UNKNOWN_LEADER_EPOCH, since its metadata is newer or older than ours.
func (p *Partition) notAssigned(f Fetch, err error) error {
	if f.CurrentEpoch != model.NoLeaderEpoch {
		return fmt.Errorf("%s: %w: %w", p.tp, ErrUnknownEpoch, err)
	}
	return fmt.Errorf("%s: %w: %w", p.tp, ErrNotLeader, err)
}

// lowWatermarkLocked serves DeleteRecords that wait, if any.
func (p *Partition) lowWatermarkLocked(core *replica.Leader) {
	if p.deletes.Len() == 0 {
		return
	}
	p.mu.pending.low, p.mu.pending.any = core.LowWatermark(p.log.Start()), true
}

// ReadReplicas lists the followers from which a consumer may read at off: those
// in the committed ISR that hold it (KIP-392). Only a leader knows any.
func (p *Partition) ReadReplicas(off model.Offset) []replica.FollowerView {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.mu.role.(leading)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(l.core.Followers(p, now), func(f replica.FollowerView) bool {
		return !f.InISR || f.LEO < off || f.LogStart > off
	})
}
