package replica

import (
	"time"

	"tidemark/internal/model"
)

// Follower is a following replica of a partition, for one leader epoch.
type Follower struct {
	leader    model.BrokerID
	epoch     model.LeaderEpoch
	leo       model.Offset
	flushed   model.Offset
	hw        model.Offset
	logStart  model.Offset
	flushGate bool
	reported  bool // a high watermark that went back is told once
}

// FollowerOptions make a Follower.
type FollowerOptions struct {
	Leader        model.BrokerID // NoBroker while the partition has none
	Epoch         model.LeaderEpoch
	LogStart      model.Offset
	LogEnd        model.Offset
	Flushed       model.Offset
	HighWatermark model.Offset
	FlushGate     bool // flush before the fetch that acknowledges
}

// NewFollower begins to follow.
func NewFollower(o FollowerOptions) *Follower {
	f := &Follower{
		leader: o.Leader, epoch: o.Epoch, leo: o.LogEnd, flushed: o.Flushed,
		logStart: o.LogStart, flushGate: o.FlushGate,
	}
	f.hw = clamp(o.HighWatermark, f.logStart, f.leo)
	return f
}

// Leader is the broker that is followed, NoBroker if there is none.
func (f *Follower) Leader() model.BrokerID { return f.leader }

// Epoch is the leader epoch that is followed.
func (f *Follower) Epoch() model.LeaderEpoch { return f.epoch }

// LogEnd is the offset after the last record.
func (f *Follower) LogEnd() model.Offset { return f.leo }

// HighWatermark as the leader told it, within this replica's own log.
func (f *Follower) HighWatermark() model.Offset { return f.hw }

// FetchOffset is what the next fetch may acknowledge: the log end, or with the
// flush gate what is on disk.
func (f *Follower) FetchOffset() model.Offset {
	if f.flushGate {
		return min(f.flushed, f.leo)
	}
	return f.leo
}

// Appended tells that the log now ends at leo.
func (f *Follower) Appended(leo model.Offset) { f.leo = leo }

// Flushed tells that everything below upTo is on disk.
func (f *Follower) Flushed(upTo model.Offset) { f.flushed = max(f.flushed, upTo) }

// Configure changes the flush gate.
func (f *Follower) Configure(flushGate bool) { f.flushGate = flushGate }

// Replicated takes the leader's high watermark and log start from a response
// whose records have been appended, never from a diverging one (KAFKA-14704).
// The high watermark may go back: a new leader starts with the one it knows.
func (f *Follower) Replicated(leaderHW, leaderLogStart model.Offset, now time.Time) Effects {
	if leaderLogStart > f.logStart {
		f.logStart = leaderLogStart
	}
	hw := clamp(leaderHW, f.logStart, f.leo)
	if hw == f.hw {
		return Effects{}
	}
	var eff Effects
	if hw < f.hw && !f.reported {
		f.reported = true
		eff.Evidence = append(eff.Evidence, f.evidence(ReasonHighWatermarkRegressed, hw, now))
	}
	f.hw = hw
	eff.HighWatermark, eff.Advanced = hw, true
	return eff
}

// Truncated tells that the log was cut, or begun anew, and now spans
// [start, end). The high watermark is lowered with it.
func (f *Follower) Truncated(start, end model.Offset, why Reason, now time.Time) Effects {
	f.leo, f.logStart = end, start
	f.flushed = min(f.flushed, end)
	f.hw = clamp(f.hw, start, end)
	return Effects{
		HighWatermark: f.hw, Advanced: true,
		Evidence: []Evidence{f.evidence(why, end, now)},
	}
}

func (f *Follower) evidence(why Reason, at model.Offset, now time.Time) Evidence {
	return Evidence{
		Reason: why, At: now, LeaderEpoch: f.epoch, Broker: f.leader,
		LEO: f.leo, HighWatermark: f.hw, Position: at,
	}
}

func clamp(v, lo, hi model.Offset) model.Offset { return max(lo, min(v, hi)) }
