package broker

import (
	"path"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/partition"
)

// FlushedLowered writes the recovery points at once, before anything is
// appended above a cut (partition.Storage).
func (b *Broker) FlushedLowered(p *partition.Partition) {
	if h := b.set.Load().byName[p.TP()]; h != nil && h.p == p {
		b.writeRecoveryPoints(h.dir)
		if h.p.Log().Config().Compact {
			b.writeCleanOffsets(h.dir)
		}
	}
}

// checkpoint writes one value per replica of a directory. An error takes the
// directory offline, and the result is false.
func (b *Broker) checkpoint(d *logDir, name string, value func(*hosted) (model.Offset, bool)) bool {
	d.writing.Lock()
	if d.offline.Load() {
		d.writing.Unlock()
		return false
	}
	m := make(map[model.TopicPartition]model.Offset)
	for _, h := range b.set.Load().sorted {
		if h.dir != d {
			continue
		}
		if at, ok := value(h); ok {
			m[h.p.TP()] = at
		}
	}
	err := commitlog.WriteCheckpoint(d.fs, path.Join(d.Path, name), m)
	d.writing.Unlock()
	if err != nil {
		b.failDir(d, err)
	}
	return err == nil
}

// writeHighWatermarks keeps a debt over restarts: the offset that the replica
// has to reach stays in the file until it did (invariant 6).
func (b *Broker) writeHighWatermarks(d *logDir) {
	b.checkpoint(d, highWatermarksName, func(h *hosted) (model.Offset, bool) {
		return max(h.p.HighWatermark(), model.Offset(h.owed.Load())), true
	})
}

func (b *Broker) writeRecoveryPoints(d *logDir) {
	points := map[*hosted]model.Offset{}
	ok := b.checkpoint(d, recoveryPointsName, func(h *hosted) (model.Offset, bool) {
		points[h] = h.p.Log().Flushed()
		return points[h], true
	})
	if !ok {
		return
	}
	for h, at := range points {
		if err := h.p.Log().Checkpointed(at); err != nil && b.hosts(h.p) {
			b.failDir(d, err)
			return
		}
	}
}

func (b *Broker) writeLogStarts(d *logDir) {
	b.checkpoint(d, logStartsName, func(h *hosted) (model.Offset, bool) { return h.p.LogStart(), h.p.LogStart() > 0 })
}

// Checkpoint writes all checkpoints of all directories now.
func (b *Broker) Checkpoint() {
	for _, d := range b.dirs {
		b.writeCheckpoints(d)
	}
}

func (b *Broker) writeCheckpoints(d *logDir) {
	b.writeRecoveryPoints(d)
	b.writeLogStarts(d)
	b.writeHighWatermarks(d)
}

// forgetOld makes sure that no checkpoint speaks of tp, which is about to be made:
// what is there is about an earlier replica of this name. The caller holds apply.
func (b *Broker) forgetOld(d *logDir, tp model.TopicPartition) {
	found := false
	for _, m := range []map[model.TopicPartition]model.Offset{d.highWatermarks, d.recoveryPoints, d.logStarts, d.cleanOffsets} {
		_, has := m[tp]
		found = found || has
		delete(m, tp)
	}
	if found && !d.swept {
		b.publish() // the checkpoints are about those that are published
		b.writeCheckpoints(d)
		d.swept = true // deleted replicas are left out from now on
	}
}
