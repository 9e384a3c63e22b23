package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Errors of a connection. All of them leave it unusable except ErrUnsupported.
var (
	// ErrClosed means that the connection was closed, by this side or the peer.
	ErrClosed = errors.New("connection closed")
	// ErrTimeout means that the peer didn't answer in time. The connection is
	// dropped: a later answer could not be told from a lost one.
	ErrTimeout = errors.New("no answer in time")
	// ErrUnsupported means that the peer doesn't speak the API, or no version of
	// it that this side speaks.
	ErrUnsupported = errors.New("api not supported by the peer")
	// ErrTooLarge means that the peer announced a response above ResponseMax.
	ErrTooLarge = errors.New("response too large")
)

const (
	// pipelineMax bounds the requests in flight; further callers wait.
	pipelineMax = 64
	// readChunk is how much of a response is allocated before it arrived.
	readChunk = 256 << 10
)

// Conn is one connection to another broker or controller, ApiVersions done.
// All methods are safe for concurrent use; responses are matched to requests
// by order and correlation id.
type Conn struct {
	nc       net.Conn
	o        Options
	clientID *string
	versions map[int16]wire.API // what the peer advertised
	features Features
	slots    chan struct{} // a token per request in flight
	broken   chan struct{}
	done     chan struct{} // closed when the reader has returned, or there is none

	wmu  sync.Mutex // held while a request is written; order of calls = order on the wire
	wbuf []byte

	mu struct {
		sync.Mutex
		err    error // why the connection is broken
		calls  []*call
		nextID int32
	}
}

// call is one request in flight.
type call struct {
	id           int32
	key, version int16
	buf          []byte // the response body goes here; the reader owns it until done
	err          error
	done         chan struct{}
	reading      bool // guarded by Conn.mu: the reader has begun to fill buf
	dropped      bool // guarded by Conn.mu: nobody waits any more
}

func newConn(nc net.Conn, o Options) *Conn {
	c := &Conn{
		nc: nc, o: o, slots: make(chan struct{}, pipelineMax),
		broken: make(chan struct{}), done: make(chan struct{}),
	}
	if o.ClientID != "" {
		c.clientID = &o.ClientID
	}
	if o.Sequential {
		close(c.done)
	} else {
		go c.readLoop()
	}
	return c
}

// Broken is closed when the connection can't be used any more; Err says why. A
// sequential connection notices that in a call only.
func (c *Conn) Broken() <-chan struct{} { return c.broken }

// Err returns why the connection is broken, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.err
}

// Addr is the address of the peer.
func (c *Conn) Addr() string { return c.nc.RemoteAddr().String() }

// Close breaks the connection and waits until its goroutine has returned.
// Requests in flight fail with ErrClosed.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	<-c.done
	return nil
}

// fail breaks the connection once and ends all calls.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.mu.err != nil {
		c.mu.Unlock()
		return
	}
	c.mu.err = err
	c.mu.Unlock()
	close(c.broken)
	_ = c.nc.Close() // wakes the reader, which ends the calls
}

// Version returns the version that Do would use for key: the highest that this
// side, the peer and Options.Versions allow. ErrUnsupported if there is none.
func (c *Conn) Version(key int16) (int16, error) {
	if key >= wire.KeyPrivate {
		return 0, nil
	}
	own, ok := wire.Lookup(key)
	if !ok {
		return 0, fmt.Errorf("api key %d: %w", key, wire.ErrUnknownAPI)
	}
	theirs, ok := c.versions[key]
	if !ok {
		return 0, fmt.Errorf("%s: %w", own.Name, ErrUnsupported)
	}
	v := min(own.Max, theirs.Max)
	if top, ok := c.o.Versions[key]; ok {
		v = min(v, top)
	}
	if v < own.Min || v < theirs.Min {
		return 0, fmt.Errorf("%s: we speak %d to %d, the peer %d to %d: %w",
			own.Name, own.Min, own.Max, theirs.Min, theirs.Max, ErrUnsupported)
	}
	return v, nil
}

// MaxVersion is Version without a reason: -1 if the API can't be used.
func (c *Conn) MaxVersion(key int16) int16 {
	v, err := c.Version(key)
	if err != nil {
		return -1
	}
	return v
}

// Do sends req in the version that Version names and returns the response.
// Without a deadline in ctx, Options.RequestTimeout applies; a request that
// times out breaks the connection (ErrTimeout). If ctx is cancelled the answer
// is awaited by nobody and dropped when it comes.
func (c *Conn) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	v, err := c.Version(req.Key())
	if err != nil {
		return nil, err
	}
	return c.DoVersion(ctx, req, min(v, req.MaxVersion()))
}

// DoVersion is Do in a version of the caller's choice.
func (c *Conn) DoVersion(ctx context.Context, req kmsg.Request, version int16) (kmsg.Response, error) {
	req.SetVersion(version)
	body, err := c.DoRaw(ctx, req.Key(), version, req.AppendTo(nil), nil)
	if err != nil {
		return nil, err
	}
	resp, err := wire.DecodeResponse(req.Key(), version, body)
	if err != nil {
		c.fail(err)
		return nil, err
	}
	return resp, nil
}

// DoRaw sends a request whose body is already encoded and returns the body of
// the response. The response is read into the memory of into if it fits, so a
// fetcher can use the same buffer again and again; into must not be touched
// before DoRaw returns. A private key has version 0.
func (c *Conn) DoRaw(ctx context.Context, key, version int16, body, into []byte) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok && c.o.RequestTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.o.RequestTimeout)
		defer cancel()
	}
	if c.o.Sequential {
		return c.doSequential(ctx, key, version, body, &into)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.broken:
		return nil, c.Err()
	}
	call := &call{key: key, version: version, buf: into, done: make(chan struct{})}
	if err := c.send(ctx, call, body); err != nil {
		return nil, err
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		c.abandon(ctx, call)
	}
	return call.buf, call.err
}

// abandon ends the wait for a call whose context is over. It returns only when
// the reader has let go of the caller's buffer.
func (c *Conn) abandon(ctx context.Context, call *call) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.fail(fmt.Errorf("%s to %s: %w", wire.APIName(call.key), c.Addr(), ErrTimeout))
		<-call.done
		return
	}
	c.mu.Lock()
	if call.reading {
		c.mu.Unlock()
		c.fail(fmt.Errorf("%s to %s: %w", wire.APIName(call.key), c.Addr(), ctx.Err()))
		<-call.done
		return
	}
	select {
	case <-call.done:
	default:
		call.dropped = true
		call.buf, call.err = nil, ctx.Err()
	}
	c.mu.Unlock()
}

// send queues the call and writes the request. The lock covers both, so that
// the calls are in the order of the wire.
func (c *Conn) send(ctx context.Context, call *call, body []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.mu.Lock()
	if err := c.mu.err; err != nil {
		c.mu.Unlock()
		return err
	}
	call.id = c.mu.nextID
	c.mu.nextID = (c.mu.nextID + 1) & 0x7fffffff
	c.mu.calls = append(c.mu.calls, call)
	c.mu.Unlock()

	h := wire.Header{Key: call.key, Version: call.version, CorrelationID: call.id, ClientID: c.clientID}
	deadline, _ := ctx.Deadline()
	_ = c.nc.SetWriteDeadline(deadline)
	if err := c.writeRequest(h, body); err != nil {
		c.fail(err)
		<-call.done
		return call.err
	}
	return nil
}

// writeRequest sends one frame. The caller holds wmu.
func (c *Conn) writeRequest(h wire.Header, body []byte) error {
	b := wire.AppendRequestHeader(append(c.wbuf[:0], 0, 0, 0, 0), h)
	b = append(b, body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	c.wbuf = b
	if cap(b) > readChunk {
		c.wbuf = nil
	}
	if _, err := c.nc.Write(b); err != nil {
		return fmt.Errorf("write to %s: %w: %w", c.Addr(), err, ErrClosed)
	}
	return nil
}

// readLoop hands each response to its call until the connection breaks, then
// fails the rest.
func (c *Conn) readLoop() {
	defer close(c.done)
	r := bufio.NewReaderSize(c.nc, 16<<10)
	for {
		if err := c.readOne(r); err != nil {
			c.fail(err)
			break
		}
	}
	c.mu.Lock()
	calls := c.mu.calls
	c.mu.calls = nil
	for _, call := range calls {
		if !call.dropped {
			call.buf, call.err = nil, c.mu.err
		}
		close(call.done)
	}
	c.mu.Unlock()
}

func (c *Conn) readOne(r *bufio.Reader) error {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read from %s: %w: %w", c.Addr(), err, ErrClosed)
	}
	size := int64(int32(binary.BigEndian.Uint32(head[:]))) - 4
	id := int32(binary.BigEndian.Uint32(head[4:]))
	if size < 0 || size > int64(c.o.ResponseMax) {
		return fmt.Errorf("response of %d bytes from %s, limit is %d: %w", size+4, c.Addr(), c.o.ResponseMax, ErrTooLarge)
	}
	c.mu.Lock()
	if len(c.mu.calls) == 0 || c.mu.calls[0].id != id {
		c.mu.Unlock()
		return fmt.Errorf("response %d from %s answers no request: %w", id, c.Addr(), ErrMalformed)
	}
	call := c.mu.calls[0]
	call.reading = true
	into := call.buf
	if call.dropped {
		into = nil
	}
	c.mu.Unlock()

	body, err := readResponse(r, call, into, int(size))
	if err != nil {
		return fmt.Errorf("read from %s: %w: %w", c.Addr(), err, ErrClosed)
	}
	c.mu.Lock()
	c.mu.calls = c.mu.calls[1:]
	if !call.dropped {
		call.buf = body
	}
	close(call.done)
	c.mu.Unlock()
	<-c.slots
	return nil
}

// readResponse reads what follows the correlation id. The header's tagged
// fields are read apart from the body, so that the body begins where the
// caller's buffer does.
func readResponse(r *bufio.Reader, call *call, into []byte, n int) ([]byte, error) {
	if !wire.ResponseHeaderFlexible(call.key, call.version) {
		return readBody(r, into, n)
	}
	if n < 1 {
		return nil, io.ErrUnexpectedEOF
	}
	tags, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	if tags == 0 {
		return readBody(r, into, n-1)
	}
	if err := r.UnreadByte(); err != nil {
		return nil, err
	}
	p, err := readBody(r, nil, n)
	if err != nil {
		return nil, err
	}
	return wire.SkipTags(p)
}

// readBody reads n bytes into dst's memory. Beyond that it allocates only a
// bounded step ahead of what has arrived.
func readBody(r io.Reader, dst []byte, n int) ([]byte, error) {
	dst = dst[:0]
	for len(dst) < n {
		if len(dst) == cap(dst) {
			grown := make([]byte, len(dst), min(n, max(2*cap(dst), readChunk)))
			copy(grown, dst)
			dst = grown
		}
		from := len(dst)
		dst = dst[:min(n, cap(dst))]
		if _, err := io.ReadFull(r, dst[from:]); err != nil {
			return nil, err
		}
	}
	return dst, nil
}
