package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	inNamespaces = "TIDEMARK_TEST_NAMESPACES" // set in the process that InNamespaces starts
	binaryEnv    = "TIDEMARK_TEST_BINARY"     // the tidemark command to run instead of building one
	needsRootEnv = "TIDEMARK_NEEDS_ROOT"      // a file that lists what could not run; see scripts/test
)

// NeedsRoot ends the test as skipped and puts it on the list that `make test`
// prints at its end.
func NeedsRoot(t *testing.T, why string) {
	t.Helper()
	if name := os.Getenv(needsRootEnv); name != "" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := fmt.Fprintf(f, "%s: %s\n", t.Name(), why); err != nil {
			t.Fatal(err)
		}
	}
	t.Skipf("needs root: %s", why)
}

// InNamespaces runs the calling test once more in a process with user, network
// and mount namespaces of its own, where it is root, and passes on how that
// ended. It reports true in that process and false, after it has ended, in the
// one that started it:
//
//	if !cluster.InNamespaces(t) {
//		return
//	}
//
// Call it first in a top-level test. Works for any user, unless the system
// refuses user namespaces; then NeedsRoot.
func InNamespaces(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespaces) != "" {
		return true
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.count=1"}
	if deadline, ok := t.Deadline(); ok {
		args = append(args, fmt.Sprintf("-test.timeout=%v", max(time.Until(deadline), 1)))
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), inNamespaces+"=1", binaryEnv+"="+Binary(t), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		NeedsRoot(t, fmt.Sprintf("namespaces: %v", err))
	}
	err := cmd.Wait()
	t.Logf("in namespaces:\n%s", out)
	switch {
	case err != nil:
		t.Errorf("in namespaces: %v", err)
	case strings.Contains(out.String(), "--- SKIP: "+t.Name()):
		t.Skip("skipped in its namespaces")
	case !strings.Contains(out.String(), "--- PASS: "+t.Name()):
		t.Error("the test did not run in its namespaces")
	}
	return false
}

// Hosts are machines as far as the network can tell: a network namespace each,
// joined by a bridge, where the test itself is host 0. Only in InNamespaces.
type Hosts struct {
	t testing.TB
	n int
}

// NewHosts makes hosts 1 to n.
func NewHosts(t testing.TB, n int) *Hosts {
	t.Helper()
	h := &Hosts{t: t, n: n}
	script := []string{"mount -t tmpfs tmpfs /run", "ip link set lo up", "ip link add br0 type bridge",
		"ip addr add " + h.Addr(0) + "/24 dev br0", "ip link set br0 up"}
	for i := 1; i <= n; i++ {
		script = append(script, fmt.Sprintf("ip netns add h%[1]d; ip link add v%[1]d type veth peer name eth0 netns h%[1]d;"+
			"ip link set v%[1]d master br0 up; ip -n h%[1]d addr add %[2]s/24 dev eth0;"+
			"ip -n h%[1]d link set eth0 up; ip -n h%[1]d link set lo up", i, h.Addr(i)))
	}
	h.sh("set -e; " + strings.Join(script, "; "))
	return h
}

func (h *Hosts) sh(script string) {
	h.t.Helper()
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// Addr is the address of host i; 0 is where the test and its clients are.
func (h *Hosts) Addr(i int) string {
	if i == 0 {
		return "10.77.0.200"
	}
	return fmt.Sprintf("10.77.0.%d", i)
}

// on makes a command run on host i.
func (h *Hosts) on(i int, command []string) []string {
	if i == 0 {
		return command
	}
	return append([]string{"nsenter", fmt.Sprintf("--net=/run/netns/h%d", i)}, command...)
}

// Cut loses every packet from one host to another; the way back stays open.
func (h *Hosts) Cut(from, to int) { h.t.Helper(); h.drop(from, to) }

// CutPort loses packets between the hosts, both ways, that belong to
// connections from one to a port of the other.
func (h *Hosts) CutPort(from, to, port int) {
	h.t.Helper()
	h.drop(from, to, "-p", "tcp", "--dport", fmt.Sprint(port))
	h.drop(to, from, "-p", "tcp", "--sport", fmt.Sprint(port))
}

func (h *Hosts) drop(from, to int, match ...string) {
	h.t.Helper()
	rule := append([]string{"iptables", "-A", "INPUT", "-s", h.Addr(from)}, match...)
	h.run(h.on(to, append(rule, "-j", "DROP")))
}

// Split cuts both ways between every host of one side and every host of the other.
func (h *Hosts) Split(one, other []int) {
	h.t.Helper()
	for _, a := range one {
		for _, b := range other {
			h.Cut(a, b)
			h.Cut(b, a)
		}
	}
}

// Heal undoes all cuts.
func (h *Hosts) Heal() {
	h.t.Helper()
	for i := range h.n + 1 {
		h.run(h.on(i, []string{"iptables", "-F", "INPUT"}))
	}
}

func (h *Hosts) run(command []string) {
	h.t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
}
