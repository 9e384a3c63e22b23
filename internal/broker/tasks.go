package broker

import (
	"iter"
	"math"
	"sync"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/model"
)

const (
	// removeEvery is how often files whose delay is over are looked for.
	removeEvery = 10 * time.Second
	// producersEvery is producer.id.expiration.check.interval.ms.
	producersEvery = 10 * time.Minute
)

// doomed are directories that will be removed.
type doomed struct {
	sync.Mutex
	list  []doomedDir
	added chan struct{} // holds at most one
}

type doomedDir struct {
	path string
	due  time.Time
}

func (d *doomed) add(path string, due time.Time) {
	d.Lock()
	defer d.Unlock()
	d.list = append(d.list, doomedDir{path, due})
	select {
	case d.added <- struct{}{}:
	default:
	}
}

// wait is how long nothing is due.
func (d *doomed) wait(now time.Time) time.Duration {
	d.Lock()
	defer d.Unlock()
	left := time.Duration(math.MaxInt64)
	for _, x := range d.list {
		left = min(left, max(x.due.Sub(now), 0))
	}
	return left
}

func (d *doomed) due(now time.Time) (out []doomedDir) {
	d.Lock()
	defer d.Unlock()
	keep := d.list[:0]
	for _, x := range d.list {
		if x.due.After(now) {
			keep = append(keep, x)
		} else {
			out = append(out, x)
		}
	}
	d.list = keep
	return out
}

// ticks looks for lagging followers. It touches no disk, so that none can hold
// it up.
func (b *Broker) ticks() {
	isr := time.NewTicker(b.cfg.LagTimeMax / 2)
	defer isr.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-isr.C:
			for _, h := range b.set.Load().sorted {
				h.p.Tick()
				perform(h.p)
			}
		}
	}
}

// markHighWatermarks writes the checkpoint of one directory.
func (b *Broker) markHighWatermarks(d *logDir) {
	t := time.NewTicker(b.cfg.HighWatermarks)
	defer t.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-t.C:
			if b.loaded.Load() { // else it would lack the logs that are not there yet
				b.writeHighWatermarks(d)
			}
		}
	}
}

// janitor runs what may take long in one directory: recovery points,
// retention, removal.
func (b *Broker) janitor(d *logDir) {
	first := time.NewTimer(b.cfg.InitialDelay)
	defer first.Stop()
	select {
	case <-b.ctx.Done():
		return
	case <-first.C:
	}
	points := time.NewTicker(b.cfg.RecoveryPoints)
	defer points.Stop()
	retention := time.NewTicker(b.cfg.Retention)
	defer retention.Stop()
	remove := time.NewTicker(removeEvery)
	defer remove.Stop()
	producers := time.NewTicker(producersEvery)
	defer producers.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-points.C:
			if b.loaded.Load() {
				b.markAll(d)
				b.writeRecoveryPoints(d)
				b.writeLogStarts(d)
			}
		case <-retention.C:
			b.retain(d)
		case <-remove.C:
			b.removeFiles(d)
		case <-producers.C:
			b.expireProducers(d)
		}
	}
}

// in lists the replicas of a directory, none if it is offline.
func (b *Broker) in(d *logDir) iter.Seq[*hosted] {
	return func(yield func(*hosted) bool) {
		for _, h := range b.set.Load().sorted {
			if h.dir == d && (d.offline.Load() || b.ctx.Err() != nil || !yield(h)) {
				return
			}
		}
	}
}

func (b *Broker) expireProducers(d *logDir) {
	for h := range b.in(d) {
		h.p.ExpireProducers(b.tuned.Load().producerExpiry)
	}
}

func (b *Broker) retain(d *logDir) {
	for h := range b.in(d) {
		if _, err := h.p.ApplyRetention(b.cfg.Now()); err != nil {
			b.cfg.Log.Warn("retention failed", "partition", h.p.TP().String(), "error", err)
		}
		perform(h.p)
	}
}

// undertake removes the directories of deleted replicas when their delay is over.
func (b *Broker) undertake(d *logDir) {
	for {
		t := time.NewTimer(d.doomed.wait(b.cfg.Now()))
		select {
		case <-b.ctx.Done():
			t.Stop()
			return
		case <-d.doomed.added:
			t.Stop()
		case <-t.C:
		}
		for _, x := range d.doomed.due(b.cfg.Now()) {
			if d.offline.Load() {
				return
			}
			if err := d.fs.RemoveAll(x.path); err != nil {
				b.failDir(d, err)
			}
		}
	}
}

// removeFiles removes segments whose delay is over.
func (b *Broker) removeFiles(d *logDir) {
	now := b.cfg.Now()
	for h := range b.in(d) {
		if _, err := h.p.Log().RemoveDeleted(now); err != nil {
			b.cfg.Log.Warn("removing old segments failed", "partition", h.p.TP().String(), "error", err)
		}
	}
}

// Close stops the work and closes every log, directories in parallel. clean
// writes the checkpoints and the marker that lets the next start skip
// recovery; epoch is this life's broker epoch. Fetchers are closed too.
func (b *Broker) Close(clean bool, epoch model.BrokerEpoch) {
	b.apply.Lock()
	if b.apply.closed {
		b.apply.Unlock()
		return
	}
	b.apply.closed = true
	loaded := b.loaded.Load()
	b.apply.Unlock()
	b.cancel()
	for _, d := range b.dirs {
		d.flushes.stop()
	}
	b.leaderQuota.stop()
	b.cleaners.end()
	b.cfg.Fetchers.Close()
	var wg sync.WaitGroup
	for _, d := range b.dirs {
		wg.Go(func() { b.closeDir(d, clean && loaded, epoch) })
	}
	wg.Wait()
	b.tasks.Wait()
	b.closeDirs()
}

func (b *Broker) closeDir(d *logDir, clean bool, epoch model.BrokerEpoch) {
	for _, h := range b.set.Load().sorted {
		if h.dir != d {
			continue
		}
		err := h.p.Close(clean)
		perform(h.p)
		if err != nil && clean && !d.offline.Load() {
			clean = false // the next start recovers
			e := b.event(journal.Note, h.p.TP(), "not-closed-cleanly", err.Error())
			e.Dir = d.Path
			b.cfg.Events.Emit(e)
		}
	}
	if !clean || d.offline.Load() {
		return
	}
	b.writeRecoveryPoints(d)
	b.writeLogStarts(d)
	b.writeCleanOffsets(d)
	b.writeHighWatermarks(d)
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.offline.Load() {
		return
	}
	if err := writeMarker(d, epoch); err != nil { // invariant 5
		b.cfg.Log.Error("clean shutdown could not be marked", "dir", d.Path, "error", err)
	}
}
