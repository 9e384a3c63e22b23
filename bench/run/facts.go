package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// fact is one line about where a run happened.
type fact struct{ Name, Value string }

const (
	sharedMemory = "/dev/shm"
	tmpfsMagic   = 0x01021994
)

// dataDir makes the directory for all data and says what it is on.
func dataDir(o options) (dir, note string, err error) {
	bases := []string{sharedMemory, os.TempDir()}
	if o.dir != "" {
		bases = []string{o.dir}
	}
	for i, base := range bases {
		var st syscall.Statfs_t
		if err = syscall.Statfs(base, &st); err != nil {
			continue
		}
		need, free := 4*uint64(o.maxBytes), st.Bavail*uint64(st.Bsize)
		if free < need {
			err = fmt.Errorf("%s has %d MB free, %d are needed (four times -max-mb)", base, free/1e6, need/1e6)
			continue
		}
		if dir, err = os.MkdirTemp(base, "tidemark-bench-"); err != nil {
			continue
		}
		note = base + ", tmpfs"
		if st.Type != tmpfsMagic {
			note = base + ", not tmpfs: throughput is bound by the disk"
			if i > 0 {
				note += " (" + sharedMemory + " can't be used)"
			}
		}
		return dir, note, nil
	}
	return "", "", err
}

func facts(note string, systems []system) []fact {
	out := []fact{
		{"when", time.Now().UTC().Format("2006-01-02 15:04 UTC")},
		{"machine", machine()},
		{"kernel", read("/proc/sys/kernel/osrelease") + ", congestion control " + read("/proc/sys/net/ipv4/tcp_congestion_control") + ", " + descriptors()},
		{"load when it began", read("/proc/loadavg")},
		{"data", note},
		{"commit", commit()},
		{"go", runtime.Version()},
	}
	for _, s := range systems {
		out = append(out, fact{s.name(), s.version()})
	}
	return out
}

func read(file string) string {
	b, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

func machine() string {
	model := "unknown CPU"
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	var info syscall.Sysinfo_t
	_ = syscall.Sysinfo(&info)
	return fmt.Sprintf("%s, %d CPUs, %.1f GiB", model, runtime.NumCPU(), float64(info.Totalram)*float64(info.Unit)/(1<<30))
}

func descriptors() string {
	var lim syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim)
	return fmt.Sprintf("nofile %d", lim.Cur)
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
