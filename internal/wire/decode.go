package wire

import (
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Limits of messages that are decoded into structs. Produce and Fetch have
// decoders of their own and are bounded by the frame limit alone.
const (
	bodyMax = 32 << 20
	// Bodies above bodyBig are decoded one at a time, so that a few connections
	// can't together take a multiple of memoryMax.
	bodyBig = 1 << 20
	// Strings of a body up to bodyShared share one copy of it; those of a larger
	// one are copied singly, so that a name that is kept doesn't pin the body.
	bodyShared = 64 << 10
)

var bigBody sync.Mutex // held while a body above bodyBig is decoded

// decoded is what kmsg's requests and responses have in common.
type decoded interface {
	message
	Key() int16
	GetVersion() int16
	ReadFrom([]byte) error
	UnsafeReadFrom([]byte) error
}

// DecodeRequest decodes any request of the table. The body is copied: nothing
// in the result aliases it. ErrMalformed, ErrTooLarge, ErrUnknownAPI, or
// ErrUnsupportedVersion. Safe for concurrent use.
func DecodeRequest(h Header, body []byte) (kmsg.Request, error) {
	if err := checkVersion(h.Key, h.Version); err != nil {
		return nil, err
	}
	req := kmsg.RequestForKey(h.Key)
	m, ok := req.(decoded)
	if !ok {
		return nil, fmt.Errorf("api key %d: %w", h.Key, ErrUnknownAPI)
	}
	req.SetVersion(h.Version)
	if err := decode(m, body, false); err != nil {
		return nil, err
	}
	return req, nil
}

// DecodeResponse decodes a response body with the same guards: a peer isn't
// trusted more than a client. The body is copied.
func DecodeResponse(key, version int16, body []byte) (kmsg.Response, error) {
	resp := kmsg.ResponseForKey(key)
	m, ok := resp.(decoded)
	if !ok {
		return nil, fmt.Errorf("api key %d: %w", key, ErrUnknownAPI)
	}
	resp.SetVersion(version)
	if err := decode(m, body, true); err != nil {
		return nil, err
	}
	return resp, nil
}

func checkVersion(key, version int16) error {
	a, ok := Lookup(key)
	if !ok {
		return fmt.Errorf("api key %d: %w", key, ErrUnknownAPI)
	}
	if !a.Supports(version) {
		return fmt.Errorf("%s v%d, supported is %d to %d: %w", a.Name, version, a.Min, a.Max, ErrUnsupportedVersion)
	}
	return nil
}

// decode fills m from body. The recover is the last defence against a mistake
// in a dependency; the walk before it is the first. // invariant 2
func decode(m decoded, body []byte, response bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s v%d, %d bytes: decoder panicked with %v: %w",
				APIName(m.Key()), m.GetVersion(), len(body), p, ErrMalformed)
		}
	}()
	if len(body) > bodyMax {
		return fmt.Errorf("%s of %d bytes, limit is %d: %w", APIName(m.Key()), len(body), bodyMax, ErrTooLarge)
	}
	if len(body) > bodyBig {
		bigBody.Lock()
		defer bigBody.Unlock()
	}
	if err := check(m, body, response); err != nil {
		return err
	}
	own := append(make([]byte, 0, len(body)), body...)
	read := m.ReadFrom
	if len(body) <= bodyShared {
		read = m.UnsafeReadFrom
	}
	if err := read(own); err != nil {
		return fmt.Errorf("%s v%d: %w: %w", APIName(m.Key()), m.GetVersion(), err, ErrMalformed)
	}
	return nil
}

// nothingNull are the requests without a name or list that may be null: kmsg
// reads null as empty, Kafka refuses the request.
var nothingNull = map[int16]bool{2: true, 21: true, 23: true} // ListOffsets, DeleteRecords, OffsetForLeaderEpoch

// check walks body along the message's shape; what follows it is ignored. // invariants 1, 2, 3
func check(m decoded, body []byte, response bool) error {
	s, err := shapeOf(m.Key(), m.GetVersion(), m, response)
	if err != nil {
		return err
	}
	memory := memoryMax
	r := reader{p: body, strict: !response && nothingNull[m.Key()]}
	s.walk(&r, m.IsFlexible(), &memory)
	switch {
	case memory < 0:
		return fmt.Errorf("%s v%d, %d bytes would take more than %d in memory: %w",
			APIName(m.Key()), m.GetVersion(), len(body), memoryMax, ErrTooLarge)
	case r.bad:
		return fmt.Errorf("%s v%d, %d bytes: a length exceeds what follows: %w",
			APIName(m.Key()), m.GetVersion(), len(body), ErrMalformed)
	}
	return nil
}

// EncodeResponse returns header and body of the response to h, without the
// length. It sets the version of resp to the request's.
func EncodeResponse(h Header, resp kmsg.Response) []byte {
	return AppendResponse(nil, h, resp)
}

// AppendResponse is EncodeResponse into a buffer of the caller's.
func AppendResponse(dst []byte, h Header, resp kmsg.Response) []byte {
	resp.SetVersion(h.Version)
	return resp.AppendTo(AppendResponseHeader(dst, h))
}
