package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark/internal/model"
	"tidemark/internal/node"
)

// devFlags are the flags of the dev command.
type devFlags struct {
	brokers, port, httpPort int
	dir                     string
	fresh, restart          bool
}

// devNode is one child process of a development cluster.
type devNode struct {
	id                    int
	client, control, http int // ports on 127.0.0.1
	dir, properties, log  string
	directory             model.DirectoryID
	rack                  string
	proc                  *child
}

func newDev(env Env) *cobra.Command {
	var f devFlags
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a small cluster on this machine: real processes, one rack each",
		Long: "Run N brokers that are also controllers as real processes on 127.0.0.1, racks a, b, c and so on.\n" +
			"Topics get three replicas and min.insync.replicas=2. Data is kept between runs; --fresh deletes it.\n" +
			"Ctrl-C stops all of them cleanly.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDev(cmd.Context(), env, f) },
	}
	c.Flags().IntVar(&f.brokers, "brokers", 3, "number of nodes, 1 to 9")
	c.Flags().StringVar(&f.dir, "dir", "", "where data, configuration and logs live (default: tidemark/dev in the user's data directory)")
	c.Flags().IntVar(&f.port, "port", 9092, "first client port; the nodes use this and every second one, controllers the ones between")
	c.Flags().IntVar(&f.httpPort, "http-port", 9644, "first HTTP port")
	c.Flags().BoolVar(&f.fresh, "fresh", false, "delete the data of an earlier run first")
	c.Flags().BoolVar(&f.restart, "restart", false, "start a node again when it dies")
	return c
}

func runDev(ctx context.Context, env Env, f devFlags) error {
	if f.brokers < 1 || f.brokers > 9 {
		return UsageError{fmt.Errorf("--brokers %d: want 1 to 9", f.brokers)}
	}
	if f.dir == "" {
		f.dir = devDir(env)
	}
	if f.fresh {
		if err := removeDev(f.dir); err != nil {
			return err
		}
	}
	nodes := f.nodes()
	if err := checkPorts(nodes, f); err != nil {
		return err
	}
	if err := prepareDev(nodes, f); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := n.start(env); err != nil {
			stopDev(env.Err, nodes)
			return err
		}
	}
	printDev(env.Out, nodes, f)
	err := watchDev(ctx, env, nodes, f.restart)
	return errors.Join(err, stopDev(env.Err, nodes))
}

func devDir(env Env) string {
	if d := lookupEnv(env.Environ, "XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "tidemark", "dev")
	}
	if h, err := os.UserHomeDir(); err == nil {
		return filepath.Join(h, ".local", "share", "tidemark", "dev")
	}
	return filepath.Join(os.TempDir(), "tidemark-dev")
}

// devMarker says that a directory is a development cluster's, so that --fresh
// never deletes anything else.
const devMarker = "tidemark-dev-cluster"

func removeDev(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, devMarker)); err != nil {
		return fmt.Errorf("--fresh: %s doesn't look like the data of tidemark dev (no file %s in it); not deleting it", dir, devMarker)
	}
	return os.RemoveAll(dir)
}

func (f devFlags) nodes() []*devNode {
	var out []*devNode
	for i := range f.brokers {
		dir := filepath.Join(f.dir, fmt.Sprintf("node-%d", i+1))
		out = append(out, &devNode{
			id: i + 1, client: f.port + 2*i, control: f.port + 1 + 2*i, http: f.httpPort + i,
			dir: dir, properties: filepath.Join(dir, "server.properties"), log: filepath.Join(dir, "server.log"),
			rack: string(rune('a' + i)),
		})
	}
	return out
}

func checkPorts(nodes []*devNode, f devFlags) error {
	check := func(port int, flag string, value int) error {
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			return fmt.Errorf("port %d can't be used (%w); move the ports with %s, now %d", port, errors.Unwrap(err), flag, value)
		}
		return l.Close()
	}
	for _, n := range nodes {
		if err := errors.Join(check(n.client, "--port", f.port), check(n.control, "--port", f.port), check(n.http, "--http-port", f.httpPort)); err != nil {
			return err
		}
	}
	return nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// prepareDev writes the configuration files, and formats what isn't formatted.
// All nodes are formatted in one go, so they all know each other's directory ids.
func prepareDev(nodes []*devNode, f devFlags) error {
	formatted, err := filepath.Glob(filepath.Join(f.dir, "node-*", "data", "meta.properties"))
	if err != nil {
		return err
	}
	if n := len(formatted); n > 0 && n != len(nodes) {
		return fmt.Errorf("%s holds a cluster of another size (%d nodes are formatted, --brokers is %d); use --fresh to start anew, or --brokers as before", f.dir, n, len(nodes))
	}
	for _, n := range nodes {
		if err := os.MkdirAll(n.dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(n.properties, []byte(n.config(nodes)), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(f.dir, devMarker), nil, 0o644); err != nil {
		return err
	}
	if len(formatted) > 0 {
		return nil
	}
	return formatDev(nodes)
}

func formatDev(nodes []*devNode) error {
	cluster := node.RandomUUID()
	var voters []string
	for _, n := range nodes {
		n.directory = node.RandomUUID()
		voters = append(voters, fmt.Sprintf("%d@%s:%s", n.id, loopback(n.control), n.directory))
	}
	for _, n := range nodes {
		cfg, err := loadConfig(Env{}, n.properties, nil, nil)
		if err != nil {
			return err
		}
		if _, err := node.Format(node.FormatOptions{Config: cfg, ClusterID: cluster.String(), InitialControllers: strings.Join(voters, ",")}); err != nil {
			return err
		}
	}
	return nil
}

func (n *devNode) config(all []*devNode) string {
	var bootstrap []string
	for _, o := range all {
		bootstrap = append(bootstrap, loopback(o.control))
	}
	rf, minISR := min(3, len(all)), min(2, len(all))
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by tidemark dev; changes are lost at its next start.")
	line("process.roles=broker,controller")
	line("node.id=%d", n.id)
	line("broker.rack=%s", n.rack)
	line("controller.quorum.bootstrap.servers=%s", strings.Join(bootstrap, ","))
	line("controller.listener.names=CONTROLLER")
	line("listeners=PLAINTEXT://%s,CONTROLLER://%s", loopback(n.client), loopback(n.control))
	line("advertised.listeners=PLAINTEXT://%s,CONTROLLER://%s", loopback(n.client), loopback(n.control))
	line("inter.broker.listener.name=PLAINTEXT")
	line("log.dirs=%s", filepath.Join(n.dir, "data"))
	line("default.replication.factor=%d", rf)
	line("min.insync.replicas=%d", minISR)
	line("num.partitions=3")
	line("offsets.topic.replication.factor=%d", rf)
	line("transaction.state.log.replication.factor=%d", rf)
	line("transaction.state.log.min.isr=%d", minISR)
	line("group.initial.rebalance.delay.ms=0")
	line("replica.selector.class=rack")
	line("tidemark.http.listener=%s", loopback(n.http))
	return b.String()
}

func printDev(w io.Writer, nodes []*devNode, f devFlags) {
	var bootstrap []string
	for _, n := range nodes {
		bootstrap = append(bootstrap, loopback(n.client))
	}
	b := strings.Join(bootstrap, ",")
	fmt.Fprintf(w, "bootstrap   %s\n", b)
	fmt.Fprintf(w, "page        http://%s/\n", loopback(nodes[0].http))
	fmt.Fprintf(w, "data        %s\n\n", f.dir)
	for _, n := range nodes {
		fmt.Fprintf(w, "node %d      pid %-8d rack %s  clients %s  controller %s  http %s\n", n.id, n.proc.pid(), n.rack, loopback(n.client), loopback(n.control), loopback(n.http))
	}
	fmt.Fprintf(w, "\nproduce     echo hello | tidemark produce greetings --bootstrap-server %s\n", bootstrap[0])
	fmt.Fprintf(w, "consume     tidemark consume greetings --from-beginning --bootstrap-server %s\n", bootstrap[0])
	fmt.Fprintf(w, "kcat        echo hello | kcat -b %s -t greetings -P && kcat -b %s -t greetings -C -e\n", bootstrap[0], bootstrap[0])
	if len(nodes) > 1 {
		fmt.Fprintf(w, "break it    kill -9 %d\n", nodes[0].proc.pid())
	}
	fmt.Fprintf(w, "\nCtrl-C stops everything cleanly; data stays for the next run.\n")
}

// watchDev returns when the user asks to stop, or when every node has died.
func watchDev(ctx context.Context, env Env, nodes []*devNode, restart bool) error {
	type exit struct {
		n   *devNode
		err error
	}
	exits := make(chan exit, len(nodes))
	watch := func(n *devNode) { p := n.proc; go func() { exits <- exit{n, p.wait()} }() }
	for _, n := range nodes {
		watch(n)
	}
	alive := len(nodes)
	for alive > 0 {
		select {
		case <-env.Signals:
			fmt.Fprintln(env.Err, "stopping")
			return nil
		case <-ctx.Done():
			return nil
		case e := <-exits:
			fmt.Fprintf(env.Err, "node %d (pid %d) ended: %v; its log: %s\n", e.n.id, e.n.proc.pid(), exitText(e.err), e.n.log)
			if !restart {
				alive--
				fmt.Fprintf(env.Err, "start it again with: %s server %s\n", env.Self, e.n.properties)
				continue
			}
			if e.n.proc.age() < time.Second {
				return fmt.Errorf("node %d ends as soon as it starts; see %s", e.n.id, e.n.log)
			}
			if err := e.n.start(env); err != nil {
				return err
			}
			fmt.Fprintf(env.Err, "node %d started again, pid %d\n", e.n.id, e.n.proc.pid())
			watch(e.n)
		}
	}
	return errors.New("every node has ended")
}

func exitText(err error) string {
	if err == nil {
		return "exit code 0"
	}
	return err.Error()
}
