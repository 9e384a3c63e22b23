package api

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"

	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// envelopeAPI answers Envelope (key 58, KIP-590): a broker passes a client's
// request on, header and body as they came. It runs under the client's
// principal, and its answer goes back as bytes.
//
//	42  the client's address isn't 4 or 16 bytes, or the API isn't one to forward
//	97  the principal doesn't decode
//	35  the request doesn't decode, or its version isn't served
//	41  this isn't the active controller: the broker looks for it and sends again
type envelopeAPI struct{ h *Handlers }

// RegisterEnvelope adds Envelope to a controller's listener. The APIs that can be
// forwarded are those of h that the table marks so.
func RegisterEnvelope(h *Handlers) {
	a := &envelopeAPI{h: h}
	h.Register(wire.KeyEnvelope, a.handle)
}

var (
	errEnvelope  = errors.New("invalid envelope")
	errPrincipal = errors.New("principal doesn't decode")
)

func (a *envelopeAPI) handle(c *Call) {
	inner, err := a.open(c)
	if err != nil {
		replyEnvelope(c, nil, envelopeCode(err))
		return
	}
	header := inner.Header
	inner.Req = c.Req.Capture(header, func(parts []wire.Part) {
		data, err := gather(parts)
		switch {
		case err != nil:
			replyEnvelope(c, nil, kerr.UnknownServerError.Code)
		case saysNotController(header, data):
			replyEnvelope(c, nil, kerr.NotController.Code)
		default:
			replyEnvelope(c, data, 0)
		}
	})
	fn, _, _ := a.h.lookup(header.Key)
	if err := a.h.pass(inner); err != nil {
		inner.Fail(err)
		return
	}
	fn.fn(inner)
}

// open checks and decodes what is inside.
func (a *envelopeAPI) open(c *Call) (*Call, error) {
	req := c.Msg.(*kmsg.EnvelopeRequest)
	if n := len(req.ClientHostAddress); n != 4 && n != 16 {
		return nil, fmt.Errorf("client address of %d bytes: %w", n, errEnvelope)
	}
	principal, err := decodePrincipal(req.RequestPrincipal)
	if err != nil {
		return nil, err
	}
	header, body, err := wire.ParseHeader(req.RequestData)
	if err != nil {
		return nil, err
	}
	row, ok := wire.Lookup(header.Key)
	if !ok || !row.Forward {
		return nil, fmt.Errorf("key %d: %w", header.Key, errEnvelope)
	}
	fn, _, ok := a.h.lookup(header.Key)
	if !ok || !row.Supports(header.Version) {
		return nil, fmt.Errorf("%s v%d: %w", row.Name, header.Version, wire.ErrUnsupportedVersion)
	}
	inner := &Call{Header: header, Body: body, Now: c.Now, Listener: c.Listener, Principal: principal}
	if !fn.raw {
		if inner.Msg, err = wire.DecodeRequest(header, body); err != nil {
			return nil, err
		}
	}
	return inner, nil
}

// envelopeCode is about the envelope itself; a request that doesn't decode is
// UNSUPPORTED_VERSION, so that the broker drops its client's connection.
func envelopeCode(err error) int16 {
	switch {
	case errors.Is(err, errEnvelope):
		return kerr.InvalidRequest.Code
	case errors.Is(err, errPrincipal):
		return kerr.PrincipalDeserializationFailure.Code
	}
	return kerr.UnsupportedVersion.Code
}

func replyEnvelope(c *Call, data []byte, code int16) {
	resp := kmsg.NewPtrEnvelopeResponse()
	resp.ResponseData, resp.ErrorCode = data, code
	c.Reply(resp)
}

// decodePrincipal reads Kafka's default form: version, then a flexible message.
func decodePrincipal(p []byte) (string, error) {
	if len(p) < 2 || binary.BigEndian.Uint16(p) != 0 {
		return "", fmt.Errorf("%d bytes: %w", len(p), errPrincipal)
	}
	d := kmsg.NewDefaultPrincipalData()
	if err := d.ReadFrom(p); err != nil { // reads the version again
		return "", fmt.Errorf("%w: %w", errPrincipal, err)
	}
	return d.Type + ":" + d.Name, nil
}

// gather copies an answer: its parts are only lent.
func gather(parts []wire.Part) ([]byte, error) {
	defer wire.ReleaseParts(parts)
	var out []byte
	for _, p := range parts {
		if p.Slice != nil {
			return nil, fmt.Errorf("part of a file in an envelope: %w", errEnvelope)
		}
		out = append(out, p.Bytes...)
	}
	return out, nil
}

// saysNotController looks for NOT_CONTROLLER anywhere in an encoded answer.
func saysNotController(h wire.Header, data []byte) bool {
	skip := 4
	if wire.ResponseHeaderFlexible(h.Key, h.Version) {
		skip = 5
	}
	if len(data) < skip {
		return false
	}
	resp, err := wire.DecodeResponse(h.Key, h.Version, data[skip:])
	return err == nil && hasCode(reflect.ValueOf(resp).Elem(), kerr.NotController.Code)
}

func hasCode(v reflect.Value, code int16) bool {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if v.Type().Field(i).Name == "ErrorCode" && f.Kind() == reflect.Int16 {
				if int16(f.Int()) == code {
					return true
				}
			} else if v.Type().Field(i).IsExported() && hasCode(f, code) {
				return true
			}
		}
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k != reflect.Struct {
			return false
		}
		for i := range v.Len() {
			if hasCode(v.Index(i), code) {
				return true
			}
		}
	}
	return false
}
