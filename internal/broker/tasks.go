package broker

import (
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
	list []doomedDir
}

type doomedDir struct {
	path string
	dir  *logDir
	due  time.Time
}

func (d *doomed) add(path string, dir *logDir, due time.Time) {
	d.Lock()
	defer d.Unlock()
	d.list = append(d.list, doomedDir{path, dir, due})
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

// ticks runs what must not be late: the search for lagging followers and the
// checkpoint of high watermarks.
func (b *Broker) ticks() {
	isr := time.NewTicker(b.cfg.LagTimeMax / 2)
	defer isr.Stop()
	hw := time.NewTicker(b.cfg.HighWatermarks)
	defer hw.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-isr.C:
			for _, h := range b.set.Load().sorted {
				h.p.Tick()
				perform(h.p)
			}
		case <-hw.C:
			if b.loaded.Load() { // else it would lack the logs that are not there yet
				for _, d := range b.dirs {
					b.writeHighWatermarks(d)
				}
			}
		}
	}
}

// janitor runs what may take long: recovery points, retention, removal.
func (b *Broker) janitor() {
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
				for _, d := range b.dirs {
					b.writeRecoveryPoints(d)
					b.writeLogStarts(d)
				}
			}
		case <-retention.C:
			b.retain()
		case <-remove.C:
			b.removeFiles()
		case <-producers.C:
			for _, h := range b.set.Load().sorted {
				h.p.ExpireProducers(b.tuned.Load().producerExpiry)
			}
		}
	}
}

func (b *Broker) retain() {
	for _, h := range b.set.Load().sorted {
		if b.ctx.Err() != nil {
			return
		}
		if h.dir.offline.Load() {
			continue
		}
		if _, err := h.p.ApplyRetention(b.cfg.Now()); err != nil {
			b.cfg.Log.Warn("retention failed", "partition", h.p.TP().String(), "error", err)
		}
		perform(h.p)
	}
}

// removeFiles removes segments and replicas whose delay is over.
func (b *Broker) removeFiles() {
	now := b.cfg.Now()
	for _, x := range b.doomed.due(now) {
		if x.dir.offline.Load() {
			continue
		}
		if err := x.dir.fs.RemoveAll(x.path); err != nil {
			b.failDir(x.dir, err)
		}
	}
	for _, h := range b.set.Load().sorted {
		if h.dir.offline.Load() {
			continue
		}
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
	b.flushes.stop()
	b.leaderQuota.stop()
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
