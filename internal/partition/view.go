package partition

import (
	"time"

	"tidemark/internal/model"
	"tidemark/internal/producer"
	"tidemark/internal/replica"
)

// FollowerView is a remote replica as its leader sees it, for the console, the
// CLI and the metrics.
type FollowerView struct {
	replica.FollowerView
	LagRecords int64 // leader's LEO minus its own; -1 if it has not fetched yet
	LagBytes   int64 // about; -1 if it has not fetched yet
}

// StateView is everything that can be said about a replica at one moment.
type StateView struct {
	TP             model.TopicPartition
	TopicID        model.TopicID
	Role           string         // "leader", "follower", "idle" or "offline"
	Leader         model.BrokerID // NoBroker if unknown
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch
	Replicas       []model.BrokerID

	LogStart, LogEnd, HighWatermark, LastStable, Flushed model.Offset

	Segments int
	Size     int64 // bytes
	Dir      string
	Error    string // why it is offline

	// Only for a leader.
	EpochStart      model.Offset
	ISR, MaximalISR []model.BrokerID
	ISRState        string // "committed", "pending-expand" or "pending-shrink"
	MinISR          int    // effective
	UnderMinISR     bool
	AtMinISR        bool
	UnderReplicated bool
	Hold            replica.Hold // what keeps the high watermark from the log end
	Followers       []FollowerView
	ParkedAcks      int

	Producers     int
	OpenTxns      int
	OldestOpenTxn model.Offset // NoOffset if none
	Settings      Settings

	// Since the replica was opened; only what it did as a leader, apart from
	// reads by consumers.
	BytesIn, MessagesIn, BytesOut, ReplicationBytesOut int64
}

// State describes the replica now. It reads no disk.
func (p *Partition) State() StateView {
	now := p.now()
	segments := p.log.Segments()
	v := StateView{
		TP: p.tp, TopicID: p.topicID, Leader: model.NoBroker, LogStart: p.log.Start(), Flushed: p.log.Flushed(),
		Segments: len(segments), Size: p.log.Size(), Dir: p.log.Dir(), Settings: p.Settings(),
		BytesIn: p.stats.bytesIn.Load(), MessagesIn: p.stats.messagesIn.Load(),
		BytesOut: p.stats.bytesOut.Load(), ReplicationBytesOut: p.stats.replicationBytesOut.Load(),
		ParkedAcks: p.acks.Len(), OldestOpenTxn: model.NoOffset, EpochStart: model.NoOffset,
	}
	watch := p.watch()
	p.mu.Lock()
	v.LeaderEpoch, v.PartitionEpoch, v.Replicas = p.mu.role.leaderEpoch(), p.mu.pe, p.mu.replicas
	v.LogEnd, v.HighWatermark, v.LastStable = p.mu.leo, p.HighWatermark(), p.LastStable()
	v.Producers, v.OpenTxns = p.mu.producers.Len(), p.mu.producers.OpenTxns()
	if _, first, _, ok := p.mu.producers.OldestOpen(); ok {
		v.OldestOpenTxn = first
	}
	switch r := p.mu.role.(type) {
	case idle:
		v.Role = "idle"
	case offline:
		v.Role, v.Error = "offline", r.err.Error()
	case following:
		v.Role, v.Leader = "follower", r.core.Leader()
	case leading:
		p.leaderViewLocked(&v, r.core, watch, now)
	}
	p.mu.Unlock()
	for i := range v.Followers {
		f := &v.Followers[i]
		f.LagRecords, f.LagBytes = -1, -1
		if f.LEO != model.NoOffset {
			f.LagRecords, f.LagBytes = int64(v.LogEnd-f.LEO), p.log.SizeBetween(f.LEO, v.LogEnd)
		}
	}
	return v
}

func (p *Partition) leaderViewLocked(v *StateView, l *replica.Leader, watch watch, now time.Time) {
	v.Role, v.Leader, v.EpochStart = "leader", p.self, l.EpochStart()
	s := l.ISR()
	v.ISR, v.MaximalISR, v.MinISR = s.CommittedISR(), s.MaximalISR(), l.EffectiveMinISR()
	switch s.(type) {
	case replica.PendingExpand:
		v.ISRState = "pending-expand"
	case replica.PendingShrink:
		v.ISRState = "pending-shrink"
	default:
		v.ISRState = "committed"
	}
	v.UnderMinISR, v.AtMinISR = len(v.ISR) < v.MinISR, len(v.ISR) == v.MinISR
	v.UnderReplicated = len(v.ISR) < p.factor(l)
	v.Hold = l.Hold(now)
	for _, f := range l.Followers(watch, now) {
		v.Followers = append(v.Followers, FollowerView{FollowerView: f})
	}
}

// Leads tells whether this replica leads, and under which epoch it has its role.
func (p *Partition) Leads() (bool, model.LeaderEpoch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.mu.role.(leading)
	return ok, p.mu.role.leaderEpoch()
}

// ProducerStates lists the known producers by id, for DescribeProducers.
func (p *Partition) ProducerStates() []producer.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.producers.States()
}
