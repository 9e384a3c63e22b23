package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"tidemark/internal/admin"
	"tidemark/internal/config"
	"tidemark/internal/console"
	"tidemark/internal/controller"
	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/observer"
	"tidemark/internal/peer"
	"tidemark/internal/server"
	"tidemark/internal/vfs"
)

// Options say which node to start.
type Options struct {
	Config     *config.Config
	Log        *slog.Logger
	Version    string
	ConfigFile string // for the command that an error text names
	ClusterID  string // CLUSTER_ID of the environment: format what isn't formatted
}

// Node is a running node. Its methods are safe for concurrent use.
type Node struct {
	o        Options
	id       identity
	started  time.Time
	locks    *lockedDirs
	journal  *journal.Journal
	tally    *tally
	servers  []*server.Server // of brokers' listeners
	control  []*server.Server // of controllers' listeners
	ctl      *controllers     // nil without the role
	brk      *brokers         // nil without the role
	http     *http.Server
	httpAddr string
	metrics  *prometheus.Registry // of the process
	requests *server.Stats
	tracker  *tracker
	others   *leaders // nil without the broker role
	cancel   context.CancelFunc
	failures chan error
	stopOnce sync.Once
	open     atomic.Bool // the roles exist; the HTTP side answers before
}

// Start builds the node and begins to serve. It returns once the node takes
// part; Failed tells when it can't go on.
func Start(ctx context.Context, o Options) (*Node, error) {
	ctx, cancel := context.WithCancel(ctx)
	n := &Node{o: o, started: time.Now(), cancel: cancel, failures: make(chan error, 4), tracker: newTracker(), metrics: prometheus.NewRegistry(), requests: server.NewStats()}
	if err := n.start(ctx); err != nil {
		cancel()
		n.release()
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) (err error) {
	if err := n.identify(); err != nil {
		return err
	}
	c := n.o.Config
	if n.locks, err = lockDirs(c); err != nil {
		return err
	}
	if err := vfs.OS.MkdirAll(c.StateDir); err != nil {
		return err
	}
	if n.journal, err = journal.Open(journal.Options{Dir: c.StateDir, Node: c.NodeID, MaxBytes: c.JournalMaxBytes, Log: n.o.Log.With("logger", "state.change")}); err != nil {
		return err
	}
	n.tally = newTally(n.journal)
	if err := n.listenHTTP(); err != nil {
		return err
	}
	if err := n.openRoles(); err != nil {
		return err
	}
	n.open.Store(true)
	n.o.Log.Info("started", "node", c.NodeID, "cluster", n.id.cluster, "roles", strings.Join(roles(c), ","), "version", n.o.Version)
	return n.serve(ctx)
}

func roles(c *config.Config) []string {
	var out []string
	if c.Broker {
		out = append(out, "broker")
	}
	if c.Controller {
		out = append(out, "controller")
	}
	return out
}

// identify reads whose directories these are, formatting them first if the
// environment names the cluster. Formatting by itself never makes a node a
// voter of a quorum that may exist: only a lone controller founds one.
func (n *Node) identify() (err error) {
	c := n.o.Config
	n.id, err = readIdentity(c, n.o.ConfigFile)
	if errors.Is(err, ErrUnformatted) && n.o.ClusterID != "" {
		alone := c.Controller && len(c.Voters) == 0 && len(c.BootstrapServers) == 1 && n.ownController(c.BootstrapServers[0])
		lines, ferr := Format(FormatOptions{Config: c, ClusterID: n.o.ClusterID, IgnoreFormatted: true, Standalone: alone,
			NoInitialControllers: c.Controller && len(c.Voters) == 0 && !alone})
		for _, l := range lines {
			n.o.Log.Info(l)
		}
		if ferr != nil {
			return ferr
		}
		n.id, err = readIdentity(c, n.o.ConfigFile)
	}
	if err == nil && n.o.ClusterID != "" && n.o.ClusterID != n.id.cluster {
		return fmt.Errorf("CLUSTER_ID is %s, but the log directories belong to cluster %s", n.o.ClusterID, n.id.cluster)
	}
	return err
}

func (n *Node) ownController(addr string) bool {
	_, port, _ := net.SplitHostPort(addr)
	l, ok := n.o.Config.ListenerFor(n.o.Config.ControllerListenerNames[0])
	return ok && port == fmt.Sprint(l.AdvertisedPort)
}

// openRoles builds the roles and binds every socket; nothing is served yet.
func (n *Node) openRoles() error {
	c := n.o.Config
	var local observer.Source
	if c.Controller {
		self, err := n.controllerEndpoint()
		if err != nil {
			return err
		}
		if n.ctl, err = openControllers(n.o, n.id, self, n.evidence); err != nil {
			return err
		}
		local = localLog{n.ctl.quorum}
		if n.control, err = n.listen(func(l config.Listener) bool { return l.Controller }, n.ctl.handlers); err != nil {
			return err
		}
	}
	if !c.Broker {
		return nil
	}
	var err error
	if n.brk, err = openBrokers(n.o, n.id, n.tally, n.advertised(false), local); err != nil {
		return err
	}
	n.brk.observer.Subscribe(n.tracker.saw)
	n.others = newLeaders(c.InterBrokerListener, fmt.Sprintf("broker-%d-state", c.NodeID))
	n.servers, err = n.listen(func(l config.Listener) bool { return !l.Controller }, n.brk.handlers)
	return err
}

func (n *Node) controllerEndpoint() (metadata.Endpoint, error) {
	c := n.o.Config
	l, ok := c.ListenerFor(c.ControllerListenerNames[0])
	if !ok {
		return metadata.Endpoint{}, fmt.Errorf("listeners has no %s, the controllers' listener", c.ControllerListenerNames[0])
	}
	return metadata.Endpoint{Name: l.Name, Host: l.AdvertisedHost, Port: uint16(l.AdvertisedPort)}, nil
}

// advertised are the endpoints that others are told, of brokers' or of
// controllers' listeners.
func (n *Node) advertised(controller bool) []peer.Listener {
	var out []peer.Listener
	for _, l := range n.o.Config.Listeners {
		if l.Controller == controller {
			out = append(out, peer.Listener{Name: l.Name, Host: l.AdvertisedHost, Port: uint16(l.AdvertisedPort)})
		}
	}
	// The inter-broker listener comes first: controllers probe the first endpoint.
	slices.SortStableFunc(out, func(a, b peer.Listener) int {
		return boolRank(b.Name == n.o.Config.InterBrokerListener) - boolRank(a.Name == n.o.Config.InterBrokerListener)
	})
	return out
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (n *Node) listen(which func(config.Listener) bool, h server.Handler) ([]*server.Server, error) {
	var out []*server.Server
	net := n.o.Config.Network
	for _, l := range n.o.Config.Listeners {
		if !which(l) {
			continue
		}
		s, err := server.Listen(server.Config{Listener: l.Name, Address: l.Bind(), MaxFrame: net.MaxFrame, MaxConns: net.MaxConnections,
			IdleTimeout: net.MaxIdle, SendBuffer: net.SendBuffer, ReceiveBuffer: net.ReceiveBuffer, Stats: n.requests, Logger: n.o.Log.With("logger", "server")}, h)
		if err != nil {
			closeServers(out)
			return nil, fmt.Errorf("listener %s: %w (listeners in the configuration moves it)", l.Name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (n *Node) serve(ctx context.Context) error {
	for _, s := range n.control {
		s.Start()
	}
	if n.ctl != nil {
		n.ctl.start()
		go n.watchQuorum()
		r := peer.ControllerRegistration{Controller: n.o.Config.NodeID, Incarnation: RandomUUID(), Listeners: n.advertised(true), Features: supportedFeatures()}
		go announce(ctx, n.ctl.quorum.Image, r, n.registerController)
	}
	if n.brk == nil {
		return nil
	}
	n.brk.start()
	go n.brk.failed(n.fail)
	go func() {
		select {
		case <-n.brk.lifecycle.Unfenced():
		case <-ctx.Done():
			return
		}
		for _, s := range n.servers {
			s.Start()
		}
		n.o.Log.Info("serving clients", "broker", n.o.Config.NodeID, "epoch", n.brk.lifecycle.Epoch(), "after", time.Since(n.started).Round(time.Millisecond))
	}()
	return nil
}

// registerController sends this controller's registration to the active one.
func (n *Node) registerController(ctx context.Context, r peer.ControllerRegistration) error {
	v := n.ctl.quorum.View()
	for _, vt := range n.ctl.quorum.Image().Voters {
		if vt.ID != v.Leader || len(vt.Endpoints) == 0 {
			continue
		}
		conn, err := peer.Dial(ctx, address(vt.Endpoints[0]), peer.Options{ClientID: fmt.Sprint(n.o.Config.NodeID)})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.RegisterController(ctx, r)
		return err
	}
	return quorumUnknown
}

var quorumUnknown = errors.New("no active controller is known")

func (n *Node) watchQuorum() {
	<-n.ctl.quorum.Done()
	if err := n.ctl.quorum.Err(); err != nil {
		n.fail(fmt.Errorf("the metadata quorum's log: %w", err))
	}
}

func (n *Node) fail(err error) {
	select {
	case n.failures <- err:
	default: // one failure is enough to end the process
	}
}

// Failed delivers an error after which the process should end.
func (n *Node) Failed() <-chan error { return n.failures }

// HTTPAddr is where the HTTP side listens, "" if it is off.
func (n *Node) HTTPAddr() string { return n.httpAddr }

// evidence turns the controller's decisions into journal events.
func (n *Node) evidence(list []controller.Evidence) {
	for _, e := range list {
		if e.Kind == controller.BrokerFenced {
			n.tally.fenced()
		}
		n.tally.Emit(eventOf(e))
	}
}

// Stop leaves the cluster in order: the broker part first, while the controller
// part serves on. It returns when everything is closed.
func (n *Node) Stop() error {
	n.stopOnce.Do(func() {
		n.o.Log.Info("stopping", "node", n.o.Config.NodeID)
		if n.brk != nil {
			n.brk.stop(func() { closeServers(n.servers) })
		}
		if n.ctl != nil {
			n.ctl.stop(n.o.Log)
		}
		closeServers(n.control)
		n.cancel()
		n.release()
		n.o.Log.Info("stopped", "node", n.o.Config.NodeID)
	})
	return nil
}

// Kill ends the node without closing anything: the next start recovers.
func (n *Node) Kill() {
	n.cancel()
	n.release()
}

func (n *Node) release() {
	if n.http != nil {
		_ = n.http.Close()
	}
	if n.others != nil {
		n.others.close()
	}
	if n.journal != nil {
		_ = n.journal.Close()
	}
	if n.locks != nil {
		_ = n.locks.Close()
	}
}

// drainLimit is how long answers that are ready may take to leave at a stop.
const drainLimit = time.Second

func closeServers(list []*server.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	for _, s := range list {
		_ = s.Shutdown(ctx) // what could not be sent in time is lost with the connection
	}
}

func (n *Node) listenHTTP() error {
	h := n.o.Config.HTTP
	if h.Off {
		return nil
	}
	l, moved, err := admin.Listen(h.Address, h.Configured)
	if err != nil {
		return fmt.Errorf("tidemark.http.listener=%s: %w", h.Address, err)
	}
	n.httpAddr = l.Addr().String()
	if moved {
		n.o.Log.Warn("the default HTTP port is in use, so another one is", "address", n.httpAddr)
	}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.http = admin.Server(admin.NewHandler(n, n.metrics, console.Handler()))
	go func() {
		if err := n.http.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			n.o.Log.Error("HTTP", "err", err)
		}
	}()
	return nil
}

// metadataPath is the directory of the metadata log.
func metadataPath(c *config.Config) string { return filepath.Join(c.MetadataDir, metadataDirName) }

// image is the newest metadata that this node knows.
func (n *Node) image() *metadata.Image {
	switch {
	case !n.open.Load():
	case n.brk != nil:
		return n.brk.observer.Image()
	case n.ctl != nil:
		return n.ctl.quorum.Image()
	}
	return metadata.Empty()
}
