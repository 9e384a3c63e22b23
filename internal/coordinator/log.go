package coordinator

import (
	"errors"

	"tidemark/internal/group"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
)

// ErrLost: the leadership ended before the records were committed.
var ErrLost = errors.New("leadership ended before the commit")

// ErrTimedOut: the records were not committed in time; they still may be.
var ErrTimedOut = errors.New("not committed in time")

// Log is a partition that this broker leads.
type Log interface {
	// Scan reads all batches up to the log end, and returns that.
	Scan(fn func(record.Batch) error) (end model.Offset, err error)
	// Append writes a batch under that leader epoch, as with acks=all. Requests
	// of others that it completes join ready.
	Append(b record.Batch, epoch model.LeaderEpoch, ready *purgatory.Ready) (Position, error)
	// Await calls done once, later or through ready: nil when everything up to
	// the position is committed, ErrLost, or ErrTimedOut.
	Await(at Position, ready *purgatory.Ready, done func(error))
}

// Position is the last record of an append, and the leadership it belongs to.
type Position struct {
	Epoch model.LeaderEpoch
	Last  model.Offset
}

// codeOf says what a client is told when an append fails: whether to look for
// the coordinator again, or to try the same one again.
func codeOf(err error) group.Code {
	switch {
	case err == nil:
		return group.OK
	case errors.Is(err, partition.ErrNotEnoughReplicas), errors.Is(err, partition.ErrUnknownPartition),
		errors.Is(err, partition.ErrUnknownTopicID), errors.Is(err, ErrTimedOut):
		return group.CoordinatorNotAvailable
	case errors.Is(err, partition.ErrNotLeader), errors.Is(err, partition.ErrNotHosted),
		errors.Is(err, partition.ErrStorage), errors.Is(err, partition.ErrFencedEpoch),
		errors.Is(err, partition.ErrUnknownEpoch), errors.Is(err, ErrLost):
		return group.NotCoordinator
	}
	return group.UnknownServerError // too large, most likely
}
