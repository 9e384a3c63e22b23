package sim

import "errors"

// What a call ends with when no answer came.
var (
	errTimeout = errors.New("no answer in time")
	errRefused = errors.New("connection refused")
	errBroken  = errors.New("connection broken")
)

// network carries messages between nodes, over one connection per pair and
// purpose.
type network struct {
	w     *World
	conns map[connKey]*conn
	cuts  map[[2]int]int // one-way cuts by (from, to)
	calm  bool           // no losses: faults have ended, or must not add up
}

func (t *network) init(w *World) {
	t.w, t.conns, t.cuts = w, map[connKey]*conn{}, map[[2]int]int{}
}

// purpose separates connections, which do not order each other's messages.
type purpose int

const (
	toController purpose = iota
	toMetadata
	toLeader
	fromClient
	fromClientAgain
	fromConsumer
)

type connKey struct {
	client, server int
	p              purpose
}

// conn is a connection. When a message is lost, the ones behind it are lost
// too, until both ends have found out and the client makes a new one.
type conn struct {
	last  [2]int64 // when the last message arrives at the server, at the client
	gen   int      // raised when it breaks
	dead  int64    // broken until then
	calls []*call  // without an answer
}

// call is a request and its answer.
type call struct {
	from *node
	life int
	over bool
	done func(resp any, err error)
}

func (c *call) finish(resp any, err error) {
	if !c.over && c.from.life == c.life {
		c.over = true
		c.done(resp, err)
	}
}

func (t *network) conn(client, server *node, p purpose) *conn {
	k := connKey{client.id, server.id, p}
	c := t.conns[k]
	if c == nil {
		c = &conn{}
		t.conns[k] = c
	}
	return c
}

// cut stops what from sends to to; undone by heal.
func (t *network) cut(from, to *node) { t.cuts[[2]int{from.id, to.id}]++ }

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
		for _, pair := range [][2]*node{{a, b}, {b, a}} {
			if c := t.conns[connKey{pair[0].id, pair[1].id, p}]; c != nil {
				t.lose(c, pair[0])
			}
		}
	}
}

// lose breaks a connection; the client finds out a little later.
func (t *network) lose(c *conn, client *node) {
	if t.w.now < c.dead {
		return
	}
	c.gen++
	c.last = [2]int64{}
	c.dead = t.w.now + 20*ms + t.w.upTo(400*ms)
	t.w.after(c.dead-t.w.now, client, "connection broken", func() {
		calls := c.calls
		c.calls = nil
		for _, k := range calls {
			k.finish(nil, errBroken)
		}
	})
}

func (t *network) latency() int64 {
	s := &t.w.cfg
	if !t.calm && t.w.chance(s.SlowPercent) {
		return s.LatencyMin + t.w.upTo(s.SlowMax)
	}
	return s.LatencyMin + t.w.upTo(s.LatencyMax)
}

// send delivers e to the present life of to, over a connection that client
// made. // invariant 3
func (t *network) send(c *conn, client, from, to *node, e event) {
	w := t.w
	if w.now < c.dead {
		return
	}
	if t.isCut(from, to) || !t.calm && w.rng.IntN(1000) < w.cfg.DropPerMille {
		t.lose(c, client)
		return
	}
	way := 0
	if to == client {
		way = 1
	}
	at := max(w.now+t.latency(), c.last[way])
	c.last[way] = at
	gen, fn := c.gen, e.fn
	e.n, e.fn = to, func() {
		if c.gen == gen {
			fn()
		}
	}
	w.schedule(at-w.now, e)
}

// call sends a request and waits for its answer. serve runs at to and answers
// at most once, at any time; done runs at from, exactly once, if from lives.
func (w *World) call(from, to *node, p purpose, kind string, wait int64,
	serve func(reply func(any)), done func(resp any, err error)) {
	t, k := &w.net, &call{from: from, life: from.life, done: done}
	c := t.conn(from, to, p)
	w.schedule(wait, event{n: from, kind: kind, phase: timeout, call: k, fn: func() { k.finish(nil, errTimeout) }})
	if !to.up {
		if !t.isCut(from, to) && !t.isCut(to, from) {
			w.schedule(t.latency(), event{n: from, kind: kind, phase: refused, fn: func() { k.finish(nil, errRefused) }})
		}
		return
	}
	for len(c.calls) > 0 && c.calls[0].over {
		c.calls = c.calls[1:]
	}
	c.calls = append(c.calls, k)
	life := from.life
	t.send(c, from, from, to, event{kind: kind, fn: func() {
		serve(func(resp any) {
			if from.life == life {
				t.send(c, from, to, from, event{kind: kind, phase: answer, fn: func() { k.finish(resp, nil) }})
			}
		})
	}})
}
