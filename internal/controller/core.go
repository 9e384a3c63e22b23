package controller

import (
	"errors"
	"fmt"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// ErrNotController means that this node isn't the active controller.
var ErrNotController = errors.New("not the active controller")

// ErrUnknownRequest means that Decide was given a type that it doesn't know.
var ErrUnknownRequest = errors.New("unknown controller request")

// Env is everything that a decision takes from outside the state.
type Env struct {
	Now time.Time
	// NextOffset is the offset that the first record of this decision will get;
	// it counts the records that were decided before and aren't committed yet.
	NextOffset model.Offset
	NewID      func() model.UUID // fresh ids; reserved ones are drawn again
	Rand       func() uint64     // seed of placement
}

// Decision is what the shell must do: commit Records, then answer Response. With
// Err set there is neither.
type Decision struct {
	Records  []metadata.Record
	Response any
	Evidence []Evidence
	Err      error
}

// Core is the controller's state machine. It isn't safe for concurrent use.
type Core struct {
	cfg      Config
	active   bool
	epoch    model.LeaderEpoch
	delta    *metadata.Delta   // committed image plus every decided record
	view     *metadata.Image   // what delta holds now
	pending  []metadata.Record // decided, not known to be committed
	end      model.Offset      // offset after the last pending record
	sessions map[model.BrokerID]*session
	evidence []Evidence // of Activate, Tick and Hint, until DrainEvidence

	nextRebalance, nextUnclean, nextNoOp time.Time
}

// New returns a core that isn't active. Zero durations and nil maps in cfg are
// taken as they are: begin with DefaultConfig.
func New(cfg Config) *Core {
	c := &Core{cfg: cfg, sessions: map[model.BrokerID]*session{}}
	c.rebase(metadata.Empty())
	return c
}

func (c *Core) rebase(img *metadata.Image) {
	c.delta = metadata.NewDelta(img)
	c.view = c.delta.Pending()
}

// Activate begins a term on a committed image. Every unfenced broker gets a fresh
// session, so a failover fences nobody by itself. The records, if any, must be
// committed like those of a decision; they are the bootstrap of an empty log.
func (c *Core) Activate(img *metadata.Image, epoch model.LeaderEpoch, env Env) []metadata.Record {
	c.Resign()
	c.active, c.epoch, c.end = true, epoch, env.NextOffset
	c.rebase(img)
	for id, b := range img.Brokers {
		if !b.Fenced {
			c.sessions[id] = newSession(b.Epoch, env.Now)
		}
	}
	c.nextRebalance = env.Now.Add(c.cfg.RebalanceInterval)
	c.nextUnclean = env.Now.Add(c.cfg.UncleanInterval)
	c.nextNoOp = env.Now.Add(c.cfg.NoOpInterval)
	if len(img.Features) > 0 {
		return nil
	}
	t := c.begin(env)
	t.emit(BootstrapRecords(c.cfg.Features, c.cfg.minISRDefault())...)
	t.emit(c.cfg.Bootstrap...)
	return c.commit(t)
}

// Resign ends the term: soft state and overlay are gone.
func (c *Core) Resign() {
	c.active = false
	c.pending, c.evidence = nil, nil
	clear(c.sessions)
}

// Active reports whether a term is running.
func (c *Core) Active() bool { return c.active }

// View is the image that the next decision will see: committed state and overlay.
// It changes with the next call; it is for looking, not for keeping.
func (c *Core) View() *metadata.Image { return c.view }

// Replayed replaces the committed image. Pending records that it contains leave
// the overlay; later ones are laid over the new image again.
func (c *Core) Replayed(img *metadata.Image) {
	first := c.end - model.Offset(len(c.pending))
	done := min(max(img.Offset+1-first, 0), model.Offset(len(c.pending)))
	c.pending = c.pending[done:]
	c.rebase(img)
	if err := replay(c.delta, first+done, c.pending); err != nil {
		panic(err) // as in settle
	}
}

// Abandon drops the overlay after a proposal that certainly wasn't committed,
// while the term goes on.
func (c *Core) Abandon(committed *metadata.Image) {
	c.pending = nil
	c.rebase(committed)
}

// DrainEvidence returns the evidence of Activate, Tick and Hint since the last
// call; that of Decide is in its Decision.
func (c *Core) DrainEvidence() []Evidence {
	ev := c.evidence
	c.evidence = nil
	return ev
}

// Decide answers one request against committed state and overlay. On success the
// records join the overlay.
func (c *Core) Decide(req any, env Env) Decision {
	if !c.active {
		return Decision{Err: ErrNotController}
	}
	t := c.begin(env)
	resp, err := c.dispatch(t, req)
	if err != nil {
		return Decision{Err: err}
	}
	recs := c.settle(t)
	return Decision{Records: recs, Response: resp, Evidence: t.evidence}
}

// flat switch
func (c *Core) dispatch(t *step, req any) (any, error) {
	switch r := req.(type) {
	case *RegisterBroker:
		return c.decideRegister(t, r), nil
	case *BrokerHeartbeat:
		return c.decideHeartbeat(t, r), nil
	case *AlterPartitions:
		return c.decideAlterPartitions(t, r), nil
	case *CreateTopics:
		return c.decideCreateTopics(t, r), nil
	case *DeleteTopics:
		return c.decideDeleteTopics(t, r), nil
	case *CreatePartitions:
		return c.decideCreatePartitions(t, r), nil
	case *IncrementalAlterConfigs:
		return c.decideIncrementalAlterConfigs(t, r), nil
	case *AlterConfigs:
		return c.decideAlterConfigs(t, r), nil
	case *ElectLeaders:
		return c.decideElectLeaders(t, r), nil
	case *AllocateProducerIDs:
		return c.decideAllocateProducerIDs(t, r), nil
	case *AssignReplicasToDirs:
		return c.decideAssignDirs(t, r), nil
	case *RegisterController:
		return c.decideRegisterController(t, r), nil
	case *UpdateFeatures:
		return c.decideUpdateFeatures(t, r), nil
	case *UnregisterBroker:
		return c.decideUnregister(t, r), nil
	case *AlterPartitionReassignments:
		return c.decideReassign(t, r), nil
	case *ListPartitionReassignments:
		return c.decideListReassignments(t, r), nil
	}
	return nil, fmt.Errorf("%T: %w", req, ErrUnknownRequest)
}

// step collects what one decision produces. Its image moves on only at sync, so a
// decision normally sees the state from before it.
type step struct {
	env      Env
	epoch    model.LeaderEpoch
	img      *metadata.Image
	records  []metadata.Record
	synced   int // records already in img
	evidence []Evidence
}

func (c *Core) begin(env Env) *step { return &step{env: env, epoch: c.epoch, img: c.view} }

func (t *step) emit(recs ...metadata.Record) { t.records = append(t.records, recs...) }

func (t *step) saw(ev Evidence) { t.evidence = append(t.evidence, ev) }

// sync lays the records emitted so far over the step's image, for a part of the
// decision that must see an earlier part.
func (t *step) sync() {
	if t.synced == len(t.records) {
		return
	}
	d := metadata.NewDelta(t.img)
	first := t.env.NextOffset + model.Offset(t.synced)
	if err := replay(d, first, t.records[t.synced:]); err != nil {
		panic(err) // as in settle
	}
	t.img, t.synced = d.Apply(t.offset()-1, t.epoch), len(t.records)
}

// offset is the offset that the next emitted record will get.
func (t *step) offset() model.Offset { return t.env.NextOffset + model.Offset(len(t.records)) }

// mark and rollback make one part of a decision all or nothing (invariant 7).
func (t *step) mark() (records, evidence int) { return len(t.records), len(t.evidence) }

func (t *step) rollback(records, evidence int) {
	t.records, t.evidence = t.records[:records], t.evidence[:evidence]
}

// discard drops everything; for validateOnly.
func (t *step) discard() { t.records, t.evidence, t.synced = nil, nil, 0 }

func replay(d *metadata.Delta, first model.Offset, recs []metadata.Record) error {
	d.At(first)
	for _, r := range recs {
		if err := d.Replay(r); err != nil {
			return fmt.Errorf("controller decided a record that can't be replayed: %w", err)
		}
	}
	return nil
}

// settle moves a step's records into the overlay. A record that our own replay
// refuses is a bug in a rule: committing it would stop every replica of the
// metadata log, so it is a panic here, before anything was proposed.
func (c *Core) settle(t *step) []metadata.Record {
	if len(t.records) == 0 {
		return nil
	}
	if err := replay(c.delta, t.env.NextOffset, t.records); err != nil {
		panic(err)
	}
	c.view = c.delta.Pending()
	c.pending = append(c.pending, t.records...)
	c.end = t.offset()
	c.nextNoOp = t.env.Now.Add(c.cfg.NoOpInterval)
	return t.records
}

// commit is settle for the entry points that answer nobody.
func (c *Core) commit(t *step) []metadata.Record {
	c.evidence = append(c.evidence, t.evidence...)
	return c.settle(t)
}
