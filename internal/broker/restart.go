package broker

import (
	"time"

	"tidemark/internal/partition"
)

// After an unclean stop a log is read from its recovery point on. Kafka moves
// it when a segment is closed; then a start reads up to 1 GiB for each
// partition that was written to. Here a log gets a restart point whenever
// RestartBytes were appended to its active segment, and with less every time
// that the recovery points are written down, unless it is too little to matter.

// unmarkedMin is how many bytes behind the last restart point are worth
// another one, when not many more come.
const unmarkedMin = 1 << 20

// pointsEvery is how often restart points have the recovery points of their
// directory written, at most.
const pointsEvery = time.Second

// markAll queues restart points for the logs of a directory that a start would
// have to read too much of.
func (b *Broker) markAll(d *logDir) {
	if b.cfg.RestartBytes <= 0 {
		return
	}
	for h := range b.in(d) {
		if h.p.Log().Unmarked() >= min(unmarkedMin, b.cfg.RestartBytes) {
			d.flushes.mark(h.p)
		}
	}
}

// marked asks for the recovery points to be written soon.
func (d *logDir) marked() {
	select {
	case d.moved <- struct{}{}:
	default:
	}
}

// recordPoints writes the recovery points after restart points were made.
func (b *Broker) recordPoints(d *logDir) {
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-d.moved:
		}
		if !b.rest(pointsEvery) {
			return
		}
		b.writeRecoveryPoints(d)
	}
}

// bring does what was asked for one log: a restart point, or only a sync.
func (b *Broker) bring(d *logDir, p *partition.Partition, j flushJob) error {
	if j.upTo > p.Log().Flushed() && !j.mark {
		return p.Log().Flush(j.upTo)
	}
	if !j.mark {
		return nil
	}
	err := p.RestartPoint()
	if err == nil {
		err = p.Log().Flush(j.upTo) // if the restart point wasn't possible, or a segment was closed
	}
	if err == nil {
		d.marked()
	}
	return err
}
