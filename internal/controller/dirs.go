package controller

import (
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// decideAssignDirs records where replicas live (KIP-858).
//
// A replica that lost its data, but is the one that a partition still waits for,
// keeps its old directory: with a new one it would look sound and be elected
// (invariant 3). Its assignment is refused until an unclean election.
func (c *Core) decideAssignDirs(t *step, r *AssignReplicasToDirs) *AssignReplicasToDirsResponse {
	b := t.img.Brokers[r.Broker]
	if res := checkEpoch(b, r.Broker, r.Epoch); res.Failed() {
		return &AssignReplicasToDirsResponse{Result: res}
	}
	resp := &AssignReplicasToDirsResponse{}
	seen := map[model.TopicIDPartition]bool{}
	for _, a := range r.Assignments {
		if seen[a.Partition] {
			t.sync()
		}
		seen[a.Partition] = true
		resp.Assignments = append(resp.Assignments, DirAssigned{DirAssignment: a, Code: c.assignDir(t, b, a)})
	}
	return resp
}

func (c *Core) assignDir(t *step, b *metadata.Broker, a DirAssignment) Code {
	where, code := find(t.img, a.Partition)
	if code != OK {
		return code
	}
	p := where.part()
	i := slices.Index(p.Replicas, b.ID)
	if i < 0 {
		return UnknownTopic
	}
	if dirOf(p, b.ID) == a.Dir {
		return OK
	}
	lost := !hasDir(b, a.Dir)
	if !lost && !hasDir(b, dirOf(p, b.ID)) && awaited(p, b.ID) {
		return InvalidRequest
	}
	ch := c.change(t.img, where)
	ch.next.Dirs[i] = a.Dir
	why := DirectoryAssigned
	if lost {
		ch.leave(b.ID)
		why = DirectoryLost
	}
	t.apply(ch, voters(t.img), ch.ballot(), why, b.ID)
	return OK
}

// awaited reports whether the partition can only go on, without loss, with id's
// data.
func awaited(p *metadata.Partition, id model.BrokerID) bool {
	if slices.Contains(p.ISR, id) {
		return true
	}
	return len(p.ISR) == 0 && (slices.Contains(p.ELR, id) || slices.Contains(p.LastKnownELR, id))
}
