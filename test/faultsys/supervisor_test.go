package faultsys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the supervised process: it writes, syncs and reads a file
// five times, and prints what came of it.
func TestMain(m *testing.M) {
	if name := os.Getenv("FAULTSYS_FILE"); name != "" {
		worker(name)
		return
	}
	os.Exit(m.Run())
}

func worker(name string) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		fmt.Println(err)
		return
	}
	b := []byte("x")
	for i := range int64(5) {
		began := time.Now()
		_, werr := f.WriteAt(b, i)
		serr := f.Sync()
		_, rerr := f.ReadAt(b, 0)
		slow := time.Since(began) > time.Second
		fmt.Printf("%d%d%d%v ", number(werr), number(serr), number(rerr), slow)
	}
}

func number(err error) int {
	var errno syscall.Errno
	_ = errors.As(err, &errno)
	return int(errno)
}

func TestRules(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	const good = "000false "
	for _, tt := range []struct {
		name  string
		rules []Rule
		want  string
	}{
		{"none", nil, strings.Repeat(good, 5)},
		{"other path", []Rule{{Ops: Read | Write | Sync, Path: name + "2", Errno: syscall.EIO}}, strings.Repeat(good, 5)},
		{"write for ever", []Rule{{Ops: Write, Path: name, Errno: syscall.EIO}}, strings.Repeat("500false ", 5)},
		{"sync once", []Rule{{Ops: Sync, Path: filepath.Dir(name), Errno: syscall.EIO, Times: 1}}, "050false " + strings.Repeat(good, 4)},
		{"read twice", []Rule{{Ops: Read, Path: name, Errno: syscall.EIO, Times: 2}}, strings.Repeat("005false ", 2) + strings.Repeat(good, 3)},
		{"slow sync once, no space once", []Rule{{Ops: Sync, Path: name, Delay: 1100 * time.Millisecond, Times: 1},
			{Ops: Write, Path: name, Errno: syscall.ENOSPC, Times: 1}}, "2800true " + strings.Repeat(good, 4)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(name, []byte("content"), 0o644); err != nil {
				t.Fatal(err)
			}
			s := New(t)
			s.Set(tt.rules...)
			command := s.Wrap([]string{"/proc/self/exe"})
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Env = append(os.Environ(), "FAULTSYS_FILE="+name)
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != tt.want {
				t.Errorf("%q %v, want %q", out, err, tt.want)
			}
			fired := 0
			for _, r := range tt.rules {
				fired += r.Times
			}
			if fired > 0 && s.Hits() != fired {
				t.Errorf("fired %d times, want %d", s.Hits(), fired)
			}
		})
	}
}
