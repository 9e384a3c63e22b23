package peer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Envelope (key 58): a broker passes an admin request of a client on to the
// active controller, with the client's identity (KIP-590).

// Envelope is a client's request, as it arrived.
type Envelope struct {
	Request   []byte // header and body, without the length
	Principal []byte // Kafka's DefaultPrincipalData with its version in front
	Host      []byte // the client's address: 4 or 16 bytes
}

// EnvelopeResult is the controller's answer to the inner request.
type EnvelopeResult struct {
	Code     Code   // of the envelope; the inner response has codes of its own
	Response []byte // header and body for the inner request's version
}

// Envelope forwards one request.
func (c *Conn) Envelope(ctx context.Context, e Envelope) (EnvelopeResult, error) {
	req := kmsg.NewPtrEnvelopeRequest()
	req.RequestData, req.RequestPrincipal, req.ClientHostAddress = e.Request, e.Principal, e.Host
	resp, err := do[*kmsg.EnvelopeResponse](ctx, c, req)
	if err != nil {
		return EnvelopeResult{}, err
	}
	return EnvelopeResult{Code: Code(resp.ErrorCode), Response: resp.ResponseData}, nil
}

// EncodePrincipal encodes a principal such as User:alice the way that Kafka's
// default serializer does.
func EncodePrincipal(kind, name string) []byte {
	p := kmsg.NewDefaultPrincipalData()
	p.Type, p.Name = kind, name
	return p.AppendTo(nil)
}
