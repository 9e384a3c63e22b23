package faultproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

const limit = 10 * time.Second

// echo answers every request with a response of the same correlation id and body.
type echo struct {
	ln    net.Listener
	heard chan []byte
	ended chan error
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{ln: ln, heard: make(chan []byte, 100), ended: make(chan error, 10)}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go e.serve(nc)
		}
	}()
	return e
}

func (e *echo) serve(nc net.Conn) {
	defer nc.Close()
	for {
		b, err := readFrame(nc)
		if err != nil {
			e.ended <- err
			return
		}
		e.heard <- b
		_, _ = nc.Write(frame(b[8:]))
	}
}

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// request is one with header v1.
func request(key int16, id int32, client, payload string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, 3)
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	b = binary.BigEndian.AppendUint16(b, uint16(len(client)))
	return frame(append(append(b, client...), payload...))
}

type setup struct {
	t *testing.T
	*echo
	p *Proxy
}

func newSetup(t *testing.T) *setup {
	e := newEcho(t)
	p, err := New(e.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return &setup{t, e, p}
}

func (s *setup) dial() net.Conn {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.p.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	return nc
}

func (s *setup) send(nc net.Conn, b []byte) {
	s.t.Helper()
	if _, err := nc.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// answers expects the answer with that correlation id.
func (s *setup) answers(nc net.Conn, id int32) {
	s.t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(limit))
	b, err := readFrame(nc)
	if err != nil || int32(binary.BigEndian.Uint32(b[4:])) != id {
		s.t.Fatalf("answer %x %v, want correlation id %d", b, err, id)
	}
}

// silent expects nothing for a while.
func (s *setup) silent(nc net.Conn) {
	s.t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	var b [1]byte
	if n, err := nc.Read(b[:]); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatalf("read %d bytes, %v, want silence", n, err)
	}
}

func (s *setup) isReset(nc net.Conn) {
	s.t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(limit))
	if _, err := io.ReadAll(nc); !errors.Is(err, syscall.ECONNRESET) {
		s.t.Fatalf("reading: %v, want a reset", err)
	}
}

func (s *setup) hears() []byte {
	s.t.Helper()
	select {
	case b := <-s.heard:
		return b
	case <-time.After(limit):
		s.t.Fatal("the target heard nothing")
		return nil
	}
}

func TestPassesOn(t *testing.T) {
	s := newSetup(t)
	nc := s.dial()
	big := request(0, 1, "a", string(make([]byte, 9<<20))) // more than the queue takes
	s.send(nc, big)
	if got := s.hears(); !bytes.Equal(got, big) {
		t.Error("the target heard something else")
	}
	s.answers(nc, 1)
	s.send(nc, request(0, 2, "a", ""))
	s.answers(nc, 2)
	if n := s.p.Open("a"); n != 1 || s.p.Open("b") != 0 {
		t.Errorf("%d connections of a", n)
	}
	nc.Close()
	if err := <-s.ended; !errors.Is(err, io.EOF) {
		t.Errorf("the target saw %v, want the end", err)
	}
}

func TestDelayAndJitterKeepOrder(t *testing.T) {
	s := newSetup(t)
	s.p.Set("", ToTarget, Faults{Delay: 100 * time.Millisecond, Jitter: 100 * time.Millisecond})
	nc := s.dial()
	began := time.Now()
	for i := range int32(20) {
		s.send(nc, request(0, i, "a", ""))
	}
	for i := range int32(20) {
		s.answers(nc, i)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("took %v", took)
	}
	s.p.Set("", ToTarget, Faults{Delay: time.Hour})
	s.send(nc, request(0, 20, "a", ""))
	s.silent(nc)
	s.p.Heal()
	s.answers(nc, 20)
}

func TestBandwidth(t *testing.T) {
	s := newSetup(t)
	s.p.Set("slow", ToTarget, Faults{BytesPerSecond: 100 << 10})
	nc := s.dial()
	began := time.Now()
	s.send(nc, request(0, 1, "slow", string(make([]byte, 50<<10))))
	s.answers(nc, 1)
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("50 KiB at 100 KiB/s took %v", took)
	}
}

func TestFaultsOfOneClientOnly(t *testing.T) {
	s := newSetup(t)
	one, two := s.dial(), s.dial()
	s.p.Set("broker-1", Both, Faults{Stall: true})
	s.send(one, request(1, 1, "broker-1-fetcher-0", ""))
	s.send(two, request(1, 1, "broker-2-fetcher-0", ""))
	s.answers(two, 1)
	s.silent(one)
	s.p.Set("broker-1", Both, Faults{})
	s.answers(one, 1)
}

func TestOneWayCut(t *testing.T) {
	s := newSetup(t)
	nc := s.dial()
	s.p.Set("", ToClient, Faults{Drop: true})
	s.send(nc, request(0, 1, "a", ""))
	s.hears()
	s.silent(nc)
	s.p.Heal()
	s.send(nc, request(0, 2, "a", ""))
	s.answers(nc, 2) // the first answer is gone for good
}

func TestResetAndRefuse(t *testing.T) {
	s := newSetup(t)
	nc := s.dial()
	s.send(nc, request(0, 1, "a", ""))
	s.answers(nc, 1)
	s.p.Reset("b")
	s.send(nc, request(0, 2, "a", ""))
	s.answers(nc, 2)
	s.p.Reset("a")
	s.isReset(nc)
	if err := <-s.ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target saw %v, want a reset", err)
	}
	s.p.Refuse(true)
	if nc, err := net.Dial("tcp", s.p.Addr()); err == nil {
		defer nc.Close()
		s.isReset(nc)
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	if n := s.p.Accepted(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestHalfOpen(t *testing.T) {
	s := newSetup(t)
	nc := s.dial()
	s.send(nc, request(0, 1, "a", ""))
	s.answers(nc, 1)
	s.p.HalfOpen("a")
	if err := <-s.ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target saw %v, want a reset", err)
	}
	s.send(nc, request(0, 2, "a", ""))
	s.send(nc, request(0, 3, "a", ""))
	s.silent(nc)
}

func TestAbandon(t *testing.T) {
	s := newSetup(t)
	nc := s.dial()
	s.send(nc, request(0, 1, "a", ""))
	s.answers(nc, 1)
	s.p.Abandon("a")
	s.isReset(nc)
	select {
	case err := <-s.ended:
		t.Errorf("the target saw %v, want silence", err)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestChopMidFrame(t *testing.T) {
	for _, response := range []bool{false, true} {
		s := newSetup(t)
		nc := s.dial()
		s.p.Intercept(func(f Frame) Action {
			if f.Key == 7 && f.Response == response {
				return Chop
			}
			return Pass
		})
		s.send(nc, request(6, 1, "a", ""))
		s.answers(nc, 1)
		s.hears()
		s.send(nc, request(7, 2, "a", "0123456789"))
		if response {
			s.hears()
		}
		s.isReset(nc)
		if err := <-s.ended; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the target saw %v", err)
		}
		if len(s.heard) != 0 {
			t.Error("the target heard a chopped request")
		}
	}
}

// What a client sent arrives even when the client is long gone.
func TestHeldRequestOutlivesItsClient(t *testing.T) {
	s := newSetup(t)
	nc := s.dial()
	held := make(chan Frame, 1)
	s.p.Intercept(func(f Frame) Action {
		if f.Key != 56 || f.Response {
			return Pass
		}
		held <- f
		return Hold
	})
	s.send(nc, request(56, 9, "2", "old"))
	if f := <-held; f.From != "2" || f.Version != 3 || f.Correlation != 9 {
		t.Errorf("held %+v", f)
	}
	nc.Close()
	other := s.dial()
	s.send(other, request(1, 1, "3", ""))
	s.answers(other, 1)
	s.hears()
	s.p.Release()
	if got := s.hears(); !bytes.HasSuffix(got, []byte("old")) {
		t.Errorf("heard %q", got)
	}
}

func TestNotKafka(t *testing.T) {
	s := newSetup(t)
	nc := s.dial()
	s.send(nc, []byte("GET / HTTP/1.1\r\n\r\n"))
	s.isReset(nc)
}
