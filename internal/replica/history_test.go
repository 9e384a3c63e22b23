package replica

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/internal/model"
)

var historySeed = flag.Uint64("history-seed", 0, "run only this history")

// TestRandomHistories drives three replicas and a controller through random
// schedules of appends, fetches, delays, lost answers, crashes, elections and
// restarts, and checks after each step that nothing acknowledged is lost, that
// logs agree below the high watermarks, and that a leader's never goes back.
func TestRandomHistories(t *testing.T) {
	seeds := make([]uint64, 400)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	if *historySeed != 0 {
		seeds = []uint64{*historySeed}
	}
	acked, elections := 0, 0
	for _, seed := range seeds {
		w := newWorld(seed)
		for range 600 {
			w.step()
			if w.bad != "" {
				t.Fatalf("seed %d: %s\n%s\nrerun: go test ./internal/replica -run TestRandomHistories -history-seed=%d",
					seed, w.bad, strings.Join(w.trace[max(0, len(w.trace)-40):], "\n"), seed)
			}
		}
		acked += len(w.acked)
		elections += w.elections
	}
	// A world in which nothing happens proves nothing.
	if *historySeed == 0 && (acked < 20*len(seeds) || elections < 3*len(seeds)) {
		t.Fatalf("only %d acknowledgements and %d elections in %d histories", acked, elections, len(seeds))
	}
}

// entry is one record: who wrote it, under which epoch.
type entry struct {
	epoch model.LeaderEpoch
	value int
}

// box is one broker with its replica.
type box struct {
	id       model.BrokerID
	up       bool
	epoch    model.BrokerEpoch
	fenced   bool // at the controller
	log      []entry
	starts   []EpochEnd // epochs and where they begin
	hw       model.Offset
	lead     *Leader
	follow   *Follower
	inFlight *ISRChange
}

// EndOffsetFor is the rule of the leader-epoch cache.
func (b *box) EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset) {
	return (&node{epochs: b.starts, end: model.Offset(len(b.log))}).EndOffsetFor(e)
}

func (b *box) assign(e model.LeaderEpoch, at model.Offset) {
	n := &node{epochs: b.starts}
	n.assign(e, at)
	b.starts = n.epochs
}

type world struct {
	r         *rand.Rand
	now       time.Time
	boxes     []*box
	isr       []model.BrokerID // committed at the controller
	leader    model.BrokerID
	epoch     model.LeaderEpoch
	pe        model.PartitionEpoch
	nextBE    model.BrokerEpoch
	nextValue int
	acked     []ackedEntry
	waiting   []ackedEntry // acks=all appends that were admitted
	elections int
	bad       string
	trace     []string
}

type ackedEntry struct {
	at     model.Offset
	e      entry
	leader model.LeaderEpoch
}

const worldLag = 10 * time.Second

func newWorld(seed uint64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1000, 0), leader: model.NoBroker, nextBE: 100}
	for id := range model.BrokerID(3) {
		w.boxes = append(w.boxes, &box{id: id, up: true, epoch: model.BrokerEpoch(id + 1)})
	}
	w.isr = w.all()
	w.elect()
	return w
}

func (w *world) all() []model.BrokerID { return []model.BrokerID{0, 1, 2} }

// BrokerStatus is what every broker's metadata says.
func (w *world) BrokerStatus(id model.BrokerID) BrokerStatus {
	b := w.boxes[id]
	return BrokerStatus{Epoch: b.epoch, Eligible: !b.fenced}
}

func (w *world) say(format string, a ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%s ", w.now.Format("04:05"))+fmt.Sprintf(format, a...))
}

func (w *world) fail(format string, a ...any) {
	if w.bad == "" {
		w.bad = fmt.Sprintf(format, a...)
	}
}

func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.r.IntN(1500)) * time.Millisecond)
	b := w.boxes[w.r.IntN(3)]
	switch n := w.r.IntN(100); {
	case n < 25:
		w.append()
	case n < 75:
		w.fetch(b)
	case n < 80:
		if b.up && b.lead != nil {
			w.perform(b, b.lead.Tick(NoSessions{}, w.now))
		}
	case n < 88:
		w.controllerAnswers(b)
	case n < 90:
		if !b.up || w.r.IntN(6) == 0 {
			w.crashOrRestart(b)
		}
	case n < 93:
		w.fenceOrUnfence(b)
	case n < 98:
		w.learn(b)
	default:
		if w.leader != model.NoBroker && w.r.IntN(3) == 0 {
			w.elect() // a preferred election, or a reassignment's epoch bump
		}
	}
	w.check()
}

func (w *world) append() {
	for _, b := range w.boxes {
		if !b.up || b.lead == nil || w.r.IntN(3) > 0 && b.id != w.leader {
			continue
		}
		w.nextValue++
		e := entry{b.lead.Epoch(), w.nextValue}
		at := model.Offset(len(b.log))
		admitted := b.lead.AdmitsAcksAll()
		b.log = append(b.log, e)
		if admitted {
			w.waiting = append(w.waiting, ackedEntry{at, e, e.epoch})
		}
		w.say("%d appends #%d at %d in epoch %d, acks=all %v", b.id, e.value, at, e.epoch, admitted)
		w.perform(b, b.lead.Appended(at+1, NoSessions{}, w.now))
	}
}

// perform is the shell: it publishes the high watermark and answers producers.
func (w *world) perform(b *box, e Effects) {
	if e.Propose != nil {
		b.inFlight = e.Propose
		w.say("%d proposes %v", b.id, e.Propose.IDs())
	}
	if !e.Advanced {
		return
	}
	if e.HighWatermark < b.hw {
		w.fail("leader %d: high watermark from %d to %d", b.id, b.hw, e.HighWatermark)
	}
	b.hw = e.HighWatermark
	w.say("%d: hw %d", b.id, b.hw)
	w.waiting = slices.DeleteFunc(w.waiting, func(a ackedEntry) bool {
		done := a.leader == b.lead.Epoch() && a.at < b.hw
		if done {
			w.acked = append(w.acked, a)
		}
		return done
	})
}

// fetch is one round of a follower: request, the leader's rules, answer,
// append. The answer may be lost.
func (w *world) fetch(b *box) {
	if !b.up || b.follow == nil || b.follow.Leader() == model.NoBroker {
		return
	}
	l := w.boxes[b.follow.Leader()]
	if !l.up || l.lead == nil || l.lead.Epoch() != b.follow.Epoch() {
		return
	}
	at := FetchPosition{Offset: b.follow.LogEnd(), LastFetchedEpoch: model.NoLeaderEpoch}
	if k := len(b.starts); k > 0 {
		at.LastFetchedEpoch = b.starts[k-1].Epoch
	}
	switch v, div := CheckLineage(at, 0, l.lead.LogEnd(), l); v {
	case OutOfRange:
		w.outOfRange(b, l)
		return
	case Diverges:
		cut := DecideTruncation(div, at.Offset, at.Offset, b)
		w.truncate(b, cut.To, ReasonDiverged)
		return
	}
	e, err := l.lead.Fetched(ReplicaFetch{Broker: b.id, Epoch: b.epoch, Offset: at.Offset}, w.now)
	if err != nil {
		return
	}
	w.perform(l, e)
	if w.r.IntN(5) == 0 {
		return // the answer is lost
	}
	end := min(len(l.log), int(at.Offset)+1+w.r.IntN(4))
	for _, x := range l.log[at.Offset:end] {
		if k := len(b.starts); k == 0 || b.starts[k-1].Epoch < x.epoch {
			b.assign(x.epoch, model.Offset(len(b.log)))
		}
		b.log = append(b.log, x)
	}
	b.follow.Appended(model.Offset(len(b.log)))
	b.follow.Replicated(l.hw, 0, w.now)
	b.hw = b.follow.HighWatermark()
	w.say("%d fetched to %d from %d, hw %d", b.id, len(b.log), l.id, b.hw)
}

func (w *world) outOfRange(b, l *box) {
	own := model.Offset(len(b.log))
	d := DecideOutOfRange(own, l.lead.LogEnd(), model.NoOffset)
	if d.Action == TruncateTo {
		w.truncate(b, d.Offset, d.Reason)
	}
}

func (w *world) truncate(b *box, to model.Offset, why Reason) {
	w.say("%d truncates from %d to %d", b.id, len(b.log), to)
	b.log = b.log[:to]
	b.starts = slices.DeleteFunc(b.starts, func(x EpochEnd) bool { return x.End >= to })
	b.follow.Truncated(0, to, why, w.now)
	b.hw = b.follow.HighWatermark()
}

// controllerAnswers decides on a proposal in flight, by Kafka's rules; the
// answer may be lost, and the leader then asks again.
func (w *world) controllerAnswers(b *box) {
	c := b.inFlight
	if c == nil || !b.up || b.lead == nil || c.LeaderEpoch != b.lead.Epoch() {
		return
	}
	if w.r.IntN(4) == 0 {
		w.perform(b, b.lead.ISRRejected(c.Proposal, RefusedRetry, w.now))
		return
	}
	b.inFlight = nil
	if c.LeaderEpoch < w.epoch || c.PartitionEpoch != w.pe {
		w.perform(b, b.lead.ISRRejected(c.Proposal, RefusedStale, w.now))
		return
	}
	for _, m := range c.ISR {
		s := w.BrokerStatus(m.ID)
		if !s.Eligible || m.Epoch != model.NoBrokerEpoch && m.Epoch != s.Epoch {
			w.perform(b, b.lead.ISRRejected(c.Proposal, RefusedIneligible, w.now))
			return
		}
	}
	w.pe++
	w.isr = c.IDs()
	w.say("controller: isr %v", w.isr)
	if w.r.IntN(4) == 0 {
		return // the leader learns it by metadata
	}
	w.perform(b, b.lead.ISRCommitted(ISRAnswer{c.Proposal, c.LeaderEpoch, w.pe, w.isr}, w.now))
}

// crashOrRestart keeps the log: disks are honest in this world.
func (w *world) crashOrRestart(b *box) {
	if b.up {
		w.say("%d crashes", b.id)
		b.up, b.lead, b.follow, b.inFlight = false, nil, nil, nil
		return
	}
	w.nextBE++ // registered anew, not yet unfenced
	b.up, b.epoch, b.fenced = true, w.nextBE, true
	// The checkpoint of the high watermark may be old.
	b.hw = model.Offset(w.r.IntN(int(b.hw) + 1))
	w.say("%d restarts with %d records, hw %d", b.id, len(b.log), b.hw)
	w.dropFromISR(b)
	w.learn(b)
}

func (w *world) fenceOrUnfence(b *box) {
	switch {
	case b.up && b.fenced:
		b.fenced = false
		w.say("%d is unfenced", b.id)
		w.electIfNeeded()
	case !b.up && !b.fenced:
		b.fenced = true
		w.say("%d is fenced", b.id)
		w.dropFromISR(b)
	case b.up && w.r.IntN(10) == 0:
		b.fenced = true // alive, but its heartbeats don't arrive
		w.say("%d is fenced though alive", b.id)
		w.dropFromISR(b)
	}
}

// dropFromISR removes a fenced broker, but never the last member.
func (w *world) dropFromISR(b *box) {
	if slices.Contains(w.isr, b.id) && len(w.isr) > 1 {
		w.isr = slices.DeleteFunc(slices.Clone(w.isr), func(id model.BrokerID) bool { return id == b.id })
		w.pe++
	}
	if w.leader == b.id {
		w.leader = model.NoBroker
		w.elect()
	} else if l := w.leader; l != model.NoBroker && w.r.IntN(2) == 0 {
		w.learn(w.boxes[l])
	}
}

func (w *world) electIfNeeded() {
	if w.leader == model.NoBroker {
		w.elect()
	}
}

// elect picks an unfenced member of the ISR; nobody else may lead.
func (w *world) elect() {
	w.leader = model.NoBroker
	w.epoch++
	w.pe++
	var can []model.BrokerID
	for _, id := range w.isr {
		if !w.boxes[id].fenced {
			can = append(can, id)
		}
	}
	if len(can) == 0 {
		return
	}
	w.leader = can[w.r.IntN(len(can))]
	w.elections++
	w.say("controller: %d leads in epoch %d, isr %v", w.leader, w.epoch, w.isr)
	for _, b := range w.boxes {
		if w.r.IntN(3) > 0 {
			w.learn(b) // the others learn later
		}
	}
}

// learn applies the newest metadata on a broker.
func (w *world) learn(b *box) {
	if !b.up {
		return
	}
	a := Assignment{Replicas: w.all(), ISR: w.isr, PartitionEpoch: w.pe}
	end := model.Offset(len(b.log))
	switch {
	case w.leader != b.id:
		if b.follow == nil || b.follow.Epoch() != w.epoch || b.follow.Leader() != w.leader {
			b.lead, b.inFlight = nil, nil
			b.follow = NewFollower(FollowerOptions{Leader: w.leader, Epoch: w.epoch, LogEnd: end, Flushed: end, HighWatermark: b.hw})
		}
	case b.lead != nil && b.lead.Epoch() == w.epoch:
		w.perform(b, b.lead.Update(a, w.now))
	default:
		previous := b.lead
		b.assign(w.epoch, end)
		b.follow, b.inFlight = nil, nil
		var e Effects
		b.lead, e = NewLeader(LeaderOptions{
			Self: b.id, Epoch: w.epoch, Assignment: a, MinISR: 2, LagTimeMax: worldLag, Brokers: w,
			LogEnd: end, Flushed: end, HighWatermark: b.hw, Previous: previous,
		}, w.now)
		w.perform(b, e)
	}
}

func (w *world) check() {
	// Every acknowledged record is on every member of the committed ISR whose
	// log still is the lineage of a leader, and on the current leader.
	if w.leader != model.NoBroker {
		l := w.boxes[w.leader]
		if l.lead != nil && l.lead.Epoch() == w.epoch {
			for _, a := range w.acked {
				if int(a.at) >= len(l.log) || l.log[a.at] != a.e {
					w.fail("leader %d lost the acknowledged #%d at %d", l.id, a.e.value, a.at)
				}
			}
		}
	}
	for i, x := range w.boxes {
		if int(x.hw) > len(x.log) {
			w.fail("%d: high watermark %d above log end %d", x.id, x.hw, len(x.log))
			return
		}
		for _, y := range w.boxes[i+1:] {
			n := min(int(x.hw), int(y.hw))
			for o := range n {
				if o < len(y.log) && x.log[o] != y.log[o] {
					w.fail("%d and %d differ at %d, below both high watermarks", x.id, y.id, o)
					return
				}
			}
		}
	}
}
