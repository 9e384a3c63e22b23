package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"tidemark/internal/api"
	"tidemark/internal/broker"
	"tidemark/internal/config"
	"tidemark/internal/controller"
	"tidemark/internal/coordinator"
	"tidemark/internal/fetcher"
	"tidemark/internal/group"
	"tidemark/internal/lostfound"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/observer"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/purgatory"
	"tidemark/internal/session"
	"tidemark/internal/vfs"
)

// brokers is the broker role of a node: its replicas, its place in the cluster
// and what its listeners answer.
type brokers struct {
	cfg       *config.Config
	broker    *broker.Broker
	observer  *observer.Observer
	lifecycle *observer.Lifecycle
	fetchers  *fetcher.Fetchers
	sessions  *session.Cache
	handlers  *api.Handlers
	channels  []*observer.Channel
	remote    *observer.Remote // nil with the controller role
	forward   *observer.Channel
	ids       *observer.Channel // of producers
	groups    *coordinator.Coordinator
	acks      partition.AckStats // who completes acks=all, for the metrics

	metadataDir model.DirectoryID
	dead        chan error // a directory without which the process can't go on has failed
	waiting     []waiting
}

// openBrokers builds the role. local is this node's own metadata log, nil
// without the controller role.
func openBrokers(o Options, id identity, events *tally, listeners []peer.Listener, local observer.Source) (*brokers, error) {
	c := o.Config
	b := &brokers{cfg: c, metadataDir: id.dirs[c.MetadataDir], dead: make(chan error, 1)}
	if err := b.openObserver(o, id, events, local); err != nil {
		return nil, err
	}
	heartbeats, alter, assign := b.channel("heartbeat"), b.channel("alter-partition"), b.channel("directory-assignments")
	b.forward, b.ids = b.channel("forwarding"), b.channel("producer-ids")
	b.groups = coordinator.New(coordinator.Config{Groups: groupConfig(c), CommitTimeout: c.Groups.OffsetsCommitTimeout, RetentionCheck: c.Groups.OffsetsRetentionCheck,
		Image: b.observer.Image, Now: time.Now, Logger: o.Log.With("logger", "group.coordinator")})
	b.fetchers = fetcher.New(fetcher.Config{
		Self: c.NodeID, BrokerEpoch: func() model.BrokerEpoch { return b.lifecycle.Epoch() },
		Version: func() int16 { return peer.FetchVersion(b.observer.Image().MetadataVersion()) },
		Dial:    b.dialLeader, Events: events, Quota: followerQuota{b},
		Loops: c.Replication.Fetchers, MaxWait: c.Replication.FetchMaxWait, MinBytes: c.Replication.FetchMinBytes,
		MaxBytes: c.Replication.FetchResponseMaxBytes, PartitionMaxBytes: c.Replication.FetchMaxBytes,
		Backoff: c.Replication.FetchBackoff, Timeout: c.Replication.SocketTimeout,
	})
	attic, err := lostfound.Open(vfs.OS, filepath.Join(c.StateDir, lostfound.DirName), c.Storage.LostFoundMaxBytes)
	if err != nil {
		return nil, err
	}
	b.broker, err = broker.Open(broker.Config{
		Self: c.NodeID, Epoch: func() model.BrokerEpoch { return b.lifecycle.Epoch() }, FS: vfs.OS, Dirs: logDirs(c, id),
		Listener: c.InterBrokerListener, Defaults: c.Topics.Defaults,
		Fetchers: b.fetchers, Alter: alter, Assign: assign, Coordinators: b.groups, Events: events, Acks: &b.acks, Log: o.Log.With("logger", "broker"), Now: time.Now,
		DirFailed:  b.dirFailed,
		LagTimeMax: c.Replication.LagTimeMax, HighWatermarks: c.Replication.HighWatermarkCheckpoint,
		RecoveryPoints: c.Storage.RecoveryPointCheckpoint, Retention: c.Storage.RetentionCheck, InitialDelay: c.Storage.InitialTaskDelay,
		ProducerExpiry: c.Replication.ProducerIDExpiration, RecoveryThreads: c.Storage.RecoveryThreads, ReserveBytes: c.Storage.ReserveBytes, RestartBytes: c.Storage.RestartBytes, FetcherLoops: c.Replication.Fetchers,
		NoCleaner: !c.Storage.Cleaner, Cleaners: cmp.Or(c.Storage.Cleaners, -1), CleanerBackoff: c.Storage.CleanerBackoff,
		CleanerRate: c.Storage.CleanerRate, DedupeBytes: c.Storage.DedupeBytes,
		ScrubRate: c.Storage.ScrubRate, LostFound: attic,
		QuotaSlots: c.Replication.QuotaSlots, QuotaSlot: c.Replication.QuotaSlot,
	})
	if err != nil {
		return nil, err
	}
	b.lifecycle = observer.NewLifecycle(observer.LifecycleConfig{
		Registration: peer.Registration{Broker: c.NodeID, ClusterID: id.cluster, Incarnation: RandomUUID(), Listeners: listeners,
			Features: supportedFeatures(), Rack: c.Rack, PreviousEpoch: b.broker.PreviousEpoch()},
		Dirs: b.broker.DirIDs, Channel: heartbeats, MetadataOffset: b.observer.Applied, OthersAlive: b.broker.OthersAlive, Events: events,
		HeartbeatInterval: c.Lifecycle.Heartbeat, SessionTimeout: c.Lifecycle.Session, RegistrationTimeout: c.Lifecycle.RegistrationTimeout,
		DirFailureTimeout: c.Lifecycle.DirFailureTimeout,
	})
	b.observer.Subscribe(b.broker.Apply)
	b.observer.Subscribe(b.groups.MetadataChanged)
	b.observer.Subscribe(func(img *metadata.Image, _ *metadata.Delta) { b.lifecycle.Published(img) })
	b.register(id)
	return b, nil
}

func logDirs(c *config.Config, id identity) []broker.Dir {
	var out []broker.Dir
	for _, d := range c.LogDirs {
		out = append(out, broker.Dir{Path: d, ID: id.dirs[d]})
	}
	return out
}

func groupConfig(c *config.Config) group.Config {
	g := group.DefaultConfig()
	g.InitialRebalanceDelay, g.MinSession, g.MaxSession = c.Groups.InitialRebalanceDelay, c.Groups.MinSession, c.Groups.MaxSession
	g.MaxSize, g.OffsetsRetention, g.MetadataMax = c.Groups.MaxSize, c.Groups.OffsetsRetention, c.Groups.OffsetMetadataMax
	return g
}

func supportedFeatures() []peer.Feature {
	var f api.Features
	for name, r := range controller.SupportedFeatures() {
		f.Supported = append(f.Supported, api.SupportedFeature{Name: name, Min: r.Min, Max: r.Max})
	}
	sortFeatures(&f)
	var out []peer.Feature
	for _, s := range f.Supported {
		out = append(out, peer.Feature{Name: s.Name, Min: s.Min, Max: s.Max})
	}
	return out
}

func (b *brokers) openObserver(o Options, id identity, events *tally, local observer.Source) error {
	c := o.Config
	cfg := observer.Config{Node: c.NodeID, Directory: id.dirs[c.MetadataDir], ClusterID: id.cluster,
		ControllerListener: c.ControllerListenerNames[0], StaticVoters: map[model.BrokerID]string{}, Events: events, Log: o.Log.With("logger", "observer")}
	for _, v := range c.Voters {
		cfg.StaticVoters[model.BrokerID(v.ID)] = net.JoinHostPort(v.Host, strconv.Itoa(v.Port))
	}
	if local != nil {
		cfg.Source, cfg.Store = local, observer.NewMemoryStore()
	} else {
		store, saved, err := observer.OpenDiskStore(vfs.OS, filepath.Join(c.MetadataDir, metadataDirName), observer.DiskOptions{
			SnapshotBytes: c.Quorum.SnapshotBytes, SegmentBytes: c.Quorum.SegmentBytes, Log: o.Log.With("logger", "observer")})
		if err != nil {
			return err
		}
		b.remote = observer.NewRemote(observer.RemoteConfig{
			Servers:      c.BootstrapServers,
			VoterAddress: func(id model.BrokerID) (string, bool) { return b.observer.VoterAddress(id) },
			Timeout:      c.Quorum.RequestTimeout,
			Dial: func(ctx context.Context, addr string) (observer.MetadataPeer, error) {
				return peer.Dial(ctx, addr, peer.Options{ClientID: fmt.Sprintf("raft-client-%d", c.NodeID), RequestTimeout: c.Quorum.RequestTimeout})
			},
		})
		cfg.Source, cfg.Store, cfg.Saved = b.remote, store, saved
	}
	var err error
	b.observer, err = observer.New(cfg)
	return err
}

// channel makes a connection of its own to the active controller.
func (b *brokers) channel(string) *observer.Channel {
	ch := observer.NewChannel(observer.ChannelConfig{
		Resolve: func() (model.BrokerID, string, bool) { return b.observer.Controller() },
		Attempt: b.cfg.Lifecycle.Session / 2,
		Dial: func(ctx context.Context, addr string) (observer.Controller, error) {
			return peer.Dial(ctx, addr, peer.Options{ClientID: strconv.Itoa(int(b.cfg.NodeID)), RequestTimeout: b.cfg.Lifecycle.RequestTimeout})
		},
	})
	b.channels = append(b.channels, ch)
	return ch
}

// followerQuota lets fetchers, which exist before the broker, ask its quota.
type followerQuota struct{ b *brokers }

func (q followerQuota) Wait() time.Duration { return q.b.broker.FollowerQuota().Wait() }
func (q followerQuota) Record(bytes int)    { q.b.broker.FollowerQuota().Record(bytes) }

func (b *brokers) dialLeader(ctx context.Context, addr, clientID string) (fetcher.Leader, error) {
	return peer.Dial(ctx, addr, peer.Options{
		ClientID: clientID, RequestTimeout: b.cfg.Replication.SocketTimeout, Sequential: true,
	})
}

// maxWaiting bounds the requests of one kind that wait for an offset or a deadline.
const maxWaiting = 1 << 20

// waiting is a purgatory and Kafka's name for what waits there.
type waiting struct {
	*purgatory.Purgatory
	operation string
}

func (b *brokers) purgatory(operation string) *purgatory.Purgatory {
	p := purgatory.New(maxWaiting)
	b.waiting = append(b.waiting, waiting{p, operation})
	return p
}

// register adds everything that a broker's listener serves.
func (b *brokers) register(id identity) {
	c := b.cfg
	b.handlers = api.New(api.Options{})
	b.sessions = session.NewCache(c.Replication.SessionSlots)
	api.RegisterData(b.handlers, api.DataOptions{
		Self: c.NodeID, Partitions: b.broker, Produces: b.purgatory("Produce"), Fetches: b.purgatory("Fetch"), Deletes: b.purgatory("DeleteRecords"),
		Sessions: b.sessions, FetchMaxBytes: c.Replication.FetchMaxBytesClient, RackAware: c.Replication.Selector == "rack",
	})
	create := newCreator(b.forward, c)
	api.RegisterGroups(b.handlers, b.groups, b.broker, create)
	api.RegisterInitProducerID(b.handlers, coordinator.NewProducerIDs(c.NodeID, func() model.BrokerEpoch { return b.lifecycle.Epoch() }, b.ids))
	api.RegisterDescribeConfigs(b.handlers, api.ConfigOptions{Self: c.NodeID, View: b.broker, Static: staticSettings{c}, Defaults: controller.Defaults{Node: c.NodeID, Static: c.Topics.Defaults}})
	api.RegisterDescribeTopicPartitions(b.handlers, b.broker)
	api.RegisterDescribeLogDirs(b.handlers, c.NodeID, b.broker)
	api.RegisterDescribeProducers(b.handlers, b.broker)
	api.RegisterListConfigResources(b.handlers, b.broker)
	api.RegisterDescribeReplicas(b.handlers, b.broker, b.forward)
	api.RegisterAlterConfigs(b.handlers, c.NodeID, staticSettings{c}, b.forward)
	var auto api.TopicCreator
	if c.Topics.AutoCreate {
		auto = create
	}
	api.RegisterMetadata(b.handlers, c.NodeID, id.cluster, b.broker, auto)
	api.RegisterDescribeCluster(b.handlers, c.NodeID, id.cluster, b.broker, nil)
	api.RegisterForwarding(b.handlers, b.forward, servedByControllers)
	api.RegisterApiVersions(b.handlers, func() api.Features { return featuresOf(b.observer.Image()) })
}

// start begins to follow the metadata and to register.
func (b *brokers) start() {
	b.broker.Start()
	b.observer.Start()
	b.lifecycle.Start()
	go func() {
		<-b.observer.First()
		b.lifecycle.Ready()
	}()
}

// dirFailed reports a directory that went offline. Without any, or without the
// one that holds the metadata, the process ends as Kafka's does.
func (b *brokers) dirFailed(id model.DirectoryID, left int) {
	b.lifecycle.DirFailed(id)
	if left == 0 || id == b.metadataDir {
		select {
		case b.dead <- fmt.Errorf("log directory %s failed, %d left: %w", id, left, observer.ErrNoDirectoryLeft):
		default: // the process is ending already
		}
	}
}

// stop leaves the cluster, closes the logs and writes what a clean start needs.
func (b *brokers) stop(stopListeners func()) {
	if b.cfg.Lifecycle.ControlledShutdown {
		ctx, cancel := context.WithTimeout(context.Background(), controlledShutdownLimit)
		b.lifecycle.Shutdown(ctx)
		cancel()
	}
	b.lifecycle.Stop()
	stopListeners()
	for _, p := range b.waiting {
		p.Close()
	}
	b.groups.Close()
	b.broker.Close(true, b.lifecycle.Epoch())
	_ = b.observer.Close() // the metadata log is read again if it wasn't closed well
	if b.remote != nil {
		b.remote.Close()
	}
	for _, ch := range b.channels {
		ch.Close()
	}
}

// controlledShutdownLimit is how long a broker waits for its leaderships to be
// taken over, as in Kafka.
const controlledShutdownLimit = 5 * time.Minute

var errLifecycle = errors.New("the broker can't stay in the cluster")

// failed delivers the first error after which the role can't go on.
func (b *brokers) failed(report func(error)) {
	select {
	case err := <-b.lifecycle.Failed():
		report(fmt.Errorf("%w: %w", errLifecycle, err))
	case err := <-b.dead:
		report(err)
	case err := <-b.observer.Failed():
		report(fmt.Errorf("%w: %w", errLifecycle, err))
	}
}
