package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidemark/test/cluster"
)

// volume is a small file system of its own that outlives the processes that use
// it: a mount namespace is kept open, so that any user can have one.
type volume struct {
	t      *testing.T
	path   string
	holder *exec.Cmd
}

func newVolume(t *testing.T, size string) *volume {
	t.Helper()
	v := &volume{t: t, path: filepath.Join(t.TempDir(), "volume")}
	script := `mkdir -p "$0" && mount -t tmpfs -o size=` + size + ` tidemark "$0" && echo mounted && exec cat`
	v.holder = exec.Command("unshare", "-Urm", "sh", "-c", script, v.path)
	stdin, err := v.holder.StdinPipe() // cat ends with the test
	if err != nil {
		t.Fatal(err)
	}
	out, err := v.holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.holder.Stderr = os.Stderr
	if err := v.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = v.holder.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		t.Fatalf("no file system: %q %v", line, err)
	}
	return v
}

// run makes a command see the volume.
func (v *volume) run(command []string) []string {
	pid := fmt.Sprint(v.holder.Process.Pid)
	return append([]string{"nsenter", "-t", pid, "-U", "-m", "--preserve-credentials"}, command...)
}

// inside is a path in the volume as the test sees it.
func (v *volume) inside(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", v.holder.Process.Pid), v.path, name)
}

// fill leaves no byte free.
func (v *volume) fill() {
	v.t.Helper()
	f, err := os.Create(v.inside("filler"))
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	_, err = io.Copy(f, endless{})
	if !errors.Is(err, syscall.ENOSPC) {
		v.t.Fatalf("filling the volume: %v", err)
	}
}

func (v *volume) empty() {
	v.t.Helper()
	if err := os.Remove(v.inside("filler")); err != nil {
		v.t.Fatal(err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// One of two directories of a node fails under load (its disk takes no byte
// more, and there is no reserve that would have refused records before): its
// replicas are offline and others lead, the node lives, its other directory
// goes on. After a restart with a disk that works, the replicas are in sync again.
func TestOneOfTwoDirectoriesFails(t *testing.T) {
	v := newVolume(t, "64m")
	id := strings.TrimSpace(cluster.Run(t, "", "storage", "random-uuid"))
	c := cluster.New(t, cluster.Options{Nodes: 3, Static: true, Unformatted: true, Env: []string{"CLUSTER_ID=" + id},
		PerNode: func(n *cluster.Node) []string {
			if n.ID != 1 {
				return nil
			}
			return []string{"log.dirs=" + n.Dir + "," + v.path, "metadata.log.dir=" + n.Dir, "tidemark.log.dir.reserve.bytes=0"}
		},
		Wrap: func(n *cluster.Node, command []string) []string {
			if n.ID != 1 {
				return command
			}
			return v.run(command)
		}})
	n := c.Node(1)
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 6, 3, nil)
	w := cluster.StartWorkload(t, c.Bootstrap(), "orders", 6)
	w.WaitMore(500, healed)
	bad, good := split(t, v)
	t.Logf("on the volume: %v, beside it: %v", bad, good)
	if len(bad) == 0 || len(good) == 0 {
		t.Fatal("the replicas are all in one directory")
	}

	v.fill()
	for _, p := range bad {
		c.Node(2).WaitPartition("orders", p, healed, func(s cluster.PartitionState) bool {
			return s.Leader > 1 && !slices.Contains(s.ISR, 1)
		})
	}
	w.WaitMore(500, healed)
	cluster.Stays(t, 3*time.Second, func() error { return onlyVolumeIsOff(n, v, good) })

	n.Stop()
	v.empty()
	n.Start()
	n.WaitReady()
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	w.WaitMore(500, healed)
	if now, _ := split(t, v); fmt.Sprint(now) != fmt.Sprint(bad) {
		t.Errorf("the volume has %v, had %v", now, bad)
	}
	w.Finish()
}

// split tells which partitions of orders have their replica on the volume.
func split(t *testing.T, v *volume) (on, beside []int) {
	t.Helper()
	for p := range 6 {
		if _, err := os.Stat(v.inside(fmt.Sprintf("orders-%d", p))); err == nil {
			on = append(on, p)
		} else {
			beside = append(beside, p)
		}
	}
	return on, beside
}

func onlyVolumeIsOff(n *cluster.Node, v *volume, good []int) error {
	if !n.Running() {
		return errors.New("the node ended")
	}
	s, err := n.State()
	if err != nil {
		return err
	}
	for _, d := range s.Node.Dirs {
		if d.Online == (d.Path == v.path) {
			return fmt.Errorf("directory %s: online is %v", d.Path, d.Online)
		}
	}
	for _, p := range good {
		if at, err := s.Partition("orders", p); err != nil || !slices.Contains(at.ISR, 1) {
			return fmt.Errorf("partition %d beside the failure: %+v %w", p, at, err)
		}
	}
	return nil
}
