package coordinator

import (
	"cmp"
	"slices"
	"time"

	"tidemark/internal/group"
	"tidemark/internal/model"
)

// The methods of this file never block. reply runs exactly once, in any
// goroutine, under no lock, maybe before the method returns.

// Join lets a member join; the answer waits for the other members.
func (c *Coordinator) Join(r group.Join, reply func(group.Joined)) {
	refuse := func(code group.Code) group.Joined {
		return group.Joined{Code: code, Generation: -1, Member: r.Member}
	}
	if r.Group == "" {
		reply(refuse(group.InvalidGroupID))
		return
	}
	ask(c, r.Group, reply, refuse, func(core *group.Core, t group.Ticket, now time.Time) group.Effects {
		return core.Join(t, r, now)
	})
}

// Sync gives a member its assignment, once it is committed.
func (c *Coordinator) Sync(r group.Sync, reply func(group.Synced)) {
	refuse := func(code group.Code) group.Synced {
		if code == group.CoordinatorLoading {
			code = group.RebalanceInProgress // the generation is not the one that it was
		}
		return group.Synced{Code: code}
	}
	if r.Group == "" {
		reply(refuse(group.InvalidGroupID))
		return
	}
	ask(c, r.Group, reply, refuse, func(core *group.Core, t group.Ticket, now time.Time) group.Effects {
		return core.Sync(t, r, now)
	})
}

// Heartbeat keeps a member's session.
func (c *Coordinator) Heartbeat(r group.Heartbeat) group.Code {
	if r.Group == "" {
		return group.InvalidGroupID
	}
	i, code := c.of(r.Group)
	if code != group.OK {
		return code
	}
	out := group.OK
	code = i.do(func(core *group.Core, now time.Time) group.Effects {
		out = core.Heartbeat(r, now)
		return group.Effects{}
	})
	switch code {
	case group.OK:
		return out
	case group.CoordinatorLoading:
		return group.OK // nobody's session ends before everything is loaded
	}
	return code
}

// Leave removes members.
func (c *Coordinator) Leave(r group.Leave, reply func(group.Left)) {
	refuse := func(code group.Code) group.Left { return group.Left{Code: code} }
	if r.Group == "" {
		reply(refuse(group.InvalidGroupID))
		return
	}
	ask(c, r.Group, reply, refuse, func(core *group.Core, t group.Ticket, now time.Time) group.Effects {
		return core.Leave(t, r, now)
	})
}

// Commit stores offsets; the answer waits until they are committed.
func (c *Coordinator) Commit(r group.Commit, reply func(group.Committed)) {
	refuse := func(code group.Code) group.Committed { return group.Committed{Code: code} }
	ask(c, r.Group, reply, refuse, func(core *group.Core, t group.Ticket, now time.Time) group.Effects {
		return core.Commit(t, r, now)
	})
}

// Offsets returns the committed offsets of partitions of a group, or all of
// them, by partition, if none are named (nil).
func (c *Coordinator) Offsets(id string, partitions []model.TopicPartition) (
	out []group.PartitionOffset, code group.Code,
) {
	code = c.look(id, func(core *group.Core) {
		if partitions == nil {
			out = core.AllOffsets(id)
			return
		}
		out = make([]group.PartitionOffset, 0, len(partitions))
		for _, tp := range partitions {
			out = append(out, core.Offset(id, tp))
		}
	})
	return out, code
}

// DeleteOffsets removes committed offsets.
func (c *Coordinator) DeleteOffsets(r group.DeleteOffsets, reply func(group.DeletedOffsets)) {
	refuse := func(code group.Code) group.DeletedOffsets { return group.DeletedOffsets{Code: code} }
	ask(c, r.Group, reply, refuse, func(core *group.Core, t group.Ticket, now time.Time) group.Effects {
		return core.DeleteOffsets(t, r, now)
	})
}

// DeleteGroup removes a group without members.
func (c *Coordinator) DeleteGroup(id string, reply func(group.Code)) {
	answer := func(d group.Deleted) { reply(d.Code) }
	refuse := func(code group.Code) group.Deleted { return group.Deleted{Code: code} }
	ask(c, id, answer, refuse, func(core *group.Core, t group.Ticket, now time.Time) group.Effects {
		return core.DeleteGroup(t, id, now)
	})
}

// Describe describes a group.
func (c *Coordinator) Describe(id string) (d group.Description) {
	if code := c.look(id, func(core *group.Core) { d = core.Describe(id) }); code != group.OK {
		return group.Description{Code: code}
	}
	return d
}

// List lists the groups of all partitions that are hosted here, by name. With
// CoordinatorLoading the list is not complete.
func (c *Coordinator) List(states, types []string) (out []group.Listing, code group.Code) {
	for _, i := range c.instances() {
		refused := i.do(func(core *group.Core, _ time.Time) group.Effects {
			out = append(out, core.List(states, types)...)
			return group.Effects{}
		})
		if refused == group.CoordinatorLoading {
			code = refused
		}
	}
	slices.SortFunc(out, func(a, b group.Listing) int { return cmp.Compare(a.Group, b.Group) })
	return out, code
}

func (c *Coordinator) look(id string, fn func(*group.Core)) group.Code {
	i, code := c.of(id)
	if code != group.OK {
		return code
	}
	return i.do(func(core *group.Core, _ time.Time) group.Effects {
		fn(core)
		return group.Effects{}
	})
}

// ask sends a request whose answer may wait to the core of its group.
func ask[R any](c *Coordinator, id string, reply func(R), refuse func(group.Code) R,
	fn func(core *group.Core, t group.Ticket, now time.Time) group.Effects,
) {
	i, code := c.of(id)
	if code == group.OK {
		code = i.do(func(core *group.Core, now time.Time) group.Effects {
			t := i.ticketLocked(func(response any) {
				if code, lost := response.(group.Code); lost {
					reply(refuse(code))
					return
				}
				reply(response.(R))
			})
			return fn(core, t, now)
		})
	}
	if code != group.OK {
		reply(refuse(code))
	}
}

// topicsDeleted removes offsets, at once or when they are loaded.
func (i *instance) topicsDeleted(names map[string]bool) {
	i.mu.Lock()
	if i.mu.state == loading {
		if i.mu.deleted == nil {
			i.mu.deleted = map[string]bool{}
		}
		for name := range names {
			i.mu.deleted[name] = true
		}
	}
	i.mu.Unlock()
	i.do(func(core *group.Core, _ time.Time) group.Effects { return core.TopicsDeleted(names) })
}
