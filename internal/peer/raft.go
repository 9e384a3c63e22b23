package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"tidemark/internal/wire"
)

// ErrRefused means that the peer's host answers and nothing listens on the
// port: its process is gone.
var ErrRefused = errors.New("connection refused")

// RaftLinks are connections to other controllers' listeners, one for each
// address, that carry private frames (key 10000). They are made on demand and
// again after they broke. Safe for concurrent use.
type RaftLinks struct {
	o        Options
	onBroken func(addr string)

	mu     sync.Mutex
	links  map[string]*raftLink
	closed bool
}

type raftLink struct {
	dial sync.Mutex // held while connecting: one attempt at a time

	mu   sync.Mutex
	conn *Conn
}

// NewRaftLinks returns links without any connection. onBroken is called, from a
// goroutine of its own, when an established connection breaks; it may be nil.
func NewRaftLinks(o Options, onBroken func(addr string)) *RaftLinks {
	if onBroken == nil {
		onBroken = func(string) {}
	}
	return &RaftLinks{o: o, onBroken: onBroken, links: map[string]*raftLink{}}
}

// Call sends one frame and returns the answer.
func (l *RaftLinks) Call(ctx context.Context, addr string, frame []byte) ([]byte, error) {
	link, err := l.link(addr)
	if err != nil {
		return nil, err
	}
	c, err := l.connect(ctx, addr, link)
	if err != nil {
		return nil, err
	}
	return c.DoRaw(ctx, wire.KeyPrivate, 0, frame, nil)
}

func (l *RaftLinks) link(addr string) (*raftLink, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if l.links[addr] == nil {
		l.links[addr] = &raftLink{}
	}
	return l.links[addr], nil
}

func (l *RaftLinks) connect(ctx context.Context, addr string, link *raftLink) (*Conn, error) {
	if c := link.current(); c != nil {
		return c, nil
	}
	link.dial.Lock()
	defer link.dial.Unlock()
	if c := link.current(); c != nil {
		return c, nil
	}
	c, err := Dial(ctx, addr, l.o)
	if err != nil {
		return nil, err
	}
	link.mu.Lock()
	link.conn = c
	link.mu.Unlock()
	go func() {
		<-c.Broken()
		link.mu.Lock()
		if link.conn == c {
			link.conn = nil
		}
		link.mu.Unlock()
		l.mu.Lock()
		closed := l.closed
		l.mu.Unlock()
		if !closed {
			l.onBroken(addr)
		}
	}()
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed { // Close didn't see this connection
		_ = c.Close()
		return nil, ErrClosed
	}
	return c, nil
}

func (k *raftLink) current() *Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil || k.conn.Err() != nil {
		return nil
	}
	return k.conn
}

// Close breaks all connections; onBroken isn't called any more.
func (l *RaftLinks) Close() {
	l.mu.Lock()
	l.closed = true
	links := l.links
	l.links = map[string]*raftLink{}
	l.mu.Unlock()
	for _, k := range links {
		if c := k.current(); c != nil {
			_ = c.Close()
		}
	}
}

// Probe connects to addr and closes again. ErrRefused if nothing listens there.
func Probe(ctx context.Context, addr string, o Options) error {
	dial := o.Dialer
	if dial == nil {
		var d net.Dialer
		dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	nc, err := dial(ctx, addr)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("probe of %s: %w", addr, ErrRefused)
		}
		return err
	}
	return nc.Close()
}
