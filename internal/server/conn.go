package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/wire"
)

// Reasons for closing a connection. Only some are worth a log line.
var (
	// ErrFrameSize means that a length is negative, too small or above the limit.
	ErrFrameSize = errors.New("invalid request size")
	// ErrIdle means that nothing was sent or received for connections.max.idle.ms.
	ErrIdle = errors.New("connection is idle")
	// ErrMemory means that large requests together exceed Config.MaxBufferBytes.
	ErrMemory = errors.New("too much memory in requests that are being received")
	// ErrShutdown means that the server stops.
	ErrShutdown = errors.New("server stops")
)

const (
	readMin   = 64 << 10  // first buffer of a connection that sends
	readMax   = 256 << 10 // largest buffer for the sake of more bytes per read
	keepLarge = 4 << 20   // largest buffer taken because the last frame needed it
	slab      = 16        // requests allocated at once
	// gatherMax bounds the bytes of requests that are handled before Drained
	// although more can be read.
	gatherMax = 256 << 10
	// Of gatherPeriod drains without success, gatherTries look for more.
	gatherTries, gatherPeriod = 4, 16
)

// Conn is one client connection.
type Conn struct {
	// Attachment belongs to the handler, in the reader goroutine.
	Attachment any

	id     uint64
	srv    *Server
	nc     net.Conn
	sock   socket
	active atomic.Int64 // last progress in either direction, unix ns
	done   chan struct{}
	once   sync.Once
	reason error // why it was closed; valid after done
	out    output
	stats  *statShard // nil: nothing is counted

	lastClient atomic.Pointer[string] // client id of the last request, for logs

	// Of the reader goroutine.
	buf      *buffer // nil while idle
	mem      []byte  // all memory of buf
	r, w     int     // mem[r:w] is received and not handled
	want     int     // size of the next buffer
	gathered int     // bytes of requests handled since Drained
	alone    int     // drains since one has found more to read
	slack    int     // idle periods in a row that used less than half of it
	large    int     // bytes counted in Server.large
	requests []Request
	busy     time.Duration // since the last read, until the last request was handled
	room     func() []byte
	idle     func()
}

func newConn(srv *Server, nc net.Conn, id uint64) *Conn {
	c := &Conn{id: id, srv: srv, nc: nc, sock: newSocket(nc), done: make(chan struct{}), want: readMin}
	c.out.room, c.out.stats, c.stats = make(chan struct{}, 1), srv.cfg.Stats.shard(id), srv.cfg.Stats.shard(id)
	c.room, c.idle = c.space, c.park
	c.active.Store(time.Now().UnixNano())
	return c
}

// ID is unique among the connections of a server.
func (c *Conn) ID() uint64 { return c.id }

// Listener is the name of the listener that accepted the connection.
func (c *Conn) Listener() string { return c.srv.cfg.Listener }

// RemoteAddr is the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr is the address that the client reached.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// Principal is who the client is, as type:name.
func (c *Conn) Principal() string { return "User:ANONYMOUS" }

// Done is closed when the connection is.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close closes the connection at once; answers that were not sent are dropped.
// The first reason counts. Safe for concurrent use.
func (c *Conn) Close(reason error) {
	c.once.Do(func() {
		c.reason = reason
		c.srv.closed(c, reason) // logged before the client can notice
		_ = c.nc.Close()
		o := &c.out
		o.mu.Lock()
		o.mu.closed = true
		pending, items := o.mu.pending[o.mu.head:], o.mu.items
		o.mu.pending, o.mu.items, o.mu.head = nil, nil, 0
		for _, r := range pending {
			items = append(items, r.items...)
			r.items = nil
		}
		o.mu.Unlock()
		releaseItems(items) // invariant 5
		close(c.done)
	})
}

// serve reads and handles requests until the connection ends.
func (c *Conn) serve() {
	err := c.readLoop()
	if c.gathered > 0 {
		c.drained()
	}
	if c.srv.stopping() {
		c.settle()
		err = ErrShutdown
	}
	c.drop()
	c.Close(err)
}

func (c *Conn) readLoop() error {
	for {
		if c.w == len(c.mem) && c.buf != nil {
			if err := c.grow(); err != nil {
				return err
			}
		}
		n, err := c.receive()
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		now := time.Now()
		c.active.Store(now.UnixNano())
		c.w += n
		if err := c.handleFrames(now); err != nil {
			return err
		}
		if c.srv.stopping() {
			return ErrShutdown
		}
	}
}

// receive reads. While more is there at once, the requests before it wait with
// what they caused: a peer that sends several requests, in one write each,
// costs one wake-up of whoever waits for them. A peer that sends one request at
// a time is mostly spared the look. // invariant 4
func (c *Conn) receive() (int, error) {
	if c.gathered > 0 {
		n, err := 0, errAgain
		if c.gathered < gatherMax && c.alone%gatherPeriod < gatherTries {
			n, err = c.sock.tryRead(c.room)
		}
		if n > 0 {
			c.alone = 0
			return n, nil
		}
		c.alone++
		c.drained()
		if err != errAgain {
			return 0, err
		}
	}
	return c.sock.read(c.room, c.idle)
}

// handleFrames handles every whole frame of the buffer.
func (c *Conn) handleFrames(now time.Time) error {
	c.busy = 0
	for c.w-c.r >= 4 {
		size := int(int32(binary.BigEndian.Uint32(c.mem[c.r:])))
		if size < wire.MinFrame || size > int(c.srv.cfg.MaxFrame) {
			c.drained()
			return fmt.Errorf("request of %d bytes, allowed are %d to %d: %w",
				size, wire.MinFrame, c.srv.cfg.MaxFrame, ErrFrameSize)
		}
		if c.w-c.r-4 < size {
			break
		}
		if c.full() {
			c.drained() // invariant 4
			if err := c.waitForRoom(); err != nil {
				return err
			}
		}
		frame := c.mem[c.r+4 : c.r+4+size : c.r+4+size]
		c.r += 4 + size
		c.gathered += 4 + size
		if err := c.handle(frame, now); err != nil {
			c.drained()
			return err
		}
	}
	c.compact()
	return nil
}

func (c *Conn) handle(frame []byte, now time.Time) error {
	last := c.lastClient.Load()
	h, body, err := wire.ParseHeaderInterned(frame, last)
	if err != nil {
		return err
	}
	if h.ClientID != last {
		c.lastClient.Store(h.ClientID)
	}
	if len(c.requests) == 0 {
		c.requests = make([]Request, slab)
	}
	r := &c.requests[0]
	c.requests = c.requests[1:]
	r.Header, r.Body, r.Conn, r.Received = h, body, c, now
	r.kind, r.size, r.startedAt = kindOf(h.Key), int32(len(frame)), c.busy
	c.accept(r)
	c.srv.h.Handle(r)
	r.Body = nil
	if c.stats != nil {
		c.busy = time.Since(now)
		r.handledAt.Store(int64(max(c.busy, 1)))
	}
	c.out.mu.Lock()
	c.out.mu.current = nil
	closed := c.out.mu.closed
	c.out.mu.Unlock()
	if closed {
		return ErrShutdown // the first reason counts
	}
	return nil
}

// drained lets the handler perform what it gathered and sends all answers.
func (c *Conn) drained() {
	c.gathered = 0
	o := &c.out
	o.mu.Lock()
	o.mu.drained = true
	o.mu.Unlock()
	c.srv.h.Drained(c)
	o.mu.Lock()
	o.mu.drained = false
	o.mu.Unlock()
	c.flush(math.MaxInt)
}

// full reports whether the bounds of invariant 3 are reached.
func (c *Conn) full() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.fullLocked()
}

func (c *Conn) fullLocked() bool {
	return c.out.mu.inflight >= c.srv.cfg.MaxInflight || c.out.mu.bytes >= c.srv.cfg.MaxQueuedBytes
}

// waitForRoom waits until answers have left.
func (c *Conn) waitForRoom() error {
	return c.waitUntil(func() bool { return !c.fullLocked() }, nil)
}

// waitUntil waits until ok, which is called under out.mu, or until stop.
func (c *Conn) waitUntil(ok func() bool, stop <-chan struct{}) error {
	o := &c.out
	for {
		o.mu.Lock()
		o.mu.waiting = !ok()
		waiting := o.mu.waiting
		o.mu.Unlock()
		if !waiting {
			return nil
		}
		select {
		case <-o.room:
		case <-c.done:
			return c.reason
		case <-stop:
			return ErrShutdown
		}
	}
}

// settle waits for the answers of requests in hand when the server stops.
func (c *Conn) settle() {
	_ = c.waitUntil(func() bool { return c.out.mu.inflight <= 0 }, c.srv.killed)
}

// space returns free memory to read into.
func (c *Conn) space() []byte {
	if c.buf == nil {
		c.setBuffer(getBuffer(c.want))
	}
	return c.mem[c.w:]
}

func (c *Conn) setBuffer(b *buffer) {
	c.buf, c.mem = b, b.b[:cap(b.b)]
}

// park gives the buffer away while there is nothing to read: an idle
// connection costs a goroutine and little else.
func (c *Conn) park() {
	if c.buf == nil || c.r != c.w {
		return
	}
	if c.want > readMin {
		if c.slack++; c.slack > 16 {
			c.want, c.slack = c.want/2, 0
		}
	}
	c.drop()
}

func (c *Conn) drop() {
	if c.buf != nil {
		c.buf.put()
	}
	c.buf, c.mem, c.r, c.w = nil, nil, 0, 0
	c.account(0)
}

// compact moves an incomplete frame to the front.
func (c *Conn) compact() {
	if c.w-c.r > c.want/2 {
		c.slack = 0
	}
	if c.r == c.w {
		if c.w == len(c.mem) && c.want < readMax { // more was probably waiting
			c.want *= 2
			c.drop()
		}
		c.r, c.w = 0, 0
		return
	}
	if c.r > 0 {
		c.w = copy(c.mem, c.mem[c.r:c.w])
		c.r = 0
	}
}

// grow doubles a buffer that is full of an incomplete frame. // invariant 1
func (c *Conn) grow() error {
	c.slack = 0
	next := getBuffer(2 * len(c.mem))
	if err := c.account(cap(next.b)); err != nil {
		next.put()
		return err
	}
	mem := next.b[:cap(next.b)]
	c.w = copy(mem, c.mem[c.r:c.w])
	c.r = 0
	c.buf.put()
	c.setBuffer(next)
	c.want = min(len(c.mem), keepLarge)
	return nil
}

// account counts a large buffer of n bytes against the server's budget.
func (c *Conn) account(n int) error {
	if n <= readMax {
		n = 0
	}
	if n == c.large {
		return nil
	}
	total := c.srv.large.Add(int64(n - c.large))
	c.large = n
	if n > 0 && total > c.srv.cfg.MaxBufferBytes {
		return fmt.Errorf("%d bytes, allowed are %d: %w", total, c.srv.cfg.MaxBufferBytes, ErrMemory)
	}
	return nil
}
