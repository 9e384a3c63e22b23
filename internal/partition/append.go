package partition

import (
	"errors"
	"fmt"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/producer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/replica"
)

// Append says how a leader appends.
type Append struct {
	// AcksAll refuses the append while the committed ISR is below min.insync.replicas.
	AcksAll bool
	// Origin is producer.Client for a produce request; Coordinator for the
	// broker's own writers, which may write control batches.
	Origin producer.Origin
	// ZstdAllowed: Produce v7 or later.
	ZstdAllowed bool
	// Guard is the verification of a transactional producer, 0 for none.
	Guard producer.Guard
	// Epoch, if not NoLeaderEpoch, is the leadership that the caller believes in.
	Epoch model.LeaderEpoch
}

// Appended is the outcome of an append.
type Appended struct {
	Base, Last model.Offset
	Epoch      model.LeaderEpoch // of the leadership that wrote it
	LogStart   model.Offset
	AppendTime int64 // ms; -1 with CreateTime
	Duplicate  bool  // nothing was written: it had been before
}

// AppendAsLeader validates one record batch, stamps offsets and epoch into it
// in place, and writes it. Call Perform afterwards; several appends may share one.
//
// Errors: those of record.Validate, ErrNotLeader, ErrFencedEpoch,
// ErrUnknownEpoch, ErrNotEnoughReplicas, those of producer.Table.Check,
// ErrSegmentTooSmall, ErrNoSpace, ErrStorage. LogStart is valid with any of them.
func (p *Partition) AppendAsLeader(payload []byte, a Append) (Appended, error) {
	res, err := p.appendAsLeader(payload, a)
	if a.Origin == producer.Client {
		p.countProduce(len(payload), err)
	}
	return res, err
}

func (p *Partition) appendAsLeader(payload []byte, a Append) (Appended, error) {
	res := Appended{Base: model.NoOffset, Last: model.NoOffset, AppendTime: -1, LogStart: p.log.Start()}
	set := p.settings.Load()
	now := p.now()
	claims := set.Recompress && record.ClaimsAppendTime(payload)
	b, err := record.Validate(payload, record.Rules{
		MaxBytes: set.MaxBatchBytes, Compacted: set.Compacted, LogAppendTime: set.LogAppendTime,
		Now: now.UnixMilli(), TimestampBeforeMax: set.TimestampBeforeMax, TimestampAfterMax: set.TimestampAfterMax,
		Rebuilt:      set.Recompress && set.Codec != record.None,
		AllowControl: a.Origin != producer.Client, ZstdAllowed: a.ZstdAllowed,
	})
	if err != nil {
		return res, p.refusal(payload, a, err)
	}
	if b, err = recompress(b, set, claims); err != nil {
		return res, p.refusal(payload, a, err)
	}
	if set.SegmentBytes > 0 && len(b) > set.SegmentBytes {
		return res, p.refusal(payload, a, fmt.Errorf("batch of %d bytes, segment.bytes is %d: %w", len(b), set.SegmentBytes, ErrSegmentTooSmall))
	}
	if set.LogAppendTime {
		res.AppendTime = now.UnixMilli()
		b.StampAppendTime(res.AppendTime)
	}

	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	verdict, at, err := p.admit(b, a)
	res.Epoch = at.epoch
	if err != nil {
		return res, err
	}
	if verdict.Duplicate {
		res.Base, res.Last, res.AppendTime, res.Duplicate = verdict.Base, verdict.Last, verdict.AppendTime, true
		return res, nil
	}
	// The coordinators' own records are small, and groups must go on.
	if p.space != nil && a.Origin == producer.Client {
		if err := p.space.Take(len(b)); err != nil {
			return res, fmt.Errorf("%s: %w", p.tp, err)
		}
	}
	b.Stamp(at.base, at.epoch)
	info, err := p.log.Append(b)
	if err != nil {
		return res, p.writeFailed(err)
	}
	res.Base, res.Last = b.BaseOffset(), b.LastOffset()
	return res, p.publishAppend(b, info, now, a.AcksAll)
}

// refusal is why a bad batch is refused: Kafka says that this isn't the leader,
// or that too few replicas are in sync, before it looks at the records, but not
// before it has seen that they are one batch.
func (p *Partition) refusal(payload []byte, a Append, invalid error) error {
	if record.CheckFrame(payload, a.ZstdAllowed) != nil {
		return invalid
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	core, err := p.leaderLocked(a.Epoch)
	switch {
	case err != nil:
		return err
	case a.AcksAll && !core.AdmitsAcksAll():
		return p.tooFewLocked(core)
	}
	return invalid
}

// tooFewLocked is the error of an acks=all append while the ISR is too small.
func (p *Partition) tooFewLocked(core *replica.Leader) error {
	return fmt.Errorf("%s: isr %v, effective min.insync.replicas %d: %w",
		p.tp, core.ISR().CommittedISR(), core.EffectiveMinISR(), ErrNotEnoughReplicas)
}

// recompress brings a batch to the topic's compression.type, unless that is
// "producer". If the producer claimed that the time is the leader's, the records
// get the time that they all were said to have.
func recompress(b record.Batch, set *Settings, claims bool) (record.Batch, error) {
	if !set.Recompress || b.Codec() == set.Codec || b.Control() {
		return b, nil
	}
	anew := record.Recompress
	if claims {
		anew = record.Restamp
	}
	b, err := anew(b, set.Codec, 0)
	if err != nil {
		return nil, err
	}
	if set.MaxBatchBytes > 0 && len(b) > set.MaxBatchBytes {
		return nil, fmt.Errorf("batch of %d bytes after recompression, at most %d: %w",
			len(b), set.MaxBatchBytes, record.ErrTooLarge)
	}
	return b, nil
}

// place is where an admitted batch goes.
type place struct {
	base  model.Offset
	epoch model.LeaderEpoch
}

// admit checks role, epoch, ISR and sequence. The caller holds appendMu, so
// that what was admitted stays true until the batch is written. // invariant 3
func (p *Partition) admit(b record.Batch, a Append) (producer.Verdict, place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	core, err := p.leaderLocked(a.Epoch)
	if err != nil {
		return producer.Verdict{}, place{}, err
	}
	at := place{base: p.mu.leo, epoch: core.Epoch()}
	if a.AcksAll && !core.AdmitsAcksAll() {
		return producer.Verdict{}, at, p.tooFewLocked(core)
	}
	v, err := p.mu.producers.CheckGuarded(b, a.Origin, a.Guard)
	return v, at, err
}

// learn folds written batches into the producer table, and writes what they
// abort to the transaction index: before anything is published, or a reader
// could see aborted records without being told.
func (p *Partition) learn(batches []byte) error {
	var aborted []producer.AbortedTxn
	p.mu.Lock()
	for rest := batches; len(rest) > 0; {
		b, more, err := record.Next(rest)
		if err != nil {
			break // framed before
		}
		if a, ok := p.mu.producers.Appended(b); ok {
			aborted = append(aborted, a)
		}
		rest = more
	}
	p.mu.Unlock()
	for _, a := range aborted {
		if err := p.log.AppendAborted(commitlog.AbortedTxn(a)); err != nil {
			return p.failed(err)
		}
	}
	return nil
}

// publishAppend makes a written batch visible to followers.
func (p *Partition) publishAppend(b record.Batch, info commitlog.AppendInfo, now time.Time, acksAll bool) error {
	if err := p.learn(b); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	core, ok := p.mu.role.(leading)
	if !ok { // only Offline changes the role without appendMu
		return fmt.Errorf("%s: %w", p.tp, ErrStorage)
	}
	p.mu.leo = b.NextOffset()
	p.stats.bytesIn.Add(int64(len(b)))
	p.stats.messagesIn.Add(int64(b.Count()))
	n := &p.mu.pending
	n.data += len(b)
	n.any = true
	p.flushLocked(info)
	if acksAll && p.acked != nil {
		core.core.Await(p.mu.leo, p.now()) // now is from before the write
	}
	p.takeLocked(core.core.Appended(p.mu.leo, p, now))
	return nil
}

// flushLocked asks for a flush after an append: of the segments that were
// closed, or of everything if flush.messages says so.
func (p *Partition) flushLocked(info commitlog.AppendInfo) {
	n := &p.mu.pending
	set := p.settings.Load()
	switch {
	case set.FlushOnAck, set.FlushMessages > 0 && int64(p.mu.leo-p.log.Flushed()) >= set.FlushMessages:
		n.rolled, n.any = p.mu.leo, true
	case info.Rolled:
		n.rolled, n.any = max(n.rolled, info.First), true
	}
}

// writeFailed classifies an error of commitlog.Append.
func (p *Partition) writeFailed(err error) error {
	if errors.Is(err, commitlog.ErrIO) || errors.Is(err, commitlog.ErrClosed) {
		return p.failed(err)
	}
	return fmt.Errorf("%s: %w", p.tp, err)
}

// Flushed tells that everything below upTo is on disk. Call Perform afterwards.
func (p *Partition) Flushed(upTo model.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r := p.mu.role.(type) {
	case leading:
		p.takeLocked(r.core.Flushed(upTo, p.now()))
	case following:
		r.core.Flushed(upTo)
	}
}

// AwaitCommitted lets a slot of r wait until an append is committed: Reached,
// or Lost if the leadership that wrote it ends.
func (p *Partition) AwaitCommitted(a Appended, r *purgatory.Request, slot int, ready *purgatory.Ready) {
	p.acks.Add(a.Epoch, a.Last+1, r, slot, ready)
}

// Committed answers for an acks=all append whose wait ended well:
// ErrNotEnoughReplicas if meanwhile the maximal ISR is below min.insync.replicas.
func (p *Partition) Committed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	core, err := p.leaderLocked(model.NoLeaderEpoch)
	if err != nil {
		return err
	}
	if !core.EnoughAfterAppend() {
		return fmt.Errorf("%s: %s, effective min.insync.replicas %d: %w",
			p.tp, core.ISR(), core.EffectiveMinISR(), ErrNotEnoughReplicas)
	}
	return nil
}

// Hold tells what keeps the high watermark from the log end, for a leader.
func (p *Partition) Hold() (replica.Hold, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.mu.role.(leading); ok {
		return l.core.Hold(p.now()), true
	}
	return replica.Hold{}, false
}
