package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Handler gets the requests of all connections. Both methods are called in a
// connection's reader goroutine.
type Handler interface {
	// Handle begins to work on r. It may answer at once or later.
	Handle(r *Request)
	// Drained follows the last whole frame of each read: the place to perform
	// once what the requests of this read caused together.
	Drained(c *Conn)
}

// Config configures one listener.
type Config struct {
	// Listener is its name, as in listeners.
	Listener string
	// Address is host:port; port 0 picks a free one.
	Address string
	// MaxFrame is socket.request.max.bytes; 0 is 104857600.
	MaxFrame int32
	// MaxConns is max.connections; 0 is unlimited.
	MaxConns int
	// MaxInflight bounds the requests of one connection that are not completely
	// answered; 0 is 128.
	MaxInflight int
	// MaxQueuedBytes bounds the answers that wait for one socket: above it, no
	// further request is handled; 0 is 4 MiB.
	MaxQueuedBytes int
	// MaxBufferBytes bounds the memory of all requests above 256 KiB that are
	// being received; 0 is 1 GiB.
	MaxBufferBytes int64
	// IdleTimeout is connections.max.idle.ms; 0 is 10 minutes, < 0 never.
	IdleTimeout time.Duration
	// SendBuffer and ReceiveBuffer are socket.send.buffer.bytes and
	// socket.receive.buffer.bytes; 0 or -1 leaves them to the kernel.
	SendBuffer, ReceiveBuffer int
	// Stats counts requests; nil counts nothing. Several listeners may share it.
	Stats *Stats
	// Logger gets a line per connection that is closed for cause; nil is slog.Default.
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	setDefault(&c.MaxFrame, 104857600)
	setDefault(&c.MaxInflight, 128)
	setDefault(&c.MaxQueuedBytes, 4<<20)
	setDefault(&c.MaxBufferBytes, 1<<30)
	setDefault(&c.IdleTimeout, 10*time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Server is one listener with its connections.
type Server struct {
	cfg    Config
	h      Handler
	ln     net.Listener
	wg     sync.WaitGroup
	large  atomic.Int64  // bytes of large receive buffers
	stop   chan struct{} // closed when Shutdown begins
	killed chan struct{} // closed when Shutdown's patience ends
	mu     struct {
		sync.Mutex
		conns  map[*Conn]struct{}
		nextID uint64
	}
}

// Listen binds the address. Clients can connect from now on, and wait in the
// kernel's queue until Start.
func Listen(cfg Config, h Handler) (*Server, error) {
	s := newServer(cfg, h)
	ln, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", cfg.Listener, err)
	}
	s.ln = ln
	return s, nil
}

func newServer(cfg Config, h Handler) *Server {
	cfg.setDefaults()
	s := &Server{cfg: cfg, h: h, stop: make(chan struct{}), killed: make(chan struct{})}
	s.mu.conns = map[*Conn]struct{}{}
	return s
}

// Addr is the address that was bound.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Connections is the number of open connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

// Accepted is the number of connections since the start.
func (s *Server) Accepted() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.nextID
}

// Listener is the listener's name.
func (s *Server) Listener() string { return s.cfg.Listener }

// Start begins to accept. Call it once.
func (s *Server) Start() {
	s.wg.Go(s.acceptLoop)
	if s.cfg.IdleTimeout > 0 {
		s.wg.Go(s.sweepLoop)
	}
}

// Shutdown stops accepting and reading, waits until requests in hand are
// answered or ctx is over, and closes all connections. No goroutine of the
// server is left when it returns.
func (s *Server) Shutdown(ctx context.Context) error {
	close(s.stop)
	if s.ln != nil {
		_ = s.ln.Close()
	}
	for _, c := range s.snapshot() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	close(s.killed)
	for _, c := range s.snapshot() {
		c.Close(ErrShutdown)
	}
	<-done
	return ctx.Err()
}

func (s *Server) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

func (s *Server) snapshot() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*Conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	return conns
}

func (s *Server) acceptLoop() {
	delay := time.Duration(0)
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			if s.stopping() || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: wait for some to come back.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("accept failed", "listener", s.cfg.Listener, "err", err, "retry", delay)
			select {
			case <-time.After(delay):
			case <-s.stop:
				return
			}
			continue
		}
		delay = 0
		s.serveConn(nc)
	}
}

// serveConn takes over nc.
func (s *Server) serveConn(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		s.tune(tc)
	}
	s.mu.Lock()
	if s.stopping() || s.cfg.MaxConns > 0 && len(s.mu.conns) >= s.cfg.MaxConns {
		s.mu.Unlock()
		_ = nc.Close()
		return
	}
	s.mu.nextID++
	c := newConn(s, nc, s.mu.nextID)
	s.mu.conns[c] = struct{}{}
	s.mu.Unlock()
	s.wg.Go(c.serve)
}

func (s *Server) tune(tc *net.TCPConn) {
	_ = tc.SetNoDelay(true)
	if s.cfg.SendBuffer > 0 {
		_ = tc.SetWriteBuffer(s.cfg.SendBuffer)
	}
	if s.cfg.ReceiveBuffer > 0 {
		_ = tc.SetReadBuffer(s.cfg.ReceiveBuffer)
	}
}

// closed forgets c and logs why, unless the client just went away.
func (s *Server) closed(c *Conn, reason error) {
	s.mu.Lock()
	delete(s.mu.conns, c)
	s.mu.Unlock()
	quiet := reason == nil || errors.Is(reason, io.EOF) || errors.Is(reason, ErrShutdown) ||
		errors.Is(reason, net.ErrClosed) || isReset(reason)
	if !quiet {
		s.cfg.Logger.Info("connection closed", "listener", s.cfg.Listener,
			"remote", c.nc.RemoteAddr().String(), "client", clientName(c), "reason", reason)
	}
}

// clientName is only for logs; slog quotes it.
func clientName(c *Conn) string {
	if id := c.lastClient.Load(); id != nil {
		return *id
	}
	return ""
}

// sweepLoop closes connections without progress.
func (s *Server) sweepLoop() {
	t := time.NewTicker(max(s.cfg.IdleTimeout/4, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.stop:
			return
		}
		limit := time.Now().Add(-s.cfg.IdleTimeout).UnixNano()
		for _, c := range s.snapshot() {
			if c.active.Load() < limit && !c.working() {
				if c.stats != nil {
					c.stats.idle.Add(1)
				}
				c.Close(ErrIdle)
			}
		}
	}
}

// working reports whether the next answer is still being worked on. If it only
// waits for a client that doesn't read, the connection counts as idle.
func (c *Conn) working() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.mu.inflight > 0 && c.out.mu.bytes == 0
}
