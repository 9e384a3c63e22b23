package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of this package. Each means that the peer broke the protocol; the
// connection can't be used further.
var (
	// ErrMalformed means that bytes do not form the announced message.
	ErrMalformed = errors.New("malformed message")
	// ErrUnknownAPI means that no such API key exists.
	ErrUnknownAPI = errors.New("unknown api key")
	// ErrUnsupportedVersion means that the API exists, but not in this version.
	ErrUnsupportedVersion = errors.New("unsupported api version")
	// ErrTooLarge means that a message exceeds a limit, in size or in what it
	// would take in memory.
	ErrTooLarge = errors.New("message too large")
)

// MinFrame is the size of the smallest request header, without a client id.
const MinFrame = 8

// Header is the header of a request.
type Header struct {
	// Key is the API; 0 is Produce.
	Key int16
	// Version is the API's version, which also picks the version of both headers.
	Version int16
	// CorrelationID is repeated in the response.
	CorrelationID int32
	// ClientID is the client's own name, nil if it sent none. Any bytes a client
	// likes: quote it in logs.
	ClientID *string
}

// Client returns the client id, or the empty string.
func (h Header) Client() string {
	if h.ClientID == nil {
		return ""
	}
	return *h.ClientID
}

// ParseHeader splits a request frame (without its length) into header and
// body. The header's own version follows from key and version. The client id
// is copied, the body aliases frame. ErrUnknownAPI is returned together with
// what could be read; an unsupported version is not this function's concern.
func ParseHeader(frame []byte) (Header, []byte, error) {
	return ParseHeaderInterned(frame, nil)
}

// ParseHeaderInterned is ParseHeader for a connection that sends the same
// client id every time: last is returned again, not copied, when it matches.
func ParseHeaderInterned(frame []byte, last *string) (Header, []byte, error) {
	if len(frame) < MinFrame {
		return Header{}, nil, fmt.Errorf("request of %d bytes, header needs %d: %w", len(frame), MinFrame, ErrMalformed)
	}
	h := Header{
		Key:           int16(binary.BigEndian.Uint16(frame)),
		Version:       int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
	}
	if _, ok := Lookup(h.Key); !ok {
		return h, nil, fmt.Errorf("api key %d: %w", h.Key, ErrUnknownAPI)
	}
	if h.Version < 0 && h.Key != KeyApiVersions { // any version of that one is answered (KIP-511)
		return h, nil, fmt.Errorf("%s version %d: %w", APIName(h.Key), h.Version, ErrUnsupportedVersion)
	}
	r := reader{p: frame[MinFrame:]}
	client, null := r.nullableString16()
	switch {
	case null:
	case last != nil && *last == string(client):
		h.ClientID = last
	default:
		s := string(client)
		h.ClientID = &s
	}
	if requestFlexible(h.Key, h.Version) {
		r.skipTags()
	}
	if r.bad {
		return h, nil, fmt.Errorf("header of %s v%d: %w", APIName(h.Key), h.Version, ErrMalformed)
	}
	return h, r.p, nil
}

// AppendRequestHeader appends the header of a request, without the length.
func AppendRequestHeader(dst []byte, h Header) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Key))
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Version))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CorrelationID))
	if h.ClientID == nil {
		dst = binary.BigEndian.AppendUint16(dst, 0xffff)
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(*h.ClientID)))
		dst = append(dst, *h.ClientID...)
	}
	if requestFlexible(h.Key, h.Version) {
		dst = append(dst, 0)
	}
	return dst
}

// AppendResponseHeader appends the header of the response to h.
func AppendResponseHeader(dst []byte, h Header) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CorrelationID))
	if ResponseHeaderFlexible(h.Key, h.Version) {
		dst = append(dst, 0)
	}
	return dst
}

// ParseResponseHeader reads the header of a response to a request of this key
// and version; the body aliases frame.
func ParseResponseHeader(key, version int16, frame []byte) (correlation int32, body []byte, err error) {
	r := reader{p: frame}
	correlation = r.int32()
	if ResponseHeaderFlexible(key, version) {
		r.skipTags()
	}
	if r.bad {
		return 0, nil, fmt.Errorf("response header of %s v%d, %d bytes: %w", APIName(key), version, len(frame), ErrMalformed)
	}
	return correlation, r.p, nil
}

// ResponseHeaderFlexible reports whether the response header of this request
// has tagged fields. ApiVersions never does, so that a client can read the
// answer before it knows anything about the broker (KIP-511).
func ResponseHeaderFlexible(key, version int16) bool {
	return key != KeyApiVersions && requestFlexible(key, version)
}

func requestFlexible(key, version int16) bool {
	a, ok := Lookup(key)
	return ok && a.flexible >= 0 && version >= a.flexible
}

// SkipTags returns what follows a section of tagged fields.
func SkipTags(p []byte) ([]byte, error) {
	r := reader{p: p}
	r.skipTags()
	if r.bad {
		return nil, fmt.Errorf("tagged fields in %d bytes: %w", len(p), ErrMalformed)
	}
	return r.p, nil
}
