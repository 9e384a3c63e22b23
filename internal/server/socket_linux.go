package server

import (
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func newSocket(nc net.Conn) socket {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return plainSocket{nc}
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return plainSocket{nc}
	}
	s := &rawSocket{raw: raw}
	s.r.step, s.w.step = s.readStep, s.writeStep
	return s
}

// rawSocket uses the descriptor directly: net.Conn can neither try without
// waiting nor send a file range without the file's shared position.
type rawSocket struct {
	raw syscall.RawConn
	r   struct { // of the reader goroutine
		step func(fd uintptr) bool
		room func() []byte
		idle func() // nil: don't wait
		n    int
		err  error
	}
	w struct { // of whoever has output.sending
		step       func(fd uintptr) bool
		p          []byte
		more, wait bool
		file       int
		off        int64
		n          int
		took       time.Duration // of the last sendfile: the socket never makes it wait, the disk may
		err        error
	}
}

func (s *rawSocket) sendfile() bool { return true }

func (s *rawSocket) read(room func() []byte, idle func()) (int, error) {
	s.r.room, s.r.idle = room, idle
	if err := s.raw.Read(s.r.step); err != nil {
		return 0, err
	}
	return s.r.n, s.r.err
}

func (s *rawSocket) tryRead(room func() []byte) (int, error) { return s.read(room, nil) }

func (s *rawSocket) readStep(fd uintptr) bool {
	for {
		s.r.n, s.r.err = rawRead(fd, s.r.room())
		switch s.r.err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if s.r.idle == nil {
				s.r.n, s.r.err = 0, errAgain
				return true
			}
			s.r.idle()
			return false
		}
		s.r.n = max(s.r.n, 0)
		return true
	}
}

func (s *rawSocket) write(p []byte, more, wait bool) (int, error) {
	s.w.p, s.w.more, s.w.wait, s.w.file = p, more, wait, -1
	return s.doWrite()
}

func (s *rawSocket) send(fd uintptr, off int64, n int, wait bool) (int, error) {
	s.w.p, s.w.wait, s.w.file, s.w.off, s.w.n = nil, wait, int(fd), off, n
	return s.doWrite()
}

func (s *rawSocket) doWrite() (int, error) {
	if err := s.raw.Write(s.w.step); err != nil {
		return 0, err
	}
	s.w.p = nil
	return s.w.n, s.w.err
}

func (s *rawSocket) writeStep(fd uintptr) bool {
	want := s.w.n
	for {
		n, err := 0, error(nil)
		switch {
		case s.w.file >= 0:
			off := s.w.off
			start := time.Now()
			n, err = unix.Sendfile(int(fd), s.w.file, &off, want)
			s.w.took = time.Since(start)
		case s.w.more:
			n, err = unix.SendmsgN(int(fd), s.w.p, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		default:
			n, err = rawWrite(fd, s.w.p)
		}
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			if s.w.wait {
				return false
			}
			err = errAgain
		}
		s.w.n, s.w.err = max(n, 0), err
		return true
	}
}

// rawRead and rawWrite are for descriptors that never block: the scheduler need
// not prepare for a call that takes long. That saves the wake-up of its monitor
// on an idle node, and the loss of the processor to it on a busy one.
func rawRead(fd uintptr, p []byte) (int, error) {
	n, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if e != 0 {
		return -1, e
	}
	return int(n), nil
}

func rawWrite(fd uintptr, p []byte) (int, error) {
	n, _, e := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if e != 0 {
		return -1, e
	}
	return int(n), nil
}
