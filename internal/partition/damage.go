package partition

import (
	"fmt"
	"slices"

	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// Keeper looks after bytes: those that may be damaged, and those that are about
// to be cut. *broker.Broker is one.
type Keeper interface {
	// Suspect: a read at off failed, or a follower asks for it again and again.
	// Check what is on the disk. It doesn't block.
	Suspect(p *Partition, off model.Offset, why string)
	// Removing: everything from off on will be gone when it returns. Nothing else
	// writes to the log meanwhile. It takes bounded time, and can't fail.
	Removing(p *Partition, off model.Offset, why replica.Reason)
}

// Why a check of the disk is asked for.
const (
	SuspectRead      = "read"      // a read found frames that make no sense
	SuspectComplaint = "complaint" // a follower doesn't get past an offset
)

// Range is a run of offsets, [From, To).
type Range struct{ From, To model.Offset }

// SetDamage replaces the runs of records that are damaged on the disk: nobody
// is given any of them, followers neither, and reads end before them.
func (p *Partition) SetDamage(runs []Range) {
	if len(runs) == 0 {
		p.damage.Store(nil)
		return
	}
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b Range) int { return int(a.From - b.From) })
	p.damage.Store(&runs)
}

// Damage returns what SetDamage was told, by offset.
func (p *Partition) Damage() []Range {
	if d := p.damage.Load(); d != nil {
		return slices.Clone(*d)
	}
	return nil
}

// beforeDamage keeps a read that begins at off and ends at limit out of damaged
// records. Error: ErrStorage if it begins in them.
func (p *Partition) beforeDamage(off, limit model.Offset) (model.Offset, error) {
	runs := p.damage.Load()
	if runs == nil {
		return limit, nil
	}
	for _, r := range *runs {
		if off >= r.From && off < r.To {
			return 0, fmt.Errorf("%s: records [%d, %d) are damaged on the disk: %w", p.tp, r.From, r.To, ErrStorage)
		}
		if off < r.From {
			return min(limit, r.From), nil
		}
	}
	return limit, nil
}

// Refetch cuts the log of a follower at the segment that begins at base, so
// that everything from there on is fetched from the leader again. Only for a
// replica that nobody counts on: its acknowledgements go back. Call Perform
// afterwards. Errors as for AppendAsFollower.
func (p *Partition) Refetch(epoch model.LeaderEpoch, base model.Offset) error {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	if err := p.followsUnder(epoch); err != nil {
		return err
	}
	if base > p.log.Start() {
		return p.truncate(base, replica.ReasonDamaged)
	}
	return p.restart(p.log.Start(), replica.ReasonDamaged)
}

// removing tells the keeper, if there is something to remove.
func (p *Partition) removing(off model.Offset, why replica.Reason) {
	if p.keeper != nil && off < p.log.End() {
		p.keeper.Removing(p, off, why)
	}
}

func (p *Partition) suspect(off model.Offset, why string) {
	if p.keeper != nil {
		p.keeper.Suspect(p, off, why)
	}
}

// complaintAfter is how many fetches at one offset, each of which could be
// answered with records, make a leader look at its own disk: the follower may
// be refusing what it gets.
const complaintAfter = 3

// repeat counts the fetches of one follower at one offset.
type repeat struct {
	at model.Offset
	n  int
}

// complainsLocked counts a follower's fetch, and tells whether it is time to
// look: the third time, and then whenever the number has doubled.
func (p *Partition) complainsLocked(f Fetch) bool {
	if f.Offset >= p.mu.leo {
		return false
	}
	if p.mu.repeats == nil {
		p.mu.repeats = make(map[model.BrokerID]repeat) // bounded by the replicas
	}
	r := p.mu.repeats[f.Replica]
	if r.at != f.Offset {
		r = repeat{at: f.Offset}
	}
	r.n++
	p.mu.repeats[f.Replica] = r
	times := r.n / complaintAfter
	return r.n%complaintAfter == 0 && times&(times-1) == 0
}

// trimDamage forgets the runs that a cut has removed.
func (p *Partition) trimDamage(start, end model.Offset) {
	p.SetDamage(slices.DeleteFunc(p.Damage(), func(r Range) bool { return r.From >= end || r.To <= start }))
}
