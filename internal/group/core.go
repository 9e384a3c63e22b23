package group

import (
	"slices"
	"time"

	"tidemark/internal/model"
)

// Effects is what the caller must do after a call; the zero value means nothing.
type Effects struct {
	Replies []Reply
	Writes  []Write
}

// Reply answers a request that waited, or the present one. Response is one of
// Joined, Synced, Left, Committed, DeletedOffsets, Deleted.
type Reply struct {
	Ticket   Ticket
	Response any
}

// Write asks to append Records to the partition's log, in order, as the leader
// of the epoch for which this Core was loaded. As they are committed, the caller
// gives them to Apply, in the order of the log, then calls Finished with the ID;
// it calls Finished with an error as soon as they, or some of them, can't be
// appended or were not committed in time.
type Write struct {
	ID      uint64
	Records []Record
}

// Core holds the groups of one partition of __consumer_offsets. Not safe for
// concurrent use.
type Core struct {
	cfg     Config
	groups  map[string]*group
	timers  timers
	writes  map[uint64]waiting
	lastID  uint64
	skipped int
	out     Effects
}

// New returns a Core without groups.
func New(cfg Config) *Core {
	return &Core{cfg: cfg, groups: map[string]*group{}, writes: map[uint64]waiting{}}
}

// waiting is what happens when a write is finished.
type waiting interface {
	finished(c *Core, code Code, now time.Time)
}

func (c *Core) take() Effects {
	out := c.out
	c.out = Effects{}
	return out
}

func (c *Core) reply(t Ticket, response any) {
	c.out.Replies = append(c.out.Replies, Reply{t, response})
}

func (c *Core) write(records []Record, w waiting) {
	c.lastID++
	c.writes[c.lastID] = w
	c.out.Writes = append(c.out.Writes, Write{c.lastID, records})
}

// Finished tells how a write ended: OK once all its records are committed and
// applied, else what its requests are answered with. Only the first call for an
// id has an effect: records of a write that was given up may still be committed
// and applied later.
func (c *Core) Finished(id uint64, code Code, now time.Time) Effects {
	if w := c.writes[id]; w != nil {
		delete(c.writes, id)
		w.finished(c, code, now)
	}
	return c.take()
}

// NextTick is when Tick has something to do at the earliest, the zero time if never.
func (c *Core) NextTick() time.Time { return c.timers.next() }

// Tick lets time-outs happen.
func (c *Core) Tick(now time.Time) Effects {
	for {
		k, ok := c.timers.pop(now)
		if !ok {
			return c.take()
		}
		if g := c.groups[k.group]; g != nil {
			c.expired(g, k, now)
		}
	}
}

func (c *Core) expired(g *group, k timerKey, now time.Time) {
	switch k.kind {
	case sessionTimer:
		c.sessionExpired(g, k.member, now)
	case pendingTimer:
		delete(g.pending, k.member)
		if g.state == PreparingRebalance {
			c.maybeCompleteJoin(g, now)
		}
		c.maybeForget(g)
	case initialTimer:
		c.initialDelayOver(g, now)
	case joinTimer:
		c.completeJoin(g, now)
	case syncTimer:
		c.syncExpired(g, now)
	}
}

// Groups is the number of groups.
func (c *Core) Groups() int { return len(c.groups) }

// Skipped counts records of kinds that this version doesn't know.
func (c *Core) Skipped() int { return c.skipped }

// Offsets is the number of committed offsets.
func (c *Core) Offsets() (n int) {
	for _, g := range c.groups {
		n += len(g.offsets)
	}
	return n
}

// names returns the ids of all groups in order. // invariant 5
func (c *Core) names() []string {
	out := make([]string, 0, len(c.groups))
	for id := range c.groups {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// partitions returns the keys of m in order. // invariant 5
func partitions[V any](m map[model.TopicPartition]V) []model.TopicPartition {
	out := make([]model.TopicPartition, 0, len(m))
	for tp := range m {
		out = append(out, tp)
	}
	slices.SortFunc(out, model.TopicPartition.Compare)
	return out
}
