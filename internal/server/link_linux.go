package server

import (
	"time"

	"golang.org/x/sys/unix"
)

// retransmits asks the kernel how often in a row it has sent the same bytes again.
func (s *rawSocket) retransmits() int {
	n := 0
	_ = s.raw.Control(func(fd uintptr) { // of a closed one nothing is known
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Retransmits)
		}
	})
	return n
}

func (s *rawSocket) fileTime() time.Duration { return s.w.took }
