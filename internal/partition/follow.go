package partition

import (
	"errors"
	"fmt"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/replica"
)

// FollowPosition is where a follower's next fetch begins.
type FollowPosition struct {
	Leader           model.BrokerID // NoBroker: nobody to fetch from
	Epoch            model.LeaderEpoch
	Offset           model.Offset      // the log end; with flush on ack what is on disk
	LastFetchedEpoch model.LeaderEpoch // NoLeaderEpoch if the log is empty
	LogStart         model.Offset
	LogEnd           model.Offset
	HighWatermark    model.Offset
}

// FollowPosition is false unless this replica follows.
func (p *Partition) FollowPosition() (FollowPosition, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.mu.role.(following)
	if !ok {
		return FollowPosition{}, false
	}
	at := FollowPosition{
		Leader: f.core.Leader(), Epoch: f.core.Epoch(), Offset: f.core.FetchOffset(),
		LastFetchedEpoch: model.NoLeaderEpoch, LogStart: p.log.Start(), LogEnd: p.mu.leo,
		HighWatermark: f.core.HighWatermark(),
	}
	if e, ok := p.log.LatestEpoch(); ok {
		at.LastFetchedEpoch = e
	}
	return at, true
}

// Replicated is a leader's answer for one partition, without error or divergence.
type Replicated struct {
	Epoch    model.LeaderEpoch // under which the fetch was sent
	Offset   model.Offset      // that was fetched
	Records  []byte            // whole batches; an incomplete last one is left alone
	LeaderHW model.Offset
	LogStart model.Offset // the leader's
}

// AppendAsFollower appends what the leader sent, verbatim, and then takes over
// the leader's high watermark and log start. Call Perform afterwards.
//
// Errors: ErrNotLeader if this replica does not follow, ErrFencedEpoch if it
// follows under another epoch by now (drop the answer), record.ErrCorrupt (drop
// the connection and fetch again: it says nothing about a disk),
// ErrBadReplication, ErrNoSpace (fetch again later), ErrStorage.
func (p *Partition) AppendAsFollower(r Replicated) error {
	batches, err := checkReplicated(r)
	if err != nil {
		return fmt.Errorf("%s: %w", p.tp, err)
	}
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.followsUnder(r.Epoch); err != nil {
		return err
	}
	var info commitlog.AppendInfo
	if len(batches) > 0 {
		if info, err = p.writeReplicated(batches, r.Offset, r.LogStart); err != nil {
			return err
		}
	}
	if err := p.publishReplicated(batches, info, r); err != nil {
		return err
	}
	p.stats.replicationBytesIn.Add(int64(len(batches)))
	if p.isAdding(p.self) {
		p.stats.reassignmentBytesIn.Add(int64(len(batches)))
	}
	if hw := p.HighWatermark(); r.LogStart > p.log.Start() && hw > p.log.Start() {
		if err := p.log.AdvanceStart(min(r.LogStart, hw)); err != nil {
			return p.writeFailed(err)
		}
	}
	return nil
}

// checkReplicated frames and checks the records outside any lock, and returns
// the part that consists of whole batches.
func checkReplicated(r Replicated) ([]byte, error) {
	rest, last, n := r.Records, model.NoOffset, 0
	for len(rest) > 0 {
		b, more, err := record.Next(rest)
		if errors.Is(err, record.ErrShort) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := b.CheckCRC(); err != nil {
			return nil, err
		}
		if b.BaseOffset() <= last || b.LastOffset() < b.BaseOffset() {
			return nil, fmt.Errorf("batch [%d, %d] after %d: %w", b.BaseOffset(), b.LastOffset(), last, ErrBadReplication)
		}
		if b.LeaderEpoch() > r.Epoch {
			return nil, fmt.Errorf("batch at %d of epoch %d, leader is at %d: %w",
				b.BaseOffset(), b.LeaderEpoch(), r.Epoch, ErrBadReplication)
		}
		last, rest = b.LastOffset(), more
		n += len(b)
	}
	return r.Records[:n], nil
}

func (p *Partition) followsUnder(epoch model.LeaderEpoch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.mu.role.(offline); ok {
		return fmt.Errorf("%s: %w: %w", p.tp, ErrStorage, r.err)
	}
	f, ok := p.mu.role.(following)
	if !ok {
		return fmt.Errorf("%s does not follow: %w", p.tp, ErrNotLeader)
	}
	if f.core.Epoch() != epoch {
		return fmt.Errorf("%s: answer of epoch %d, following under %d: %w", p.tp, epoch, f.core.Epoch(), ErrFencedEpoch)
	}
	return nil
}

// writeReplicated writes at the log end. The first batch may begin below it
// only in an empty log, whose start lies inside that batch: the log then begins
// with the batch (KAFKA-6975). A log that ends where the leader's begins, inside
// a batch, has nothing that the leader has not deleted, so it is as good as empty.
func (p *Partition) writeReplicated(batches []byte, fetched, leaderStart model.Offset) (commitlog.AppendInfo, error) {
	end := p.log.End()
	if fetched != end {
		return commitlog.AppendInfo{}, fmt.Errorf("%s: fetched at %d, log ends at %d: %w", p.tp, fetched, end, ErrBadReplication)
	}
	if p.space != nil {
		if err := p.space.Take(len(batches)); err != nil {
			return commitlog.AppendInfo{}, fmt.Errorf("%s: %w", p.tp, err)
		}
	}
	first := record.Batch(batches).BaseOffset()
	if first < end {
		if p.log.Start() != end && leaderStart < end {
			return commitlog.AppendInfo{}, fmt.Errorf("%s: batch at %d, log is [%d, %d): %w",
				p.tp, first, p.log.Start(), end, ErrBadReplication)
		}
		if err := p.restart(first, replica.ReasonBelowLogStart); err != nil {
			return commitlog.AppendInfo{}, err
		}
	}
	info, err := p.log.Append(batches)
	if err != nil {
		return info, p.writeFailed(err)
	}
	return info, nil
}

func (p *Partition) publishReplicated(batches []byte, info commitlog.AppendInfo, r Replicated) error {
	if err := p.learn(batches); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.mu.role.(following)
	if !ok {
		return fmt.Errorf("%s: %w", p.tp, ErrStorage)
	}
	p.mu.leo = p.log.End()
	f.core.Appended(p.mu.leo)
	p.flushLocked(info)
	eff := f.core.Replicated(r.LeaderHW, p.log.Start(), p.now())
	if !eff.Advanced && len(batches) > 0 {
		p.publishLocked(f.core.HighWatermark()) // the LSO may have moved
	}
	p.takeLocked(eff)
	return nil
}

// TruncateFor cuts the log as a diverging answer demands (KIP-101, KIP-279).
// Unless Done, the next fetch finds out more. Call Perform afterwards. Errors
// as for AppendAsFollower.
func (p *Partition) TruncateFor(epoch model.LeaderEpoch, leader replica.EpochEnd, fetched model.Offset) (replica.Truncation, error) {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.followsUnder(epoch); err != nil {
		return replica.Truncation{}, err
	}
	cut := replica.DecideTruncation(leader, fetched, p.log.End(), p.log)
	return cut, p.truncate(cut.To, replica.ReasonDiverged)
}

// TruncateTo cuts the log at off, because the leader's ends there (unclean
// election) and has no epochs in common to tell more. Errors as for AppendAsFollower.
func (p *Partition) TruncateTo(epoch model.LeaderEpoch, off model.Offset) error {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.followsUnder(epoch); err != nil {
		return err
	}
	return p.truncate(off, replica.ReasonLeaderBehind)
}

// truncate runs under appendMu. The high watermark is lowered first, so that no
// reader is sent behind the cut.
func (p *Partition) truncate(off model.Offset, why replica.Reason) error {
	p.removing(off, why)
	if hw := p.HighWatermark(); off < hw {
		p.mu.Lock()
		p.hw.Store(int64(off))
		p.lso.Store(min(p.lso.Load(), int64(off)))
		p.mu.Unlock()
	}
	info, err := p.log.TruncateTo(off)
	if err != nil {
		return p.writeFailed(err)
	}
	if info.FlushedLowered && p.storage != nil {
		p.storage.FlushedLowered(p)
	}
	p.mu.Lock()
	ok := p.mu.producers.TruncateTo(info.End)
	p.mu.Unlock()
	if !ok {
		table, err := p.loadProducers(info.End)
		if err != nil {
			return p.failed(err)
		}
		p.mu.Lock()
		p.mu.producers = table
		p.mu.Unlock()
	}
	p.publishCut(info.End, why)
	return nil
}

func (p *Partition) publishCut(end model.Offset, why replica.Reason) {
	p.trimDamage(p.log.Start(), end)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.leo = end
	p.mu.pending.broken, p.mu.pending.any = true, true
	if f, ok := p.mu.role.(following); ok {
		p.takeLocked(f.core.Truncated(p.log.Start(), end, why, p.now()))
	}
}

// RestartAt deletes the whole log and begins anew at off: the leader no longer
// has what this replica needs. Errors as for AppendAsFollower.
func (p *Partition) RestartAt(epoch model.LeaderEpoch, off model.Offset) error {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.followsUnder(epoch); err != nil {
		return err
	}
	return p.restart(off, replica.ReasonBelowLogStart)
}

// restart runs under appendMu.
func (p *Partition) restart(off model.Offset, why replica.Reason) error {
	if why == replica.ReasonDamaged { // else the leader has deleted it all
		p.removing(p.log.Start(), why)
	}
	if err := p.log.TruncateFullyAndStartAt(off); err != nil {
		return p.writeFailed(err)
	}
	if p.storage != nil {
		p.storage.FlushedLowered(p)
	}
	p.mu.Lock()
	p.mu.producers.Reset()
	p.mu.Unlock()
	p.publishCut(off, why)
	return nil
}

// ExpireProducers forgets producers that have been idle for ttl.
func (p *Partition) ExpireProducers(ttl time.Duration) int {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.producers.Expire(p.now().UnixMilli(), ttl.Milliseconds())
}

// ApplyRetention deletes segments that retention.ms and retention.bytes allow
// to delete, never above the high watermark (KAFKA-5634). Call Perform afterwards.
func (p *Partition) ApplyRetention(now time.Time) (deleted int, err error) {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	deleted, err = p.log.ApplyRetention(now, p.HighWatermark())
	if err != nil {
		return deleted, p.writeFailed(err)
	}
	if deleted > 0 {
		p.mu.Lock()
		p.mu.pending.quiet, p.mu.pending.any = true, true
		p.mu.Unlock()
	}
	return deleted, nil
}
