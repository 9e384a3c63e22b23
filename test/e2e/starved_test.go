package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/test/cluster"
)

// ration lets the node run for a part of the time only, as a CPU quota does: of
// every period it runs the first so many milliseconds. Undone by the function.
func ration(n *cluster.Node, run, period time.Duration) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			n.Continue()
			select {
			case <-time.After(run):
			case <-quit:
				return
			}
			n.Pause()
			select {
			case <-time.After(period - run):
			case <-quit:
				n.Continue()
				return
			}
		}
	}()
	var once sync.Once
	return func() { once.Do(func() { close(quit) }); <-done }
}

// A broker that gets a twentieth of a core keeps its session, since heartbeats
// don't queue behind data, whether it leads or follows; what it can't do in time
// costs it the ISR at most, and nothing is lost.
func TestStarvedOfCPU(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: quick})
	ctl := c.Controller()
	one, two := c.Others(ctl)[0], c.Others(ctl)[1]
	cluster.CreateAssigned(t, c.Bootstrap(), "led", one.ID, two.ID, ctl.ID)
	cluster.CreateAssigned(t, c.Bootstrap(), "followed", two.ID, one.ID, ctl.ID)
	var loads []*cluster.Workload
	for _, topic := range []string{"led", "followed"} {
		w := cluster.StartWorkload(t, c.Bootstrap(), topic, 1)
		w.WaitMore(200, healed)
		loads = append(loads, w)
	}
	stop := ration(one, 5*time.Millisecond, 100*time.Millisecond)
	defer stop()
	for _, w := range loads {
		w.WaitMore(200, healed)
	}
	cluster.Stays(t, 4*time.Second, func() error { // longer than the session
		s, err := ctl.State()
		if err != nil {
			return err
		}
		for _, b := range s.Brokers {
			if b.ID == one.ID && b.State != "running" {
				return fmt.Errorf("broker %d is %s", b.ID, b.State)
			}
		}
		return nil
	})
	stop()
	for _, w := range loads {
		cluster.WaitISR(t, c.Bootstrap(), w.Topic, 3, healed)
		w.WaitMore(100, healed)
		w.Finish()
	}
}

// More connections come than a node has file descriptors: those that are there
// go on, nothing on disk fails, the log says why, and it ends when they leave.
func TestStarvedOfDescriptors(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: quick, Wrap: func(n *cluster.Node, command []string) []string {
		return append([]string{"sh", "-c", `ulimit -n 200; exec "$@"`, "sh"}, command...)
	}})
	n := c.Others(c.Controller())[0]
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", n.ID, c.Others(n)[0].ID, c.Others(n)[1].ID)
	w := cluster.StartWorkload(t, c.Bootstrap(), "orders", 1, cluster.Impatient...)
	w.WaitMore(200, healed)
	w.NewGap()
	var held []net.Conn
	for range 400 {
		nc, err := net.DialTimeout("tcp", n.Addr(), time.Second)
		if err != nil {
			break
		}
		held = append(held, nc)
	}
	w.WaitMore(500, healed)
	fds, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(n.Pid()), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections, %d descriptors, longest gap %v", len(held), len(fds), w.LongestGap().Round(time.Millisecond))
	if len(fds) < 150 {
		t.Errorf("%d descriptors are open: they never were short", len(fds))
	}
	if s, err := n.State(); err == nil { // over HTTP there may be no descriptor either
		for _, d := range s.Node.Dirs {
			if !d.Online {
				t.Errorf("directory %s is offline", d.Path)
			}
		}
	}
	for _, nc := range held {
		nc.Close()
	}
	cluster.CreateAssigned(t, c.Bootstrap(), "after", n.ID, c.Others(n)[0].ID)
	w.WaitMore(200, healed)
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	w.Finish()
	if log := n.LogTail(1 << 20); !strings.Contains(log, "too many open files") && !strings.Contains(log, "descriptors") {
		t.Errorf("the log doesn't say that descriptors ran out\n%s", n.LogTail(20))
	}
}
