package api

import (
	"fmt"
	"sync/atomic"
	"time"

	"tidemark/internal/server"
	"tidemark/internal/wire"
)

// Handlers is what a listener answers: functions by API key. Register
// everything before the server starts; afterwards it is read-only.
type Handlers struct {
	o       Options
	byKey   [128]handler
	private map[int16]handler
	drained []func(*server.Conn)
	served  atomic.Int64
}

// Options configure Handlers.
type Options struct {
	// Controller tells that the listener is a controller's; the table of APIs
	// says which of them exist there.
	Controller bool
	// Authorise decides on every request before its handler. The error becomes
	// the answer's error code. nil allows all.
	Authorise func(*Call) error
	// Admit is the one point where load is refused or counted. nil admits all.
	Admit func(*Call) error
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

type handler struct {
	fn  func(*Call)
	raw bool // the handler decodes by itself
}

// New returns handlers for one kind of listener, without any API.
func New(o Options) *Handlers {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Handlers{o: o, private: map[int16]handler{}}
}

// Register sets the handler of an API; it finds the request in Call.Msg.
func (h *Handlers) Register(key int16, fn func(*Call)) { h.set(key, handler{fn: fn}) }

// RegisterRaw sets the handler of an API that decodes Call.Body itself: the
// hot path, and private keys, which kmsg doesn't know.
func (h *Handlers) RegisterRaw(key int16, fn func(*Call)) { h.set(key, handler{fn: fn, raw: true}) }

// set panics on a key that the listener can't have: a mistake of the program.
func (h *Handlers) set(key int16, fn handler) {
	a, ok := wire.Lookup(key)
	if !ok || h.o.Controller && !a.Controller || !h.o.Controller && !a.Broker {
		panic(fmt.Sprintf("api: key %d doesn't belong to this kind of listener", key))
	}
	if a.Private() {
		h.private[key] = fn
		return
	}
	h.byKey[key] = fn
}

// OnDrained adds a function that runs after the last whole request of each
// read of a connection, in its reader goroutine.
func (h *Handlers) OnDrained(fn func(*server.Conn)) { h.drained = append(h.drained, fn) }

// APIs returns the rows of the table that have a handler, by key. // invariant 1
func (h *Handlers) APIs() []wire.API {
	var apis []wire.API
	for _, a := range wire.APIs() {
		if h.byKey[a.Key].fn != nil {
			apis = append(apis, a)
		}
	}
	return apis
}

// Served is the number of requests handled so far.
func (h *Handlers) Served() int64 { return h.served.Load() }

// Drained implements server.Handler.
func (h *Handlers) Drained(c *server.Conn) {
	for _, fn := range h.drained {
		fn(c)
	}
}

// Handle implements server.Handler.
func (h *Handlers) Handle(r *server.Request) {
	fn, a, ok := h.lookup(r.Header.Key)
	switch {
	case !ok:
		r.Conn.Close(fmt.Errorf("%s isn't served on this listener: %w", wire.APIName(r.Header.Key), wire.ErrUnknownAPI))
		return
	case !a.Supports(r.Header.Version) && r.Header.Key == wire.KeyApiVersions:
		respondUnsupportedApiVersions(r)
		return
	case !a.Supports(r.Header.Version):
		// A client learned the versions from ApiVersions: Kafka, too, closes.
		r.Conn.Close(fmt.Errorf("%s v%d, served are %d to %d: %w",
			a.Name, r.Header.Version, a.Min, a.Max, wire.ErrUnsupportedVersion))
		return
	}
	h.served.Add(1)
	c := &Call{
		Req: r, Header: r.Header, Body: r.Body, Now: h.o.Now(),
		Listener: r.Conn.Listener(), Principal: r.Conn.Principal(),
	}
	if !fn.raw {
		msg, err := wire.DecodeRequest(r.Header, r.Body)
		if err != nil {
			c.Close(err)
			return
		}
		c.Msg = msg
	}
	if err := h.pass(c); err != nil {
		c.Fail(err)
		return
	}
	fn.fn(c)
}

// pass is the way of every request into a handler.
func (h *Handlers) pass(c *Call) error {
	if h.o.Authorise != nil {
		if err := h.o.Authorise(c); err != nil {
			return err
		}
	}
	if h.o.Admit != nil {
		return h.o.Admit(c)
	}
	return nil
}

func (h *Handlers) lookup(key int16) (handler, wire.API, bool) {
	a, ok := wire.Lookup(key)
	if !ok {
		return handler{}, a, false
	}
	var fn handler
	if a.Private() {
		fn = h.private[key]
	} else {
		fn = h.byKey[key]
	}
	return fn, a, fn.fn != nil
}
