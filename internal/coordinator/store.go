package coordinator

import (
	"time"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/producer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
)

// replicaLog is a hosted replica as a Log.
type replicaLog struct {
	p       *partition.Partition
	waits   *purgatory.Purgatory
	timeout time.Duration
	now     func() time.Time
}

// Scan implements Log.
func (l replicaLog) Scan(fn func(record.Batch) error) (model.Offset, error) {
	end := l.p.LogEnd()
	err := l.p.Log().Batches(l.p.LogStart(), func(b record.Batch) error {
		if b.BaseOffset() >= end {
			return nil
		}
		return fn(b)
	})
	return end, err
}

// Append implements Log.
func (l replicaLog) Append(b record.Batch, epoch model.LeaderEpoch, ready *purgatory.Ready) (Position, error) {
	res, err := l.p.AppendAsLeader(b, partition.Append{
		AcksAll: true, Origin: producer.Coordinator, ZstdAllowed: true, Epoch: epoch,
	})
	l.p.Perform(ready)
	return Position{res.Epoch, res.Last}, err
}

// Await implements Log.
func (l replicaLog) Await(at Position, ready *purgatory.Ready, done func(error)) {
	r := l.waits.NewRequest(1, l.now().Add(l.timeout), func(r *purgatory.Request) {
		switch {
		case r.Outcome(0) == purgatory.Reached:
			done(nil)
		case r.Outcome(0) == purgatory.Lost:
			done(ErrLost)
		default:
			done(ErrTimedOut)
		}
	})
	l.p.AwaitCommitted(partition.Appended{Epoch: at.Epoch, Last: at.Last}, r, 0, ready)
	// Parking may complete the request at once, which must not happen here,
	// where the caller holds its lock. // invariant 4
	ready.Add(parking{r})
}

// parking parks a request once no lock is held.
type parking struct{ r *purgatory.Request }

// Complete implements purgatory.Completer.
func (k parking) Complete() {
	var ready purgatory.Ready
	_ = k.r.Park(&ready) // full: the request is completed as timed out
	ready.Run()
}
