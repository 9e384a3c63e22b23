package quorum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// network carries frames between the nodes of one test. Links can be cut, and a
// stopped node refuses connections, as a killed process does.
type network struct {
	mu    sync.Mutex
	nodes map[model.BrokerID]*Node
	cut   map[[2]model.BrokerID]bool
	dying map[model.BrokerID]time.Time // its listener still accepts until then
}

type link struct {
	net  *network
	from model.BrokerID
}

var errCut = errors.New("no answer")

func (l link) peer(to Peer) (*Node, error) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if to.Node == model.NoBroker { // only the address is known
		to.Node = model.BrokerID(to.Endpoint.Port - 9000)
	}
	if l.net.cut[[2]model.BrokerID{l.from, to.Node}] {
		return nil, errCut
	}
	n := l.net.nodes[to.Node]
	if n == nil {
		return nil, ErrRefused
	}
	return n, nil
}

// lingers is whether the listener of a killed process still accepts.
func (l link) lingers(to Peer) bool {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	return time.Now().Before(l.net.dying[to.Node])
}

func (l link) Call(ctx context.Context, to Peer, frame []byte) ([]byte, error) {
	n, err := l.peer(to)
	if errors.Is(err, errCut) { // silence
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	<-time.After(time.Millisecond)
	out, err := n.Handle(ctx, bytes.Clone(frame))
	if _, cut := l.peer(to); cut != nil {
		return nil, cut
	}
	return out, err
}

func (l link) Probe(ctx context.Context, to Peer) error {
	_, err := l.peer(to)
	if errors.Is(err, errCut) {
		<-ctx.Done()
		return ctx.Err()
	}
	if l.lingers(to) {
		return nil
	}
	return err
}

// cluster is a set of nodes over a network and disks that survive restarts.
type cluster struct {
	t      *testing.T
	net    *network
	voters []Voter
	disks  map[model.BrokerID]*vfs.Mem
	dirs   map[model.BrokerID]model.DirectoryID
	tune   func(*Config)
}

func newCluster(t *testing.T, size int) *cluster {
	c := &cluster{
		t: t, net: &network{nodes: map[model.BrokerID]*Node{}, cut: map[[2]model.BrokerID]bool{},
			dying: map[model.BrokerID]time.Time{}},
		disks: map[model.BrokerID]*vfs.Mem{}, dirs: map[model.BrokerID]model.DirectoryID{},
		tune: func(*Config) {},
	}
	for i := range size {
		id := model.BrokerID(i + 1)
		c.voters = append(c.voters, Voter{ID: id, Endpoint: endpoint(id)})
		c.format(id, byte(i+1))
	}
	return c
}

func endpoint(id model.BrokerID) metadata.Endpoint {
	return metadata.Endpoint{Name: "CONTROLLER", Host: "localhost", Port: uint16(9000 + id)}
}

// format gives a node an empty disk and a new directory id.
func (c *cluster) format(id model.BrokerID, dir byte) {
	c.disks[id] = vfs.NewMem()
	if err := errors.Join(c.disks[id].MkdirAll("/meta"), c.disks[id].SyncDir("/")); err != nil {
		c.t.Fatal(err)
	}
	c.dirs[id] = model.DirectoryID{0: 7, 14: dir, 15: byte(id)}
}

func (c *cluster) start(ids ...model.BrokerID) {
	for _, id := range ids {
		n := c.open(id)
		c.net.mu.Lock()
		c.net.nodes[id] = n
		c.net.mu.Unlock()
		n.Start()
	}
}

func (c *cluster) open(id model.BrokerID) *Node {
	c.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("QUORUM_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("on", id)
	}
	cfg := Config{
		NodeID: id, DirectoryID: c.dirs[id], ClusterID: "test", Dir: "/meta/__cluster_metadata-0",
		FS: c.disks[id], Voters: c.voters, Transport: link{c.net, id}, Endpoint: endpoint(id), Log: log,
	}
	c.tune(&cfg)
	n, err := Open(cfg)
	if err != nil {
		c.t.Fatalf("open %d: %v", id, err)
	}
	return n
}

// stop ends a node; clean stops hand leadership over first. Others notice the
// broken connection.
func (c *cluster) stop(id model.BrokerID) { c.end(id, true) }

// kill ends a node as kill -9 does: what it had written is what a crash leaves.
func (c *cluster) kill(id model.BrokerID) { c.end(id, false) }

func (c *cluster) end(id model.BrokerID, clean bool) {
	c.net.mu.Lock()
	n := c.net.nodes[id]
	if !clean {
		c.disks[id] = c.disks[id].CrashClone(50, uint64(time.Now().UnixNano()))
		delete(c.net.nodes, id)
		c.net.dying[id] = time.Now().Add(10 * time.Millisecond)
	}
	c.net.mu.Unlock()
	if clean {
		_ = n.Close()
		c.net.mu.Lock()
		delete(c.net.nodes, id)
		c.net.mu.Unlock()
	}
	for _, o := range c.up() {
		o.PeerBroken(id)
	}
	if !clean {
		n.cancel()
		n.wg.Wait()
	}
}

func (c *cluster) up() []*Node {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	var out []*Node
	for _, n := range c.net.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *Node) int { return int(a.cfg.NodeID - b.cfg.NodeID) })
	return out
}

func (c *cluster) node(id model.BrokerID) *Node {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.net.nodes[id]
}

// isolate cuts all links of a node; heal mends all.
func (c *cluster) isolate(id model.BrokerID) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for _, v := range c.voters {
		c.net.cut[[2]model.BrokerID{id, v.ID}] = true
		c.net.cut[[2]model.BrokerID{v.ID, id}] = true
	}
}

func (c *cluster) heal() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	clear(c.net.cut)
}

// eventually waits, in the bubble's time.
func (c *cluster) eventually(what string, limit time.Duration, ok func() bool) time.Duration {
	c.t.Helper()
	begin := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(begin) > limit {
			for _, n := range c.up() {
				p, _ := n.board.look()
				c.t.Logf("node %d: %+v conf %+v form %+v err %v", n.cfg.NodeID, n.View(), p.conf, n.wal.state().form, n.Err())
			}
			c.t.Fatalf("%s: not within %v", what, limit)
		}
		<-tick.C
		synctest.Wait()
	}
	return time.Since(begin)
}

// leader waits until somebody serves and everyone who is up agrees.
func (c *cluster) leader() *Node {
	c.t.Helper()
	var l *Node
	c.eventually("a leader that serves", 20*time.Second, func() bool { l = c.serving(); return l != nil })
	return l
}

func (c *cluster) serving() *Node {
	for _, n := range c.up() {
		if n.View().Ready {
			return n
		}
	}
	return nil
}

func (c *cluster) propose(n *Node, name string) model.Offset {
	c.t.Helper()
	base, err := n.Propose(context.Background(), n.View().Epoch, batch(name))
	if err != nil {
		c.t.Fatalf("propose %s on %d: %v", name, n.cfg.NodeID, err)
	}
	return base
}

func batch(name string) []byte {
	return metadata.DataBatch([]metadata.Record{
		&metadata.ConfigRecord{Type: metadata.TopicResource, Resource: "t", Name: "k", Value: &name},
	}, 25, time.Now().UnixMilli())
}

// agree waits until every node has applied the same bytes.
func (c *cluster) agree() {
	c.t.Helper()
	c.eventually("equal logs", 20*time.Second, func() bool {
		l := c.serving() // followers may learn only from the next leader what was committed
		for _, n := range c.up() {
			if l == nil || n.View().LogEnd != l.View().LogEnd {
				return false
			}
		}
		return true
	})
	nodes := c.up()
	for _, n := range nodes[1:] {
		start := max(n.View().LogStart, nodes[0].View().LogStart)
		if !bytes.Equal(contents(c.t, n, start), contents(c.t, nodes[0], start)) {
			c.t.Fatalf("logs of %d and %d differ from offset %d", n.cfg.NodeID, nodes[0].cfg.NodeID, start)
		}
	}
}

func contents(t *testing.T, n *Node, from model.Offset) []byte {
	t.Helper()
	var out []byte
	for from < n.View().LogEnd {
		b, err := n.ml.read(from, n.View().LogEnd, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		bs, err := splitBatches(b)
		if err != nil {
			t.Fatal(err)
		}
		out, from = append(out, b...), bs[len(bs)-1].NextOffset()
	}
	return out
}

func (c *cluster) close() {
	for _, n := range c.up() {
		_ = n.Close()
	}
}

func bubble(t *testing.T, size int, fn func(c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, size)
		defer c.close()
		fn(c)
	})
}

func name(i int) string { return fmt.Sprintf("value-%d", i) }
