package api

import (
	"fmt"
	"reflect"
	"sync"
	"time"

	"tidemark/internal/server"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Call is one request on its way through a handler.
type Call struct {
	// Req is the request as the server cut it.
	Req *server.Request
	// Header is the request's header.
	Header wire.Header
	// Msg is the decoded request; nil for raw handlers. It aliases nothing.
	Msg kmsg.Request
	// Body is the encoded request, valid until the handler returns.
	Body []byte
	// Now is when the request was handled.
	Now time.Time
	// Listener is the name of the listener that was asked.
	Listener string
	// Principal is who asks, as type:name.
	Principal string
}

var replies = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// replyKeep is the largest reply whose buffer is kept for the next one.
const replyKeep = 256 << 10

// Reply sends a response in the version of the request.
func (c *Call) Reply(resp kmsg.Response) {
	c.Req.Error(topError(resp), 1)
	b := replies.Get().(*[]byte)
	*b = wire.AppendResponse((*b)[:0], c.Header, resp)
	c.Req.Respond(wire.Part{Bytes: *b}) // copies
	if cap(*b) <= replyKeep {
		replies.Put(b)
	}
}

// ReplyParts sends a response that is already encoded: header and body.
func (c *Call) ReplyParts(parts ...wire.Part) { c.Req.Respond(parts...) }

// NoReply completes a request that has no answer.
func (c *Call) NoReply() { c.Req.NoResponse() }

// Close closes the connection: the request is malformed, or the API has no
// field for the error.
func (c *Call) Close(err error) { c.Req.Conn.Close(err) }

// Fail answers with nothing but the error code of err. An API whose response
// has no error code for the whole request can't: the connection is closed.
func (c *Call) Fail(err error) {
	resp := kmsg.ResponseForKey(c.Header.Key)
	if resp == nil {
		c.Close(err)
		return
	}
	resp.SetVersion(c.Header.Version)
	v := reflect.ValueOf(resp).Elem()
	code := v.FieldByName("ErrorCode")
	if !code.IsValid() || code.Kind() != reflect.Int16 {
		c.Close(fmt.Errorf("%s: %w", wire.APIName(c.Header.Key), err))
		return
	}
	if d, ok := resp.(interface{ Default() }); ok {
		d.Default()
	}
	code.SetInt(int64(ErrorCode(err)))
	if m := v.FieldByName("ErrorMessage"); m.IsValid() && m.Kind() == reflect.Pointer {
		m.Set(reflect.ValueOf(kmsg.StringPtr(err.Error())))
	}
	c.Reply(resp)
}

// Async lets a handler wait: it runs in a goroutine of its own. Call.Body is
// gone by then.
func Async(fn func(*Call)) func(*Call) {
	return func(c *Call) {
		c.Body = nil
		go fn(c)
	}
}
