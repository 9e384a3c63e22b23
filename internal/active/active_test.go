package active

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/quorum"
	"tidemark/internal/record"
)

// log is a quorum of one without Raft: what is proposed is applied at once,
// unless it is held or refused.
type log struct {
	mu     sync.Mutex
	loader *metadata.Loader
	view   quorum.View
	fn     func(quorum.View)
	hold   chan struct{} // while not nil, proposals wait for it to be closed
	refuse error
	count  int
}

func newLog() *log { return &log{loader: metadata.NewLoader(metadata.Empty())} }

func (l *log) OnLeadership(fn func(quorum.View)) { l.fn = fn }

func (l *log) Image() *metadata.Image {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loader.Image()
}

func (l *log) View() quorum.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view
}

func (l *log) lead(epoch model.LeaderEpoch) {
	l.set(quorum.View{Leader: 1, Epoch: epoch, Leading: true, Ready: true})
}

func (l *log) set(v quorum.View) {
	l.mu.Lock()
	l.view = v
	l.mu.Unlock()
	l.fn(v)
}

func (l *log) Propose(ctx context.Context, epoch model.LeaderEpoch, b record.Batch) (model.Offset, error) {
	l.mu.Lock()
	hold := l.hold
	l.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return model.NoOffset, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return model.NoOffset, l.refuse
	}
	if l.view.Epoch != epoch || !l.view.Ready {
		return model.NoOffset, quorum.ErrNotLeader
	}
	base := l.loader.Next()
	b.Stamp(base, epoch)
	l.count++
	_, err := l.loader.Load(b)
	return base, err
}

type rig struct {
	*testing.T
	log      *log
	c        *Controller
	probes   map[string]error // by host
	evidence []controller.Evidence
}

func run(t *testing.T, fn func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, log: newLog(), probes: map[string]error{}}
		core := controller.DefaultConfig()
		core.NodeID, core.ClusterID = 1, "c"
		r.c = New(Config{
			Core: core, Quorum: r.log, QueueMax: 4,
			Probe: func(ctx context.Context, e metadata.Endpoint) error {
				if err, ok := r.probes[e.Host]; ok {
					return err
				}
				<-ctx.Done()
				return ctx.Err()
			},
			Evidence: func(ev []controller.Evidence) { r.evidence = append(r.evidence, ev...) },
		})
		r.c.Start()
		defer r.c.Close()
		fn(r)
	})
}

// broker registers and unfences one.
func (r *rig) broker(id model.BrokerID, host string) model.BrokerEpoch {
	r.Helper()
	out, err := r.c.Submit(r.Context(), &controller.RegisterBroker{
		Broker: id, ClusterID: "c", Incarnation: newID(), Dirs: []model.DirectoryID{newID()},
		Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: host, Port: 9092}},
		Features:  controller.SupportedFeatures(), PreviousEpoch: model.NoBrokerEpoch,
	})
	if err != nil {
		r.Fatal(err)
	}
	reg := out.(*controller.RegisterBrokerResponse)
	if reg.Failed() {
		r.Fatal(reg.Result)
	}
	for range 2 {
		if _, err = r.c.Submit(r.Context(), &controller.BrokerHeartbeat{
			Broker: id, Epoch: reg.Epoch, MetadataOffset: r.log.Image().Offset,
		}); err != nil {
			r.Fatal(err)
		}
	}
	if r.log.Image().Brokers[id].Fenced {
		r.Fatalf("broker %d is still fenced", id)
	}
	return reg.Epoch
}

func TestNotActiveRefuses(t *testing.T) {
	run(t, func(r *rig) {
		if _, err := r.c.Submit(r.Context(), &controller.AllocateProducerIDs{}); !errors.Is(err, ErrNotController) {
			r.Fatal(err)
		}
	})
}

// An empty log gets its bootstrap records first; a request is answered when its
// records are applied.
func TestActivateAndAnswer(t *testing.T) {
	run(t, func(r *rig) {
		r.log.lead(1)
		synctest.Wait()
		if r.log.Image().MetadataVersion() == 0 {
			r.Fatal("no metadata.version after activation")
		}
		epoch := r.broker(10, "a")
		if b := r.log.Image().Brokers[10]; b == nil || b.Epoch != epoch || model.Offset(epoch) != b.RegisteredAt {
			r.Fatalf("%+v, epoch %d", b, epoch)
		}
	})
}

// While a proposal is in flight requests gather; the next proposal has them all.
// A queue that is full says so.
func TestOneProposalInFlight(t *testing.T) {
	run(t, func(r *rig) {
		r.log.lead(1)
		synctest.Wait()
		hold := make(chan struct{})
		r.log.mu.Lock()
		r.log.hold = hold
		before := r.log.count
		r.log.mu.Unlock()
		answers := make(chan error, 8)
		ask := func(name string) {
			go func() {
				_, err := r.c.Submit(r.Context(), &controller.IncrementalAlterConfigs{})
				answers <- err
			}()
			synctest.Wait()
			_ = name
		}
		// The first is a registration, which has records.
		go func() {
			_, err := r.c.Submit(r.Context(), &controller.RegisterBroker{Broker: 10, ClusterID: "c", Incarnation: newID(),
				Dirs: []model.DirectoryID{newID()}, Features: controller.SupportedFeatures(), PreviousEpoch: -1,
				Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: "a", Port: 1}}})
			answers <- err
		}()
		synctest.Wait()
		for range 4 {
			ask("waits")
		}
		if _, err := r.c.Submit(r.Context(), &controller.IncrementalAlterConfigs{}); !errors.Is(err, ErrBusy) {
			r.Fatalf("fifth request in a queue of four: %v", err)
		}
		if len(answers) > 0 {
			r.Fatal("answered before the commit")
		}
		<-time.After(50 * time.Millisecond)
		close(hold)
		for range 5 {
			if err := <-answers; err != nil {
				r.Fatal(err)
			}
		}
		if r.log.count != before+1 {
			r.Fatalf("%d proposals", r.log.count-before)
		}
		if queued, decided := r.c.Times(); queued.Count() != 5 || queued.Sum != 4*50*time.Millisecond || decided.Count() != 5 {
			r.Fatalf("%d requests waited %v in all, %d decided", queued.Count(), queued.Sum, decided.Count())
		}
	})
}

// Losing leadership fails what waits, and the next term starts from what was
// committed.
func TestStepDownWhileInFlight(t *testing.T) {
	run(t, func(r *rig) {
		r.log.lead(1)
		synctest.Wait()
		hold := make(chan struct{})
		r.log.mu.Lock()
		r.log.hold = hold
		r.log.mu.Unlock()
		answer := make(chan error, 1)
		go func() {
			_, err := r.c.Submit(r.Context(), &controller.AllocateProducerIDs{Broker: 10, Epoch: 3})
			answer <- err
			_, err = r.c.Submit(r.Context(), &controller.RegisterBroker{Broker: 10, ClusterID: "c", Incarnation: newID(),
				Dirs: []model.DirectoryID{newID()}, Features: controller.SupportedFeatures(), PreviousEpoch: -1,
				Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: "a", Port: 1}}})
			answer <- err
		}()
		if err := <-answer; err != nil { // a refusal by the core, at once
			r.Fatal(err)
		}
		synctest.Wait()
		r.log.set(quorum.View{Leader: 2, Epoch: 2})
		if err := <-answer; !errors.Is(err, ErrNotController) {
			r.Fatal(err)
		}
		r.log.lead(3) // again, while the old proposal still hangs
		synctest.Wait()
		r.log.mu.Lock()
		r.log.hold = nil
		r.log.mu.Unlock()
		close(hold)
		synctest.Wait()
		r.broker(11, "b")
		if r.log.Image().Brokers[10] != nil {
			r.Fatal("a refused proposal took effect")
		}
	})
}

// A refused probe fences at once; silence leaves it to the session time-out.
func TestHint(t *testing.T) {
	run(t, func(r *rig) {
		r.log.lead(1)
		synctest.Wait()
		r.broker(10, "gone")
		r.broker(11, "silent")
		r.broker(12, "alive")
		r.probes["gone"], r.probes["alive"] = quorum.ErrRefused, nil
		begin := time.Now()
		for id := model.BrokerID(10); id <= 12; id++ {
			r.c.BrokerDisconnected(id)
		}
		for !r.log.Image().Brokers[10].Fenced {
			if time.Since(begin) > time.Second {
				r.Fatal("not fenced within a second")
			}
			<-time.After(time.Millisecond)
		}
		<-time.After(3 * time.Second)
		if r.log.Image().Brokers[11].Fenced || r.log.Image().Brokers[12].Fenced {
			r.Fatal("fenced without a refusal")
		}
		refused := false
		for _, ev := range r.evidence {
			refused = refused || ev.Reason == controller.ConnectionRefused
		}
		if !refused {
			r.Fatalf("no evidence of the refusal in %+v", r.evidence)
		}
	})
}

// A new active controller probes every unfenced broker before it trusts the
// sessions it has just given them.
func TestProbesOnActivation(t *testing.T) {
	run(t, func(r *rig) {
		r.log.lead(1)
		synctest.Wait()
		r.broker(10, "gone")
		r.log.set(quorum.View{Leader: 2, Epoch: 2})
		r.probes["gone"] = quorum.ErrRefused
		r.log.lead(3)
		<-time.After(100 * time.Millisecond)
		if !r.log.Image().Brokers[10].Fenced {
			r.Fatal("not fenced")
		}
	})
}

// A hint about an earlier registration is ignored.
func TestHintOfAnEarlierLife(t *testing.T) {
	run(t, func(r *rig) {
		r.log.lead(1)
		synctest.Wait()
		epoch := r.broker(10, "a")
		r.c.hints <- hint{10, epoch - 1}
		synctest.Wait()
		if r.log.Image().Brokers[10].Fenced {
			r.Fatal("fenced by a hint about another registration")
		}
	})
}
