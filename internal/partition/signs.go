package partition

import (
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// What a leader notices about its followers beyond their positions. It explains
// why one isn't in sync, and decides nothing.

// silentFor is how long a follower's session is unused before its connection is
// asked for more than whether it is open.
const silentFor = time.Second

// readNoted is the least time of a look-up in the log that is worth a note.
const readNoted = time.Millisecond

// watch tells the core when followers' sessions were used, and how their
// connections are. The connections are asked before mu is taken: it is a system call.
type watch struct {
	*Partition
	links map[model.BrokerID]replica.Link
}

// Link implements replica.Links.
func (w watch) Link(id model.BrokerID) replica.Link { return w.links[id] }

func (p *Partition) watch() watch {
	w := watch{Partition: p}
	all := p.subs.followers.Load()
	if all == nil {
		return w
	}
	now := p.now()
	newest := map[model.BrokerID]time.Time{}
	for _, e := range *all {
		s := e.Session
		if used := s.LastFetch(); !used.Before(newest[s.Replica]) {
			newest[s.Replica] = used
			open, retransmits, known := s.Link(now.Sub(used) > silentFor)
			if w.links == nil {
				w.links = map[model.BrokerID]replica.Link{}
			}
			w.links[s.Replica] = replica.Link{Known: known, Open: open, Retransmits: retransmits}
		}
	}
	return w
}

// note calls fn with the leader's core, if this replica leads.
func (p *Partition) note(fn func(core *replica.Leader, now time.Time)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.mu.role.(leading); ok {
		fn(l.core, p.now())
	}
}

// Squeezed notes that a follower's answer had no room for what there is here.
func (p *Partition) Squeezed(follower model.BrokerID) {
	p.note(func(core *replica.Leader, now time.Time) { core.Squeezed(follower, now) })
}

// ReadTook notes how long the disk took for bytes that were sent to a follower.
func (p *Partition) ReadTook(follower model.BrokerID, took time.Duration) {
	p.note(func(core *replica.Leader, _ time.Time) { core.ReadTook(follower, took) })
}

// Troubled notes what a follower says of itself and this partition.
func (p *Partition) Troubled(follower model.BrokerID, t replica.Trouble) {
	p.note(func(core *replica.Leader, _ time.Time) { core.Troubled(follower, t) })
}

// readLog finds what a fetch gets. Looking up the place may already wait for a
// slow disk, which then counts for what a follower waits for.
func (p *Partition) readLog(f Fetch, limit model.Offset) (commitlog.Slice, error) {
	if f.Replica < 0 {
		return p.log.Read(f.Offset, limit, f.MaxBytes, f.MinOne)
	}
	start := time.Now()
	slice, err := p.log.Read(f.Offset, limit, f.MaxBytes, f.MinOne)
	if took := time.Since(start); took >= readNoted {
		p.ReadTook(f.Replica, took)
	}
	return slice, err
}

// oversized notes a batch that is larger than what the follower asked for.
func (p *Partition) oversized(f Fetch, bytes int) {
	if f.Asked > 0 && bytes > f.Asked {
		p.note(func(core *replica.Leader, now time.Time) { core.Oversized(f.Replica, bytes, f.Asked, now) })
	}
}

func (p *Partition) refusedLocked(f Fetch, why error) {
	if l, ok := p.mu.role.(leading); ok && f.Replica >= 0 {
		l.core.Refused(f.Replica, why.Error(), p.now())
	}
}

func (p *Partition) divergedLocked(f Fetch, at model.Offset) {
	if l, ok := p.mu.role.(leading); ok && f.Replica >= 0 {
		l.core.Diverged(f.Replica, at, p.now())
	}
}
