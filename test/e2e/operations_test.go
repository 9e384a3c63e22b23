package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/test/cluster"
)

// refuses runs a server that must end with an error, and returns its output.
func refuses(t *testing.T, want []string, args ...string) {
	t.Helper()
	done := make(chan struct{})
	var out string
	var err error
	go func() { defer close(done); out, err = cluster.TryRun(t, "", args...) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%v still runs after 30 s", args)
	}
	if err == nil {
		t.Fatalf("%v ended well\n%s", args, out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%v: no %q in\n%s", args, w, out)
		}
	}
	if strings.Contains(out, "goroutine ") {
		t.Errorf("%v panicked\n%s", args, out)
	}
}

// with writes a variant of a properties file.
func with(t *testing.T, file string, overrides ...string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "server.properties")
	if err := os.WriteFile(out, append(b, []byte(strings.Join(overrides, "\n")+"\n")...), 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

// Starts that can't go well end at once, and say why and what to do.
func TestStartsThatAreRefused(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 1})
	n := c.Node(1)
	p := cluster.FreePorts(t, 4)
	elsewhere := []string{
		fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", p[0], p[1]),
		fmt.Sprintf("advertised.listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", p[0], p[1]),
		fmt.Sprintf("controller.quorum.bootstrap.servers=127.0.0.1:%d", p[1]),
		fmt.Sprintf("tidemark.http.listener=127.0.0.1:%d", p[2]),
	}
	t.Run("second process on the directory", func(t *testing.T) {
		refuses(t, []string{n.Dir, "in use"}, "server", with(t, n.Properties, elsewhere...))
	})
	t.Run("directory of another node", func(t *testing.T) {
		refuses(t, []string{n.Dir, "node.id=1", "configured as 9"}, "server", with(t, n.Properties, append(elsewhere, "node.id=9")...))
	})
	// From here on with a directory of its own.
	dir := filepath.Join(t.TempDir(), "data")
	own := append(elsewhere, "log.dirs="+dir)
	t.Run("unformatted directory", func(t *testing.T) {
		file := with(t, n.Properties, own...)
		refuses(t, []string{dir, "not formatted", "tidemark storage format --config " + file + " --cluster-id", "--standalone"}, "server", file)
	})
	file := with(t, n.Properties, own...)
	cluster.Run(t, "", "storage", "format", "--config", file, "--cluster-id", c.ClusterID, "--standalone")
	t.Run("formatted twice", func(t *testing.T) {
		refuses(t, []string{"already formatted", "--ignore-formatted"}, "storage", "format", "--config", file, "--cluster-id", c.ClusterID, "--standalone")
	})
	t.Run("port in use", func(t *testing.T) {
		taken := fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", n.Client, p[1])
		refuses(t, []string{fmt.Sprint(n.Client), "PLAINTEXT", "address already in use"}, "server", with(t, file, "listeners="+taken, "advertised.listeners="+taken))
	})
	t.Run("HTTP port in use", func(t *testing.T) {
		refuses(t, []string{"tidemark.http.listener", fmt.Sprint(n.HTTP), "address already in use"}, "server", with(t, file, fmt.Sprintf("tidemark.http.listener=127.0.0.1:%d", n.HTTP)))
	})
	t.Run("unwritable directory", func(t *testing.T) {
		blocked := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(blocked, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		refuses(t, []string{blocked}, "storage", "format", "--config", with(t, file, "log.dirs="+filepath.Join(blocked, "data")), "--cluster-id", c.ClusterID, "--standalone")
	})
	t.Run("directory of another cluster", func(t *testing.T) {
		two := filepath.Join(t.TempDir(), "second")
		other := strings.TrimSpace(cluster.Run(t, "", "storage", "random-uuid"))
		cluster.Run(t, "", "storage", "format", "--config", with(t, file, "log.dirs="+two), "--cluster-id", other, "--standalone")
		refuses(t, []string{"belongs to cluster", other, c.ClusterID}, "server", with(t, file, "log.dirs="+dir+","+two))
	})
	t.Run("unknown and broken settings", func(t *testing.T) {
		refuses(t, []string{"node.id", "seven"}, "server", with(t, file, "node.id=seven"))
	})
	n.WaitReady() // none of this disturbed the node that runs
}

// A node of another cluster under the same addresses is refused, and told why.
func TestNodeOfAnotherClusterCannotJoin(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 2, Roles: func(id int) string {
		if id == 1 {
			return "broker,controller"
		}
		return "broker"
	}, Start: func(n *cluster.Node) bool { return n.ID == 1 }})
	n := c.Node(2)
	c.ClusterID = strings.TrimSpace(cluster.Run(t, "", "storage", "random-uuid"))
	n.Wipe() // and formatted for another cluster
	n.Start()
	cluster.Eventually(t, healed, func() error {
		if log := n.LogTail(1 << 20); !strings.Contains(log, "INCONSISTENT_CLUSTER_ID") {
			return fmt.Errorf("node 2 doesn't say INCONSISTENT_CLUSTER_ID\n%s", n.LogTail(20))
		}
		return nil
	})
	if s := stateOf(t, c.Node(1)); len(s.Brokers) != 1 {
		t.Errorf("node 1 knows the brokers %+v", s.Brokers)
	}
}

// CLUSTER_ID in the environment formats the directories, as in Apache's
// container image: a lone node, and three nodes with controller.quorum.voters.
func TestFormatsItselfWithClusterID(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			id := strings.TrimSpace(cluster.Run(t, "", "storage", "random-uuid"))
			c := cluster.New(t, cluster.Options{Nodes: nodes, Static: nodes > 1, Unformatted: true, Env: []string{"CLUSTER_ID=" + id}})
			cluster.CreateTopic(t, c.Bootstrap(), "orders", 1, int16(nodes), nil)
			w := cluster.StartWorkload(t, c.Bootstrap(), "orders", 1)
			w.WaitMore(100, healed)
			c.Node(1).Kill()
			c.Node(1).Start("CLUSTER_ID=" + id) // formatted already: nothing changes
			c.Node(1).WaitReady()
			cluster.WaitISR(t, c.Bootstrap(), "orders", nodes, healed)
			w.WaitMore(100, healed)
			w.Finish()
			c.Node(1).Kill()
			other := strings.TrimSpace(cluster.Run(t, "", "storage", "random-uuid"))
			c.Node(1).Start("CLUSTER_ID=" + other)
			if err := c.Node(1).Wait(30 * time.Second); err == nil || !strings.Contains(c.Node(1).LogTail(5), "belong to cluster "+id) {
				t.Errorf("with another CLUSTER_ID: %v\n%s", err, c.Node(1).LogTail(5))
			}
		})
	}
}
