package observer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// State is a broker's state in its own eyes; the numbers are Kafka's
// BrokerState gauge.
type State int32

// The states of a broker, in the order in which it goes through them.
const (
	NotRunning   State = 0
	Starting     State = 1 // registering, reading the metadata log
	Recovery     State = 2 // caught up; logs are loaded, wants to be unfenced
	Running      State = 3
	Draining     State = 6 // asked the controller to take its leaderships
	ShuttingDown State = 7
)

// String is the word that logs and the API show.
func (s State) String() string { // flat switch
	switch s {
	case Starting:
		return "starting"
	case Recovery:
		return "recovery"
	case Running:
		return "running"
	case Draining:
		return "pending controlled shutdown"
	case ShuttingDown:
		return "shutting down"
	default:
		return "not running"
	}
}

// Errors of Lifecycle.Failed: the process should end.
var (
	ErrNotRegistered   = errors.New("broker could not register in time")
	ErrDirNotReported  = errors.New("failed log directory could not be reported in time")
	ErrNoDirectoryLeft = errors.New("no log directory left")
)

// Registrar is the part of Channel that a Lifecycle needs.
type Registrar interface {
	RegisterBroker(context.Context, peer.Registration) (peer.RegistrationResult, error)
	BrokerHeartbeat(context.Context, peer.Heartbeat) (peer.HeartbeatResult, error)
}

// Sink takes events; *journal.Journal implements it.
type Sink interface{ Emit(journal.Event) }

// LifecycleConfig configures a Lifecycle. Zero durations take Kafka's defaults.
type LifecycleConfig struct {
	// Registration is what is sent; LogDirs is replaced by Dirs() at each attempt.
	Registration   peer.Registration
	Dirs           func() []model.DirectoryID // directories that are online, sorted
	Channel        Registrar
	MetadataOffset func() model.Offset // last applied; Observer.Applied
	OthersAlive    func() bool         // another broker is registered and unfenced
	Events         Sink

	HeartbeatInterval   time.Duration // broker.heartbeat.interval.ms, 2 s
	SessionTimeout      time.Duration // broker.session.timeout.ms, 9 s
	RegistrationTimeout time.Duration // initial.broker.registration.timeout.ms, 60 s
	DirFailureTimeout   time.Duration // log.dir.failure.timeout.ms, 30 s
	SilenceLimit        time.Duration // how long a controlled shutdown waits for an answer, 2 s
}

const (
	startingInterval = 10 * time.Millisecond
	drainInterval    = 50 * time.Millisecond
	retryMin         = 100 * time.Millisecond
	registerRetryMax = time.Second // whoever waits for another's session to end must not wait long after it
	lonelyWait       = time.Second // controlled shutdown without anybody to move leaderships to
)

// Lifecycle registers the broker and keeps it alive in the eyes of the
// controllers. All methods are safe for concurrent use.
type Lifecycle struct {
	cfg      LifecycleConfig
	ctx      context.Context
	cancel   context.CancelFunc
	state    atomic.Int32
	epoch    atomic.Int64
	fenced   atomic.Bool
	kick     chan struct{} // a wish changed; holds at most one
	failed   chan error
	unfenced chan struct{}
	granted  chan struct{}
	stopped  chan struct{}

	mu struct {
		sync.Mutex
		ready      bool // the first image was applied: logs are loaded
		drain      bool
		reregister bool
		lastAnswer time.Time
		cancelCall context.CancelFunc
		finalized  map[string]int16 // of the newest image
		offline    map[model.DirectoryID]*offlineDir
	}
}

type offlineDir struct {
	since    time.Time
	reported bool
}

// NewLifecycle returns a Lifecycle that does nothing before Start.
func NewLifecycle(cfg LifecycleConfig) *Lifecycle {
	cfg.HeartbeatInterval = orDefault(cfg.HeartbeatInterval, 2*time.Second)
	cfg.SessionTimeout = orDefault(cfg.SessionTimeout, 9*time.Second)
	cfg.RegistrationTimeout = orDefault(cfg.RegistrationTimeout, time.Minute)
	cfg.DirFailureTimeout = orDefault(cfg.DirFailureTimeout, 30*time.Second)
	cfg.SilenceLimit = orDefault(cfg.SilenceLimit, 2*time.Second)
	l := &Lifecycle{
		cfg: cfg, kick: make(chan struct{}, 1), failed: make(chan error, 1), unfenced: make(chan struct{}),
		granted: make(chan struct{}), stopped: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.epoch.Store(int64(model.NoBrokerEpoch))
	l.fenced.Store(true)
	l.mu.offline = make(map[model.DirectoryID]*offlineDir)
	return l
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Start begins to register.
func (l *Lifecycle) Start() {
	l.state.Store(int32(Starting))
	go l.run()
}

// State is the current state.
func (l *Lifecycle) State() State { return State(l.state.Load()) }

// Epoch is the broker epoch of this registration, NoBrokerEpoch before it.
func (l *Lifecycle) Epoch() model.BrokerEpoch { return model.BrokerEpoch(l.epoch.Load()) }

// Fenced tells what the last heartbeat's answer said.
func (l *Lifecycle) Fenced() bool { return l.fenced.Load() }

// Unfenced is closed when the broker is unfenced for the first time: client
// listeners may begin to process.
func (l *Lifecycle) Unfenced() <-chan struct{} { return l.unfenced }

// Failed delivers at most one error after which the process should end.
func (l *Lifecycle) Failed() <-chan error { return l.failed }

// Ready tells that the first image has been applied and the broker may be
// unfenced (invariant 4).
func (l *Lifecycle) Ready() {
	l.mu.Lock()
	l.mu.ready = true
	l.mu.Unlock()
	l.wake()
}

// DirFailed tells that a log directory is offline for good.
func (l *Lifecycle) DirFailed(id model.DirectoryID) {
	l.mu.Lock()
	if _, ok := l.mu.offline[id]; !ok {
		l.mu.offline[id] = &offlineDir{since: time.Now()}
	}
	l.mu.Unlock()
	l.wake()
}

// Published looks at the broker's own registration in a new image. It registers
// again, in the same incarnation, if the record lacks directories that the
// finalised metadata.version (3.7-IV2 or later) asks for.
func (l *Lifecycle) Published(img *metadata.Image) {
	l.mu.Lock()
	l.mu.finalized = img.Features
	l.mu.Unlock()
	b, ok := img.Brokers[l.cfg.Registration.Broker]
	if !ok || img.MetadataVersion() < levelDirs || len(b.Dirs) > 0 || b.Epoch != l.Epoch() {
		return
	}
	l.mu.Lock()
	l.mu.reregister = true
	l.mu.Unlock()
	l.wake()
}

const levelDirs = 17 // 3.7-IV2

// Stop ends registration and heartbeats without a word to the controller.
func (l *Lifecycle) Stop() {
	if l.State() == NotRunning {
		return
	}
	l.state.Store(int32(ShuttingDown))
	l.cancel()
	<-l.stopped
}

func (l *Lifecycle) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

func (l *Lifecycle) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

func (l *Lifecycle) event(k journal.Kind, reason, detail string) journal.Event {
	e := journal.New(k)
	e.BrokerEpoch, e.Reason, e.Detail = l.Epoch(), reason, detail
	return e
}

func (l *Lifecycle) run() {
	defer close(l.stopped)
	if err := l.register(l.cfg.RegistrationTimeout); err != nil {
		if l.ctx.Err() == nil {
			l.fail(err)
		}
		return
	}
	l.heartbeats()
}

// register sends the registration until it is accepted or limit passes. Every
// refusal is tried again: a duplicate ends with the other's session, and a
// feature range may fit after an upgrade.
func (l *Lifecycle) register(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(l.ctx, limit)
	defer cancel()
	told := ""
	for wait := retryMin; ; wait = min(2*wait, l.cfg.SessionTimeout, registerRetryMax) {
		r := l.cfg.Registration
		r.LogDirs = l.cfg.Dirs()
		res, err := l.cfg.Channel.RegisterBroker(ctx, r)
		if err == nil && res.Code == peer.CodeNone {
			l.epoch.Store(int64(res.Epoch))
			l.cfg.Events.Emit(l.event(journal.Registered, "", ""))
			return nil
		}
		if err == nil {
			err = &peer.CodeError{API: "BrokerRegistration", Code: res.Code}
			if what := l.unsupported(); res.Code == peer.CodeUnsupportedVersion && what != "" {
				err = fmt.Errorf("the cluster has finalised what this version doesn't support, %s: %w", what, err)
			}
		}
		if msg := err.Error(); msg != told && l.ctx.Err() == nil {
			told = msg
			l.cfg.Events.Emit(l.event(journal.RegistrationFailed, res.Code.String(), msg))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%s): %w", ErrNotRegistered, limit, err)
		case <-time.After(wait):
		}
	}
}

// unsupported names the finalised levels that this broker doesn't support, as
// far as it knows them yet.
func (l *Lifecycle) unsupported() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ranges := map[string]peer.Feature{}
	for _, f := range l.cfg.Registration.Features {
		ranges[f.Name] = f
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(l.mu.finalized)) {
		level := l.mu.finalized[name]
		if r, ok := ranges[name]; level > 0 && (!ok || level < r.Min || level > r.Max) {
			out = append(out, fmt.Sprintf("%s=%d", name, level))
		}
	}
	return strings.Join(out, ",")
}
