package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fakePeer answers requests on the other end of a pipe.
type fakePeer struct {
	nc       net.Conn
	requests chan request
	mangle   func(h wire.Header, frame []byte) []byte // may change an answer
}

type request struct {
	h    wire.Header
	body []byte
}

func readRequest(nc net.Conn) (request, error) {
	var size [4]byte
	if _, err := io.ReadFull(nc, size[:]); err != nil {
		return request{}, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(nc, frame); err != nil {
		return request{}, err
	}
	h, body, err := wire.ParseHeader(frame)
	return request{h, body}, err
}

func (p *fakePeer) answer(h wire.Header, body []byte) {
	frame := append(wire.AppendResponseHeader([]byte{0, 0, 0, 0}, h), body...)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	_, _ = p.nc.Write(frame)
}

// versionsBody is an ApiVersions response of the given version.
func versionsBody(version int16, code int16, keys ...kmsg.ApiVersionsResponseApiKey) []byte {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(version)
	resp.ErrorCode, resp.ApiKeys = code, keys
	return resp.AppendTo(nil)
}

func apiKey(key, lowest, highest int16) kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = key, lowest, highest
	return k
}

// connect dials a fake peer that offers Heartbeat 0-2 and Fetch 4-18.
func connect(t *testing.T, o Options) (*Conn, *fakePeer) {
	t.Helper()
	client, srv := net.Pipe()
	p := &fakePeer{nc: srv, requests: make(chan request, 1000)}
	o.Dialer = func(context.Context, string) (net.Conn, error) { return client, nil }
	go func() {
		r, err := readRequest(srv)
		if err != nil {
			return
		}
		p.answer(r.h, versionsBody(r.h.Version, 0, apiKey(12, 0, 2), apiKey(1, 4, 18), apiKey(13, 9, 9)))
		for {
			r, err := readRequest(srv)
			if err != nil {
				close(p.requests)
				return
			}
			p.requests <- r
		}
	}()
	c, err := Dial(t.Context(), "peer", o)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

// finish closes both ends; the bubble of the test proves that no goroutine is left.
func finish(c *Conn, p *fakePeer) {
	_ = c.Close()
	_ = p.nc.Close()
}

func TestVersionsAreNegotiated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Options{ClientID: "7", Versions: map[int16]int16{1: 15}})
		defer finish(c, p)
		if v, err := c.Version(12); v != 2 || err != nil {
			t.Errorf("Heartbeat: %d, %v", v, err)
		}
		if v := c.MaxVersion(1); v != 15 {
			t.Errorf("Fetch with a cap: %d", v)
		}
		for _, key := range []int16{0, 13} { // not offered; no common version
			if _, err := c.Version(key); !errors.Is(err, ErrUnsupported) {
				t.Errorf("key %d: %v", key, err)
			}
		}
		go func() {
			r := <-p.requests
			if r.h.Client() != "7" || r.h.Version != 2 {
				t.Errorf("header %+v", r.h)
			}
			resp := kmsg.NewPtrHeartbeatResponse()
			resp.SetVersion(2)
			resp.ErrorCode = 27
			p.answer(r.h, resp.AppendTo(nil))
		}()
		req := kmsg.NewPtrHeartbeatRequest()
		resp, err := c.Do(t.Context(), req)
		if err != nil || resp.(*kmsg.HeartbeatResponse).ErrorCode != 27 {
			t.Errorf("%+v, %v", resp, err)
		}
	})
}

func TestOlderPeerAnswersApiVersionsInVersion0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, srv := net.Pipe()
		p := &fakePeer{nc: srv}
		var asked []int16
		go func() {
			for {
				r, err := readRequest(srv)
				if err != nil {
					return
				}
				asked = append(asked, r.h.Version)
				if r.h.Version > 2 {
					p.answer(r.h, versionsBody(0, 35, apiKey(18, 0, 2)))
				} else {
					p.answer(r.h, versionsBody(r.h.Version, 0, apiKey(12, 0, 0)))
				}
			}
		}()
		c, err := Dial(t.Context(), "peer", Options{
			Dialer: func(context.Context, string) (net.Conn, error) { return client, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer finish(c, p)
		if v := c.MaxVersion(12); v != 0 || fmt.Sprint(asked) != "[4 2]" {
			t.Errorf("Heartbeat %d, asked in %v", v, asked)
		}
	})
}

func TestPipelinedRequestsGetTheirOwnAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Options{})
		defer finish(c, p)
		go func() {
			for r := range p.requests {
				p.answer(r.h, r.body)
			}
		}()
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				want := fmt.Sprint("request ", i)
				got, err := c.DoRaw(t.Context(), wire.KeyPrivate, 0, []byte(want), make([]byte, 0, 4))
				if err != nil || string(got) != want {
					t.Errorf("%q: %q, %v", want, got, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestResponseIsReadIntoTheCallersBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Options{})
		defer finish(c, p)
		go func() {
			for r := range p.requests {
				p.answer(r.h, make([]byte, 100))
			}
		}()
		buf := make([]byte, 0, 100)
		for _, version := range []int16{4, 18} { // plain and tagged response header
			got, err := c.DoRaw(t.Context(), wire.KeyFetch, version, nil, buf)
			if err != nil || len(got) != 100 || &got[0] != &buf[:1][0] {
				t.Errorf("v%d: %d bytes elsewhere, %v", version, len(got), err)
			}
		}
	})
}

func TestTimeoutBreaksTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Options{RequestTimeout: 3 * time.Second})
		defer finish(c, p)
		other := make(chan error, 1)
		go func() {
			_, err := c.DoRaw(context.Background(), wire.KeyPrivate, 0, nil, nil)
			other <- err
		}()
		from := time.Now()
		_, err := c.DoRaw(t.Context(), wire.KeyPrivate, 0, nil, nil)
		if !errors.Is(err, ErrTimeout) || time.Since(from) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(from))
		}
		if err := <-other; !errors.Is(err, ErrTimeout) {
			t.Errorf("the other request: %v", err)
		}
		<-c.Broken()
		if _, err := c.DoRaw(t.Context(), wire.KeyPrivate, 0, nil, nil); !errors.Is(err, ErrTimeout) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestCancelledRequestLeavesTheConnectionUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Options{})
		defer finish(c, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := c.DoRaw(ctx, wire.KeyPrivate, 0, []byte("first"), nil)
			done <- err
		}()
		first := <-p.requests
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		go func() {
			second := <-p.requests
			p.answer(first.h, []byte("late"))
			p.answer(second.h, []byte("second"))
		}()
		got, err := c.DoRaw(t.Context(), wire.KeyPrivate, 0, nil, nil)
		if err != nil || string(got) != "second" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestHostilePeers(t *testing.T) {
	lengths := map[string]struct {
		answer []byte
		want   error
	}{
		"2 GiB":       {[]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1}, ErrTooLarge},
		"negative":    {[]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1}, ErrTooLarge},
		"three":       {[]byte{0, 0, 0, 3, 0, 0, 0, 1}, ErrTooLarge},
		"other id":    {[]byte{0, 0, 0, 4, 0, 0, 0, 99}, ErrMalformed},
		"just closes": {nil, ErrClosed},
		"cut short":   {[]byte{0, 0, 0, 90, 0, 0, 0, 1, 1, 2, 3}, ErrClosed},
	}
	for name, tt := range lengths {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := connect(t, Options{ResponseMax: 1 << 20})
				defer finish(c, p)
				go func() {
					<-p.requests
					_, _ = p.nc.Write(tt.answer)
					_ = p.nc.Close()
				}()
				if _, err := c.DoRaw(t.Context(), wire.KeyPrivate, 0, nil, nil); !errors.Is(err, tt.want) {
					t.Errorf("got %v", err)
				}
				<-c.Broken()
			})
		})
	}
}

// A body that doesn't decode breaks the connection: what follows can't be trusted.
func TestGarbageBodyBreaksTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Options{})
		defer finish(c, p)
		go func() { r := <-p.requests; p.answer(r.h, []byte{1, 2, 3}) }()
		if _, err := c.Do(t.Context(), kmsg.NewPtrHeartbeatRequest()); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("got %v", err)
		}
		<-c.Broken()
	})
}

func TestReadBodyTakesMemoryAsBytesArrive(t *testing.T) {
	r := io.LimitReader(zeros{}, 600<<10)
	got, err := readBody(r, nil, 1<<30)
	if !errors.Is(err, io.ErrUnexpectedEOF) || got != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	n := testing.AllocsPerRun(1, func() { _, _ = readBody(io.LimitReader(zeros{}, 0), nil, 1<<30) })
	if n > 10 {
		t.Errorf("%v allocations", n)
	}
	if got, err := readBody(zeros{}, make([]byte, 10), 3<<20); err != nil || len(got) != 3<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
