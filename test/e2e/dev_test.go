package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tidemark/test/cluster"
)

// output is what a process has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// dev is one `tidemark dev`.
type dev struct {
	t   *testing.T
	cmd *exec.Cmd
	out *output
}

// runOfPorts finds n ports in a row that nothing listens on.
func runOfPorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		first := cluster.FreePorts(t, 1)[0]
		if first+n < 65535 && !anyTaken(first, n) {
			return first
		}
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}

// anyTaken tells whether one of the ports is taken.
func anyTaken(first, n int) bool {
	for p := first; p < first+n; p++ {
		l, err := net.Listen("tcp", cluster.Loopback(p))
		if err != nil {
			return true
		}
		l.Close()
	}
	return false
}

func startDev(t *testing.T, args ...string) *dev {
	t.Helper()
	d := &dev{t: t, out: &output{}}
	d.cmd = exec.Command(cluster.Binary(t), append([]string{"dev"}, args...)...)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() }) // its nodes get SIGTERM from the kernel
	return d
}

func (d *dev) waitFor(pattern string) []string {
	d.t.Helper()
	var m []string
	cluster.Eventually(d.t, healed, func() error {
		if m = regexp.MustCompile(pattern).FindStringSubmatch(d.out.String()); m == nil {
			return fmt.Errorf("no %s in\n%s", pattern, d.out)
		}
		return nil
	})
	return m
}

// interrupt is Ctrl-C.
func (d *dev) interrupt(limit time.Duration) {
	d.t.Helper()
	_ = d.cmd.Process.Signal(os.Interrupt)
	done := make(chan error, 1)
	go func() { done <- d.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			d.t.Fatalf("Ctrl-C: %v\n%s", err, d.out)
		}
	case <-time.After(limit):
		d.t.Fatalf("still runs %v after Ctrl-C\n%s", limit, d.out)
	}
}

// The first thing that anybody tries: start, produce, consume, kill one, go on,
// stop, start again with the data still there.
func TestDev(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	port := runOfPorts(t, 9)
	flags := []string{"--dir", dir, "--port", fmt.Sprint(port), "--http-port", fmt.Sprint(port + 6)}
	produce := func(v string) {
		t.Helper()
		cluster.Run(t, v+"\n", "produce", "greetings", "--bootstrap-server", cluster.Loopback(port+2))
	}
	consume := func(n int) string {
		t.Helper()
		return cluster.Run(t, "", "consume", "greetings", "--from-beginning", "--max-messages", fmt.Sprint(n), "--bootstrap-server", cluster.Loopback(port+2))
	}
	d := startDev(t, flags...)
	m := d.waitFor(`break it\s+kill -9 (\d+)`)
	produce("hello")
	pid, _ := strconv.Atoi(m[1])
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	again := d.waitFor(`start it again with: (\S+) server (\S+)`)
	produce("while one is dead")
	if _, err := os.Stat(again[2]); err != nil {
		t.Errorf("the command that it names doesn't work: %v", err)
	}
	t.Run("busy port", func(t *testing.T) {
		refuses(t, []string{fmt.Sprint(port), "--port"}, append([]string{"dev"}, "--dir", filepath.Join(t.TempDir(), "x"), "--port", fmt.Sprint(port), "--http-port", fmt.Sprint(port+6))...)
	})
	d.interrupt(15 * time.Second)
	t.Run("another size", func(t *testing.T) {
		refuses(t, []string{"--fresh"}, append([]string{"dev", "--brokers", "2"}, flags...)...)
	})
	d = startDev(t, flags...)
	d.waitFor(`break it`)
	got := consume(2)
	if !strings.Contains(got, "hello") || !strings.Contains(got, "while one is dead") {
		t.Errorf("after a restart: %q\n%s", got, d.out)
	}
	d.interrupt(15 * time.Second)
	if exit := d.cmd.ProcessState.ExitCode(); exit != 0 {
		t.Errorf("exit code %d", exit)
	}
	t.Run("fresh", func(t *testing.T) {
		precious := filepath.Join(t.TempDir(), "home")
		if err := os.MkdirAll(filepath.Join(precious, "photos"), 0o755); err != nil {
			t.Fatal(err)
		}
		refuses(t, []string{precious, "not deleting"}, "dev", "--fresh", "--dir", precious, "--port", fmt.Sprint(port))
		if _, err := os.Stat(filepath.Join(precious, "photos")); err != nil {
			t.Fatal(err)
		}
		d := startDev(t, append([]string{"--fresh", "--brokers", "1"}, flags...)...)
		d.waitFor(`Ctrl-C`)
		cluster.Run(t, "new\n", "produce", "greetings", "--bootstrap-server", cluster.Loopback(port))
		if got := cluster.Run(t, "", "consume", "greetings", "--from-beginning", "--max-messages", "1", "--bootstrap-server", cluster.Loopback(port)); !strings.Contains(got, "new") {
			t.Errorf("after --fresh: %q", got)
		}
		d.interrupt(15 * time.Second)
	})
}
