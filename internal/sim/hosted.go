package sim

import (
	"fmt"
	"slices"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
)

// hosted is one replica on a broker, with what the checker remembers of it.
type hosted struct {
	part
	b *broker
	p *partition.Partition

	leader model.BrokerID // that it follows; NoBroker: nobody, or it leads
	epoch  model.LeaderEpoch
	failed bool  // waits for new metadata
	until  int64 // delayed after an error

	verified model.Offset // agrees with the ledger below
	lastHW   model.Offset
	lastLead model.LeaderEpoch
	lastEnd  model.Offset
	rebuilt  model.Offset // the producers below it were read from disk
	kept     model.Offset // survived an earlier crash, whatever the recovery point says
}

// part is a partition of one topic, not of the next one of the same name.
type part struct {
	tp    model.TopicPartition
	topic model.TopicID
}

func (p part) key() model.TopicIDPartition {
	return model.TopicIDPartition{TopicID: p.topic, Partition: p.tp.Partition}
}

func (p part) String() string { return p.tp.String() }

func (b *broker) find(tp model.TopicPartition) *hosted {
	for _, h := range b.hosted {
		if h.tp == tp {
			return h
		}
	}
	return nil
}

func (b *broker) settings() partition.Settings {
	s := &b.w.cfg
	return partition.Settings{
		MaxBatchBytes: 1 << 20, SegmentBytes: 1 << 30, Deletes: true, TimestampBeforeMax: 1<<63 - 1, TimestampAfterMax: 1<<63 - 1,
		MinISR: s.MinISR, LagTimeMax: dur(s.LagMax), FlushOnAck: s.FlushOnAck,
	}
}

// open makes the replica of a partition from what the disk has.
func (b *broker) open(tp model.TopicPartition, id model.TopicID) *hosted {
	dir := fmt.Sprintf("%s/%s", logDir, tp)
	have, ok, err := commitlog.ReadPartitionMetadata(b.io, dir)
	if b.trouble("partition.metadata", err) {
		return nil
	}
	if !ok || have != id { // nothing, or a stray of a topic of the same name
		if ok {
			b.w.rare.hit(StrayRemoved)
			if b.trouble("remove a stray", b.io.RemoveAll(dir)) {
				return nil
			}
		}
		b.forget(tp)
		b.checkpoint() // or a crash would give it what they say of an earlier one
	}
	o := commitlog.DefaultConfig()
	o.SegmentBytes, o.IndexInterval, o.IndexMaxBytes = b.w.cfg.SegmentBytes, 64, 4096
	o.FileDeleteDelay = 0
	p, err := partition.Open(partition.Options{
		TP: tp, TopicID: id, Self: model.BrokerID(b.id), Settings: b.settings(), HighWatermark: b.marks[tp],
		Now: b.time, Brokers: b, Sender: &b.alters, Storage: b, Space: &b.disk,
		LogOptions: commitlog.Options{
			FS: b.io, Dir: dir, Config: o, LogStart: b.starts[tp], RecoveryPoint: b.points[tp], Clean: b.clean,
			Now: b.time, Files: b.files,
		},
	})
	if b.trouble("open", err) || b.trouble("partition.metadata", commitlog.WritePartitionMetadata(b.io, dir, id)) {
		return nil
	}
	h := &hosted{b: b, part: part{tp, id}, p: p, leader: model.NoBroker, epoch: model.NoLeaderEpoch, lastLead: model.NoLeaderEpoch}
	h.lastEnd, h.rebuilt = p.Log().End(), p.Log().End()
	b.w.check.opened(h, b.flushed[h.part])
	h.kept = min(b.lastEnds[h.part], h.lastEnd)
	b.w.logf(&b.node, "opens %s [%d, %d) hw %d", tp, p.LogStart(), h.lastEnd, p.HighWatermark())
	b.hosted = append(b.hosted, h)
	slices.SortFunc(b.hosted, func(x, y *hosted) int { return x.tp.Compare(y.tp) })
	return h
}

// applyFirst opens the logs and takes the roles that the metadata says.
func (b *broker) applyFirst(img *metadata.Image) {
	b.w.logf(&b.node, "takes its roles at offset %d", img.Offset)
	b.img = img
	b.published = true
	b.assign(metadata.Between(metadata.Empty(), img).Topics())
	if b.disk.failed == nil {
		b.lossy, b.recovering = false, false
	}
}

// apply takes roles from one step of the metadata.
func (b *broker) apply(img *metadata.Image, d *metadata.Delta) {
	old := b.img
	b.img = img
	b.assign(d.Topics())
	if len(d.Brokers()) > 0 {
		for _, id := range d.Brokers() {
			if !old.IsActive(id) && img.IsActive(id) {
				for _, h := range b.hosted {
					h.p.BrokersChanged()
					b.perform(h)
				}
				break
			}
		}
	}
}

func (b *broker) assign(changed []metadata.TopicChange, deleted []model.TopicID) {
	for _, h := range slices.Clone(b.hosted) {
		if slices.Contains(deleted, h.topic) {
			b.drop(h)
		}
	}
	for _, t := range changed {
		for _, d := range t.Partitions {
			tp := model.TopicPartition{Topic: t.New.Name, Partition: d.Index}
			b.role(tp, t.New.ID, d.New)
			if b.w.err != nil {
				return
			}
		}
	}
	b.kickLoops()
}

// role brings one replica to what the metadata says.
func (b *broker) role(tp model.TopicPartition, id model.TopicID, m *metadata.Partition) {
	self := model.BrokerID(b.id)
	h := b.find(tp)
	if !slices.Contains(m.Replicas, self) {
		if h != nil {
			b.drop(h)
		}
		return
	}
	if h == nil {
		if h = b.open(tp, id); h == nil {
			return
		}
	}
	s := partition.State{
		Leader: m.Leader, LeaderEpoch: m.LeaderEpoch, PartitionEpoch: m.PartitionEpoch, Replicas: m.Replicas, ISR: m.ISR,
	}
	var err error
	if m.Leader == self {
		led, before := h.p.Leads()
		h.leader = model.NoBroker
		err = h.p.BecomeLeader(s)
		if err == nil && !(led && before == m.LeaderEpoch) {
			if led && m.LeaderEpoch > before+1 {
				b.w.rare.hit(LeaderEpochSkipped)
			}
			b.w.logf(&b.node, "leads %s, epoch %d, hw %d, end %d, isr %v", tp, m.LeaderEpoch, h.p.HighWatermark(), h.p.LogEnd(), m.ISR)
			b.w.check.becameLeader(h, m.LeaderEpoch)
		}
		b.flushLeader(h)
	} else {
		var anew bool
		if anew, err = h.p.BecomeFollower(s); anew {
			b.w.logf(&b.node, "follows %d in %s, epoch %d, hw %d, end %d", m.Leader, tp, m.LeaderEpoch, h.p.HighWatermark(), h.p.LogEnd())
			b.flush(h)
			h.failed, h.until = false, 0
		}
		h.leader = m.Leader
	}
	h.epoch = m.LeaderEpoch
	b.trouble("role", err)
	b.perform(h)
}

// drop deletes a replica that was reassigned, or whose topic was deleted.
func (b *broker) drop(h *hosted) {
	b.w.logf(&b.node, "drops %s", h.tp)
	h.p.Stop()
	b.perform(h)
	b.trouble("delete", h.p.Log().Delete())
	b.hosted = slices.DeleteFunc(b.hosted, func(x *hosted) bool { return x == h })
	delete(b.lastEnds, h.part)
	delete(b.flushed, h.part)
	b.forget(h.tp)
	b.checkpoint()
}

// forget drops what the checkpoints say.
func (b *broker) forget(tp model.TopicPartition) {
	delete(b.marks, tp)
	delete(b.starts, tp)
	delete(b.points, tp)
}

// perform does what the last change of a replica asks for.
func (b *broker) perform(h *hosted) {
	var ready purgatory.Ready
	h.p.Perform(&ready)
	b.w.check.replica(h)
	ready.Run()
	b.touch()
}

// touch asks for a check after the event.
func (b *broker) touch() {
	if !b.isTouched {
		b.isTouched = true
		b.w.touched = append(b.w.touched, b)
	}
}

// flush syncs a log now, if acknowledgement waits for that.
func (b *broker) flush(h *hosted) {
	if !b.w.cfg.FlushOnAck {
		return
	}
	end := h.p.Log().End()
	if b.trouble("flush", h.p.Log().Flush(end)) {
		return
	}
	h.p.Flushed(h.p.Log().Flushed())
}

// flushLeader syncs a leader's log when the disk is done.
func (b *broker) flushLeader(h *hosted) {
	if !b.w.cfg.FlushOnAck {
		return
	}
	b.w.after(b.w.cfg.Disk, &b.node, "flushed", func() {
		if b.find(h.tp) == h {
			b.flush(h)
			b.perform(h)
		}
	})
}

// Rolled implements partition.Storage: closed segments are flushed, some time.
func (b *broker) Rolled(p *partition.Partition, upTo model.Offset) {
	b.w.after(b.w.upTo(second), &b.node, "flush rolled", func() {
		if h := b.find(p.TP()); h != nil && h.p == p {
			b.trouble("flush", p.Log().Flush(min(upTo, p.Log().End())))
		}
	})
}

// FlushedLowered implements partition.Storage.
func (b *broker) FlushedLowered(*partition.Partition) { b.checkpoint() }

// Failed implements partition.Storage.
func (b *broker) Failed(_ *partition.Partition, err error) { b.trouble("partition failed", err) }
