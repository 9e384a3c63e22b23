package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/vfs"
	"tidemark/internal/wire"
)

// handlerFunc handles requests by a function and counts drains.
type handlerFunc struct {
	handle  func(r *Request)
	drained func(c *Conn)
}

func (h handlerFunc) Handle(r *Request) { h.handle(r) }
func (h handlerFunc) Drained(c *Conn) {
	if h.drained != nil {
		h.drained(c)
	}
}

// echo answers with the correlation id and the body.
func echo(r *Request) { r.Respond(answer(r, r.Body)) }

func answer(r *Request, body []byte) wire.Part {
	return wire.Part{Bytes: append(wire.AppendResponseHeader(nil, r.Header), body...)}
}

// frame is a Heartbeat v0 request, which has a plain header.
func frame(id int32, body []byte) []byte {
	b := wire.AppendRequestHeader([]byte{0, 0, 0, 0}, wire.Header{Key: 12, CorrelationID: id})
	b = append(b, body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func readAnswer(t *testing.T, r io.Reader) (id int32, body []byte) {
	t.Helper()
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatalf("read: %v", err)
	}
	body = make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatalf("read: %v", err)
	}
	return int32(binary.BigEndian.Uint32(head[4:])), body
}

// lines counts log lines.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.all...)
}

func start(t *testing.T, cfg Config, h Handler) (*Server, *lines) {
	t.Helper()
	log := &lines{}
	cfg.Listener, cfg.Address, cfg.Logger = "TEST", "127.0.0.1:0", slog.New(slog.NewTextHandler(log, nil))
	s, err := Listen(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	s.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		// Shutdown waits for its goroutines, so none may be left.
		for range 100000 { // those that have just called Done
			if runtime.NumGoroutine() <= before {
				return
			}
			runtime.Gosched()
		}
		if after := runtime.NumGoroutine(); after > before {
			buf := make([]byte, 1<<16)
			t.Errorf("goroutines: %d before, %d after\n%s", before, after, buf[:runtime.Stack(buf, true)])
		}
	})
	return s, log
}

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7)
	}
	return p
}

func TestFramesOfEverySizeComeBack(t *testing.T) {
	s, _ := start(t, Config{}, handlerFunc{handle: echo})
	nc := dial(t, s)
	sizes := []int{0, 1, 100, 4096, 60 << 10, 64 << 10, 65<<10 + 1, 300 << 10, 1 << 20, 5 << 20, 3, 9 << 20, 17}
	go func() {
		for i, n := range sizes {
			_, _ = nc.Write(frame(int32(i), pattern(n)))
		}
	}()
	for i, n := range sizes {
		id, body := readAnswer(t, nc)
		if id != int32(i) || !bytes.Equal(body, pattern(n)) {
			t.Fatalf("answer %d: id %d, %d bytes, want %d", i, id, len(body), n)
		}
	}
}

func TestFrameByteByByte(t *testing.T) {
	s, _ := start(t, Config{}, handlerFunc{handle: echo})
	nc := dial(t, s)
	for _, b := range frame(7, []byte("hello")) {
		if _, err := nc.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if id, body := readAnswer(t, nc); id != 7 || string(body) != "hello" {
		t.Fatalf("%d %q", id, body)
	}
}

func TestAnswersKeepTheOrderOfRequests(t *testing.T) {
	const n = 50
	got := make(chan *Request, n)
	s, _ := start(t, Config{}, handlerFunc{handle: func(r *Request) { got <- r }})
	nc := dial(t, s)
	var all []byte
	for i := range n {
		all = append(all, frame(int32(i), nil)...)
	}
	if _, err := nc.Write(all); err != nil {
		t.Fatal(err)
	}
	requests := make([]*Request, n)
	for i := range requests {
		requests[i] = <-got
	}
	var wg sync.WaitGroup
	for i := n - 1; i >= 0; i-- { // the last one first, from goroutines of its own
		r := requests[i]
		if i%5 == 3 {
			wg.Go(r.NoResponse)
			continue
		}
		wg.Go(func() { r.Respond(answer(r, fmt.Append(nil, r.Header.CorrelationID))) })
	}
	for i := range n {
		if i%5 == 3 {
			continue
		}
		if id, body := readAnswer(t, nc); id != int32(i) || string(body) != fmt.Sprint(i) {
			t.Fatalf("answer %d: %d %q", i, id, body)
		}
	}
	wg.Wait()
}

func TestDrainedOncePerRead(t *testing.T) {
	var mu sync.Mutex
	var events []string
	note := func(s string) { mu.Lock(); events = append(events, s); mu.Unlock() }
	var held []*Request // of the reader goroutine
	s, _ := start(t, Config{}, handlerFunc{
		handle: func(r *Request) { note("h"); held = append(held, r) },
		drained: func(*Conn) {
			note("d")
			for _, r := range held {
				r.Respond(answer(r, nil))
			}
			held = nil
		},
	})
	nc := dial(t, s)
	all := append(frame(0, nil), frame(1, nil)...)
	all = append(all, frame(2, nil)[:9]...)
	if _, err := nc.Write(all); err != nil {
		t.Fatal(err)
	}
	readAnswer(t, nc)
	readAnswer(t, nc)
	if _, err := nc.Write(frame(2, nil)[9:]); err != nil {
		t.Fatal(err)
	}
	readAnswer(t, nc)
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(events, ""); got != "hhdhd" {
		t.Fatalf("events %s", got)
	}
}

// fileSlice is a range of a real file.
type fileSlice struct {
	f        vfs.File
	off      int64
	n        int
	released chan struct{}
	failAt   int // ReadInto ends there; 0 never
}

func (s *fileSlice) Len() int { return s.n }
func (s *fileSlice) ReadInto(p []byte) (int, error) {
	if s.failAt > 0 {
		return s.failAt, io.EOF
	}
	return s.f.ReadAt(p, s.off)
}
func (s *fileSlice) Release()                          { s.released <- struct{}{} }
func (s *fileSlice) FileRange() (vfs.File, int64, int) { return s.f, s.off, s.n }

func testFile(t testing.TB, data []byte) vfs.File {
	t.Helper()
	f, err := vfs.OS.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// One range below the threshold, one above, one that ends the answer; sent by
// sendfile, by pread in a small answer, and over a connection without either.
func TestSlices(t *testing.T) {
	data := pattern(4 << 20)
	f := testFile(t, data)
	for _, sizes := range [][3]int{{100, 40 << 10, 20 << 10}, {1, 3 << 20, 1 << 20}, {20 << 10, 1000, 900}, {0, 0, 70 << 10}} {
		released := make(chan struct{}, 100)
		h := handlerFunc{handle: func(r *Request) {
			parts := []wire.Part{answer(r, []byte("head"))}
			for i, n := range sizes {
				if i == 2 {
					parts = append(parts, wire.Part{Bytes: []byte("mid")})
				}
				parts = append(parts, wire.Part{Slice: &fileSlice{f: f, off: int64(i * 1000), n: n, released: released}})
			}
			r.Respond(parts...)
		}}
		want := append([]byte("head"), data[:sizes[0]]...)
		want = append(want, data[1000:1000+sizes[1]]...)
		want = append(append(want, "mid"...), data[2000:2000+sizes[2]]...)
		check := func(nc net.Conn) {
			t.Helper()
			go func() { _, _ = nc.Write(append(frame(1, nil), frame(2, nil)...)) }()
			for i := int32(1); i <= 2; i++ {
				if id, body := readAnswer(t, nc); id != i || !bytes.Equal(body, want) {
					t.Fatalf("sizes %v: answer %d has %d bytes, want %d, equal %v", sizes, id, len(body), len(want), bytes.Equal(body, want))
				}
			}
			for range 6 {
				<-released // invariant 5
			}
		}
		s, _ := start(t, Config{}, h)
		check(dial(t, s))
		client, srv := net.Pipe()
		s.serveConn(srv)
		check(client)
		_ = client.Close()
	}
}

func TestShortRangeClosesTheConnection(t *testing.T) {
	f := testFile(t, pattern(1000))
	for _, n := range []int{5000, 200 << 10} { // pread, sendfile
		released := make(chan struct{}, 10)
		s, log := start(t, Config{}, handlerFunc{handle: func(r *Request) {
			r.Respond(answer(r, nil), wire.Part{Slice: &fileSlice{f: f, n: n, released: released}})
		}})
		nc := dial(t, s)
		_, _ = nc.Write(frame(1, nil))
		if got, err := io.ReadAll(nc); err != nil && len(got) >= n {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		<-released
		if got := log.take(); len(got) != 1 {
			t.Errorf("log: %q", got)
		}
	}
}

func TestHostileFrames(t *testing.T) {
	tests := map[string][]byte{
		"negative length": {0xff, 0xff, 0xff, 0xff},
		"lowest length":   {0x80, 0, 0, 0},
		"zero length":     {0, 0, 0, 0},
		"2 GiB":           {0x7f, 0xff, 0xff, 0xff},
		"limit plus one":  binary.BigEndian.AppendUint32(nil, 1<<20+1),
		"http":            []byte("GET / HTTP/1.1\r\n\r\n"),
		"tls hello":       {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		"unknown key":     append([]byte{0, 0, 0, 10}, 0x03, 0xe8, 0, 0, 0, 0, 0, 1, 0xff, 0xff),
		"negative key":    append([]byte{0, 0, 0, 10}, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff),
		"client id":       append([]byte{0, 0, 0, 10}, 0, 12, 0, 0, 0, 0, 0, 1, 0x7f, 0xff),
	}
	s, log := start(t, Config{MaxFrame: 1 << 20}, handlerFunc{handle: echo})
	other := dial(t, s)
	count := 0
	for name, in := range tests {
		nc := dial(t, s)
		if _, err := nc.Write(in); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(nc); len(got) > 0 {
			t.Errorf("%s: answered %x, %v", name, got, err)
		}
		count++
		if got := log.take(); len(got) != count {
			t.Errorf("%s: %d log lines, want one per connection: %q", name, len(got), got)
		}
	}
	_, _ = other.Write(frame(3, []byte("ok")))
	if id, _ := readAnswer(t, other); id != 3 {
		t.Error("another connection suffers")
	}
}

// 3 bytes, or a large length and little else, must cost next to nothing.
func TestAnnouncedLengthTakesNoMemory(t *testing.T) {
	s, _ := start(t, Config{}, handlerFunc{handle: echo})
	other := dial(t, s)
	for range 20 {
		nc := dial(t, s)
		_, _ = nc.Write(append(binary.BigEndian.AppendUint32(nil, 100<<20), pattern(500)...))
		_, _ = dial(t, s).Write([]byte{0, 0, 1})
	}
	_, _ = other.Write(frame(1, nil)) // the server is through with the others' bytes at some point
	readAnswer(t, other)
	if n := s.large.Load(); n != 0 {
		t.Errorf("%d bytes in large buffers", n)
	}
}

func TestBufferBudget(t *testing.T) {
	s, log := start(t, Config{MaxBufferBytes: 3 << 20}, handlerFunc{handle: echo})
	nc := dial(t, s)
	_, _ = nc.Write(append(binary.BigEndian.AppendUint32(nil, 50<<20), pattern(4<<20)...))
	if got, _ := io.ReadAll(nc); len(got) > 0 {
		t.Errorf("answered %d bytes", len(got))
	}
	if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "too much memory") {
		t.Errorf("log: %q", got)
	}
	if n := s.large.Load(); n != 0 {
		t.Errorf("%d bytes still counted", n)
	}
}

func TestReaderThatDoesNotReadHoldsUpNobody(t *testing.T) {
	big := pattern(1 << 20)
	s, _ := start(t, Config{MaxQueuedBytes: 8 << 20, MaxInflight: 1000}, handlerFunc{handle: func(r *Request) {
		r.Respond(answer(r, big))
	}})
	slow, quick := dial(t, s), dial(t, s)
	wrote := make(chan int, 1)
	go func() { // never reads: the server must stop reading from it at some point
		n := 0
		_ = slow.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		for {
			if _, err := slow.Write(bytes.Repeat(frame(1, pattern(1000)), 100)); err != nil {
				wrote <- n
				return
			}
			n += 100
		}
	}()
	for i := range int32(20) {
		_, _ = quick.Write(frame(i, nil))
		if id, _ := readAnswer(t, quick); id != i {
			t.Fatal(id)
		}
	}
	if n := <-wrote; n > 100000 {
		t.Errorf("%d requests taken from a client that reads nothing", n)
	}
}

func TestInflightBound(t *testing.T) {
	got := make(chan *Request, 100)
	drains := make(chan struct{}, 100)
	s, _ := start(t, Config{MaxInflight: 4}, handlerFunc{
		handle:  func(r *Request) { got <- r },
		drained: func(*Conn) { drains <- struct{}{} },
	})
	nc := dial(t, s)
	var all []byte
	for i := range int32(10) {
		all = append(all, frame(i, nil)...)
	}
	_, _ = nc.Write(all)
	<-drains // invariant 4: before it waits
	for i := range int32(10) {
		r := <-got
		if extra := len(got); extra > 4 {
			t.Fatalf("%d requests in flight", extra)
		}
		r.Respond(answer(r, nil))
		if id, _ := readAnswer(t, nc); id != i {
			t.Fatal(id)
		}
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		held := make(chan *Request, 1)
		s := newServer(Config{IdleTimeout: time.Minute, Logger: slog.New(slog.NewTextHandler(log, nil))},
			handlerFunc{handle: func(r *Request) { held <- r }})
		s.wg.Go(s.sweepLoop)
		idle, idleSrv := net.Pipe()
		busy, busySrv := net.Pipe()
		s.serveConn(idleSrv)
		s.serveConn(busySrv)
		if _, err := busy.Write(frame(1, nil)); err != nil { // waits in a handler all the time
			t.Fatal(err)
		}
		r := <-held
		from := time.Now()
		if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("idle connection: %v", err)
		}
		if d := time.Since(from); d < time.Minute || d > 90*time.Second {
			t.Errorf("closed after %v", d)
		}
		r.Respond(answer(r, nil))
		readAnswer(t, busy)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownAnswersWhatIsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan *Request, 1)
		s := newServer(Config{}, handlerFunc{handle: func(r *Request) { held <- r }})
		nc, srv := net.Pipe()
		s.serveConn(srv)
		_, _ = nc.Write(frame(9, nil))
		r := <-held
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		synctest.Wait()
		go r.Respond(answer(r, nil))
		if id, _ := readAnswer(t, nc); id != 9 {
			t.Errorf("answer %d", id)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("still open: %v", err)
		}
	})
}

func TestAnswerTwiceAndAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan *Request, 1)
		s := newServer(Config{}, handlerFunc{handle: func(r *Request) { held <- r }})
		nc, srv := net.Pipe()
		s.serveConn(srv)
		_, _ = nc.Write(frame(9, nil))
		r := <-held
		released := make(chan struct{}, 2)
		r.Conn.Close(io.EOF)
		<-r.Conn.Done()
		for range 2 {
			r.Respond(wire.Part{Slice: &fileSlice{f: nil, n: 0, released: released}})
			<-released
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
