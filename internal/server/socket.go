package server

import (
	"errors"
	"net"
	"syscall"
)

// errAgain means that the socket takes or has no more without waiting.
var errAgain = errors.New("the socket would block")

// socket is what a connection needs of the network.
type socket interface {
	// read waits for bytes. room is asked for memory when there is something to
	// read, idle is called before waiting.
	read(room func() []byte, idle func()) (int, error)
	// tryRead is read that doesn't wait: errAgain if there is nothing.
	tryRead(room func() []byte) (int, error)
	// write sends p. It waits only if told so; otherwise errAgain. more tells
	// that further bytes follow at once.
	write(p []byte, more, wait bool) (int, error)
	// send sends a range of a file.
	send(fd uintptr, off int64, n int, wait bool) (int, error)
	// sendfile reports whether send works.
	sendfile() bool
}

// plainSocket works over any net.Conn: everything that has to wait is left to
// the writer goroutine. TLS and tests use it.
type plainSocket struct{ nc net.Conn }

func (s plainSocket) sendfile() bool { return false }

func (s plainSocket) read(room func() []byte, _ func()) (int, error) { return s.nc.Read(room()) }

func (s plainSocket) tryRead(func() []byte) (int, error) { return 0, errAgain }

func (s plainSocket) write(p []byte, _, wait bool) (int, error) {
	if !wait {
		return 0, errAgain
	}
	return s.nc.Write(p)
}

func (s plainSocket) send(uintptr, int64, int, bool) (int, error) { panic("no sendfile") }

// isReset reports whether err only says that the peer is gone.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
