package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"tidemark/bench/driver"
	"tidemark/bench/proc"
)

// node is one broker of a cluster.
type node struct {
	id                    int // from 1
	client, control, http int // ports
	dir, properties, log  string
	directory             string // directory id
	p                     *proc.Process
}

// cluster is three combined nodes of a system that speaks Kafka's protocol.
type cluster struct {
	sys     brokerSystem
	id      string
	dir     string
	nodes   []*node
	brokers driver.Brokers
}

// brokerSystem says how a node's files are prepared and what runs it.
type brokerSystem interface {
	format(c *cluster, n *node, voters string) *exec.Cmd
	command(n *node) (env []string, name string, args []string)
	settings(n *node) []string
}

const clusterSize = 3

// newCluster writes the configurations and formats the directories; nothing runs yet.
func newCluster(sys brokerSystem, dir string) (*cluster, error) {
	c := &cluster{sys: sys, id: uuid(), dir: dir}
	ports, err := proc.FreePorts(3 * clusterSize)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var voters, quorum []string
	for i := range clusterSize {
		n := &node{id: i + 1, client: ports[3*i], control: ports[3*i+1], http: ports[3*i+2], directory: uuid()}
		n.dir = filepath.Join(dir, fmt.Sprintf("node-%d", n.id))
		n.properties, n.log = n.dir+".properties", n.dir+".log"
		c.nodes = append(c.nodes, n)
		c.brokers = append(c.brokers, fmt.Sprintf("127.0.0.1:%d", n.client))
		quorum = append(quorum, fmt.Sprintf("127.0.0.1:%d", n.control))
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d:%s", n.id, n.control, n.directory))
	}
	for _, n := range c.nodes {
		lines := append(n.common(strings.Join(quorum, ",")), sys.settings(n)...)
		if err := os.WriteFile(n.properties, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			return nil, err
		}
		cmd := sys.format(c, n, strings.Join(voters, ","))
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("formatting node %d: %w\n%s", n.id, err, out)
		}
	}
	return c, nil
}

// common is the configuration that every system gets.
func (n *node) common(quorum string) []string {
	return []string{
		"process.roles=broker,controller", fmt.Sprintf("node.id=%d", n.id),
		"controller.quorum.bootstrap.servers=" + quorum, "controller.listener.names=CONTROLLER",
		fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", n.client, n.control),
		fmt.Sprintf("advertised.listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", n.client, n.control),
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name=PLAINTEXT", "log.dirs=" + n.dir, "auto.create.topics.enable=false",
		"offsets.topic.replication.factor=3", "offsets.topic.num.partitions=5", "group.initial.rebalance.delay.ms=0",
		"log.segment.delete.delay.ms=1000", // a scenario's data must be gone before the next one
	}
}

func uuid() string {
	for {
		var b [16]byte
		_, _ = rand.Read(b[:])
		if s := base64.RawURLEncoding.EncodeToString(b[:]); s[0] != '-' {
			return s
		}
	}
}

// start starts a node's process.
func (c *cluster) start(n *node) error {
	env, name, args := c.sys.command(n)
	var err error
	n.p, err = proc.Start(n.log, env, name, args...)
	return err
}

// stop ends all nodes.
func (c *cluster) stop() {
	for _, n := range c.nodes {
		if n.p != nil && n.p.Running() {
			n.p.Kill()
		}
	}
}

// revive starts the nodes that are down and waits until all are listed.
func (c *cluster) revive(ctx context.Context) error {
	for _, n := range c.nodes {
		if n.p == nil || !n.p.Running() {
			if err := c.start(n); err != nil {
				return err
			}
		}
	}
	for _, addr := range c.brokers {
		if _, err := (driver.Brokers{addr}).FirstMetadata(ctx, clusterSize, 90*time.Second); err != nil {
			return fmt.Errorf("broker %s: %w", addr, err)
		}
	}
	return nil
}

// pids are the processes that run.
func (c *cluster) pids() []int {
	var out []int
	for _, n := range c.nodes {
		if n.p != nil && n.p.Running() {
			out = append(out, n.p.Pid())
		}
	}
	return out
}

// topicBytes is the size of a topic's segments on a node.
func (n *node) topicBytes(topic string) (sum int64) {
	files, _ := filepath.Glob(filepath.Join(n.dir, topic+"-*", "*.log"))
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			sum += st.Size()
		}
	}
	return sum
}

// drop deletes a topic and waits until its files are gone from every disk, so
// that the next scenario has the memory; files that stay are only told of.
func (c *cluster) drop(ctx context.Context, topic string) error {
	if err := c.brokers.Delete(ctx, topic); err != nil {
		return err
	}
	for deadline := time.Now().Add(dropLimit); ; {
		left := c.leftovers(topic)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "%v after the deletion of %s there still is %s\n", dropLimit, topic, strings.Join(left, ", "))
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

const dropLimit = 60 * time.Second

// leftovers are a topic's directories, those waiting for deletion included. A
// directory that Apache Kafka has set aside as a stray stays for good.
func (c *cluster) leftovers(topic string) (left []string) {
	for _, n := range c.nodes {
		dirs, _ := filepath.Glob(filepath.Join(n.dir, topic+"-*"))
		for _, d := range dirs {
			if !strings.HasSuffix(d, "-stray") {
				left = append(left, d)
			}
		}
	}
	return left
}

// tails are the ends of the nodes' logs.
func (c *cluster) tails(lines int) string {
	var b strings.Builder
	for _, n := range c.nodes {
		if n.p != nil {
			fmt.Fprintf(&b, "--- node %d\n%s\n", n.id, n.p.Tail(lines))
		}
	}
	return b.String()
}
