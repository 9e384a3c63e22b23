package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is one running node of a development cluster.
type child struct {
	cmd     *exec.Cmd
	started time.Time
	done    chan struct{}
	err     error // valid after done
}

func (n *devNode) start(env Env) error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(env.Self, "server", n.properties)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = plainEnviron(env.Environ)
	// Its own process group: Ctrl-C reaches only the parent, which then stops the
	// nodes in order. If the parent is killed, the kernel stops the nodes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	c := &child{cmd: cmd, started: time.Now(), done: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		// The death signal is tied to the thread that starts the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			ready <- err
			return
		}
		ready <- nil
		c.err = cmd.Wait()
		close(c.done)
	}()
	if err := <-ready; err != nil {
		return fmt.Errorf("node %d: %w", n.id, err)
	}
	n.proc = c
	return nil
}

// plainEnviron drops what would change a node's configuration from outside.
func plainEnviron(environ []string) []string {
	var out []string
	for _, kv := range environ {
		if !strings.HasPrefix(kv, "KAFKA_") && !strings.HasPrefix(kv, "CLUSTER_ID=") {
			out = append(out, kv)
		}
	}
	return out
}

func (c *child) pid() int           { return c.cmd.Process.Pid }
func (c *child) age() time.Duration { return time.Since(c.started) }
func (c *child) wait() error        { <-c.done; return c.err }

// stopDev asks every node to stop, and kills those that don't within 30 s.
func stopDev(w io.Writer, nodes []*devNode) error {
	var wg sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		if n.proc == nil {
			continue
		}
		wg.Go(func() { errs[i] = n.proc.stop() })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			fmt.Fprintf(w, "node %d: %v\n", nodes[i].id, err)
		}
	}
	return errors.Join(errs...)
}

func (c *child) stop() error {
	select {
	case <-c.done:
		return nil // ended before: reported then
	default:
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-time.After(30 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
		return errors.New("did not stop within 30 s and was killed")
	}
}
