package partition

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/replica"
)

// counts are what a replica did since it was opened.
type counts struct {
	bytesIn, messagesIn, bytesOut, bytesRejected atomic.Int64
	replicationBytesIn, replicationBytesOut      atomic.Int64
	reassignmentBytesIn, reassignmentBytesOut    atomic.Int64
	produces, failedProduces                     atomic.Int64
	fetches, failedFetches                       atomic.Int64
	acksExpired                                  atomic.Int64
}

// Counters are what a replica did since it was opened; each only grows. Bytes are
// those of record batches.
type Counters struct {
	MessagesIn, BytesIn  int64 // from producers
	BytesOut             int64 // to consumers
	BytesRejected        int64 // of batches above max.message.bytes
	ReplicationBytesIn   int64 // as a follower
	ReplicationBytesOut  int64 // as a leader
	ReassignmentBytesIn  int64 // of ReplicationBytesIn, as a replica that a reassignment brings
	ReassignmentBytesOut int64 // of ReplicationBytesOut, to such replicas
	Produces, Fetches    int64 // reads of this partition, a follower's and repeated ones included
	FailedProduces       int64 // for a reason that Kafka counts: none that clients are expected to meet
	FailedFetches        int64
	AcksExpired          int64 // acks=all appends that were not committed in time
}

// Add adds those of another replica.
func (c *Counters) Add(o Counters) {
	c.MessagesIn += o.MessagesIn
	c.BytesIn += o.BytesIn
	c.BytesOut += o.BytesOut
	c.BytesRejected += o.BytesRejected
	c.ReplicationBytesIn += o.ReplicationBytesIn
	c.ReplicationBytesOut += o.ReplicationBytesOut
	c.ReassignmentBytesIn += o.ReassignmentBytesIn
	c.ReassignmentBytesOut += o.ReassignmentBytesOut
	c.Produces += o.Produces
	c.Fetches += o.Fetches
	c.FailedProduces += o.FailedProduces
	c.FailedFetches += o.FailedFetches
	c.AcksExpired += o.AcksExpired
}

// Counters reads them; it takes no lock.
func (p *Partition) Counters() Counters {
	s := &p.stats
	return Counters{
		MessagesIn: s.messagesIn.Load(), BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(), BytesRejected: s.bytesRejected.Load(),
		ReplicationBytesIn: s.replicationBytesIn.Load(), ReplicationBytesOut: s.replicationBytesOut.Load(),
		ReassignmentBytesIn: s.reassignmentBytesIn.Load(), ReassignmentBytesOut: s.reassignmentBytesOut.Load(),
		Produces: s.produces.Load(), Fetches: s.fetches.Load(),
		FailedProduces: s.failedProduces.Load(), FailedFetches: s.failedFetches.Load(), AcksExpired: s.acksExpired.Load(),
	}
}

// isAdding tells whether a reassignment brings the replica.
func (p *Partition) isAdding(id model.BrokerID) bool {
	all := p.adding.Load()
	return all != nil && slices.Contains(*all, id)
}

// factor is the number of replicas without those that a reassignment brings: the
// partition isn't under-replicated while they catch up.
func (p *Partition) factor(l *replica.Leader) int {
	n := len(l.Replicas())
	if all := p.adding.Load(); all != nil {
		n -= len(*all)
	}
	return n
}

// countProduce counts a client's append and how it ended.
func (p *Partition) countProduce(bytes int, err error) {
	p.stats.produces.Add(1)
	switch {
	case err == nil:
	case errors.Is(err, record.ErrTooLarge), errors.Is(err, ErrSegmentTooSmall):
		p.stats.bytesRejected.Add(int64(bytes))
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrStorage), errors.Is(err, record.ErrCorrupt):
	default:
		p.stats.failedProduces.Add(1)
	}
}

// countFetch counts a read and how it ended.
func (p *Partition) countFetch(err error) {
	p.stats.fetches.Add(1)
	switch {
	case err == nil:
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrFencedEpoch), errors.Is(err, ErrUnknownEpoch),
		errors.Is(err, ErrOffsetOutOfRange), errors.Is(err, ErrStorage):
	default:
		p.stats.failedFetches.Add(1)
	}
}

// FollowerMeasures is how far one follower is behind, as its leader knows.
type FollowerMeasures struct {
	ID      model.BrokerID
	InISR   bool
	Health  replica.Health
	Records int64         // -1: it has not fetched in this epoch
	Bytes   int64         // about; -1: it has not fetched in this epoch
	Behind  time.Duration // since it was last caught up; -1 never
	Joined  int           // ISR joins and departures in this leader epoch
	Left    int
}

// Measures are a replica's numbers for the metrics: those of StateView that are
// cheap for thousands of replicas at a time.
type Measures struct {
	TP                                          model.TopicPartition
	Leads, Follows, Offline                     bool
	LogStart, LogEnd, HighWatermark, LastStable model.Offset
	Segments                                    int
	Size                                        int64 // bytes
	Producers, LateTxns                         int   // LateTxns: open for longer than the caller's limit

	// Only for a leader.
	Replicas, ISR, MinISR int                // Replicas without those that a reassignment brings
	Followers             []FollowerMeasures // the caller's memory, reused
}

// Measure fills m. It reads no disk. An open transaction is late if its first
// record is older than lateTxn.
func (p *Partition) Measure(m *Measures, lateTxn time.Duration) {
	now := p.now()
	*m = Measures{TP: p.tp, LogStart: p.log.Start(), Segments: p.log.SegmentCount(), Size: p.log.Size(), Followers: m.Followers[:0]}
	p.mu.Lock()
	m.LogEnd, m.HighWatermark, m.LastStable, m.Producers = p.mu.leo, p.HighWatermark(), p.LastStable(), p.mu.producers.Len()
	if _, _, since, ok := p.mu.producers.OldestOpen(); ok && now.Sub(time.UnixMilli(since)) > lateTxn {
		m.LateTxns = 1
	}
	switch r := p.mu.role.(type) {
	case offline:
		m.Offline = true
	case following:
		m.Follows = true
	case leading:
		m.Leads, m.Replicas = true, p.factor(r.core)
		m.ISR, m.MinISR = len(r.core.ISR().CommittedISR()), r.core.EffectiveMinISR()
		for _, f := range r.core.Followers(p, now) {
			fm := FollowerMeasures{ID: f.ID, InISR: f.InISR, Health: f.Condition.Health, Records: -1, Bytes: -1, Behind: -1, Joined: f.Joined, Left: f.Left}
			if f.LEO != model.NoOffset {
				fm.Records, fm.Bytes = int64(m.LogEnd-f.LEO), int64(f.LEO)
			}
			if !f.LastCaughtUp.IsZero() {
				fm.Behind = max(0, now.Sub(f.LastCaughtUp))
			}
			m.Followers = append(m.Followers, fm)
		}
	}
	p.mu.Unlock()
	for i := range m.Followers { // outside mu: it searches the index
		switch f := &m.Followers[i]; {
		case f.Records > 0:
			f.Bytes = p.log.SizeBetween(model.Offset(f.Bytes), m.LogEnd)
		case f.Records == 0:
			f.Bytes, f.Behind = 0, 0
		}
	}
}
