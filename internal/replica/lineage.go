package replica

import "tidemark/internal/model"

// EpochEnd is the end of one leader epoch in one log: the offset at which the
// next epoch begins, or the log end for the latest.
type EpochEnd struct {
	Epoch model.LeaderEpoch // NoLeaderEpoch if undefined
	End   model.Offset      // NoOffset if undefined
}

// Epochs answers from the leader-epoch cache of a log: the largest epoch that
// is not above e, and its end.
//
//	e undefined, or above the latest -> (NoLeaderEpoch, NoOffset)
//	e the latest                     -> (e, log end)
//	e below the first                -> (e, start of the first)
//	otherwise                        -> (floor of e, start of the next)
type Epochs interface {
	EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset)
}

// Lineage is the leader's verdict on where a fetch stands in its log.
type Lineage uint8

const (
	// Agrees: the follower's log up to its fetch offset is a prefix of ours.
	Agrees Lineage = iota
	// Diverges: answer with the EpochEnd and without records.
	Diverges
	// OutOfRange: below the log start, above the end, or of an epoch unknown here.
	OutOfRange
)

// FetchPosition is where a fetch wants to read, and the epoch of the record
// before that offset, NoLeaderEpoch if the fetcher does not tell.
type FetchPosition struct {
	Offset           model.Offset
	LastFetchedEpoch model.LeaderEpoch
}

// CheckLineage compares a fetch with the log [start, end). An offset below the
// log start goes before a divergence (KAFKA-12996).
func CheckLineage(at FetchPosition, start, end model.Offset, log Epochs) (Lineage, EpochEnd) {
	none := EpochEnd{Epoch: model.NoLeaderEpoch, End: model.NoOffset}
	if at.LastFetchedEpoch != model.NoLeaderEpoch {
		e, o := log.EndOffsetFor(at.LastFetchedEpoch)
		if e == model.NoLeaderEpoch || o == model.NoOffset || at.Offset < start {
			return OutOfRange, none
		}
		if e < at.LastFetchedEpoch || o < at.Offset {
			return Diverges, EpochEnd{Epoch: e, End: o}
		}
	}
	if at.Offset < start || at.Offset > end {
		return OutOfRange, none
	}
	return Agrees, none
}

// Truncation is a follower's decision on where to cut its log.
type Truncation struct {
	To model.Offset
	// Done: the logs agree below To. Otherwise the next fetch, which carries an
	// older epoch, finds out more (KIP-279).
	Done bool
}

// DecideTruncation takes the leader's diverging epoch. fetchOffset is where the
// follower fetched; logEnd is the end of its log.
func DecideTruncation(leader EpochEnd, fetchOffset, logEnd model.Offset, own Epochs) Truncation {
	if leader.End == model.NoOffset {
		return Truncation{To: min(fetchOffset, logEnd), Done: true}
	}
	if leader.Epoch == model.NoLeaderEpoch {
		return Truncation{To: min(leader.End, logEnd), Done: true}
	}
	e, o := own.EndOffsetFor(leader.Epoch)
	switch {
	case o == model.NoOffset:
		return Truncation{To: min(leader.End, logEnd), Done: true}
	case e != leader.Epoch:
		return Truncation{To: min(o, logEnd)}
	}
	return Truncation{To: min(o, leader.End, logEnd), Done: true}
}

// RangeAction is what a follower does about OFFSET_OUT_OF_RANGE.
type RangeAction uint8

const (
	// AskEarliest: the leader's end is not below ours, so ask for its log start.
	AskEarliest RangeAction = iota
	// TruncateTo: the leader's log is shorter than ours (unclean election).
	TruncateTo
	// StartAt: the leader no longer has our next offset: delete all, begin there.
	StartAt
	// Continue: fetch again from our own end.
	Continue
)

// RangeDecision is a RangeAction and its offset.
type RangeDecision struct {
	Action RangeAction
	Offset model.Offset
	Reason Reason
}

// DecideOutOfRange takes our log end and the leader's log end and start, the
// latter NoOffset as long as it was not asked for.
func DecideOutOfRange(logEnd, leaderEnd, leaderStart model.Offset) RangeDecision {
	switch {
	case leaderEnd < logEnd:
		return RangeDecision{TruncateTo, leaderEnd, ReasonLeaderBehind}
	case leaderStart == model.NoOffset:
		return RangeDecision{Action: AskEarliest, Offset: model.NoOffset}
	case leaderStart > logEnd:
		return RangeDecision{StartAt, leaderStart, ReasonBelowLogStart}
	}
	return RangeDecision{Action: Continue, Offset: logEnd}
}
