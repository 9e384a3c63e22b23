package faultsys

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Op is a set of operations.
type Op int

// Read includes sendfile, Sync both fsync and fdatasync.
const (
	Read Op = 1 << iota
	Write
	Sync
)

// Rule says what happens to operations on files whose path begins with Path,
// as the process names them.
type Rule struct {
	Ops   Op
	Path  string
	Errno syscall.Errno // the result; 0 carries the call out
	Delay time.Duration // before that
	Times int           // how often; 0 is for ever
}

// Supervisor decides about the calls of one process and of those started
// after it in its place. Safe for concurrent use.
type Supervisor struct {
	t      testing.TB
	socket string
	ln     *net.UnixListener
	done   sync.WaitGroup

	mu    sync.Mutex
	rules []*active
	ended chan struct{}
}

type active struct {
	Rule
	hits int
}

// New returns a Supervisor without rules.
func New(t testing.TB) *Supervisor {
	t.Helper()
	dir, err := os.MkdirTemp("", "faultsys-") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{t: t, socket: filepath.Join(dir, "s"), ended: make(chan struct{})}
	if s.ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: s.socket, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	s.done.Go(s.accept)
	t.Cleanup(func() {
		close(s.ended)
		_ = s.ln.Close()
		s.done.Wait()
		_ = os.RemoveAll(dir)
	})
	return s
}

// Wrap makes the command run supervised. The process must end before the test does.
func (s *Supervisor) Wrap(command []string) []string {
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return append([]string{"env", launchEnv + "=" + s.socket, self}, command...)
}

// Set replaces all rules; without arguments every call is carried out from now on.
func (s *Supervisor) Set(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
	for _, r := range rules {
		s.rules = append(s.rules, &active{Rule: r})
	}
}

// Hits is how often the rules that are set have fired.
func (s *Supervisor) Hits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.rules {
		n += r.hits
	}
	return n
}

func (s *Supervisor) accept() {
	for {
		conn, err := s.ln.AcceptUnix()
		if err != nil {
			return
		}
		fd, err := receive(conn)
		_ = conn.Close()
		if err != nil {
			s.t.Errorf("faultsys: %v", err)
			return
		}
		s.done.Go(func() { s.serve(fd) })
	}
}

func receive(conn *net.UnixConn) (int, error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil {
		return 0, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return 0, fmt.Errorf("%d control messages: %w", len(msgs), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return 0, fmt.Errorf("%d descriptors: %w", len(fds), err)
	}
	return fds[0], nil
}

// notification and answer have the layout of the kernel's.
type notification struct {
	id      uint64
	pid     uint32
	flags   uint32
	nr      int32
	arch    uint32
	pointer uint64
	args    [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

const (
	ioctlReceive = 0xc0502100
	ioctlAnswer  = 0xc0182101
	carryOut     = 1
)

// serve answers one process until it has ended.
func (s *Supervisor) serve(fd int) {
	var calls sync.WaitGroup
	defer func() { calls.Wait(); _ = unix.Close(fd) }()
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 100)
		select {
		case <-s.ended:
			return
		default:
		}
		if n == 0 || err == unix.EINTR {
			continue
		}
		if err != nil || poll[0].Revents&unix.POLLIN == 0 { // POLLHUP: nobody has the filter any more
			return
		}
		var q notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlReceive, uintptr(unsafe.Pointer(&q))); errno != 0 {
			continue // the thread is gone, or was interrupted and asks again
		}
		errno, delay := s.decide(q)
		if delay == 0 {
			reply(fd, q.id, errno)
			continue
		}
		calls.Go(func() {
			select {
			case <-time.After(delay):
			case <-s.ended:
			}
			reply(fd, q.id, errno)
		})
	}
}

func reply(fd int, id uint64, errno syscall.Errno) {
	a := answer{id: id, errno: -int32(errno)}
	if errno == 0 {
		a.flags = carryOut
	}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlAnswer, uintptr(unsafe.Pointer(&a)))
}

func (s *Supervisor) decide(q notification) (syscall.Errno, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call, ok := watched[uint32(q.nr)]
	if len(s.rules) == 0 || !ok {
		return 0, 0
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", q.pid, int32(q.args[call.file])))
	if err != nil {
		return 0, 0
	}
	for _, r := range s.rules {
		if r.Ops&call.op != 0 && strings.HasPrefix(path, r.Path) && (r.Times == 0 || r.hits < r.Times) {
			r.hits++
			return r.Errno, r.Delay
		}
	}
	return 0, 0
}
