package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tidemark/internal/model"
)

// Config is everything that one node needs to know before it starts.
type Config struct {
	NodeID                  model.BrokerID
	Broker, Controller      bool // process.roles
	Listeners               []Listener
	ControllerListenerNames []string // upper case; the first one names controller endpoints
	InterBrokerListener     string   // "" on a node that is only a controller
	Voters                  []QuorumVoter
	BootstrapServers        []string // host:port of controllers
	LogDirs                 []string
	MetadataDir             string // where __cluster_metadata-0 lives
	StateDir                string // own files: journal, retained bytes; never inside a log dir
	Rack                    string
	HTTP                    HTTP
	FastFailureDetection    bool  // tidemark.fast.failure.detection
	JournalMaxBytes         int64 // tidemark.journal.max.bytes

	Replication Replication
	Lifecycle   Lifecycle
	Quorum      Quorum
	Storage     Storage
	Topics      Topics
	Groups      Groups
	Network     Network

	Settings map[string]Setting // as given, for DescribeConfigs
	Warnings []string           // one line each, to be logged at every start
}

// HTTP is tidemark.http.listener.
type HTTP struct {
	Off        bool
	Address    string // host:port
	Configured bool   // a busy configured address is an error, a busy default moves on
}

// Replication holds the settings of leaders and followers.
type Replication struct {
	LagTimeMax              time.Duration // replica.lag.time.max.ms
	Fetchers                int           // num.replica.fetchers
	FetchMinBytes           int32
	FetchMaxWait            time.Duration
	FetchMaxBytes           int32
	FetchResponseMaxBytes   int32
	FetchBackoff            time.Duration
	SocketTimeout           time.Duration
	HighWatermarkCheckpoint time.Duration
	Selector                string // replica.selector.class: "", "rack", "leader"
	FetchMaxBytesClient     int32  // fetch.max.bytes
	SessionSlots            int    // max.incremental.fetch.session.cache.slots
	ProducerIDExpiration    time.Duration
	ProducerIDCheck         time.Duration
	QuotaSlots              int           // replication.quota.window.num
	QuotaSlot               time.Duration // replication.quota.window.size.seconds
}

// Lifecycle holds the settings of a broker's registration and of its fencing.
type Lifecycle struct {
	Heartbeat           time.Duration
	Session             time.Duration
	RegistrationTimeout time.Duration
	ControlledShutdown  bool
	DirFailureTimeout   time.Duration
	RequestTimeout      time.Duration
}

// Quorum holds the settings of the controllers.
type Quorum struct {
	ElectionTimeout         time.Duration
	FetchTimeout            time.Duration
	RequestTimeout          time.Duration
	RetryBackoff            time.Duration
	SnapshotBytes           int64
	SnapshotInterval        time.Duration
	SegmentBytes            int64
	RetentionBytes          int64         // of the metadata log; below 0 without bound
	Retention               time.Duration // of the metadata log; below 0 without bound
	IdleInterval            time.Duration // NoOp records; 0 none
	LeaderRebalance         bool
	LeaderRebalanceInterval time.Duration
	UncleanInterval         time.Duration
}

// Storage holds the settings of log directories.
type Storage struct {
	RecoveryThreads         int
	RestartBytes            int64 // tidemark.recovery.max.bytes
	ReserveBytes            int64 // tidemark.log.dir.reserve.bytes
	ScrubRate               int64 // tidemark.scrub.bytes.per.second
	LostFoundMaxBytes       int64 // tidemark.lostfound.max.bytes
	RecoveryPointCheckpoint time.Duration
	LogStartCheckpoint      time.Duration
	RetentionCheck          time.Duration
	InitialTaskDelay        time.Duration
	Cleaner                 bool          // log.cleaner.enable
	Cleaners                int           // log.cleaner.threads
	CleanerBackoff          time.Duration // log.cleaner.backoff.ms
	CleanerRate             float64       // log.cleaner.io.max.bytes.per.second
	DedupeBytes             int64         // log.cleaner.dedupe.buffer.size
}

// Topics holds what a topic without an override of its own gets.
type Topics struct {
	AutoCreate        bool
	DeleteEnabled     bool
	Partitions        int32
	ReplicationFactor int16
	Defaults          map[string]string // topic config name -> value, from the broker's synonyms
}

// Groups holds the settings of the group coordinator.
type Groups struct {
	InitialRebalanceDelay  time.Duration
	MinSession, MaxSession time.Duration
	MaxSize                int
	OffsetsPartitions      int32
	OffsetsReplication     int16
	OffsetsSegmentBytes    int64
	OffsetsRetention       time.Duration
	OffsetsRetentionCheck  time.Duration
	OffsetsCommitTimeout   time.Duration
	OffsetMetadataMax      int
}

// Network holds the settings of client connections.
type Network struct {
	MaxFrame       int32
	MaxConnections int
	MaxIdle        time.Duration
	SendBuffer     int // -1: the kernel decides
	ReceiveBuffer  int // -1: the kernel decides
}

// Load merges the layers, checks every value and returns the node's configuration.
// The error joins everything that is wrong.
func Load(s Source) (*Config, error) {
	set, err := layers(s)
	if err != nil {
		return nil, err
	}
	warnings, err := check(set, s.IgnoreUnsupported)
	if err != nil {
		return nil, err
	}
	v := values{set}
	c := &Config{Settings: set, Warnings: warnings}
	if err := c.identity(v); err != nil {
		return nil, err
	}
	more, err := c.network(v, s.IgnoreUnsupported)
	if err != nil {
		return nil, err
	}
	c.Warnings = append(c.Warnings, more...)
	if err := c.dirs(v); err != nil {
		return nil, err
	}
	c.timers(v)
	c.topics(v)
	return c, c.cross(v)
}

func (c *Config) identity(v values) error {
	roles := v.list("process.roles")
	c.Broker, c.Controller = slices.Contains(roles, "broker"), slices.Contains(roles, "controller")
	if !c.Broker && !c.Controller {
		return errors.New("process.roles is missing: want broker, controller, or broker,controller (this is a KRaft node; there is no ZooKeeper mode)")
	}
	key := "node.id"
	if v.raw(key) == Required || !v.has(key) {
		key = "broker.id"
		if v.int64(key) < 0 {
			return errors.New("node.id is missing: want an integer of at least 0")
		}
		c.Warnings = append(c.Warnings, "broker.id is deprecated: use node.id")
	}
	c.NodeID = model.BrokerID(v.int64(key))
	c.Rack = v.raw("broker.rack")
	return nil
}

func (c *Config) network(v values, ignore []string) ([]string, error) {
	if v.raw("controller.listener.names") == Required {
		return nil, errors.New("controller.listener.names is missing: want the name of the controllers' listener, such as CONTROLLER")
	}
	c.ControllerListenerNames = upper(v.list("controller.listener.names"))
	var warnings []string
	var err error
	if c.Listeners, warnings, err = parseListeners(v, ignore); err != nil {
		return nil, err
	}
	if c.Voters, err = parseVoters(v); err != nil {
		return nil, err
	}
	for _, s := range v.list("controller.quorum.bootstrap.servers") {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, fmt.Errorf("%s: controller.quorum.bootstrap.servers: %q: want host:port", v.from("controller.quorum.bootstrap.servers"), s)
		}
		c.BootstrapServers = append(c.BootstrapServers, s)
	}
	if len(c.Voters) == 0 && len(c.BootstrapServers) == 0 {
		return nil, errors.New("neither controller.quorum.bootstrap.servers nor controller.quorum.voters is set: a node has to know where the controllers are")
	}
	for _, vt := range c.Voters {
		c.BootstrapServers = append(c.BootstrapServers, net.JoinHostPort(vt.Host, fmt.Sprint(vt.Port)))
	}
	c.InterBrokerListener = strings.ToUpper(v.raw("inter.broker.listener.name"))
	if c.InterBrokerListener == "" {
		c.InterBrokerListener = strings.ToUpper(v.raw("security.inter.broker.protocol"))
	}
	if err := c.httpListener(v); err != nil {
		return nil, err
	}
	c.Network = Network{MaxFrame: int32(v.int64("socket.request.max.bytes")), MaxConnections: v.int("max.connections"),
		MaxIdle: v.millis("connections.max.idle.ms"), SendBuffer: -1, ReceiveBuffer: -1}
	if _, ok := v.set["socket.send.buffer.bytes"]; ok {
		c.Network.SendBuffer = v.int("socket.send.buffer.bytes")
	}
	if _, ok := v.set["socket.receive.buffer.bytes"]; ok {
		c.Network.ReceiveBuffer = v.int("socket.receive.buffer.bytes")
	}
	return warnings, nil
}

func (c *Config) httpListener(v values) error {
	const key = "tidemark.http.listener"
	addr := v.raw(key)
	_, c.HTTP.Configured = v.set[key]
	if strings.EqualFold(addr, "none") {
		c.HTTP.Off = true
		return nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%s: %s=%s: want host:port, or none", v.from(key), key, addr)
	}
	c.HTTP.Address = addr
	return nil
}

func (c *Config) dirs(v values) error {
	c.LogDirs = v.list("log.dirs")
	if len(c.LogDirs) == 0 {
		c.LogDirs = v.list("log.dir")
	}
	for i, d := range c.LogDirs {
		c.LogDirs[i] = filepath.Clean(d)
		if slices.Contains(c.LogDirs[:i], c.LogDirs[i]) {
			return fmt.Errorf("%s: log.dirs names %s twice", v.from("log.dirs"), c.LogDirs[i])
		}
	}
	c.MetadataDir = c.LogDirs[0]
	if v.has("metadata.log.dir") {
		c.MetadataDir = filepath.Clean(v.raw("metadata.log.dir"))
	}
	c.StateDir = c.LogDirs[0] + ".tidemark"
	if v.has("tidemark.state.dir") {
		c.StateDir = filepath.Clean(v.raw("tidemark.state.dir"))
	}
	for _, d := range append(slices.Clone(c.LogDirs), c.MetadataDir) {
		if rel, err := filepath.Rel(d, c.StateDir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return fmt.Errorf("%s: tidemark.state.dir=%s lies inside the log directory %s; Apache Kafka would refuse to start on that directory", v.from("tidemark.state.dir"), c.StateDir, d)
		}
	}
	return nil
}

// AllDirs returns every directory that carries a meta.properties: the log
// directories and, if it is another one, the metadata directory.
func (c *Config) AllDirs() []string {
	dirs := slices.Clone(c.LogDirs)
	if !c.Broker {
		dirs = nil
	}
	if !slices.Contains(dirs, c.MetadataDir) {
		dirs = append(dirs, c.MetadataDir)
	}
	return dirs
}

// ListenerFor finds a listener by name, in any case.
func (c *Config) ListenerFor(name string) (Listener, bool) {
	i := slices.IndexFunc(c.Listeners, func(l Listener) bool { return strings.EqualFold(l.Name, name) })
	if i < 0 {
		return Listener{}, false
	}
	return c.Listeners[i], true
}

// cross checks the rules that involve more than one setting.
func (c *Config) cross(v values) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	brokers, controllers := 0, 0
	for _, l := range c.Listeners {
		if l.Controller {
			controllers++
		} else {
			brokers++
		}
	}
	if c.Controller && controllers == 0 {
		fail("controller.listener.names=%s: listeners has none of them", strings.Join(c.ControllerListenerNames, ","))
	}
	if c.Broker && brokers == 0 {
		fail("process.roles has broker, but every one of listeners=%s is a controller listener", v.raw("listeners"))
	}
	if !c.Controller && controllers > 0 {
		fail("process.roles=broker: listeners must not contain a controller listener (%s)", strings.Join(c.ControllerListenerNames, ","))
	}
	if c.Broker {
		if l, ok := c.ListenerFor(c.InterBrokerListener); !ok || l.Controller {
			fail("inter.broker.listener.name=%s: listeners has no such broker listener", c.InterBrokerListener)
		}
	}
	if c.Controller && len(c.Voters) > 0 && !slices.ContainsFunc(c.Voters, func(q QuorumVoter) bool { return q.ID == int32(c.NodeID) }) {
		fail("%s: controller.quorum.voters doesn't name this controller, node.id=%d", v.from("controller.quorum.voters"), c.NodeID)
	}
	if !c.Controller && slices.ContainsFunc(c.Voters, func(q QuorumVoter) bool { return q.ID == int32(c.NodeID) }) {
		fail("%s: controller.quorum.voters names node.id=%d, which has only the broker role", v.from("controller.quorum.voters"), c.NodeID)
	}
	r := c.Replication
	if r.FetchMaxWait > r.SocketTimeout {
		fail("replica.fetch.wait.max.ms=%d must not exceed replica.socket.timeout.ms=%d", r.FetchMaxWait.Milliseconds(), r.SocketTimeout.Milliseconds())
	}
	if r.FetchMaxWait > r.LagTimeMax {
		fail("replica.fetch.wait.max.ms=%d must not exceed replica.lag.time.max.ms=%d: an idle follower would fall out of sync between two fetches", r.FetchMaxWait.Milliseconds(), r.LagTimeMax.Milliseconds())
	}
	if c.Lifecycle.Heartbeat*2 > c.Lifecycle.Session {
		fail("broker.heartbeat.interval.ms=%d must be at most half of broker.session.timeout.ms=%d", c.Lifecycle.Heartbeat.Milliseconds(), c.Lifecycle.Session.Milliseconds())
	}
	return errors.Join(errs...)
}
