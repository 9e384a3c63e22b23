package active

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tidemark/internal/controller"
	"tidemark/internal/latency"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/quorum"
	"tidemark/internal/record"
)

var (
	// ErrNotController means that this node isn't the active controller, or has
	// just stopped being it.
	ErrNotController = controller.ErrNotController
	// ErrBusy means that the request queue is full.
	ErrBusy = errors.New("controller queue is full")
)

// Quorum is the replicated log underneath; *quorum.Node is one.
type Quorum interface {
	OnLeadership(func(quorum.View))
	Image() *metadata.Image
	Propose(ctx context.Context, epoch model.LeaderEpoch, b record.Batch) (model.Offset, error)
}

// Config describes the shell.
type Config struct {
	Core   controller.Config
	Quorum Quorum
	// Probe dials a broker's listener; quorum.ErrRefused means that nothing
	// listens there. nil turns probing off.
	Probe func(ctx context.Context, e metadata.Endpoint) error
	// Evidence receives what was decided, after it has been committed; may be nil.
	Evidence func([]controller.Evidence)
	QueueMax int // requests waiting for a decision; 0 is 10,000
	Log      *slog.Logger
}

const (
	roundRecords  = 5_000 // decide no more requests into one proposal beyond this
	roundRequests = 1_000
)

// Controller is the active controller while this node leads, and refuses
// everything otherwise. Safe for concurrent use.
type Controller struct {
	cfg   Config
	core  *controller.Core // owned by the loop
	queue chan *request
	hints chan hint
	views chan quorum.View // the newest only
	done  chan outcome

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	epoch    model.LeaderEpoch // of the running term; 0: not active. Owned by the loop
	inFlight bool
	waiting  []*request // decided, waiting for the proposal in flight
	evidence []controller.Evidence
	now      func() time.Time

	queued, decided latency.Histogram // of requests: before the core, and in it
}

type request struct {
	req   any
	at    time.Time
	reply chan reply
	resp  any
	err   error
}

type reply struct {
	resp any
	err  error
}

type outcome struct {
	epoch model.LeaderEpoch
	err   error
}

// New returns a controller that isn't running yet.
func New(cfg Config) *Controller {
	if cfg.QueueMax <= 0 {
		cfg.QueueMax = 10_000
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Controller{
		cfg: cfg, core: controller.New(cfg.Core), now: time.Now,
		queue: make(chan *request, cfg.QueueMax), hints: make(chan hint, 256),
		views: make(chan quorum.View, 1), done: make(chan outcome, 1),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	cfg.Quorum.OnLeadership(c.onView)
	return c
}

// Start runs the loop. Call it before the quorum is started.
func (c *Controller) Start() { c.spawn(c.loop) }

// Close ends the loop; waiting requests get ErrNotController.
func (c *Controller) Close() {
	c.cancel()
	c.wg.Wait()
}

func (c *Controller) spawn(fn func()) { c.wg.Go(fn) }

// Submit hands one of package controller's request types to the core and waits
// until what it decided is committed. ErrNotController, ErrBusy, or the
// context's error, after which the outcome is unknown.
func (c *Controller) Submit(ctx context.Context, req any) (any, error) {
	r := &request{req: req, at: c.now(), reply: make(chan reply, 1)}
	select {
	case c.queue <- r:
	case <-c.ctx.Done():
		return nil, ErrNotController
	default:
		return nil, ErrBusy
	}
	select {
	case out := <-r.reply:
		return out.resp, out.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, ErrNotController
	}
}

// Times is how long requests waited for the core, and how long it took over them.
func (c *Controller) Times() (queued, decided latency.Snapshot) {
	c.queued.AddTo(&queued)
	c.decided.AddTo(&decided)
	return queued, decided
}

// onView keeps the newest view for the loop.
func (c *Controller) onView(v quorum.View) {
	for {
		select {
		case c.views <- v:
			return
		default:
		}
		select {
		case <-c.views:
		default:
		}
	}
}

func (c *Controller) loop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer c.resign()
	for {
		if c.epoch > 0 && !c.inFlight {
			timer.Reset(max(0, c.core.NextTick().Sub(c.now())))
		} else {
			timer.Reset(time.Hour)
		}
		queue := c.queue
		if c.inFlight {
			queue = nil // invariant 1
		}
		select {
		case <-c.ctx.Done():
			return
		case v := <-c.views:
			c.onLeadership(v)
		case r := <-queue:
			c.decide(r)
		case h := <-c.hints:
			c.onHint(h)
		case out := <-c.done:
			c.onOutcome(out)
		case <-timer.C:
			c.tick()
		}
	}
}

func (c *Controller) env(after int) controller.Env {
	return controller.Env{
		Now:        c.now(),
		NextOffset: c.cfg.Quorum.Image().Offset + 1 + model.Offset(after),
		NewID:      newID,
		Rand:       seed,
	}
}

func (c *Controller) onLeadership(v quorum.View) {
	if c.epoch > 0 && (!v.Leading || v.Epoch != c.epoch) {
		c.resign()
	}
	if !v.Ready || v.Epoch <= c.epoch || c.inFlight {
		return
	}
	img := c.cfg.Quorum.Image()
	c.epoch = v.Epoch
	recs := c.core.Activate(img, v.Epoch, c.env(0))
	c.cfg.Log.Info("active controller", "epoch", v.Epoch, "offset", img.Offset)
	c.evidence = append(c.evidence, c.core.DrainEvidence()...)
	c.propose(recs)
	c.probeAll(img)
}

// resign ends the term (invariant 3). A proposal in flight reports its own
// outcome later; its epoch no longer matches.
func (c *Controller) resign() {
	if c.epoch > 0 {
		c.cfg.Log.Info("no longer active controller", "epoch", c.epoch)
	}
	c.epoch = 0
	c.core.Resign()
	c.evidence = nil
	c.answer(ErrNotController)
}

// decide runs the core on r and on what else waits, as one proposal.
func (c *Controller) decide(r *request) {
	if c.epoch == 0 {
		r.reply <- reply{err: ErrNotController}
		return
	}
	var recs []metadata.Record
	for n := 0; ; n++ {
		begun := c.now()
		c.queued.Observe(begun.Sub(r.at))
		d := c.core.Decide(r.req, c.env(len(recs)))
		c.decided.Observe(c.now().Sub(begun))
		r.resp, r.err = d.Response, d.Err
		c.waiting = append(c.waiting, r)
		recs = append(recs, d.Records...)
		c.evidence = append(c.evidence, d.Evidence...)
		if len(recs) >= roundRecords || n >= roundRequests {
			break
		}
		select {
		case r = <-c.queue:
			continue
		default:
		}
		break
	}
	c.propose(recs)
}

func (c *Controller) tick() {
	if c.epoch == 0 || c.inFlight {
		return
	}
	recs := c.core.Tick(c.env(0))
	c.evidence = append(c.evidence, c.core.DrainEvidence()...)
	c.propose(recs)
}

// propose commits recs, or answers at once if there are none.
func (c *Controller) propose(recs []metadata.Record) {
	if len(recs) == 0 {
		c.answer(nil)
		return
	}
	level := c.cfg.Quorum.Image().MetadataVersion()
	if level == 0 { // the log is empty: what it begins with says the level
		level = c.core.View().MetadataVersion()
	}
	batches := split(recs, level, c.now().UnixMilli())
	c.inFlight = true
	epoch := c.epoch
	c.spawn(func() {
		out := outcome{epoch: epoch}
		for _, b := range batches {
			if _, out.err = c.cfg.Quorum.Propose(c.ctx, epoch, b); out.err != nil {
				break
			}
		}
		c.done <- out
	})
}

func (c *Controller) onOutcome(out outcome) {
	c.inFlight = false
	switch {
	case out.epoch != c.epoch: // resigned meanwhile
	case out.err == nil:
		c.core.Replayed(c.cfg.Quorum.Image())
		c.answer(nil)
	case errors.Is(out.err, quorum.ErrDropped): // certainly not committed; the term goes on
		c.core.Abandon(c.cfg.Quorum.Image())
		c.evidence = nil
		c.answer(ErrNotController)
	default:
		c.cfg.Log.Warn("proposal failed", "epoch", out.epoch, "err", out.err)
		c.resign()
	}
	if c.epoch == 0 {
		c.rejoin()
	}
}

// rejoin looks whether this node became leader again while a proposal of the
// old term was in flight.
func (c *Controller) rejoin() {
	if v, ok := c.cfg.Quorum.(interface{ View() quorum.View }); ok {
		c.onLeadership(v.View())
	}
}

// answer completes everything that waits.
func (c *Controller) answer(err error) {
	for _, r := range c.waiting {
		if err != nil {
			r.reply <- reply{err: err}
		} else {
			r.reply <- reply{r.resp, r.err}
		}
	}
	c.waiting = nil
	if len(c.evidence) > 0 && c.cfg.Evidence != nil {
		c.cfg.Evidence(c.evidence)
	}
	c.evidence = nil
}

const (
	batchRecords = 10_000
	batchBytes   = 4 << 20
)

// split makes batches that fit the quorum's limits. Only a decision above
// 10,000 records or 4 MiB is ever cut.
func split(recs []metadata.Record, level int16, now int64) []record.Batch {
	var out []record.Batch
	for len(recs) > 0 {
		n, size := 0, 0
		for n < len(recs) && n < batchRecords && size < batchBytes {
			size += len(metadata.Encode(recs[n], level))
			n++
		}
		out, recs = append(out, metadata.DataBatch(recs[:n], level, now)), recs[n:]
	}
	return out
}

func newID() model.UUID {
	for {
		var u model.UUID
		_, _ = rand.Read(u[:]) // never fails
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
		if !u.IsReserved() {
			return u
		}
	}
}

func seed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}
