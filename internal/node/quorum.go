package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"tidemark/internal/active"
	"tidemark/internal/api"
	"tidemark/internal/commitlog"
	"tidemark/internal/config"
	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/quorum"
	"tidemark/internal/vfs"
)

// controllers is the controller role of a node: its vote in the quorum, and the
// active controller while it leads.
type controllers struct {
	quorum   *quorum.Node
	active   *active.Controller
	links    *quorum.Links
	handlers *api.Handlers
	conns    *api.BrokerConns
}

// openControllers recovers the quorum's log; nothing is sent before start.
func openControllers(o Options, id identity, self metadata.Endpoint, evidence func([]controller.Evidence)) (*controllers, error) {
	c := o.Config
	boot, ok, err := readCheckpoint(filepath.Join(c.MetadataDir, bootstrapCheckpoint))
	if err != nil {
		return nil, err
	}
	features := controller.DefaultFeatures()
	if ok {
		features = boot.Features
	}
	voters, err := configuredVoters(c)
	if err != nil {
		return nil, err
	}
	ctl := &controllers{}
	opts := peer.Options{ClientID: fmt.Sprintf("raft-client-%d", c.NodeID), RequestTimeout: c.Quorum.RequestTimeout}
	ctl.links = quorum.NewLinks(opts)
	logConfig := commitlog.DefaultConfig()
	logConfig.SegmentBytes = c.Quorum.SegmentBytes
	ctl.quorum, err = quorum.Open(quorum.Config{
		NodeID: c.NodeID, DirectoryID: id.dirs[c.MetadataDir], ClusterID: id.cluster,
		Dir: filepath.Join(c.MetadataDir, metadataDirName), FS: vfs.OS, Voters: voters,
		Transport: ctl.links, Endpoint: self,
		SnapshotBytes: c.Quorum.SnapshotBytes, SnapshotInterval: c.Quorum.SnapshotInterval,
		RetentionBytes: c.Quorum.RetentionBytes, Retention: c.Quorum.Retention,
		LogConfig: logConfig, Log: o.Log.With("logger", "quorum"),
	})
	if err != nil {
		return nil, err
	}
	ctl.links.Bind(ctl.quorum)
	ctl.active = active.New(active.Config{
		Core: coreConfig(c, id, features), Quorum: ctl.quorum, Evidence: evidence,
		Probe: probe(c, ctl.links), Log: o.Log.With("logger", "controller"),
	})
	ctl.conns = api.NewBrokerConns(ctl.active.BrokerDisconnected)
	ctl.handlers = api.New(api.Options{Controller: true, Admit: ctl.conns.Admit})
	ctl.register(c, id)
	return ctl, nil
}

func coreConfig(c *config.Config, id identity, features map[string]int16) controller.Config {
	return controller.Config{
		NodeID: c.NodeID, ClusterID: id.cluster, SessionTimeout: c.Lifecycle.Session,
		NumPartitions: c.Topics.Partitions, ReplicationFactor: c.Topics.ReplicationFactor, DeleteTopics: c.Topics.DeleteEnabled,
		AutoRebalance: c.Quorum.LeaderRebalance, RebalanceInterval: c.Quorum.LeaderRebalanceInterval,
		UncleanInterval: c.Quorum.UncleanInterval, NoOpInterval: c.Quorum.IdleInterval,
		Static: c.Topics.Defaults, Features: features, Supported: controller.SupportedFeatures(),
	}
}

// register adds everything that a controller's listener serves.
func (ctl *controllers) register(c *config.Config, id identity) {
	h := ctl.handlers
	api.RegisterController(h, ctl.active)
	api.RegisterFetchMetadata(h, ctl.quorum)
	api.RegisterFetchSnapshot(h, ctl.quorum)
	api.RegisterDescribeQuorum(h, ctl.quorum)
	api.RegisterRaftMessage(h, ctl.quorum)
	api.RegisterEnvelope(h)
	api.RegisterDescribeConfigs(h, api.ConfigOptions{Self: c.NodeID, View: quorumView{ctl.quorum}, Static: staticSettings{c}, Defaults: controller.Defaults{Node: c.NodeID, Static: c.Topics.Defaults}})
	api.RegisterDescribeCluster(h, c.NodeID, id.cluster, quorumView{ctl.quorum}, func() model.BrokerID { return ctl.quorum.View().Leader })
	api.RegisterApiVersions(h, func() api.Features { return featuresOf(ctl.quorum.Image()) })
}

// quorumView shows the applied metadata of this controller.
type quorumView struct{ n *quorum.Node }

// Image is the cluster's state at the end of the applied log.
func (v quorumView) Image() *metadata.Image { return v.n.Image() }

// configuredVoters are the controllers that the configuration or the format
// checkpoint names. A node formatted without voters only knows addresses.
func configuredVoters(c *config.Config) ([]quorum.Voter, error) {
	img, ok, err := readCheckpoint(filepath.Join(c.MetadataDir, metadataDirName, zeroCheckpoint))
	if err != nil {
		return nil, err
	}
	var out []quorum.Voter
	name := c.ControllerListenerNames[0]
	switch {
	case ok:
		for _, v := range img.Voters {
			out = append(out, quorum.Voter{ID: v.ID, Dir: v.Dir, Endpoint: v.Endpoints[0]})
		}
	case len(c.Voters) > 0:
		for _, v := range c.Voters {
			out = append(out, quorum.Voter{ID: model.BrokerID(v.ID), Endpoint: metadata.Endpoint{Name: name, Host: v.Host, Port: uint16(v.Port)}})
		}
	default:
		for _, s := range c.BootstrapServers {
			e, err := endpointOf(name, s)
			if err != nil {
				return nil, err
			}
			out = append(out, quorum.Voter{ID: model.NoBroker, Endpoint: e})
		}
	}
	return out, nil
}

func endpointOf(name, addr string) (metadata.Endpoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return metadata.Endpoint{}, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	return metadata.Endpoint{Name: name, Host: host, Port: uint16(p)}, err
}

func address(e metadata.Endpoint) string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// probe looks whether a broker's process still listens; nil turns probing off.
func probe(c *config.Config, links *quorum.Links) func(context.Context, metadata.Endpoint) error {
	if !c.FastFailureDetection {
		return nil
	}
	return links.ProbeEndpoint
}

// start begins to take part; the controllers' listener has to be open by then.
func (ctl *controllers) start() {
	ctl.active.Start()
	ctl.quorum.Start()
}

func (ctl *controllers) stop(log *slog.Logger) {
	ctl.active.Close()
	if err := ctl.quorum.Close(); err != nil {
		log.Error("closing the quorum's log", "err", err)
	}
	ctl.links.Close()
}

// localLog lets this node's observer follow its own materialised log.
type localLog struct{ n *quorum.Node }

// Fetch implements observer.Source.
func (l localLog) Fetch(ctx context.Context, f peer.MetadataFetch) (peer.MetadataFetchResult, error) {
	r := l.n.Fetch(ctx, quorum.MetadataFetch{ClusterID: f.ClusterID, Replica: f.Replica, Dir: f.Directory, Offset: f.Offset,
		LastEpoch: f.LastEpoch, CurrentEpoch: f.CurrentEpoch, MaxWait: f.MaxWait, MaxBytes: int(f.MaxBytes), Local: true})
	if r.Err != nil {
		return peer.MetadataFetchResult{}, r.Err
	}
	out := peer.MetadataFetchResult{Leader: leaderOf(r.Leader, r.Epoch, r.Endpoint), Records: r.Records, HighWatermark: r.HighWatermark, LogStart: r.LogStart}
	if r.Diverging != nil {
		out.Diverging = &peer.EpochOffset{Epoch: r.Diverging.Epoch, End: r.Diverging.End}
	}
	if r.Snapshot != nil {
		out.Snapshot = &peer.SnapshotID{End: r.Snapshot.EndOffset, Epoch: r.Snapshot.Epoch}
	}
	return out, nil
}

// FetchSnapshot implements observer.Source.
func (l localLog) FetchSnapshot(_ context.Context, f peer.SnapshotFetch) (peer.SnapshotChunk, error) {
	r := l.n.FetchSnapshot(quorum.SnapshotFetch{ClusterID: f.ClusterID, CurrentEpoch: f.CurrentEpoch, Position: f.Position, MaxBytes: int(f.MaxBytes),
		ID: quorum.SnapshotID{EndOffset: f.Snapshot.End, Epoch: f.Snapshot.Epoch}, Local: true})
	if errors.Is(r.Err, quorum.ErrSnapshotNotFound) {
		return peer.SnapshotChunk{Code: peer.CodeSnapshotNotFound}, nil
	}
	return peer.SnapshotChunk{Leader: leaderOf(r.Leader, r.Epoch, r.Endpoint), Snapshot: f.Snapshot, Size: r.Size, Position: f.Position, Bytes: r.Chunk}, r.Err
}

func leaderOf(id model.BrokerID, epoch model.LeaderEpoch, e metadata.Endpoint) peer.QuorumLeader {
	l := peer.QuorumLeader{ID: id, Epoch: epoch}
	if e.Host != "" {
		l.Address = address(e)
	}
	return l
}

// announce registers this controller with the active one, again whenever the
// metadata lacks this incarnation: DescribeCluster on the controllers' listener
// answers from these registrations (KIP-919).
func announce(ctx context.Context, image func() *metadata.Image, r peer.ControllerRegistration, send func(context.Context, peer.ControllerRegistration) error) {
	const retry = time.Second
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for {
		if c := image().Controllers[r.Controller]; c == nil || c.Incarnation != r.Incarnation {
			attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
			_ = send(attempt, r) // the next tick looks again
			cancel()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// featuresOf are the levels that this build supports and that the cluster runs.
func featuresOf(img *metadata.Image) api.Features {
	f := api.Features{Epoch: int64(img.Offset)}
	for name, r := range controller.SupportedFeatures() {
		f.Supported = append(f.Supported, api.SupportedFeature{Name: name, Min: r.Min, Max: r.Max})
	}
	for name, level := range img.Features {
		f.Finalized = append(f.Finalized, api.FinalizedFeature{Name: name, Level: level})
	}
	sortFeatures(&f)
	return f
}
