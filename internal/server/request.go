package server

import (
	"slices"
	"sync/atomic"
	"time"

	"tidemark/internal/wire"
)

// Request is one request of a connection. It must be answered exactly once,
// by Respond, Queue or NoResponse, from any goroutine.
type Request struct {
	// Header is the parsed header.
	Header wire.Header
	// Body follows the header. It lies in the connection's buffer and is valid
	// until Handle returns.
	Body []byte
	// Conn is where the request came from.
	Conn *Conn
	// Received is when the bytes were read.
	Received time.Time

	answered atomic.Bool
	ready    bool    // guarded by Conn.out.mu: answered
	items    []item  // guarded by Conn.out.mu: the answer, while earlier ones hold it back
	one      [1]item // memory for items

	captured func(parts []wire.Part) // takes the answer instead of the connection

	// What Stats count; the times since Received.
	kind       uint8
	size       int32
	startedAt  time.Duration
	handledAt  atomic.Int64  // 0: still in its handler
	answeredAt time.Duration // guarded by Conn.out.mu; 0: in its handler
}

// Capture returns a request of the same connection whose answer goes to fn, not
// to the socket: one request inside another. fn is called once, from any
// goroutine, and must release slices among the parts; their bytes are only lent.
func (r *Request) Capture(h wire.Header, fn func(parts []wire.Part)) *Request {
	return &Request{Header: h, Conn: r.Conn, Received: r.Received, captured: fn}
}

// Respond answers with the given parts: header and body, without the length.
// It never waits for the socket. Bytes are copied, so the caller may reuse
// them; slices are read at once or owned by the connection until sent. The
// answer to the request that Handle is just working on, and any answer while
// Drained runs, goes out after Drained.
func (r *Request) Respond(parts ...wire.Part) {
	r.Queue(parts...)
	if r.captured == nil {
		r.Conn.maybeFlush(r)
	}
}

// Queue is Respond for a caller that answers many requests and calls
// Conn.Flush once for each connection it touched.
func (r *Request) Queue(parts ...wire.Part) {
	if !r.answered.CompareAndSwap(false, true) {
		wire.ReleaseParts(parts)
		return
	}
	if r.captured != nil {
		r.captured(slices.Clone(parts)) // a copy, or every caller's list would be on the heap
		return
	}
	items, err := r.Conn.assemble(r.one[:0], parts)
	if err != nil {
		r.Conn.Close(err)
		return
	}
	r.Conn.enqueue(r, items)
}

// NoResponse completes a request that has no answer (acks=0).
func (r *Request) NoResponse() {
	if r.answered.CompareAndSwap(false, true) {
		if r.captured != nil {
			r.captured(nil)
			return
		}
		r.Conn.enqueue(r, nil)
		r.Conn.maybeFlush(r)
	}
}
