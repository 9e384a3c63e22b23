package sim

import (
	"slices"

	"tidemark/internal/controller"
	"tidemark/internal/model"
	"tidemark/internal/replica"
)

// nemesis breaks things, and mends them again.
type nemesis struct {
	w     *World
	alter int  // answers to AlterPartition still to lose
	sends int  // requests of it still to lose
	trap  bool // set for the next expansion, see proposed
	hold  bool // a disk has lost data: no further fault until its copies are out of the ISRs
	heals []func()
}

func (n *nemesis) start(w *World) {
	n.w = w
	w.after(3*second, nil, "fault", n.next)
	w.after(w.cfg.Heal, nil, "heal", n.healAll)
}

func (n *nemesis) next() {
	w := n.w
	if w.now >= w.cfg.Heal || len(w.cfg.Faults) == 0 {
		return
	}
	if !n.hold {
		n.strike(w.cfg.Faults[w.rng.IntN(len(w.cfg.Faults))])
	}
	w.after(200*ms+w.upTo(w.cfg.Calm), nil, "fault", n.next)
}

// loseAlter tells whether the next answer to AlterPartition is to be lost.
func (n *nemesis) loseAlter() bool {
	if n.alter == 0 {
		return false
	}
	n.alter--
	return true
}

// loseRequest tells whether the next AlterPartition is to be lost.
func (n *nemesis) loseRequest() bool {
	if n.sends == 0 {
		return false
	}
	n.sends--
	return true
}

// proposed springs the trap: just when a leader has asked to add a replica to
// the ISR, it stops to hear of controllers and the replica stops altogether.
// Whether the change was made is then unknown to the leader for long.
func (n *nemesis) proposed(b *broker, c *replica.ISRChange) {
	w := n.w
	h := b.find(model.TopicPartition{Topic: topic})
	for _, x := range b.hosted {
		if s := x.p.State(); s.ISRState == "pending-expand" {
			h = x
		}
	}
	if !n.trap || n.hold || h == nil {
		return
	}
	s := h.p.State()
	if s.ISRState != "pending-expand" {
		return
	}
	n.trap = false
	added := w.brokers[s.MaximalISR[len(s.MaximalISR)-1]-1]
	w.rare.hit(ExpansionTrapped)
	heal := func() {}
	for _, k := range n.controllers() {
		w.net.cut(k, &b.node)
		before := heal
		heal = func() { before(); w.net.heal(k, &b.node) }
	}
	healed := false
	once := func() {
		if !healed {
			healed = true
			heal()
		}
	}
	n.heals = append(n.heals, once)
	w.after(4*w.cfg.LagMax, nil, "heal", once)
	w.pause(&added.node, 3*w.cfg.LagMax)
}

// candidate is a broker that a leader wants to add to an ISR just now.
func (n *nemesis) candidate() *broker {
	for _, b := range n.w.brokers {
		for _, h := range b.hosted {
			if s := h.p.State(); s.ISRState == "pending-expand" {
				if c := n.w.brokers[s.MaximalISR[len(s.MaximalISR)-1]-1]; c.up && !c.paused {
					return c
				}
			}
		}
	}
	return nil
}

func (n *nemesis) anyBroker() *broker {
	var up []*broker
	for _, b := range n.w.brokers {
		if b.up && !b.paused {
			up = append(up, b)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[n.w.rng.IntN(len(up))]
}

// anyLeader is a broker that leads something, as often as not.
func (n *nemesis) anyLeader() *broker {
	w := n.w
	tp := model.TopicPartition{Topic: topic, Partition: int32(w.rng.IntN(w.cfg.Partitions))}
	if _, p, ok := w.quorum.image().Partition(tp); ok && p.Leader != model.NoBroker && w.chance(60) {
		if b := w.brokers[p.Leader-1]; b.up && !b.paused {
			return b
		}
	}
	return n.anyBroker()
}

// strike brings about one fault. // flat switch
func (n *nemesis) strike(fault string) {
	w := n.w
	b := n.anyLeader()
	if b == nil {
		return
	}
	q := w.quorum
	switch fault {
	case "kill", "bounce":
		down := 100*ms + w.upTo(2*w.cfg.Session)
		if fault == "bounce" {
			down = w.upTo(300 * ms)
		}
		b.die(b.survives())
		w.after(down, nil, "restart", b.restart)
	case "clean":
		w.rare.hit(ControlledShutdown)
		b.shutdown()
	case "lossy", "wipe":
		if c := n.candidate(); c != nil { // lose what is about to be trusted
			n.sends, b = 1+w.rng.IntN(2), c
		}
		n.loseDisk(b, fault == "wipe")
	case "pause":
		w.pause(&b.node, 200*ms+w.upTo(2*w.cfg.Session))
	case "cut":
		o := n.anyBroker()
		n.partition(fault, []*node{&b.node}, []*node{&o.node}, true)
	case "one-way":
		o := n.anyBroker()
		n.partition(fault, []*node{&b.node}, []*node{&o.node}, false)
	case "isolate":
		n.partition(fault, []*node{&b.node}, n.others(b), true)
	case "cut-controllers":
		w.rare.hit(LeaderCutFromController)
		n.partition(fault, []*node{&b.node}, n.controllers(), w.chance(70))
	case "reset":
		for _, o := range w.brokers {
			w.net.reset(&b.node, &o.node)
		}
	case "failover":
		n.failover()
	case "pause-controller":
		if q.leader != nil {
			w.pause(&q.leader.node, 500*ms+w.upTo(4*second))
		}
	case "lose-alter":
		n.alter += 1 + w.rng.IntN(3)
		n.sends += w.rng.IntN(2)
	case "trap":
		n.trap = true
	case "reassign":
		n.reassign()
	case "eio":
		n.breakDisk(b, errEIO)
	case "enospc":
		n.breakDisk(b, errENOSPC)
	case "full":
		n.fillDisk(b)
	case "blackout":
		n.blackout()
	case "churn":
		w.clients.churn()
	case "clock":
		n.jump(b)
	case "elect":
		w.clients.ask("elect", &controller.ElectLeaders{Type: controller.ElectPreferred, All: true}, func(any, error) {})
	}
	if w.cfg.DeleteRecords && w.chance(20) {
		n.deleteRecords()
	}
}

func (n *nemesis) failover() {
	w := n.w
	l := w.quorum.leader
	if l == nil || !l.up {
		return
	}
	w.rare.hit(ControllerFailover)
	switch w.rng.IntN(3) {
	case 0:
		l.kill()
		w.after(500*ms+w.upTo(3*second), nil, "restart controller", l.start)
	case 1:
		var others []*node
		for _, c := range w.quorum.ctls {
			if c != l {
				others = append(others, &c.node)
			}
		}
		n.partition("cut off controller", []*node{&l.node}, others, true)
	default:
		if o := w.quorum.ctls[w.rng.IntN(controllers)]; o != l && w.quorum.fit(o) {
			w.quorum.elect(o)
		}
	}
}

func (n *nemesis) others(b *broker) (out []*node) {
	for _, o := range n.w.brokers {
		if o != b {
			out = append(out, &o.node)
		}
	}
	if n.w.chance(50) {
		out = append(out, n.controllers()...)
	}
	return out
}

func (n *nemesis) controllers() (out []*node) {
	for _, c := range n.w.quorum.ctls {
		out = append(out, &c.node)
	}
	return out
}

// partition cuts a from b for a while, in both directions or in one.
func (n *nemesis) partition(why string, a, b []*node, both bool) {
	w := n.w
	toB := both || w.chance(50)
	each := func(f func(from, to *node)) {
		for _, x := range a {
			for _, y := range b {
				if x == y {
					continue
				}
				if toB {
					f(x, y)
				}
				if both || !toB {
					f(y, x)
				}
			}
		}
	}
	w.logf(a[0], "%s: cut from %d nodes, both ways %v", why, len(b), both)
	each(w.net.cut)
	healed := false
	heal := func() {
		if !healed {
			healed = true
			w.logf(a[0], "%s: healed", why)
			each(w.net.heal)
		}
	}
	n.heals = append(n.heals, heal)
	w.after(300*ms+w.upTo(3*w.cfg.Session), nil, "heal", heal)
}

// loseDisk takes from a broker what was not synced, or everything, but only
// while all else is well, and until its copies count no more. // invariant 4
func (n *nemesis) loseDisk(b *broker, wipe bool) {
	w := n.w
	n.hold, w.net.calm = true, true
	for _, h := range n.heals {
		h()
	}
	for _, x := range w.brokers { // nothing that was held up may still arrive late
		for _, o := range append(n.others(x), n.controllers()...) {
			w.net.reset(&x.node, o)
		}
	}
	w.after(w.cfg.Session, nil, "lose disk", func() {
		if b.up && n.allWell() && n.spare(b) {
			n.losesDisk(b, wipe)
		} else {
			n.release()
		}
	})
}

// release ends the hold.
func (n *nemesis) release() { n.hold, n.w.net.calm = false, n.w.now >= n.w.cfg.Heal }

func (n *nemesis) losesDisk(b *broker, wipe bool) {
	w := n.w
	percent := []int{0, 50}[w.rng.IntN(2)]
	b.die(percent)
	b.lossy = true
	event := LossyRejoined
	if wipe {
		event = WipedRejoined
		b.wipe()
	}
	w.after(w.upTo(w.cfg.Session/int64(1+w.rng.IntN(10))), nil, "restart", b.restart)
	w.after(100*ms, nil, "watch disk", func() { n.watchDisk(b, event) })
}

// watchDisk ends the hold when the broker that lost data takes part again.
func (n *nemesis) watchDisk(b *broker, event Event) {
	if b.lossy {
		n.w.after(100*ms, nil, "watch disk", func() { n.watchDisk(b, event) })
		return
	}
	n.w.rare.hit(event)
	n.release()
}

// allWell: every node runs and is unfenced, nothing is cut, and nothing that
// was held up is still on its way.
func (n *nemesis) allWell() bool {
	w := n.w
	if len(w.net.cuts) > 0 || w.quorum.leader == nil || w.quorum.leader.term == 0 {
		return false
	}
	for _, c := range w.quorum.ctls {
		if !c.up || c.paused {
			return false
		}
	}
	img := w.quorum.image()
	for _, b := range w.brokers {
		if !b.up || b.paused || !b.published || b.stopping || b.disk.err != nil || !img.IsActive(model.BrokerID(b.id)) {
			return false
		}
	}
	return true
}

// spare: every partition of b has another member in its ISR, and nobody has
// asked to drop one.
func (n *nemesis) spare(b *broker) bool {
	img := n.w.quorum.image()
	if img.Topics.ByName[topic] == nil {
		return false
	}
	id := model.BrokerID(b.id)
	for _, o := range n.w.brokers {
		for _, h := range o.hosted {
			if h.p.State().ISRState == "pending-shrink" {
				return false
			}
		}
	}
	for _, t := range img.Topics.ByID { // any order: all must agree
		for _, p := range t.Partitions {
			if slices.Contains(p.ISR, id) && len(p.ISR) < 2 {
				return false
			}
		}
	}
	return true
}

func (n *nemesis) reassign() {
	w := n.w
	ids := w.rng.Perm(len(w.brokers))[:3]
	var to []model.BrokerID
	for _, i := range ids {
		to = append(to, model.BrokerID(i+1))
	}
	w.rare.hit(Reassigned)
	tp := model.TopicPartition{Topic: topic, Partition: int32(w.rng.IntN(w.cfg.Partitions))}
	w.logf(nil, "reassigns %s to %v", tp, to)
	w.clients.ask("reassign", &controller.AlterPartitionReassignments{AllowRFChange: true,
		Partitions: []controller.Reassign{{Partition: tp, Replicas: to}}}, func(any, error) {})
}

// deleteRecords moves the log start of a partition up, but leaves each
// idempotent producer its last batch: that is all that is known of it.
func (n *nemesis) deleteRecords() {
	w := n.w
	for _, b := range w.brokers {
		if !b.up || b.paused {
			continue
		}
		for _, h := range b.hosted {
			leads, epoch := h.p.Leads()
			_, p, ok := w.quorum.image().PartitionByID(h.key())
			if !leads || !ok || p.LeaderEpoch != epoch || h.p.HighWatermark() == h.p.LogStart() {
				continue
			}
			limit := min(h.p.HighWatermark(), w.check.lastOfProducers(h.part))
			if limit <= h.p.LogStart() {
				continue
			}
			at := h.p.LogStart() + 1 + model.Offset(w.upTo(int64(limit-h.p.LogStart())))
			w.logf(&b.node, "deletes records of %s before %d", h.tp, at)
			w.check.deleted(h.part, at)
			_, err := h.p.DeleteRecords(at)
			b.trouble("delete records", err)
			b.perform(h)
			return
		}
	}
}

// healAll ends every fault and then waits for rest.
func (n *nemesis) healAll() {
	w := n.w
	w.logf(nil, "all faults end")
	for _, h := range n.heals {
		h()
	}
	w.net.calm, n.alter, n.sends = true, 0, 0
	for _, b := range w.brokers {
		w.resume(&b.node)
		b.mendDisk()
		if !b.up {
			b.start()
		}
	}
	for _, c := range w.quorum.ctls {
		w.resume(&c.node)
		if !c.up {
			c.start()
		}
	}
	w.after(500*ms, nil, "rest?", n.rest)
}

// restMax is how long recovery may take after the last fault (I20).
const restMax = 30 * second

func (n *nemesis) rest() {
	w := n.w
	why := w.check.unrest()
	switch {
	case why == "" && w.now > w.cfg.Heal+2*second:
		w.done = true
	case w.now > w.cfg.Heal+restMax:
		w.fail("no rest %d s after the last fault: %s", restMax/second, why)
	default:
		w.after(500*ms, nil, "rest?", n.rest)
	}
}
