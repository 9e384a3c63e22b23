package fetcher

import (
	"sync"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// Phase is what a loop is doing with a partition.
type Phase string

// The phases of a followed partition.
const (
	Fetching Phase = "fetching"
	Delayed  Phase = "delayed" // waits after an error that may pass
	Failed   Phase = "failed"  // waits for new metadata (KIP-461)
	// Throttled: left out of the fetches until the quota allows.
	Throttled Phase = "throttled"
)

// follower is one partition of one loop.
type follower struct {
	a Assignment

	mu       sync.Mutex // held while a response is applied
	gone     bool       // removed from its loop // invariant 1
	phase    Phase
	why      string // of Delayed and Failed
	told     string // the trouble that was reported last; cleared by success
	until    time.Time
	tries    int // failures in a row
	pos      Position
	leaderHW model.Offset // of the last answer
	lag      int64        // -1 while unknown
	caughtUp time.Time

	inSession bool                       // guarded by loop.mu
	sent      peer.ReplicaFetchPartition // owned by the loop's goroutine
}

// Status is a followed partition as the API shows it.
type Status struct {
	TP       model.TopicPartition
	Leader   model.BrokerID
	Loop     int32
	Epoch    model.LeaderEpoch
	Phase    Phase
	Why      string    // reason of a delay or failure
	Until    time.Time // end of a delay
	Offset   model.Offset
	Lag      int64     // records behind the leader's high watermark, -1 if not known
	CaughtUp time.Time // when Lag was last 0
}

func (p *follower) status(key loopKey) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Status{
		TP: p.a.TP, Leader: key.leader, Loop: key.id, Epoch: p.a.Epoch, Phase: p.phase, Why: p.why, Until: p.until,
		Offset: p.pos.Offset, Lag: p.lag, CaughtUp: p.caughtUp,
	}
}
