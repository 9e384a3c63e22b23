package controller

import (
	"cmp"
	"maps"
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// decideRegister admits one process life of a broker. A new incarnation gets the
// offset of its own record as epoch and starts fenced; the same one is amended and
// keeps epoch and flags (KAFKA-16952).
func (c *Core) decideRegister(t *step, r *RegisterBroker) *RegisterBrokerResponse {
	if res := c.checkRegistration(t, r); res.Failed() {
		return &RegisterBrokerResponse{Result: res, Epoch: model.NoBrokerEpoch}
	}
	old := t.img.Brokers[r.Broker]
	amended := old != nil && old.Incarnation == r.Incarnation
	rec := &metadata.RegisterBrokerRecord{
		BrokerID: r.Broker, Incarnation: r.Incarnation,
		Endpoints: slices.Clone(r.Endpoints), Features: featureRanges(r.Features),
		Dirs: sortedDirs(r.Dirs), Fenced: true,
	}
	if r.HasRack {
		rec.Rack = &r.Rack
	}
	if amended {
		rec.BrokerEpoch, rec.Fenced = old.Epoch, old.Fenced
		rec.InControlledShutdown = old.InControlledShutdown
	}
	after := &metadata.Broker{
		ID: r.Broker, Dirs: rec.Dirs, Fenced: rec.Fenced, InControlledShutdown: rec.InControlledShutdown,
	}
	if old != nil {
		c.leaveLostDirs(t, r, old, after, amended)
		c.supersede(t, r, old, after, amended)
	}
	if !amended {
		rec.BrokerEpoch = model.BrokerEpoch(t.offset())
	}
	at := t.offset()
	t.emit(rec)
	t.saw(Evidence{Kind: BrokerRegistered, Reason: BrokerAsked, Broker: r.Broker, Epoch: rec.BrokerEpoch})
	s := c.session(&metadata.Broker{ID: r.Broker, Epoch: rec.BrokerEpoch}, t.env.Now)
	s.last, s.registered = t.env.Now, at
	return &RegisterBrokerResponse{Epoch: rec.BrokerEpoch}
}

// supersede takes the previous life out of every ISR. Whoever re-registers has
// not fetched in this life, so it is in no ISR but as the last member. With ELR, a
// life that didn't end cleanly isn't eligible either: what it had acknowledged may
// never have reached its disk (KAFKA-18635).
func (c *Core) supersede(t *step, r *RegisterBroker, old, after *metadata.Broker, amended bool) {
	if amended {
		return
	}
	t.sync()
	clean := r.PreviousEpoch != model.NoBrokerEpoch && r.PreviousEpoch == old.Epoch
	d := departure{id: r.Broker, after: after, reason: NewIncarnation}
	if !clean && t.img.Features[metadata.ELRVersionFeature] >= 1 {
		d.reason, d.unclean = UncleanRestart, true
	}
	c.depart(t, d)
}

// leaveLostDirs takes replicas out of the ISR whose directory the broker no longer
// registers: it comes back without their data (invariant 3). The last member stays
// in the ISR, without a leader, until the directory returns or an operator elects
// uncleanly. A broker that comes back with none of its directories was wiped, so
// also replicas that had no directory yet are lost; they are marked as such,
// because nothing else would tell.
func (c *Core) leaveLostDirs(t *step, r *RegisterBroker, old, after *metadata.Broker, amended bool) {
	if t.img.MetadataVersion() < levelDirs || len(old.Dirs) == 0 || len(after.Dirs) == 0 {
		return
	}
	wiped := !amended && !slices.ContainsFunc(old.Dirs, func(d model.DirectoryID) bool {
		return slices.Contains(after.Dirs, d)
	})
	el := voters(t.img).with(r.Broker, after)
	for _, p := range partitions(t.img, func(p *metadata.Partition) bool {
		return slices.Contains(p.Replicas, r.Broker)
	}) {
		ch := c.change(t.img, p)
		dir := dirOf(p.part(), r.Broker)
		unknown := dir == model.UnassignedDir || dir == model.MigratingDir
		if wiped && unknown {
			ch.setDir(r.Broker, model.LostDir)
		} else if unknown || hasDir(after, dir) {
			continue
		}
		ch.leave(r.Broker)
		t.apply(ch, el, ch.ballot(), DirectoryLost, r.Broker)
	}
}

// leave takes a replica that lost its data out of ISR and ELR.
func (ch *change) leave(id model.BrokerID) {
	ch.next.ISR = without(ch.next.ISR, id)
	ch.next.ELR = without(ch.next.ELR, id)
	ch.unclean = append(ch.unclean, id)
}

func (ch *change) setDir(id model.BrokerID, dir model.DirectoryID) {
	if i := slices.Index(ch.next.Replicas, id); i >= 0 {
		ch.next.Dirs[i] = dir
	}
}

func (c *Core) checkRegistration(t *step, r *RegisterBroker) Result {
	if r.ClusterID != c.cfg.ClusterID {
		return fail(InconsistentClusterID, "Expected cluster ID %s, but got cluster ID %s",
			c.cfg.ClusterID, r.ClusterID)
	}
	if r.Broker < 0 {
		return fail(InvalidRegistration, "Broker id %d is negative", r.Broker)
	}
	old := t.img.Brokers[r.Broker]
	if old != nil && old.Incarnation != r.Incarnation && !old.InControlledShutdown &&
		c.sessionValid(old, t.env.Now) && !replaces(r, old) {
		return fail(DuplicateRegistration, "Another broker is registered with that broker id. If the broker "+
			"was recently restarted this should self-resolve once the heartbeat timeout expires.")
	}
	if len(r.Endpoints) == 0 {
		return fail(InvalidRegistration, "Broker %d registers no listener", r.Broker)
	}
	if t.img.MetadataVersion() >= levelDirs {
		if res := checkDirs(t.img, r); res.Failed() {
			return res
		}
	}
	return checkFeatures(t.img, r)
}

// replaces tells that r can only come from a process that was started after old
// had ended: it holds the locks of the very same directories and the very same
// addresses. Kafka refuses it as a duplicate until the old session expires (9 s,
// and again 9 s after each change of the active controller), during which a
// broker that was killed and restarted at once leads partitions that it can't
// serve. Where both do live, on a copied disk, the epochs fence one of them.
func replaces(r *RegisterBroker, old *metadata.Broker) bool {
	byName := func(a, b metadata.Endpoint) int { return cmp.Compare(a.Name, b.Name) }
	return len(old.Dirs) > 0 && slices.Equal(sortedDirs(r.Dirs), sortedDirs(old.Dirs)) &&
		slices.Equal(slices.SortedFunc(slices.Values(r.Endpoints), byName), slices.SortedFunc(slices.Values(old.Endpoints), byName))
}

func checkDirs(img *metadata.Image, r *RegisterBroker) Result {
	if len(r.Dirs) == 0 {
		return fail(InvalidRegistration, "No directories specified in request")
	}
	for i, d := range r.Dirs {
		switch {
		case d.IsReserved():
			return fail(InvalidRegistration, "Reserved directory ID in request: %s", d)
		case slices.Contains(r.Dirs[:i], d):
			return fail(InvalidRegistration, "Duplicate directory ID in request: %s", d)
		}
	}
	for _, id := range brokerIDs(img) {
		if id == r.Broker {
			continue
		}
		for _, d := range r.Dirs {
			if slices.Contains(img.Brokers[id].Dirs, d) {
				return fail(InvalidRegistration, "Broker %d is already registered with directory %s", id, d)
			}
		}
	}
	return Result{}
}

// checkFeatures refuses a broker that doesn't understand a finalised level.
func checkFeatures(img *metadata.Image, r *RegisterBroker) Result {
	for _, name := range slices.Sorted(maps.Keys(img.Features)) {
		if res := checkFeature(r, name, img.Features[name]); res.Failed() {
			return res
		}
	}
	if img.KRaftVersion > 0 {
		return checkFeature(r, metadata.KRaftVersionFeature, img.KRaftVersion)
	}
	return Result{}
}

func checkFeature(r *RegisterBroker, name string, level int16) Result {
	v := r.Features[name] // the zero range supports level 0 only
	if level < v.Min || level > v.Max {
		return fail(UnsupportedVersion, "Unable to register because the broker does not support finalized "+
			"version %d of %s. The broker wants a version between %d and %d, inclusive.",
			level, name, v.Min, v.Max)
	}
	return Result{}
}

// decideUnregister drops a broker; its replicas stay assigned and offline.
func (c *Core) decideUnregister(t *step, r *UnregisterBroker) *UnregisterBrokerResponse {
	b := t.img.Brokers[r.Broker]
	if b == nil {
		return &UnregisterBrokerResponse{Result: fail(BrokerNotRegistered,
			"Broker ID %d is not currently registered", r.Broker)}
	}
	c.depart(t, departure{id: b.ID, reason: Unregistered})
	t.emit(&metadata.UnregisterBrokerRecord{BrokerID: b.ID, BrokerEpoch: b.Epoch})
	t.saw(Evidence{Kind: BrokerUnregistered, Reason: Unregistered, Broker: b.ID, Epoch: b.Epoch})
	delete(c.sessions, b.ID)
	return &UnregisterBrokerResponse{}
}

func featureRanges(fs map[string]metadata.VersionRange) []metadata.FeatureRange {
	var out []metadata.FeatureRange
	for _, name := range slices.Sorted(maps.Keys(fs)) {
		out = append(out, metadata.FeatureRange{Name: name, Min: fs[name].Min, Max: fs[name].Max})
	}
	return out
}

func sortedDirs(dirs []model.DirectoryID) []model.DirectoryID {
	return slices.SortedFunc(slices.Values(dirs), model.UUID.Compare)
}
