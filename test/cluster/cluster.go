// Package cluster runs real tidemark processes for tests and benchmarks: on
// loopback, free ports and a temporary folder, all gone when the test ends.
package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Cluster is a set of nodes that know each other.
type Cluster struct {
	T         testing.TB
	Dir       string
	ClusterID string
	Nodes     []*Node

	wrap  func(n *Node, command []string) []string
	hosts *Hosts
}

// Node is one process; ID counts from 1.
type Node struct {
	ID                   int
	Client, Control      int // ports, 0 without the role
	External, HTTP       int
	Host                 string // address of all its listeners
	Rack                 string
	Net                  Proxies // with Options.Proxied
	Dir, Properties, Log string

	c     *Cluster
	binds map[string]int // by listener name, where a proxy is at the advertised port

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Options change what New builds.
type Options struct {
	Nodes       int
	Settings    []string                                 // further lines of every server.properties
	PerNode     func(n *Node) []string                   // further lines of one node's
	Static      bool                                     // controller.quorum.voters instead of bootstrap servers
	Env         []string                                 // further environment of every node
	Wrap        func(n *Node, command []string) []string // runs a node inside another command
	Unformatted bool                                     // the nodes format themselves, by Env
	Start       func(n *Node) bool                       // false leaves the node down; nil starts all
	Roles       func(id int) string                      // process.roles; nil makes every node a broker and a controller
	Proxied     bool                                     // clients, brokers and controllers reach a node through its Node.Net
	Hosts       *Hosts                                   // every node on a host of its own; nil puts all on loopback
}

func (o Options) roles(id int) string {
	if o.Roles == nil {
		return "broker,controller"
	}
	return o.Roles(id)
}

func (o Options) votes(id int) bool { return strings.Contains(o.roles(id), "controller") }

var build struct {
	once sync.Once
	bin  string
	err  error
}

// Binary builds the tidemark command once per test process and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv(binaryEnv); bin != "" {
		return bin
	}
	build.once.Do(func() {
		dir, err := os.MkdirTemp("", "tidemark-bin-")
		if err != nil {
			build.err = err
			return
		}
		build.bin = filepath.Join(dir, "tidemark")
		cmd := exec.Command("go", "build", "-o", build.bin, "tidemark/cmd/tidemark")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.bin
}

// Run runs one tidemark command to its end and returns what it printed.
func Run(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, err := TryRun(t, stdin, args...)
	if err != nil {
		t.Fatalf("tidemark %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryRun is Run for commands that may fail.
func TryRun(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(Binary(t), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// New formats and starts a cluster and waits until every started node is ready.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{T: t, Dir: t.TempDir(), wrap: o.Wrap, hosts: o.Hosts}
	ports := freePorts(t, o.Nodes*4)
	for i := range o.Nodes {
		n := &Node{ID: i + 1, c: c, Client: ports[4*i], Control: ports[4*i+1], External: ports[4*i+2], HTTP: ports[4*i+3], Rack: string(rune('a' + i%3))}
		if !o.votes(n.ID) {
			n.Control = 0
		}
		if !strings.Contains(o.roles(n.ID), "broker") {
			n.Client, n.External = 0, 0
		}
		n.Dir = filepath.Join(c.Dir, fmt.Sprintf("node-%d", n.ID))
		n.Properties, n.Log, n.Host = n.Dir+".properties", n.Dir+".log", "127.0.0.1"
		if o.Hosts != nil {
			n.Host = o.Hosts.Addr(n.ID)
		}
		if o.Proxied {
			n.startProxies()
		}
		c.Nodes = append(c.Nodes, n)
	}
	c.ClusterID = strings.TrimSpace(Run(t, "", "storage", "random-uuid"))
	var voters []string
	for _, n := range c.Nodes {
		if !o.votes(n.ID) {
			continue
		}
		voters = append(voters, fmt.Sprintf("%d@%s:%d:%s", n.ID, n.Host, n.Control, strings.TrimSpace(Run(t, "", "storage", "random-uuid"))))
	}
	for _, n := range c.Nodes {
		if err := os.WriteFile(n.Properties, []byte(n.config(o)), 0o644); err != nil {
			t.Fatal(err)
		}
		if o.Unformatted {
			continue
		}
		args := []string{"storage", "format", "--config", n.Properties, "--cluster-id", c.ClusterID}
		if !o.Static && o.votes(n.ID) {
			args = append(args, "--initial-controllers", strings.Join(voters, ","))
		}
		Run(t, "", args...)
	}
	t.Cleanup(c.cleanup)
	for _, n := range c.Nodes {
		if o.Start == nil || o.Start(n) {
			n.Start(o.Env...)
		}
	}
	for _, n := range c.Nodes {
		if n.Running() {
			n.WaitReady()
		}
	}
	return c
}

func (n *Node) config(o Options) string {
	var quorum []string
	for _, m := range n.c.Nodes {
		if !o.votes(m.ID) {
			continue
		}
		if o.Static {
			quorum = append(quorum, fmt.Sprintf("%d@%s:%d", m.ID, m.Host, m.Control))
		} else {
			quorum = append(quorum, fmt.Sprintf("%s:%d", m.Host, m.Control))
		}
	}
	key := "controller.quorum.bootstrap.servers"
	if o.Static {
		key = "controller.quorum.voters"
	}
	rf, minISR := min(3, o.Nodes), min(2, o.Nodes)
	var listeners, advertised []string
	add := func(name, host string, port int) {
		bind := port
		if b, ok := n.binds[name]; ok {
			bind = b
		}
		listeners = append(listeners, fmt.Sprintf("%s://%s:%d", name, n.Host, bind))
		advertised = append(advertised, fmt.Sprintf("%s://%s:%d", name, host, port))
	}
	if strings.Contains(o.roles(n.ID), "broker") {
		add("PLAINTEXT", n.Host, n.Client)
		if o.Hosts == nil {
			add("EXTERNAL", "localhost", n.External)
		}
		if o.Proxied {
			add("INTERNAL", n.Host, n.Net.Brokers.Port())
		}
	}
	if o.votes(n.ID) {
		add("CONTROLLER", n.Host, n.Control)
	}
	lines := []string{
		"process.roles=" + o.roles(n.ID), fmt.Sprintf("node.id=%d", n.ID), "broker.rack=" + n.Rack,
		key + "=" + strings.Join(quorum, ","), "controller.listener.names=CONTROLLER",
		"listeners=" + strings.Join(listeners, ","), "advertised.listeners=" + strings.Join(advertised, ","),
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,EXTERNAL:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT", "log.dirs=" + n.Dir,
		fmt.Sprintf("default.replication.factor=%d", rf), fmt.Sprintf("min.insync.replicas=%d", minISR),
		fmt.Sprintf("offsets.topic.replication.factor=%d", rf), "offsets.topic.num.partitions=5", "group.initial.rebalance.delay.ms=0",
		fmt.Sprintf("tidemark.http.listener=%s:%d", n.Host, n.HTTP),
	}
	switch {
	case !strings.Contains(o.roles(n.ID), "broker"):
	case o.Proxied:
		lines = append(lines, "inter.broker.listener.name=INTERNAL")
	default:
		lines = append(lines, "inter.broker.listener.name=PLAINTEXT")
	}
	lines = append(lines, o.Settings...)
	if o.PerNode != nil {
		lines = append(lines, o.PerNode(n)...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// Join formats and starts one further broker without the controller role; the
// settings name the controllers, which may be another implementation's.
func (c *Cluster) Join(id int, settings ...string) *Node {
	c.T.Helper()
	ports := freePorts(c.T, 2)
	n := &Node{ID: id, c: c, Client: ports[0], HTTP: ports[1], Host: "127.0.0.1", Dir: filepath.Join(c.Dir, fmt.Sprintf("node-%d", id))}
	n.Properties, n.Log = n.Dir+".properties", n.Dir+".log"
	lines := append([]string{
		"process.roles=broker", fmt.Sprintf("node.id=%d", id), "controller.listener.names=CONTROLLER",
		fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d", n.Client), "inter.broker.listener.name=PLAINTEXT",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", "log.dirs=" + n.Dir,
		fmt.Sprintf("tidemark.http.listener=127.0.0.1:%d", n.HTTP),
	}, settings...)
	if err := os.WriteFile(n.Properties, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		c.T.Fatal(err)
	}
	Run(c.T, "", "storage", "format", "--config", n.Properties, "--cluster-id", c.ClusterID)
	c.Nodes = append(c.Nodes, n)
	if len(c.Nodes) == 1 {
		c.T.Cleanup(c.cleanup)
	}
	n.Start()
	return n
}

func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var out []int
	var held []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	for _, l := range held {
		l.Close()
	}
	return out
}

// FreePorts returns ports that nothing listens on.
func FreePorts(t testing.TB, n int) []int { return freePorts(t, n) }

// Bootstrap lists every node's client address.
func (c *Cluster) Bootstrap() string { return c.list(func(n *Node) int { return n.Client }) }

// ExternalBootstrap lists the addresses of the second listener.
func (c *Cluster) ExternalBootstrap() string { return c.list(func(n *Node) int { return n.External }) }

// Controllers lists every node's controller address.
func (c *Cluster) Controllers() string { return c.list(func(n *Node) int { return n.Control }) }

func (c *Cluster) list(port func(*Node) int) string {
	var out []string
	for _, n := range c.Nodes {
		if p := port(n); p != 0 {
			out = append(out, net.JoinHostPort(n.Host, strconv.Itoa(p)))
		}
	}
	return strings.Join(out, ",")
}

// Node returns the node with that id.
func (c *Cluster) Node(id int) *Node {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n
		}
	}
	c.T.Fatalf("there is no node %d", id)
	return nil
}

func (c *Cluster) cleanup() {
	for _, n := range c.Nodes {
		n.Continue()
		n.Kill()
	}
	if c.T.Failed() {
		for _, n := range c.Nodes {
			c.T.Logf("--- end of the log of node %d\n%s", n.ID, n.LogTail(60))
		}
	}
}

// Loopback is the address of a port on this machine.
func Loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// RSS is the process's resident memory in bytes.
func (n *Node) RSS(t testing.TB) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// Addr is the node's client address.
func (n *Node) Addr() string { return net.JoinHostPort(n.Host, strconv.Itoa(n.Client)) }

// URL is the node's HTTP address with the path.
func (n *Node) URL(path string) string { return fmt.Sprintf("http://%s:%d%s", n.Host, n.HTTP, path) }

// Start starts the process.
func (n *Node) Start(env ...string) {
	n.c.T.Helper()
	log, err := os.OpenFile(n.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		n.c.T.Fatal(err)
	}
	defer log.Close()
	command := []string{Binary(n.c.T), "server", n.Properties}
	if n.c.wrap != nil {
		command = n.c.wrap(n, command)
	}
	if n.c.hosts != nil {
		command = n.c.hosts.on(n.ID, command)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		n.c.T.Fatal(err)
	}
	done := make(chan struct{})
	n.mu.Lock()
	n.cmd, n.done = cmd, done
	n.mu.Unlock()
	go func() {
		err := cmd.Wait()
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
		close(done)
	}()
}

func (n *Node) process() (*os.Process, chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil, nil
	}
	return n.cmd.Process, n.done
}

// Running reports whether the process has been started and not ended.
func (n *Node) Running() bool {
	p, done := n.process()
	if p == nil {
		return false
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}

// Pid is the process's id.
func (n *Node) Pid() int { p, _ := n.process(); return p.Pid }

func (n *Node) signal(s syscall.Signal) {
	if p, _ := n.process(); p != nil && n.Running() {
		_ = p.Signal(s)
	}
}

// Kill is kill -9; it returns when the process is gone.
func (n *Node) Kill() {
	n.signal(syscall.SIGKILL)
	if _, done := n.process(); done != nil {
		<-done
	}
}

// Signal9 is kill -9 without waiting for the end.
func (n *Node) Signal9() { n.signal(syscall.SIGKILL) }

// Pause is SIGSTOP, Continue SIGCONT.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP) }

// Continue undoes Pause.
func (n *Node) Continue() { n.signal(syscall.SIGCONT) }

// Terminate sends SIGTERM without waiting.
func (n *Node) Terminate() { n.signal(syscall.SIGTERM) }

// Wait returns the exit error once the process has ended, or an error after the limit.
func (n *Node) Wait(limit time.Duration) error {
	_, done := n.process()
	select {
	case <-done:
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.err
	case <-time.After(limit):
		return fmt.Errorf("node %d still runs after %v", n.ID, limit)
	}
}

// Stop is SIGTERM and waits for the end.
func (n *Node) Stop() {
	n.c.T.Helper()
	n.Terminate()
	if err := n.Wait(60 * time.Second); err != nil {
		n.c.T.Fatalf("node %d did not stop cleanly: %v\n%s", n.ID, err, n.LogTail(40))
	}
}

// WaitReady waits until /readyz answers 200.
func (n *Node) WaitReady() {
	n.c.T.Helper()
	var last string
	Eventually(n.c.T, 60*time.Second, func() error {
		if !n.Running() {
			n.c.T.Fatalf("node %d ended while starting: %v\n%s", n.ID, n.err, n.LogTail(60))
		}
		code, body, err := n.Get("/readyz?verbose")
		last = body
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("node %d isn't ready: %d %v\n%s", n.ID, code, err, last)
		}
		return nil
	})
}

// Get asks the node's HTTP side.
func (n *Node) Get(path string) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL(path), nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// LogTail returns the last lines of the node's log.
func (n *Node) LogTail(lines int) string {
	b, err := os.ReadFile(n.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Wipe deletes the stopped node's data and formats it anew, under a new
// directory id, as an operator who replaced the disk would.
func (n *Node) Wipe() {
	n.c.T.Helper()
	for _, d := range []string{n.Dir, n.Dir + ".tidemark"} {
		if err := os.RemoveAll(d); err != nil {
			n.c.T.Fatal(err)
		}
	}
	args := []string{"storage", "format", "--config", n.Properties, "--cluster-id", n.c.ClusterID}
	b, _ := os.ReadFile(n.Properties)
	if s := string(b); !strings.Contains(s, "controller.quorum.voters") && !strings.Contains(s, "process.roles=broker\n") {
		args = append(args, "--no-initial-controllers")
	}
	Run(n.c.T, "", args...)
}

// Eventually calls f until it returns nil, and fails the test with f's last
// error after the limit.
func Eventually(t testing.TB, limit time.Duration, f func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", limit, err)
		}
		<-tick.C
	}
}
