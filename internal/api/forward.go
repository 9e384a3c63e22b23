package api

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"tidemark/internal/peer"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Forwarder carries a client's request to the active controller; it looks for
// the controller again until one answers or ctx ends.
type Forwarder interface {
	Envelope(ctx context.Context, e peer.Envelope) (peer.EnvelopeResult, error)
}

// forwardTimeout bounds how long a client waits for a controller to be found.
const forwardTimeout = 60 * time.Second

// forwardAPI passes admin requests on to the active controller inside an
// Envelope, with the client's own header, identity and address (KIP-590). The
// answer is the controller's, byte for byte.
type forwardAPI struct{ to Forwarder }

// RegisterForwarding adds every API that brokers forward and that has no
// handler of its own on this listener. served tells which of them the
// controllers implement; a client must not be offered more.
func RegisterForwarding(h *Handlers, to Forwarder, served func(key int16) bool) {
	f := &forwardAPI{to}
	for _, a := range wire.APIs() {
		if a.Forward && a.Broker && h.byKey[a.Key].fn == nil && served(a.Key) {
			h.RegisterRaw(a.Key, f.handle)
		}
	}
}

func (f *forwardAPI) handle(c *Call) { f.send(c, c.Body) }

// send forwards the request with the given body, which it copies.
func (f *forwardAPI) send(c *Call, body []byte) {
	frame := append(wire.AppendRequestHeader(nil, c.Header), body...)
	c.Body = nil
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), forwardTimeout)
		defer cancel()
		kind, name, _ := strings.Cut(c.Principal, ":")
		res, err := f.to.Envelope(ctx, peer.Envelope{Request: frame, Principal: peer.EncodePrincipal(kind, name), Host: hostBytes(c.Req.Conn.RemoteAddr())})
		switch {
		case err != nil:
			f.unanswered(c, frame, kerr.RequestTimedOut)
		case res.Code == peer.CodeUnsupportedVersion:
			// The client negotiates again when it connects again.
			c.Close(errors.New("the active controller doesn't serve this version of " + wire.APIName(c.Header.Key)))
		case res.Code != peer.CodeNone || res.Response == nil:
			f.unanswered(c, frame, kerr.UnknownServerError)
		default:
			c.ReplyParts(wire.Part{Bytes: res.Response})
		}
	}()
}

// unanswered answers in place of the controller; an API that has no code for
// the whole request gets it in every part that kmsg can derive from the request.
func (f *forwardAPI) unanswered(c *Call, frame []byte, code *kerr.Error) {
	_, body, err := wire.ParseHeader(frame)
	if err != nil {
		c.Close(err)
		return
	}
	msg, err := wire.DecodeRequest(c.Header, body)
	if err != nil {
		c.Close(err)
		return
	}
	if resp := refuseAll(msg, code); resp != nil {
		c.Reply(resp)
		return
	}
	c.Fail(code)
}

// refuseAll builds the answer of an API that reports per topic or resource; nil
// for others.
func refuseAll(msg kmsg.Request, code *kerr.Error) kmsg.Response {
	i := slices.IndexFunc(controllerAPIs, func(a controllerAPI) bool { return a.key == msg.Key() && a.refuse != nil })
	if i < 0 {
		return nil
	}
	return controllerAPIs[i].refuse(msg, code.Code, code.Description)
}

// hostBytes is the address of the client as Envelope wants it.
func hostBytes(a net.Addr) []byte {
	if t, ok := a.(*net.TCPAddr); ok {
		if v4 := t.IP.To4(); v4 != nil {
			return v4
		}
		if len(t.IP) == net.IPv6len {
			return t.IP
		}
	}
	return net.IPv4zero.To4()
}
