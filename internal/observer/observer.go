package observer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// Subscriber is told of each published image, in order, in the observer's
// goroutine; the next is not read before it returns. The delta leads from the
// image published before to this one. It is nil for the first image and after
// a snapshot: then everything may have changed.
type Subscriber func(img *metadata.Image, d *metadata.Delta)

// Config configures an Observer. Zero durations and sizes take Kafka's defaults.
type Config struct {
	Node      model.BrokerID
	Directory model.DirectoryID // of the metadata log
	ClusterID string
	Source    Source
	Store     Store // NewMemoryStore() if the source is this node's own log
	Saved     Saved // what the store has kept

	// ControllerListener names the endpoint of a voter to use: the first of
	// controller.listener.names. Compared without case.
	ControllerListener string
	// StaticVoters are the addresses of controller.quorum.voters. A KRaftVoters
	// record goes before them.
	StaticVoters map[model.BrokerID]string

	MaxWait    time.Duration // 500 ms
	MaxBytes   int32         // 8 MiB
	Backoff    time.Duration // after a failure, doubling up to BackoffMax; 20 ms
	BackoffMax time.Duration // 250 ms
	Events     Sink
	Log        *slog.Logger
}

// Observer follows the metadata log. Its methods are safe for concurrent use.
type Observer struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	failed chan error
	first  chan struct{} // closed after the first publication

	image   atomic.Pointer[metadata.Image]
	applied atomic.Int64
	hw      atomic.Int64
	stamp   atomic.Int64 // newest timestamp of the last batch, ms
	records atomic.Int64 // taken since the start
	leader  atomic.Pointer[QuorumLeader]
	voters  atomic.Pointer[[]metadata.Voter]

	// Owned by run.
	loader    *metadata.Loader
	published bool
	replaced  bool // a snapshot was loaded since the last publication
	troubled  bool // the last step failed: told once

	subs struct {
		sync.Mutex
		list    []Subscriber
		started bool
	}
}

// New loads what the store has kept. It doesn't publish before Start.
func New(cfg Config) (*Observer, error) {
	cfg.MaxWait = orDefault(cfg.MaxWait, 500*time.Millisecond)
	cfg.Backoff = orDefault(cfg.Backoff, 20*time.Millisecond)
	cfg.BackoffMax = orDefault(cfg.BackoffMax, 250*time.Millisecond)
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 8 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	o := &Observer{cfg: cfg, done: make(chan struct{}), failed: make(chan error, 1), first: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	base := metadata.Empty()
	if cfg.Saved.Snapshot != nil {
		img, err := readSnapshot(cfg.Saved.ID, cfg.Saved.Snapshot)
		if err != nil {
			return nil, err
		}
		base = img
		o.hw.Store(int64(cfg.Saved.ID.End))
	} else {
		o.hw.Store(int64(model.NoOffset))
	}
	o.loader = metadata.NewLoader(base)
	o.image.Store(metadata.Empty())
	o.applied.Store(int64(model.NoOffset))
	leader := QuorumLeader{ID: model.NoBroker, Epoch: cfg.Saved.Epoch}
	if cfg.Saved.Leader >= 0 && cfg.Saved.Epoch > 0 {
		leader.ID = cfg.Saved.Leader
	}
	o.leader.Store(&leader)
	o.voters.Store(&base.Voters)
	return o, nil
}

// Subscribe adds a subscriber; call it before Start.
func (o *Observer) Subscribe(s Subscriber) {
	o.subs.Lock()
	defer o.subs.Unlock()
	if o.subs.started {
		panic("observer: subscribe after start would miss images")
	}
	o.subs.list = append(o.subs.list, s)
}

// Start begins to fetch.
func (o *Observer) Start() {
	o.subs.Lock()
	o.subs.started = true
	o.subs.Unlock()
	go o.run()
}

// Close ends the loop and closes the store.
func (o *Observer) Close() error {
	o.cancel()
	o.subs.Lock()
	started := o.subs.started
	o.subs.Unlock()
	if started {
		<-o.done
	}
	return o.cfg.Store.Close()
}

// Image is the last published image; the empty one before the first.
func (o *Observer) Image() *metadata.Image { return o.image.Load() }

// Applied is the last offset that every subscriber has applied, NoOffset
// before the first image.
func (o *Observer) Applied() model.Offset { return model.Offset(o.applied.Load()) }

// HighWatermark is the quorum's high watermark as far as it is known.
func (o *Observer) HighWatermark() model.Offset { return model.Offset(o.hw.Load()) }

// Taken is what was read since the start: records, and the newest timestamp (ms)
// among the last batch's, 0 before the first.
func (o *Observer) Taken() (records, timestamp int64) { return o.records.Load(), o.stamp.Load() }

// First is closed after the first image has been applied by every subscriber.
func (o *Observer) First() <-chan struct{} { return o.first }

// Failed delivers an error after which the node can't follow the metadata any
// more: a committed record that doesn't decode or apply.
func (o *Observer) Failed() <-chan error { return o.failed }

// Leader is the quorum's leader as far as it is known; its ID is NoBroker if not.
func (o *Observer) Leader() QuorumLeader { return *o.leader.Load() }

// Controller is the active controller and its address: the voters of the last
// KRaftVoters record, else the static voters, else where the leader said it is.
func (o *Observer) Controller() (id model.BrokerID, addr string, ok bool) {
	l := o.Leader()
	if l.ID < 0 {
		return model.NoBroker, "", false
	}
	if addr, ok := o.VoterAddress(l.ID); ok {
		return l.ID, addr, true
	}
	return l.ID, l.Address, l.Address != ""
}

// VoterAddress is where a voter can be reached.
func (o *Observer) VoterAddress(id model.BrokerID) (addr string, ok bool) {
	for _, v := range *o.voters.Load() {
		if v.ID != id {
			continue
		}
		for _, e := range v.Endpoints {
			if o.cfg.ControllerListener == "" || strings.EqualFold(e.Name, o.cfg.ControllerListener) {
				return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), true
			}
		}
	}
	addr, ok = o.cfg.StaticVoters[id]
	return addr, ok
}

func (o *Observer) run() {
	defer close(o.done)
	wait := o.cfg.Backoff
	for o.ctx.Err() == nil {
		again, err := o.step()
		var bad *loadError
		if errors.As(err, &bad) {
			o.cfg.Events.Emit(detail(journal.MetadataError, "replay", err))
			o.failed <- err
			return
		}
		o.tell(err)
		if err == nil && again {
			wait = o.cfg.Backoff
			continue
		}
		select {
		case <-o.ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, o.cfg.BackoffMax)
	}
}

// tell logs transitions between trouble and no trouble, not each failure.
func (o *Observer) tell(err error) {
	switch {
	case o.ctx.Err() != nil:
	case err != nil && !o.troubled:
		o.troubled = true
		o.cfg.Log.Warn("cannot read the metadata log, trying on", "error", err)
	case err == nil && o.troubled:
		o.troubled = false
		o.cfg.Log.Info("reading the metadata log again", "leader", o.Leader().ID, "epoch", o.Leader().Epoch)
	}
}

func detail(k journal.Kind, reason string, err error) journal.Event {
	e := journal.New(k)
	e.Reason, e.Detail = reason, err.Error()
	return e
}

// adopt takes a leader named by an answer. It returns true if that is news.
func (o *Observer) adopt(l QuorumLeader) (bool, error) {
	known := o.Leader()
	switch {
	case l.Epoch < known.Epoch: // invariant 3
		return false, nil
	case l.Epoch == known.Epoch && known.ID >= 0:
		if l.ID >= 0 && l.ID != known.ID {
			return false, fmt.Errorf("two leaders of metadata epoch %d: %d and %d", l.Epoch, known.ID, l.ID)
		}
		if l.ID == known.ID && l.Address != "" && l.Address != known.Address {
			o.leader.Store(&l)
		}
		return false, nil
	case l.Epoch == known.Epoch && l.ID < 0:
		return false, nil
	}
	if err := o.cfg.Store.Elected(l.ID, l.Epoch); err != nil {
		return false, err
	}
	o.leader.Store(&l)
	if l.ID >= 0 {
		e := journal.New(journal.ControllerChanged)
		e.Leader, e.LeaderEpoch = l.ID, l.Epoch
		o.cfg.Events.Emit(e)
	}
	return true, nil
}
