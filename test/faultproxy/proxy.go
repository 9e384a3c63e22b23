package faultproxy

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Direction is a way through the proxy.
type Direction int

// Requests go ToTarget, responses ToClient.
const (
	ToTarget Direction = iota
	ToClient
	Both
)

// Faults are what happens to one direction. The zero value passes everything on.
type Faults struct {
	Delay          time.Duration // of every frame; order is kept
	Jitter         time.Duration // up to this much more, evenly spread
	BytesPerSecond int64         // 0 is unlimited
	Stall          bool          // nothing more is delivered, and soon nothing read: back-pressure
	Drop           bool          // bytes, and the end of a connection, vanish in silence: a one-way cut
}

// Action is what Intercept decides about a frame.
type Action int

// The actions. Reset and Chop end the connection with RST on both sides.
const (
	Pass  Action = iota
	Drop         // this frame vanishes, later ones pass
	Hold         // this frame and what comes behind it wait for Release
	Reset        // nothing of it passes
	Chop         // half of it passes
)

// Proxy forwards from one loopback address to one target. Its methods may be
// called at any time by anyone.
type Proxy struct {
	target string
	ln     net.Listener
	done   sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something below changes
	rules   []rule
	hook    func(Frame) Action
	held    bool // frames with Hold wait
	refuse  bool
	closed  bool
	conns   map[*conn]struct{}
	count   int
}

type rule struct {
	from   string
	faults [2]Faults
}

// New listens on a free loopback port and forwards to target.
func New(target string) (*Proxy, error) { return Listen("127.0.0.1:0", target) }

// Listen is New at a given address.
func Listen(addr, target string) (*Proxy, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("fault proxy for %s: %w", target, err)
	}
	p := &Proxy{target: target, ln: ln, changed: make(chan struct{}), conns: map[*conn]struct{}{}}
	p.done.Go(p.accept)
	return p, nil
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Port is the port of Addr.
func (p *Proxy) Port() int { return p.ln.Addr().(*net.TCPAddr).Port }

// Close ends everything and waits for it.
func (p *Proxy) Close() error {
	err := p.ln.Close()
	p.update(func() { p.closed = true })
	p.Reset("")
	p.done.Wait()
	return err
}

// Set puts faults on the connections whose client id begins with from; "" means
// all. The longest from that fits counts. Set(from, Both, Faults{}) mends.
func (p *Proxy) Set(from string, d Direction, f Faults) {
	p.update(func() {
		r := p.rule(from)
		if d != ToClient {
			r.faults[ToTarget] = f
		}
		if d != ToTarget {
			r.faults[ToClient] = f
		}
	})
}

// rule finds or makes the rule; the caller holds mu.
func (p *Proxy) rule(from string) *rule {
	for i := range p.rules {
		if p.rules[i].from == from {
			return &p.rules[i]
		}
	}
	p.rules = append(p.rules, rule{from: from})
	return &p.rules[len(p.rules)-1]
}

// Heal undoes every Set, Refuse and Intercept and releases what is held.
// Connections that were broken stay broken.
func (p *Proxy) Heal() {
	p.update(func() { p.rules, p.hook, p.refuse, p.held = nil, nil, false, false })
}

// Intercept asks f about every frame from now on, before faults apply; nil ends
// it. f is called from many goroutines, for one direction of a connection in order.
func (p *Proxy) Intercept(f func(Frame) Action) { p.update(func() { p.hook, p.held = f, f != nil }) }

// Release lets frames pass that f of Intercept held. f is asked on, but holds
// nothing more.
func (p *Proxy) Release() { p.update(func() { p.held = false }) }

// Refuse resets new connections at once, or stops doing so.
func (p *Proxy) Refuse(on bool) { p.update(func() { p.refuse = on }) }

// Reset ends connections of these client ids ("" means all) with RST on both sides.
func (p *Proxy) Reset(from string) {
	for _, c := range p.matching(from) {
		c.reset()
	}
}

// HalfOpen takes the targets away from the connections of these client ids: the
// target sees RST, the client nothing at all, however long it waits.
func (p *Proxy) HalfOpen(from string) {
	for _, c := range p.matching(from) {
		c.halfOpen()
	}
}

// Abandon is the reverse of HalfOpen: the client sees RST, the target nothing.
func (p *Proxy) Abandon(from string) {
	for _, c := range p.matching(from) {
		c.abandon()
	}
}

// Open is how many connections with such a client id pass through now.
func (p *Proxy) Open(from string) int { return len(p.matching(from)) }

// Accepted is how many connections there have been.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

func (p *Proxy) matching(from string) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*conn
	for c := range p.conns {
		if from == "" || strings.HasPrefix(c.from, from) {
			out = append(out, c)
		}
	}
	return out
}

func (p *Proxy) update(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// faults are those of one direction of a connection, and a channel that is
// closed when they change.
func (p *Proxy) faults(c *conn, d Direction) (f Faults, held bool, changed chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := -1
	for _, r := range p.rules {
		if strings.HasPrefix(c.from, r.from) && len(r.from) > best {
			best, f = len(r.from), r.faults[d]
		}
	}
	return f, p.held, p.changed
}

func (p *Proxy) accept() {
	for {
		nc, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuse := p.refuse || p.closed
		p.count++
		p.mu.Unlock()
		if refuse {
			hardClose(nc)
			continue
		}
		p.done.Go(func() { p.serve(nc) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	target, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		hardClose(client)
		return
	}
	c := newConn(p, client, target)
	p.mu.Lock()
	closed := p.closed
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	if closed {
		c.reset()
	}
	c.run()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// hardClose makes the peer see RST.
func hardClose(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	_ = nc.Close()
}
