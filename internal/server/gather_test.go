package server

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"tidemark/internal/wire"
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

// counted counts the system calls of a socket.
type counted struct {
	socket
	tries, reads, writes int
}

func (s *counted) tryRead(room func() []byte) (int, error) {
	s.tries++
	return s.socket.tryRead(room)
}

func (s *counted) read(room func() []byte, idle func()) (int, error) {
	s.reads++
	return s.socket.read(room, idle)
}

func (s *counted) write(p []byte, more, wait bool) (int, error) {
	s.writes++
	return s.socket.write(p, more, wait)
}

// A peer that waits for each answer costs one read and one write a request, and
// a quarter of a look for more; its requests and answers cost no allocation but
// the slab of requests.
func TestCallsPerRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var head []byte
	s := newServer(Config{Logger: slog.New(slog.DiscardHandler)}, handlerFunc{handle: func(r *Request) {
		head = wire.AppendResponseHeader(head[:0], r.Header)
		r.Respond(wire.Part{Bytes: head})
	}})
	c := newConn(s, nc, 1)
	sock := &counted{socket: c.sock}
	c.sock = sock
	done := make(chan struct{})
	go func() { c.serve(); close(done) }()
	request, answer := frame(1, pattern(1000)), make([]byte, 8)
	ask := func() {
		if _, err := client.Write(request); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(client, answer); err != nil {
			t.Error(err)
		}
	}
	for range gatherPeriod {
		ask()
	}
	const n = 10 * gatherPeriod
	allocs := testing.AllocsPerRun(n-1, ask)
	_ = client.Close()
	<-done
	const all = n + gatherPeriod
	if sock.writes != all || sock.reads > all+1 || sock.tries > (all/gatherPeriod+1)*gatherTries {
		t.Errorf("%d requests: %d reads, %d looks, %d writes", all, sock.reads, sock.tries, sock.writes)
	}
	if allocs > 1 {
		t.Errorf("%v allocations a request", allocs)
	}
}
