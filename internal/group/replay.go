package group

import (
	"fmt"
	"time"
)

// Replay takes over a record of the log while it is loaded: what an earlier
// coordinator has written. Errors wrap ErrRecord and leave the Core as it was.
func (c *Core) Replay(r Record) error {
	v, ok := keyVersion(r.Key)
	if !ok {
		return fmt.Errorf("key of %d bytes: %w", len(r.Key), ErrRecord)
	}
	switch v {
	case keyOffsetLegacy, keyOffset:
		return c.applyOffset(r)
	case keyGroup:
		return c.replayGroup(r)
	}
	c.skipped++ // another kind of group
	return nil
}

// Apply takes over a record that this Core has written, now that it is
// committed. Members of living groups are known already; offsets are not.
func (c *Core) Apply(r Record) error {
	v, ok := keyVersion(r.Key)
	if !ok {
		return fmt.Errorf("key of %d bytes: %w", len(r.Key), ErrRecord)
	}
	if v == keyGroup {
		return c.applyGroup(r)
	}
	return c.applyOffset(r)
}

func (c *Core) applyOffset(r Record) error { // invariant 1
	k, err := decodeOffsetKey(r.Key)
	if err != nil {
		return err
	}
	g := c.groups[k.group]
	if r.Value == nil {
		if g != nil {
			delete(g.offsets, k.tp)
			c.maybeForget(g)
		}
		return nil
	}
	o, err := decodeOffsetValue(r.Value)
	if err != nil {
		return err
	}
	if g == nil {
		g = c.create(k.group)
	}
	g.offsets[k.tp] = o
	return nil
}

// applyGroup: of a record that was written while the group lived only the
// tombstone means something that memory doesn't know yet.
func (c *Core) applyGroup(r Record) error {
	id, err := decodeGroupKey(r.Key)
	if err != nil || r.Value != nil {
		return err
	}
	g := c.groups[id]
	if g == nil {
		return nil
	}
	// Empty: the deletion was given up as late, and is committed after all.
	if g.state == Dead || g.state == Empty && len(g.pending) == 0 && len(g.offsets) == 0 {
		delete(c.groups, id)
	}
	return nil
}

func (c *Core) replayGroup(r Record) error {
	id, err := decodeGroupKey(r.Key)
	if err != nil {
		return err
	}
	g := c.groups[id]
	if r.Value == nil {
		if g == nil {
			return nil
		}
		// Offsets that were committed after the deletion come after it in the
		// log, too; those of before have tombstones of their own.
		fresh := c.create(id)
		fresh.offsets = g.offsets
		c.maybeForget(fresh)
		return nil
	}
	v, err := decodeGroupValue(r.Value)
	if err != nil {
		return err
	}
	if g == nil {
		g = c.create(id)
	}
	g.restore(v)
	return nil
}

func (g *group) restore(v groupValue) {
	g.state, g.stateTime = Empty, v.stateTime
	g.protocolType, g.generation = v.protocolType, v.generation
	g.protocol, g.leader, g.members = deref(v.protocol), deref(v.leader), nil
	for _, m := range v.members {
		g.members = append(g.members, &member{
			id: m.id, instance: m.instance, clientID: m.clientID, clientHost: m.clientHost,
			session:      time.Duration(m.session) * time.Millisecond,
			rebalance:    time.Duration(m.rebalance) * time.Millisecond,
			protocolType: v.protocolType,
			protocols:    []Protocol{{Name: g.protocol, Metadata: m.subscription}},
			assignment:   m.assignment,
		})
	}
	if len(g.members) > 0 {
		g.state = Stable
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Loaded begins the service after the last Replay: every member gets a whole
// session to be heard of.
func (c *Core) Loaded(now time.Time) Effects {
	for _, id := range c.names() {
		g := c.groups[id]
		for _, m := range g.members {
			c.startSession(g, m, now)
		}
		if g.state == Stable && len(g.members) > c.cfg.MaxSize {
			c.prepare(g, now)
		}
		c.maybeForget(g)
	}
	return c.take()
}

// Members is the number of members of all groups.
func (c *Core) Members() (n int) {
	for _, g := range c.groups {
		n += len(g.members)
	}
	return n
}

// PartitionOf is the partition of __consumer_offsets that a group belongs to:
// Java's hash of its id, modulo the number of partitions.
func PartitionOf(group string, partitions int32) int32 {
	if partitions <= 0 {
		return 0
	}
	return javaHash(group) % partitions
}

// OffsetsTopic is the name of the topic that holds groups and offsets.
const OffsetsTopic = "__consumer_offsets"
