package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Virtual time is in nanoseconds since the start of the world.
const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)
)

// epoch0 is the wall clock at virtual time 0.
var epoch0 = time.Unix(1_700_000_000, 0)

// node is a process: a broker, a controller or a client.
type node struct {
	id     int
	name   string
	up     bool
	life   int // raised by every start and every crash
	paused bool
	held   []event // arrived while paused
	skew   int64   // of its clock
}

// event is something that happens at a time. Without a node it happens to the
// world: faults, checks, the modelled quorum.
type event struct {
	n     *node
	life  int
	kind  string
	phase phase
	call  *call // it is dropped once that is over; nil: never
	fn    func()
}

// phase tells the events of one call apart.
type phase byte

const (
	single phase = iota
	answer
	timeout
	refused
)

// World is one simulated cluster. // invariant 1
type World struct {
	seed   uint64
	rng    *rand.Rand
	now    int64
	events schedule
	hash   uint64
	steps  int
	log    *strings.Builder // nil: no log
	err    error

	cfg     Swarm
	rare    Rare
	net     network
	quorum  *modelQuorum
	brokers []*broker
	touched []*broker
	check   *checker
	clients clients
	nemesis nemesis
	done    bool
}

// NewWorld sets a cluster up; nothing has happened yet. With keepLog, Log
// returns what happened.
func NewWorld(seed uint64, keepLog bool) *World {
	w := &World{seed: seed, rng: rand.New(rand.NewPCG(seed, 0x54696465)), hash: 14695981039346656037}
	if keepLog {
		w.log = &strings.Builder{}
	}
	w.cfg = drawSwarm(w.rng)
	w.net.init(w)
	w.check = newChecker(w)
	w.quorum = newQuorum(w)
	for i := 1; i <= w.cfg.Brokers; i++ {
		w.brokers = append(w.brokers, newBroker(w, i))
	}
	for _, b := range w.brokers {
		b.start()
	}
	w.quorum.boot()
	w.clients.start(w)
	w.nemesis.start(w)
	return w
}

// maxSteps bounds a run that makes no progress in virtual time.
const maxSteps = 2_000_000

// Run runs until everything has come to rest after the faults, and returns the
// first violation.
func (w *World) Run() (err error) {
	defer w.close()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic at %s: %v\n%s", w.clock(), p, stack())
		}
	}()
	for w.err == nil && !w.done && !w.events.empty() {
		w.step()
		if w.steps++; w.steps > maxSteps {
			w.fail("the world does not come to rest: %d events", w.steps)
		}
	}
	if w.err == nil {
		w.check.final()
	}
	return w.err
}

// step runs one event. // invariant 2
func (w *World) step() {
	at, e := w.events.pop()
	w.now = at
	if e.call != nil && e.call.over {
		return
	}
	if n := e.n; n != nil {
		if !n.up || n.life != e.life {
			return
		}
		if n.paused {
			n.held = append(n.held, e)
			return
		}
	}
	w.trace(&e)
	e.fn()
	w.settle()
}

func (w *World) settle() {
	for len(w.touched) > 0 && w.err == nil {
		b := w.touched[0]
		w.touched = w.touched[1:]
		b.isTouched = false
		b.wakeParked()
	}
	w.check.settleAcks()
}

func (w *World) trace(e *event) {
	h := w.hash
	for i := range len(e.kind) {
		h = (h ^ uint64(e.kind[i])) * fnvPrime
	}
	id := 0
	if e.n != nil {
		id = e.n.id
	}
	h = (h ^ uint64(w.now)) * fnvPrime
	w.hash = (h ^ uint64(id)<<8 ^ uint64(e.phase)) * fnvPrime
}

const fnvPrime = 1099511628211

// mix adds a value to the hash of the trace.
func (w *World) mix(v uint64) { w.hash = (w.hash ^ v) * fnvPrime }

// Hash identifies what has happened so far.
func (w *World) Hash() uint64 { return w.hash }

// Log is what happened, if it was kept.
func (w *World) Log() string {
	if w.log == nil {
		return ""
	}
	return w.log.String()
}

// logf adds a line to the log.
func (w *World) logf(n *node, format string, args ...any) {
	if w.log == nil {
		return
	}
	name := "world"
	if n != nil {
		name = n.name
	}
	fmt.Fprintf(w.log, "%s %-6s %s\n", w.clock(), name, fmt.Sprintf(format, args...))
}

func (w *World) clock() string { return fmt.Sprintf("%8.3fs", float64(w.now)/float64(second)) }

// fail records the first violation.
func (w *World) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%s: %s", w.clock(), fmt.Sprintf(format, args...))
		w.logf(nil, "VIOLATION %v", w.err)
	}
}

// time is what a node's clock shows.
func (w *World) time(n *node) time.Time { return epoch0.Add(time.Duration(w.now + n.skew)) }

// after schedules fn for this life of n; n may be nil.
func (w *World) after(d int64, n *node, kind string, fn func()) {
	w.schedule(d, event{n: n, kind: kind, fn: fn})
}

// schedule lets e happen after d, in the present life of its node.
func (w *World) schedule(d int64, e event) {
	if e.n != nil {
		e.life = e.n.life
	}
	w.events.push(w.now+max(d, 0), e)
}

// every runs fn in this life of n again and again, at slightly varying intervals.
func (w *World) every(d int64, n *node, kind string, fn func()) {
	var again func()
	again = func() {
		fn()
		w.after(w.around(d), n, kind, again)
	}
	w.after(w.upTo(d), n, kind, again)
}

func (w *World) upTo(d int64) int64   { return w.rng.Int64N(max(d, 1)) }
func (w *World) around(d int64) int64 { return d*9/10 + w.upTo(d/5) }
func (w *World) chance(percent int) bool {
	return percent > 0 && w.rng.IntN(100) < percent
}

// pause holds a node for d, with everything that arrives. // invariant 2
func (w *World) pause(n *node, d int64) {
	if !n.up || n.paused {
		return
	}
	w.logf(n, "paused for %d ms", d/ms)
	n.paused = true
	life := n.life
	w.after(d, nil, "resume", func() {
		if n.life == life {
			w.resume(n)
		}
	})
}

func (w *World) resume(n *node) {
	if !n.paused {
		return
	}
	w.logf(n, "resumed")
	n.paused = false
	held := n.held
	n.held = nil
	for _, e := range held {
		w.events.push(w.now, e)
	}
}

// stop ends a node's life: nothing that belongs to it happens any more.
func (n *node) stop() {
	n.up, n.paused, n.held = false, false, nil
	n.life++
}

func (w *World) close() {
	for _, b := range w.brokers {
		b.purgatory.Close()
	}
}
