package sim

import "errors"

// What a call ends with when no answer came.
var (
	errTimeout = errors.New("no answer in time")
	errRefused = errors.New("connection refused")
)

// network carries messages between nodes, over one connection per pair and
// purpose.
type network struct {
	w     *World
	conns map[connKey]*conn
	cuts  map[[2]int]int // one-way cuts by (from, to)
	calm  bool           // no losses: faults have ended, or must not add up
}

// purpose separates connections, which do not order each other's messages.
type purpose int

const (
	toController purpose = iota
	toMetadata
	toLeader
	fromClient
	fromConsumer
)

type connKey struct {
	a, b int
	p    purpose
}

// conn is one direction of a connection.
type conn struct {
	last int64 // when the last message arrives
	gen  int   // raised when it breaks
}

func (t *network) conn(from, to *node, p purpose) *conn {
	if t.conns == nil {
		t.conns, t.cuts = map[connKey]*conn{}, map[[2]int]int{}
	}
	k := connKey{from.id, to.id, p}
	c := t.conns[k]
	if c == nil {
		c = &conn{}
		t.conns[k] = c
	}
	return c
}

// cut stops what from sends to to; undone by heal.
func (t *network) cut(from, to *node) {
	if t.cuts == nil {
		t.conns, t.cuts = map[connKey]*conn{}, map[[2]int]int{}
	}
	t.cuts[[2]int{from.id, to.id}]++
}

func (t *network) heal(from, to *node) {
	k := [2]int{from.id, to.id}
	if t.cuts[k]--; t.cuts[k] <= 0 {
		delete(t.cuts, k)
	}
}

func (t *network) isCut(from, to *node) bool { return t.cuts[[2]int{from.id, to.id}] > 0 }

// reset breaks every connection between two nodes.
func (t *network) reset(a, b *node) {
	for p := toController; p <= fromConsumer; p++ {
		t.conn(a, b, p).gen++
		t.conn(b, a, p).gen++
	}
}

func (t *network) latency() int64 {
	s := &t.w.cfg
	if !t.calm && t.w.chance(s.SlowPercent) {
		return s.LatencyMin + t.w.upTo(s.SlowMax)
	}
	return s.LatencyMin + t.w.upTo(s.LatencyMax)
}

// send delivers fn to the present life of to. // invariant 3
func (t *network) send(from, to *node, p purpose, kind string, fn, refused func()) {
	w := t.w
	c := t.conn(from, to, p)
	if t.isCut(from, to) || !t.calm && w.rng.IntN(1000) < w.cfg.DropPerMille {
		c.gen++
		t.conn(to, from, p).gen++
		return
	}
	if !to.up {
		if refused != nil && !t.isCut(to, from) {
			w.after(t.latency(), from, "refused", refused)
		}
		return
	}
	at := max(w.now+t.latency(), c.last)
	c.last = at
	gen := c.gen
	w.after(at-w.now, to, kind, func() {
		if c.gen == gen {
			fn()
		}
	})
}

// call sends a request and waits for its answer. serve runs at to and answers
// at most once, at any time; done runs at from, exactly once, if from lives.
func (w *World) call(from, to *node, p purpose, kind string, timeout int64,
	serve func(reply func(any)), done func(resp any, err error)) {
	over := false
	finish := func(resp any, err error) {
		if !over {
			over = true
			done(resp, err)
		}
	}
	w.after(timeout, from, kind+" timeout", func() { finish(nil, errTimeout) })
	life := from.life
	w.net.send(from, to, p, kind, func() {
		serve(func(resp any) {
			if from.life != life {
				return
			}
			w.net.send(to, from, p, kind+" answer", func() { finish(resp, nil) }, nil)
		})
	}, func() { finish(nil, errRefused) })
}
