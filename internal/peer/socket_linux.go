package peer

import (
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// direct makes calls on a TCP socket that the scheduler isn't told of: the
// descriptor never blocks. That saves the wake-up of the runtime's monitor on an
// idle node, and the loss of the processor to it on a busy one.
func direct(nc net.Conn) net.Conn {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return nc
	}
	s := &socket{TCPConn: tc, raw: raw}
	s.r.step, s.w.step = s.readStep, s.writeStep
	return s
}

// socket is a TCP connection with one reader and one writer at a time.
type socket struct {
	*net.TCPConn
	raw  syscall.RawConn
	r, w struct {
		step func(fd uintptr) bool
		p    []byte
		n    int
		err  error
	}
}

func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.r.p = p
	err := s.raw.Read(s.r.step)
	s.r.p = nil
	switch {
	case err != nil:
		return 0, err
	case s.r.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: s.r.err}
	case s.r.n == 0:
		return 0, io.EOF
	}
	return s.r.n, nil
}

func (s *socket) readStep(fd uintptr) bool {
	return again(unix.SYS_READ, fd, s.r.p, &s.r.n, &s.r.err)
}

// Write sends all of p.
func (s *socket) Write(p []byte) (int, error) {
	s.w.p, s.w.n, s.w.err = p, 0, nil
	err := s.raw.Write(s.w.step)
	s.w.p = nil
	if err == nil && s.w.err != nil {
		err = &net.OpError{Op: "write", Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: s.w.err}
	}
	return s.w.n, err
}

func (s *socket) writeStep(fd uintptr) bool {
	for s.w.n < len(s.w.p) {
		var n int
		if !again(unix.SYS_WRITE, fd, s.w.p[s.w.n:], &n, &s.w.err) {
			return false
		}
		if s.w.err != nil {
			return true
		}
		s.w.n += n
	}
	return true
}

// again does one call on a descriptor that doesn't block; false: wait and try again.
func again(call, fd uintptr, p []byte, n *int, failed *error) bool {
	for {
		k, _, e := unix.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch e {
		case 0:
			*n, *failed = int(k), nil
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			*n, *failed = 0, e
			return true
		}
	}
}
