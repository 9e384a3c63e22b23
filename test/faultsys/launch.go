package faultsys

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launchEnv holds the path of the Supervisor's socket in a process that is to
// become the supervised one.
const launchEnv = "TIDEMARK_FAULTSYS"

func init() {
	if path := os.Getenv(launchEnv); path != "" {
		fmt.Fprintln(os.Stderr, "faultsys:", launch(path, os.Args[1:]))
		os.Exit(120)
	}
}

// launch replaces this process by the command; it returns only on failure.
func launch(socket string, command []string) error {
	bin, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, launchEnv+"=") {
			env = append(env, e)
		}
	}
	runtime.LockOSThread() // the filter is this thread's until exec
	fd, err := install()
	if err != nil {
		return err
	}
	if _, _, err := conn.WriteMsgUnix([]byte{1}, unix.UnixRights(fd), nil); err != nil {
		return err
	}
	return syscall.Exec(bin, command, env)
}

// watched are the system calls that the filter asks about; the value is the
// argument that holds the file.
var watched = map[uint32]struct {
	op   Op
	file int
}{
	unix.SYS_PWRITE64: {Write, 0}, unix.SYS_PWRITEV: {Write, 0}, unix.SYS_PWRITEV2: {Write, 0},
	unix.SYS_FSYNC: {Sync, 0}, unix.SYS_FDATASYNC: {Sync, 0},
	unix.SYS_PREAD64: {Read, 0}, unix.SYS_PREADV: {Read, 0}, unix.SYS_PREADV2: {Read, 0}, unix.SYS_SENDFILE: {Read, 1},
}

const (
	retNotify = 0x7fc00000
	retAllow  = 0x7fff0000
)

// install puts the filter on this thread and returns its listener.
func install() (int, error) {
	stmt := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	prog := []unix.SockFilter{stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0)} // the number of the call
	for nr := range watched {
		prog = append(prog, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1}, stmt(unix.BPF_RET|unix.BPF_K, retNotify))
	}
	prog = append(prog, stmt(unix.BPF_RET|unix.BPF_K, retAllow))
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("no_new_privs: %w", err)
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return 0, fmt.Errorf("seccomp: %w", errno)
	}
	return int(fd), nil
}
