package peer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func pair(t *testing.T) (a net.Conn, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); c.Close() })
	return direct(a), c.(*net.TCPConn)
}

// More than the socket buffers hold goes through whole, in both directions.
func TestDirectCarriesEverything(t *testing.T) {
	a, b := pair(t)
	want := make([]byte, 16<<20)
	for i := range want {
		want[i] = byte(i >> 8)
	}
	go func() { _, _ = io.Copy(b, b); _ = b.CloseWrite() }()
	done := make(chan error, 1)
	go func() {
		n, err := a.Write(want)
		if err == nil && n != len(want) {
			err = io.ErrShortWrite
		}
		done <- err
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(a, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, equal %v", err, bytes.Equal(got, want))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDirectEnds(t *testing.T) {
	t.Run("end of file", func(t *testing.T) {
		a, b := pair(t)
		_ = b.Close()
		if n, err := a.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("reset", func(t *testing.T) {
		a, b := pair(t)
		_ = b.SetLinger(0)
		_ = b.Close()
		if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := a.Write([]byte{1}); n != 0 || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("closed here", func(t *testing.T) {
		a, _ := pair(t)
		done := make(chan error, 1)
		go func() { _, err := a.Read(make([]byte, 1)); done <- err }()
		_ = a.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		a, _ := pair(t)
		_ = a.SetDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		// The other side doesn't read: at some point there is no room.
		if n, err := a.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || n == 64<<20 {
			t.Errorf("%d, %v", n, err)
		}
	})
}
