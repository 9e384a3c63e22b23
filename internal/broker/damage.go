package broker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/fetcher"
	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
)

// A disk may give back other bytes than were written to it. Damaged records are
// missing records: they are read from nobody's disk again, but from a replica
// that has them. They never shorten what is committed.
//
//   - From the moment that it is found nobody is given a damaged record; what lies
//     before and behind it is served.
//   - As long as an election could choose this replica, nothing is cut. It reports
//     that its directory is lost (as in loss.go), so that the controller takes it
//     out of the ISR, and elects somebody else if it led.
//   - Once another broker leads and nobody counts on this one, the log is cut at
//     the damaged segment. The high watermark that it had becomes its debt, on
//     disk, before the cut: until it has paid it keeps its directory lost, which
//     keeps it out of the ISR, and it refuses to lead.
//   - The only in-sync replica stays: the rest of its records is all there is.

// sickness is what is known of a replica's damage.
type sickness struct {
	base model.Offset // of the first damaged segment
	runs []partition.Range
	told string // the last event's reason, to tell each only once
}

// suspicion is a segment to check.
type suspicion struct {
	at  model.Offset
	why string
}

// repairs finds out about damage and heals it, on one goroutine. Both maps are
// bounded by the number of replicas.
type repairs struct {
	b    *Broker
	kick chan struct{}
	mu   struct {
		sync.Mutex
		suspects map[*hosted]suspicion
		sick     map[*hosted]*sickness
	}
	scrubbed, damages atomic.Int64
}

func newRepairs(b *Broker) *repairs {
	r := &repairs{b: b, kick: make(chan struct{}, 1)}
	r.mu.suspects = make(map[*hosted]suspicion)
	r.mu.sick = make(map[*hosted]*sickness)
	return r
}

// Scrubbed is how many bytes of closed segments were read and compared with
// their checksums, how many runs of damaged batches were found, and in how many
// replicas damage is not healed yet.
func (b *Broker) Scrubbed() (bytes, damages int64, sick int) {
	r := b.repairs
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range b.set.Load().sorted {
		if _, ill := r.mu.sick[h]; ill || h.refetching.Load() {
			sick++
		}
	}
	return r.scrubbed.Load(), r.damages.Load(), sick
}

// Suspect queues a check of the segment at off (partition.Keeper).
func (b *Broker) Suspect(p *partition.Partition, off model.Offset, why string) {
	h := b.set.Load().byName[p.TP()]
	if h == nil || h.p != p {
		return
	}
	b.repairs.mu.Lock()
	b.repairs.mu.suspects[h] = suspicion{off, why}
	b.repairs.mu.Unlock()
	b.repairs.wake()
}

// mistrust queues a check of a segment of a replica that is being loaded.
func (r *repairs) mistrust(h *hosted, at model.Offset) {
	r.mu.Lock()
	r.mu.suspects[h] = suspicion{at, "recovery"}
	r.mu.Unlock()
	r.wake()
}

func (r *repairs) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// look wakes the goroutine if newer metadata may help a sick replica.
func (r *repairs) look() {
	r.mu.Lock()
	any := len(r.mu.sick) > 0
	r.mu.Unlock()
	if any {
		r.wake()
	}
}

// retryEvery is how often a sick replica is looked at without news.
const retryEvery = time.Second

func (r *repairs) run() {
	for {
		var retry <-chan time.Time
		if len(r.list()) > 0 {
			retry = time.After(retryEvery)
		}
		select {
		case <-r.b.ctx.Done():
			return
		case <-r.kick:
		case <-retry:
		}
		r.checkSuspects()
		for _, h := range r.list() {
			r.treat(h)
		}
	}
}

func (r *repairs) list() []*hosted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Keys(r.mu.sick), func(x, y *hosted) int { return x.p.TP().Compare(y.p.TP()) })
}

func (r *repairs) checkSuspects() {
	r.mu.Lock()
	suspects := r.mu.suspects
	r.mu.suspects = make(map[*hosted]suspicion)
	r.mu.Unlock()
	for h, s := range suspects {
		d, err := h.p.Log().Verify(s.at)
		switch {
		case errors.Is(err, commitlog.ErrIO) && r.b.hosts(h.p):
			r.b.Failed(h.p, err)
		case err == nil && d != nil:
			r.found(h, d, s.why)
		}
	}
}

// found takes up damage; why says who found it. Known damage is no news.
func (r *repairs) found(h *hosted, d *commitlog.Damage, why string) {
	run := partition.Range{From: d.After, To: d.Next}
	r.mu.Lock()
	s := r.mu.sick[h]
	if s == nil {
		s = &sickness{base: d.Segment}
		r.mu.sick[h] = s
	}
	if slices.Contains(s.runs, run) {
		r.mu.Unlock()
		return
	}
	s.base = min(s.base, d.Segment)
	s.runs = append(s.runs, run)
	h.p.SetDamage(s.runs)
	r.mu.Unlock()
	r.damages.Add(1)
	e := r.b.event(journal.ReplicaDamaged, h.p.TP(), why, fmt.Sprintf(
		"records [%d, %d) are not what was written, segment %d at position %d: %v", run.From, run.To, d.Segment, d.Position, d.Err))
	e.Offset, e.LogEnd, e.HighWatermark, e.Dir = run.From, h.p.LogEnd(), h.p.HighWatermark(), h.dir.Path
	r.b.cfg.Events.Emit(e)
	r.wake()
}

func (r *repairs) forget(h *hosted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mu.sick, h)
}

// treat does the next step for a sick replica.
func (r *repairs) treat(h *hosted) {
	b := r.b
	b.apply.Lock()
	defer b.apply.Unlock()
	img := b.Image()
	_, mp, ok := img.PartitionByID(idOf(h.p))
	if !ok || b.apply.closed || b.apply.hosted[h.p.TP()] != h || h.dir.offline.Load() {
		r.forget(h)
		return
	}
	start := h.p.LogStart()
	if !slices.ContainsFunc(h.p.Damage(), func(run partition.Range) bool { return run.To > start }) {
		r.forget(h) // it was cut or deleted on another occasion
		r.unreport(h, mp)
		return
	}
	others := slices.ContainsFunc(mp.ISR, func(id model.BrokerID) bool { return id != b.cfg.Self })
	switch {
	case mp.Leader == b.cfg.Self && !others, img.MetadataVersion() < levelDirs:
		r.tell(h, mp, "only-in-sync-replica", "the damaged records stay refused, the others are served; nothing is cut")
		r.unreport(h, mp)
	case mp.Leader < 0 && h.lost.Load() && !h.isOwing() && !others && slices.Contains(mp.ISR, b.cfg.Self):
		// The others left the ISR while the report was on its way.
		r.tell(h, mp, "last-in-isr", "nobody else may lead: the controller is told where the replica is")
		r.unreport(h, mp)
	case mp.Leader < 0:
		r.tell(h, mp, "no-leader", "there is nobody to fetch from")
	case b.counted(mp):
		r.tell(h, mp, "leaving-isr", "the controller is asked to stop counting on this replica")
		h.lost.Store(true)
		b.dirq.put(idOf(h.p), model.LostDir)
	default:
		r.refetch(h, mp, img)
	}
}

// unreport takes back that the replica is lost.
func (r *repairs) unreport(h *hosted, mp *metadata.Partition) {
	if h.lost.Swap(false) {
		r.b.dirq.restore(idOf(h.p), h.dir.ID, mp.Dir(r.b.cfg.Self))
	}
}

func (r *repairs) tell(h *hosted, mp *metadata.Partition, why, detail string) {
	r.mu.Lock()
	s := r.mu.sick[h]
	again := s == nil || s.told == why
	if s != nil {
		s.told = why
	}
	r.mu.Unlock()
	if again {
		return
	}
	e := r.b.event(journal.ReplicaQuarantined, h.p.TP(), why, detail)
	e.Leader, e.LeaderEpoch, e.PartitionEpoch, e.OldISR = mp.Leader, mp.LeaderEpoch, mp.PartitionEpoch, mp.ISR
	e.LogEnd, e.HighWatermark, e.Dir = h.p.LogEnd(), h.p.HighWatermark(), h.dir.Path
	r.b.cfg.Events.Emit(e)
}

// refetch cuts a replica that nobody counts on, and lets it fetch. The caller
// holds apply, so that nobody gives it another role meanwhile.
func (r *repairs) refetch(h *hosted, mp *metadata.Partition, img *metadata.Image) {
	b, tp := r.b, h.p.TP()
	r.mu.Lock()
	base := r.mu.sick[h].base
	r.mu.Unlock()
	r.tell(h, mp, "refetching", fmt.Sprintf("from offset %d on", max(base, h.p.LogStart())))
	b.cfg.Fetchers.Remove([]model.TopicPartition{tp}) // invariant 3
	h.refetching.Store(true)
	h.owed.Store(max(h.owed.Load(), int64(h.p.HighWatermark())))
	b.writeHighWatermarks(h.dir) // the debt is on disk before the cut // invariant 6
	err := h.p.Refetch(mp.LeaderEpoch, base)
	perform(h.p)
	if err != nil {
		b.cfg.Events.Emit(b.event(journal.ReplicaFailed, tp, "refetch", err.Error()))
	}
	r.forget(h)
	h.lost.Store(false) // the debt says it from now on
	if a, ok := b.assignment(h, mp, img); ok {
		b.cfg.Fetchers.Add([]fetcher.Assignment{a})
	}
}

// isAbsent tells that the controller is to regard the replica as lost.
func (h *hosted) isAbsent() bool { return h.isOwing() || h.lost.Load() }
