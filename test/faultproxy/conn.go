package faultproxy

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// queueBytes bounds what one direction of a connection holds; one frame may
// be larger.
const queueBytes = 4 << 20

type conn struct {
	p      *Proxy
	sides  [2]net.Conn // by direction: where bytes of it go
	gone   chan struct{}
	once   sync.Once
	queues [2]*queue

	from string          // guarded by p.mu
	keys map[int32]Frame // by correlation id, requests without an answer; guarded by p.mu

	mu     sync.Mutex
	silent [2]bool // by direction: that side is kept open without a word
}

// chunk is a frame on its way; nil bytes are the end of the stream.
type chunk struct {
	b     []byte
	due   time.Time
	hold  bool
	reset bool // after b both sides are reset
}

func newConn(p *Proxy, client, target net.Conn) *conn {
	c := &conn{p: p, gone: make(chan struct{}), keys: map[int32]Frame{}}
	c.sides[ToTarget], c.sides[ToClient] = target, client
	c.queues[ToTarget], c.queues[ToClient] = newQueue(), newQueue()
	return c
}

// run returns when both directions have ended.
func (c *conn) run() {
	var wg sync.WaitGroup
	for _, d := range []Direction{ToTarget, ToClient} {
		wg.Go(func() { c.read(d) })
		wg.Go(func() { c.write(d) })
	}
	wg.Wait()
	c.sides[ToTarget].Close()
	c.sides[ToClient].Close()
}

func (c *conn) reset() {
	c.once.Do(func() { close(c.gone) })
	hardClose(c.sides[ToTarget])
	hardClose(c.sides[ToClient])
}

func (c *conn) halfOpen() { c.silence(ToClient, ToTarget) }

func (c *conn) abandon() { c.silence(ToTarget, ToClient) }

// silence keeps one side open for ever and resets the other.
func (c *conn) silence(keep, drop Direction) {
	c.mu.Lock()
	c.silent[keep] = true
	c.mu.Unlock()
	hardClose(c.sides[drop])
}

func (c *conn) isSilent(d Direction) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.silent[d]
}

// read takes frames of a direction from where they come.
func (c *conn) read(d Direction) {
	r := bufio.NewReaderSize(c.sides[1-d], 64<<10)
	for {
		b, err := readFrame(r)
		if errors.Is(err, ErrFrame) {
			c.reset()
			return
		}
		if err != nil {
			c.queues[d].put(chunk{due: time.Now()}, c.gone)
			return
		}
		k, drop := c.frame(d, b)
		if drop {
			continue
		}
		if !c.queues[d].put(k, c.gone) {
			return
		}
	}
}

// frame decides about one frame as it arrives.
func (c *conn) frame(d Direction, b []byte) (k chunk, drop bool) {
	p := c.p
	p.mu.Lock()
	var f Frame
	if d == ToTarget {
		f = parseRequest(b)
		if f.From != "" {
			c.from = f.From
		}
		c.keys[f.Correlation] = Frame{Key: f.Key, Version: f.Version}
	} else {
		f = parseResponse(b)
		if q, ok := c.keys[f.Correlation]; ok {
			f.Key, f.Version = q.Key, q.Version
			delete(c.keys, f.Correlation)
		}
	}
	f.From = c.from
	hook := p.hook
	p.mu.Unlock()
	faults, _, _ := p.faults(c, d)
	k = chunk{b: b, due: time.Now().Add(faults.Delay)}
	if faults.Jitter > 0 {
		k.due = k.due.Add(rand.N(faults.Jitter))
	}
	if hook == nil {
		return k, false
	}
	switch hook(f) {
	case Drop:
		return k, true
	case Hold:
		k.hold = true
	case Reset:
		k.b, k.reset = b[:0], true
	case Chop:
		k.b, k.reset = b[:len(b)/2], true
	}
	return k, false
}

// write delivers what a direction has queued.
func (c *conn) write(d Direction) {
	for dead := false; ; {
		k, ok := c.queues[d].get(c.gone)
		if !ok {
			return
		}
		f, ok := c.wait(d, k)
		switch {
		case !ok:
			return
		case k.b == nil:
			c.end(d, f)
			return
		case dead || f.Drop || c.isSilent(d) || c.isSilent(1-d):
		case c.deliver(d, k.b):
		case d == ToTarget && !c.isSilent(1-d):
			c.reset()
			return
		default:
			dead = true // the client is gone; what it sent before still arrives: invariant 4
		}
		if k.reset {
			c.reset()
			return
		}
	}
}

// end passes on that a direction has ended.
func (c *conn) end(d Direction, f Faults) {
	switch {
	case f.Drop || c.isSilent(d):
		<-c.gone // the other side never learns of it
	case c.isSilent(1 - d):
		c.reset() // the side that was kept in silence has left
	default:
		if tc, ok := c.sides[d].(*net.TCPConn); ok {
			_ = tc.CloseWrite()
		}
	}
}

// wait returns when the chunk may go, with the faults of then.
func (c *conn) wait(d Direction, k chunk) (Faults, bool) {
	for {
		f, held, changed := c.p.faults(c, d)
		var timer <-chan time.Time
		switch left := time.Until(k.due); {
		case f.Stall || k.hold && held:
		case left <= 0:
			return f, true
		case f.Delay == 0 && f.Jitter == 0: // mended meanwhile
			return f, true
		default:
			timer = time.After(left)
		}
		select {
		case <-timer:
		case <-changed:
		case <-c.gone:
			return f, false
		}
	}
}

// deliver writes at the bandwidth of the moment.
func (c *conn) deliver(d Direction, b []byte) bool {
	for len(b) > 0 {
		f, _, _ := c.p.faults(c, d)
		n := len(b)
		if f.BytesPerSecond > 0 {
			n = min(n, int(max(f.BytesPerSecond/50, 1)))
		}
		if _, err := c.sides[d].Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
		if f.BytesPerSecond <= 0 {
			continue
		}
		select {
		case <-time.After(time.Duration(n) * time.Second / time.Duration(f.BytesPerSecond)):
		case <-c.gone:
			return false
		}
	}
	return true
}

// queue is a bounded queue of chunks for one reader and one writer.
type queue struct {
	mu     sync.Mutex
	chunks []chunk
	bytes  int
	wake   chan struct{}
	room   chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)} }

func (q *queue) put(k chunk, gone chan struct{}) bool {
	for {
		q.mu.Lock()
		if q.bytes == 0 || q.bytes+len(k.b) <= queueBytes {
			q.chunks, q.bytes = append(q.chunks, k), q.bytes+len(k.b)
			q.mu.Unlock()
			signal(q.wake)
			return true
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-gone:
			return false
		}
	}
}

func (q *queue) get(gone chan struct{}) (chunk, bool) {
	for {
		q.mu.Lock()
		if len(q.chunks) > 0 {
			k := q.chunks[0]
			q.chunks, q.bytes = q.chunks[1:], q.bytes-len(k.b)
			q.mu.Unlock()
			signal(q.room)
			return k, true
		}
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-gone:
			return chunk{}, false
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
