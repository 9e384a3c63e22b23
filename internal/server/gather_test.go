package server

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// script is a socket whose reads are given: a piece each, and "" where nothing
// is there yet.
type script struct {
	socket
	pieces [][]byte
}

func (s *script) tryRead(room func() []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	p := s.pieces[0]
	if len(p) == 0 {
		s.pieces = s.pieces[1:]
		return 0, errAgain
	}
	n := copy(room(), p)
	if s.pieces[0] = p[n:]; n == len(p) {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *script) read(room func() []byte, _ func()) (int, error) {
	for {
		n, err := s.tryRead(room)
		if err != errAgain {
			return n, err
		}
	}
}

// What comes while a request is handled joins its drain; what comes after there
// was nothing to read does not; and a peer that never stops doesn't hold up
// those who wait for its first requests.
func TestGather(t *testing.T) {
	small, large := func(id int32) []byte { return frame(id, []byte("x")) }, frame(9, pattern(100<<10))
	tests := map[string]struct {
		pieces [][]byte
		want   string
	}{
		"one":              {[][]byte{small(1), nil}, "hd"},
		"one write each":   {[][]byte{small(1), small(2), small(3), nil, small(4), nil}, "hhhdhd"},
		"cut in two":       {[][]byte{small(1), small(2)[:7], small(2)[7:], nil}, "hhd"},
		"end in the midst": {[][]byte{small(1), small(2)[:7]}, "hd"},
		"never ending":     {[][]byte{large, large, large, large, large, small(1), nil}, "hhhdhhhd"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var events strings.Builder
				s := newServer(Config{Logger: slog.New(slog.DiscardHandler)}, handlerFunc{
					handle:  func(r *Request) { events.WriteByte('h'); r.NoResponse() },
					drained: func(*Conn) { events.WriteByte('d') },
				})
				client, srv := net.Pipe()
				defer client.Close()
				c := newConn(s, srv, 1)
				c.sock = &script{socket: c.sock, pieces: test.pieces}
				c.serve()
				if got := events.String(); got != test.want {
					t.Errorf("%s, want %s", got, test.want)
				}
			})
		})
	}
}
