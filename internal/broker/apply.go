package broker

import (
	"net"
	"path"
	"slices"
	"strconv"

	"tidemark/internal/commitlog"
	"tidemark/internal/fetcher"
	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
)

// levelDirs is the metadata.version from which directories are assigned, 3.7-IV2.
const levelDirs = 17

// change is one partition that this broker has, or had, a replica of.
type change struct {
	tp       model.TopicPartition
	id       model.TopicID
	old, new *metadata.Partition // old is nil if it is new here
}

// Apply takes the metadata on to img. d leads there from the image applied
// before; nil means that everything may have changed. Calls must come in the
// order of the log; the first one loads the logs, which may take minutes.
func (b *Broker) Apply(img *metadata.Image, d *metadata.Delta) {
	b.apply.Lock()
	defer b.apply.Unlock()
	if b.apply.closed {
		return
	}
	prev := b.image.Swap(img) // invariant 1
	if !b.loaded.Load() {
		b.load(img)
		b.loaded.Store(true)
	}
	changes := b.changes(prev, img, d)
	deleted := b.deleteReplicas(img)
	b.place(changes, img)
	b.publish()
	leaders, followers := b.split(changes)
	b.lead(leaders, img)
	b.follow(followers, img)
	b.brokersChanged(img, d)
	b.configsChanged(img, d)
	if len(changes) > 0 || d == nil || len(d.ConfigChanges()) > 0 {
		b.retimeFlushes()
	}
	b.assignDirs(changes, img)
	b.setStrayAside(img)
	b.resign(deleted)
	b.elect(leaders)
	b.repairs.look()
}

// changes lists the partitions of this broker that differ between two images,
// by name: from the delta, or if there is none by comparing.
func (b *Broker) changes(prev, img *metadata.Image, d *metadata.Delta) (out []change) {
	add := func(t *metadata.Topic, index int32, old, now *metadata.Partition) {
		if slices.Contains(now.Replicas, b.cfg.Self) {
			tp := model.TopicPartition{Topic: t.Name, Partition: index}
			out = append(out, change{tp, t.ID, old, now})
		}
	}
	if d != nil {
		topics, _ := d.Topics()
		for _, t := range topics {
			for _, p := range t.Partitions {
				add(t.New, p.Index, p.Old, p.New)
			}
		}
		return out
	}
	for id, t := range img.Topics.ByID {
		was := prev.Topics.ByID[id]
		for i, p := range t.Partitions {
			add(t, int32(i), was.Partition(int32(i)), p)
		}
	}
	slices.SortFunc(out, func(a, b change) int { return a.tp.Compare(b.tp) })
	return out
}

// deleteReplicas removes the replicas that img doesn't give to this broker.
func (b *Broker) deleteReplicas(img *metadata.Image) (gone []*hosted) {
	for tp, h := range b.apply.hosted {
		id := model.TopicIDPartition{TopicID: h.p.TopicID(), Partition: tp.Partition}
		if _, mp, ok := img.PartitionByID(id); !ok || !slices.Contains(mp.Replicas, b.cfg.Self) {
			gone = append(gone, h)
		}
	}
	slices.SortFunc(gone, func(x, y *hosted) int { return x.p.TP().Compare(y.p.TP()) })
	tps := make([]model.TopicPartition, len(gone))
	for i, h := range gone {
		tps[i] = h.p.TP()
		delete(b.apply.hosted, tps[i])
	}
	if len(gone) == 0 {
		return nil
	}
	b.publish() // nobody finds them any more
	b.cfg.Fetchers.Remove(tps)
	for _, h := range gone {
		b.deleteReplica(h)
	}
	for _, d := range b.dirs {
		if slices.ContainsFunc(gone, func(h *hosted) bool { return h.dir == d }) {
			b.writeCheckpoints(d) // what is made under the same name next begins anew
		}
	}
	return gone
}

// deleteReplica closes a replica and moves its directory aside; the files go
// after file.delete.delay.ms, since responses may still be reading them.
func (b *Broker) deleteReplica(h *hosted) {
	tp := h.p.TP()
	delay := h.p.Log().Config().FileDeleteDelay
	_ = h.p.Close(false) // its files are about to go
	b.cleaners.forget(h.p)
	perform(h.p)
	if h.dir.offline.Load() {
		return
	}
	to, err := h.dir.rename(tp, commitlog.DirDeleted)
	if err != nil {
		b.failDir(h.dir, err)
		return
	}
	h.dir.doomed.add(to, b.cfg.Now().Add(delay))
	e := b.event(journal.ReplicaDeleted, tp, "", "directory is now "+path.Base(to))
	e.Dir = h.dir.Path
	b.cfg.Events.Emit(e)
}

// place makes the replicas that are new here.
func (b *Broker) place(changes []change, img *metadata.Image) {
	for _, c := range changes {
		if b.apply.hosted[c.tp] != nil {
			continue
		}
		d := b.pick(c.new.Dir(b.cfg.Self))
		if d == nil {
			b.cfg.Events.Emit(b.event(journal.ReplicaFailed, c.tp, "directory-offline", "the replica's directory is offline"))
			continue
		}
		h, err := b.placeIn(d, c, img)
		if err != nil {
			b.failDir(d, err)
			continue
		}
		b.apply.hosted[c.tp] = h
	}
}

// placeIn makes a replica, or takes one back that was a stray when logs were
// loaded and has become ours since.
func (b *Broker) placeIn(d *logDir, c change, img *metadata.Image) (*hosted, error) {
	i := slices.IndexFunc(b.apply.stray, func(s strayDir) bool { return s.tp == c.tp && !s.dir.offline.Load() })
	if i < 0 {
		return b.createReplica(d, c.tp, c.id, c.new, img)
	}
	s := b.apply.stray[i]
	b.apply.stray = slices.Delete(b.apply.stray, i, i+1)
	id, ok, err := commitlog.ReadPartitionMetadata(s.dir.fs, path.Join(s.dir.Path, c.tp.String()))
	if err == nil && ok && id == c.id {
		return b.openReplica(s.dir, c.tp, c.id, c.new, img)
	}
	if err := b.setAside(s); err != nil {
		return nil, err
	}
	return b.createReplica(d, c.tp, c.id, c.new, img)
}

// split tells who is to lead from who is to follow; nobody leads without the
// records that it owes (invariant 6).
func (b *Broker) split(changes []change) (leaders, followers []change) {
	for _, c := range changes {
		h := b.apply.hosted[c.tp]
		switch {
		case h == nil || h.dir.offline.Load():
		case c.new.Leader == b.cfg.Self && b.mayLead(h, c.new):
			leaders = append(leaders, c)
		default:
			followers = append(followers, c)
		}
	}
	return leaders, followers
}

func stateOf(mp *metadata.Partition, img *metadata.Image) partition.State {
	return partition.State{
		Leader: mp.Leader, LeaderEpoch: mp.LeaderEpoch, PartitionEpoch: mp.PartitionEpoch,
		Replicas: mp.Replicas, ISR: mp.ISR, Removing: mp.Removing, Adding: mp.Adding, Dead: deadOf(mp, img),
	}
}

// deadOf are the replicas whose log directory their broker no longer has online.
func deadOf(mp *metadata.Partition, img *metadata.Image) (dead []model.BrokerID) {
	for _, id := range mp.Replicas {
		r, dir := img.Brokers[id], mp.Dir(id)
		if r == nil || r.Fenced || dir == model.MigratingDir || dir == model.UnassignedDir {
			continue
		}
		if dir == model.LostDir || len(r.Dirs) > 0 && !slices.Contains(r.Dirs, dir) {
			dead = append(dead, id)
		}
	}
	return dead
}

// lead makes replicas lead, or tells leaders of a newer partition epoch.
func (b *Broker) lead(leaders []change, img *metadata.Image) {
	tps := make([]model.TopicPartition, len(leaders))
	for i, c := range leaders {
		tps[i] = c.tp
	}
	b.cfg.Fetchers.Remove(tps) // invariant 3
	for _, c := range leaders {
		h := b.apply.hosted[c.tp]
		if err := h.p.BecomeLeader(stateOf(c.new, img)); err != nil {
			b.cfg.Events.Emit(b.event(journal.ReplicaFailed, c.tp, "become-leader", err.Error()))
		}
		perform(h.p)
	}
}

// follow makes replicas follow, also without a leader, so that their log and
// checkpoint entry exist (KAFKA-1647), and restarts fetching where the leader
// or its epoch changed.
func (b *Broker) follow(followers []change, img *metadata.Image) {
	var stop []model.TopicPartition
	for _, c := range followers {
		if c.old == nil || c.old.LeaderEpoch != c.new.LeaderEpoch || c.new.Leader < 0 {
			stop = append(stop, c.tp)
		}
	}
	b.cfg.Fetchers.Remove(stop) // invariant 3
	var start []fetcher.Assignment
	for _, c := range followers {
		h := b.apply.hosted[c.tp]
		s := stateOf(c.new, img)
		if s.Leader == b.cfg.Self { // refused
			s.Leader = model.NoBroker
		}
		if _, err := h.p.BecomeFollower(s); err != nil {
			b.cfg.Events.Emit(b.event(journal.ReplicaFailed, c.tp, "become-follower", err.Error()))
			perform(h.p)
			continue
		}
		perform(h.p)
		b.released(h, c.new)
		if a, ok := b.assignment(h, c.new, img); ok {
			start = append(start, a)
		}
	}
	b.resignFollowers(followers)
	b.cfg.Fetchers.Add(start)
}

// assignment is what a fetcher has to know; false if there is nobody to fetch from.
func (b *Broker) assignment(h *hosted, mp *metadata.Partition, img *metadata.Image) (fetcher.Assignment, bool) {
	if mp.Leader < 0 || mp.Leader == b.cfg.Self || h.dir.offline.Load() {
		return fetcher.Assignment{}, false
	}
	e, ok := img.Endpoint(mp.Leader, b.cfg.Listener)
	if !ok {
		return fetcher.Assignment{}, false
	}
	return fetcher.Assignment{
		TP: h.p.TP(), TopicID: h.p.TopicID(), Leader: mp.Leader, Addr: net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))),
		Epoch: mp.LeaderEpoch, Replica: following{b, h},
	}, true
}

// brokersChanged follows leaders to new addresses and looks again at followers
// that may now join an ISR.
func (b *Broker) brokersChanged(img *metadata.Image, d *metadata.Delta) {
	if d != nil && len(d.Brokers()) == 0 {
		return
	}
	var moved []fetcher.Assignment
	for _, h := range b.set.Load().sorted {
		_, mp, ok := img.PartitionByID(idOf(h.p))
		if !ok {
			continue
		}
		if leads, _ := h.p.Leads(); leads {
			h.p.BrokersChanged()
			perform(h.p)
			continue
		}
		if d == nil || slices.Contains(d.Brokers(), mp.Leader) {
			if a, ok := b.assignment(h, mp, img); ok {
				moved = append(moved, a)
			}
		}
	}
	b.cfg.Fetchers.Add(moved) // no change for those that have not moved
}

// assignDirs tells the controller about replicas that it believes elsewhere.
func (b *Broker) assignDirs(changes []change, img *metadata.Image) {
	if img.MetadataVersion() < levelDirs {
		return
	}
	for _, c := range changes {
		h := b.apply.hosted[c.tp]
		if h == nil || h.dir.offline.Load() {
			continue
		}
		want := h.dir.ID
		if h.isAbsent() {
			want = model.LostDir
		}
		id := idOf(h.p)
		if c.new.Dir(b.cfg.Self) == want {
			b.dirq.confirmed(id, want)
		} else if !h.isAbsent() {
			b.dirq.put(id, want)
		}
	}
}

// setStrayAside renames directories that the metadata doesn't give to this
// broker. It waits until the metadata shows this very registration: before
// that it may be a stale controller that doesn't know them.
func (b *Broker) setStrayAside(img *metadata.Image) {
	self := img.Brokers[b.cfg.Self]
	if len(b.apply.stray) == 0 || self == nil || self.Epoch != b.cfg.Epoch() {
		return
	}
	for _, s := range b.apply.stray {
		if err := b.setAside(s); err != nil {
			b.failDir(s.dir, err)
		}
	}
	b.apply.stray = nil
}

func (b *Broker) setAside(s strayDir) error {
	if s.dir.offline.Load() {
		return nil
	}
	to, err := s.dir.rename(s.tp, commitlog.DirStray)
	if err != nil {
		return err
	}
	e := b.event(journal.ReplicaStray, s.tp, "not-in-metadata", "directory is now "+path.Base(to))
	e.Dir = s.dir.Path
	b.cfg.Events.Emit(e)
	return nil
}

// resign tells the coordinators about deleted replicas.
func (b *Broker) resign(gone []*hosted) {
	for _, h := range gone {
		b.resigned(h)
	}
}

func (b *Broker) resignFollowers(followers []change) {
	for _, c := range followers {
		b.resigned(b.apply.hosted[c.tp])
	}
}

func (b *Broker) resigned(h *hosted) {
	if b.cfg.Coordinators == nil || h.leads == model.NoLeaderEpoch {
		return
	}
	b.cfg.Coordinators.Resigned(h.p.TP(), h.leads)
	h.leads = model.NoLeaderEpoch
}

// elect tells the coordinators about new leaderships.
func (b *Broker) elect(leaders []change) {
	if b.cfg.Coordinators == nil {
		return
	}
	for _, c := range leaders {
		h := b.apply.hosted[c.tp]
		if leads, epoch := h.p.Leads(); leads && epoch != h.leads {
			b.resigned(h)
			h.leads = epoch
			b.cfg.Coordinators.Elected(h.p, epoch)
		}
	}
}
