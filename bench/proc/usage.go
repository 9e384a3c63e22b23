package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of /proc/PID/stat (USER_HZ), the same on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// CPU is the user and system time that the processes have used, dead threads
// included, in steps of 10 ms. A process that is gone counts as zero.
func CPU(pids ...int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		d, err := parseStat(string(b))
		if err == nil {
			sum += d
		}
	}
	return sum
}

// parseStat reads fields 14 and 15; the name in parentheses may hold anything.
func parseStat(s string) (time.Duration, error) {
	i := strings.LastIndexByte(s, ')')
	f := strings.Fields(s[i+1:])
	if i < 0 || len(f) < 13 {
		return 0, fmt.Errorf("a stat line with %d fields", len(f))
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("times %q and %q", f[11], f[12])
	}
	return time.Duration(user+system) * clockTick, nil
}

// Memory is the resident set of a process and the most that it has been, in bytes.
func Memory(pid int) (resident, peak int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return field(string(b), "VmRSS:") << 10, field(string(b), "VmHWM:") << 10
}

// ContextSwitches is how often the threads that live now gave up the CPU of
// their own will.
func ContextSwitches(pid int) int64 {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	var sum int64
	for _, f := range files {
		b, _ := os.ReadFile(f)
		sum += field(string(b), "voluntary_ctxt_switches:")
	}
	return sum
}

// OpenFiles is the number of the process's descriptors.
func OpenFiles(pid int) int {
	d, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(d)
}

// field reads the number after a key at the beginning of a line; 0 without it.
func field(status, key string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, _ := strconv.ParseInt(f[0], 10, 64)
				return n
			}
		}
	}
	return 0
}

// BytesRead is what a process has read from files and sockets since it began,
// from the page cache or not; 0 if it is gone. Maps of files don't count.
func BytesRead(pid int) int64 {
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0
	}
	return field(string(p), "rchar:")
}
