package observer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// fakeController is an active controller with one broker, as the channel sees it.
type fakeController struct {
	mu         sync.Mutex
	register   []peer.Code // answers, one after the other; then success
	silent     bool        // no answer until the context ends
	regs       []peer.Registration
	beats      []peer.Heartbeat
	at         []time.Time
	need       model.Offset // metadata offset that counts as caught up
	leads      int          // heartbeats with WantShutdown until leaderships are gone
	fence      bool
	staleEpoch bool
}

func (f *fakeController) RegisterBroker(ctx context.Context, r peer.Registration) (peer.RegistrationResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent {
		return peer.RegistrationResult{}, f.wait(ctx)
	}
	f.regs = append(f.regs, r)
	if len(f.register) > 0 {
		c := f.register[0]
		f.register = f.register[1:]
		return peer.RegistrationResult{Code: c, Epoch: -1}, nil
	}
	return peer.RegistrationResult{Epoch: 100}, nil
}

func (f *fakeController) wait(ctx context.Context) error {
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	return ctx.Err()
}

func (f *fakeController) BrokerHeartbeat(ctx context.Context, h peer.Heartbeat) (peer.HeartbeatResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent {
		return peer.HeartbeatResult{}, f.wait(ctx)
	}
	f.beats, f.at = append(f.beats, h), append(f.at, time.Now())
	if f.staleEpoch {
		return peer.HeartbeatResult{Code: peer.CodeStaleBrokerEpoch, Fenced: true}, nil
	}
	res := peer.HeartbeatResult{CaughtUp: h.MetadataOffset >= f.need}
	res.Fenced = h.WantFence || !res.CaughtUp || f.fence
	if h.WantShutdown {
		f.leads--
		res.ShouldShutdown = f.leads < 0
	}
	return res, nil
}

func (f *fakeController) with(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

func (f *fakeController) count() (regs, beats int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.regs), len(f.beats)
}

func (f *fakeController) last() peer.Heartbeat {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.beats[len(f.beats)-1]
}

type sink struct {
	mu   sync.Mutex
	list []journal.Event
}

func (s *sink) Emit(e journal.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
}

func (s *sink) kinds() (out []journal.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.list {
		out = append(out, e.Kind)
	}
	return out
}

func (s *sink) reasonOf(k journal.Kind) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.list {
		if e.Kind == k {
			return e.Reason
		}
	}
	return "no such event"
}

type life struct {
	*Lifecycle
	c      *fakeController
	events *sink
	offset model.Offset
	others bool
}

func begin(c *fakeController) *life {
	l := &life{c: c, events: &sink{}, others: true}
	l.Lifecycle = NewLifecycle(LifecycleConfig{
		Registration: peer.Registration{Broker: 1, PreviousEpoch: 55,
			Features: []peer.Feature{{Name: "metadata.version", Min: 7, Max: 30}, {Name: "group.version", Max: 1}}},
		Dirs:           func() []model.DirectoryID { return []model.DirectoryID{{7}} },
		Channel:        c,
		MetadataOffset: func() model.Offset { c.mu.Lock(); defer c.mu.Unlock(); return l.offset },
		OthersAlive:    func() bool { c.mu.Lock(); defer c.mu.Unlock(); return l.others },
		Events:         l.events,
	})
	l.Start()
	return l
}

func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestFromStartToRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeController{need: 90, register: []peer.Code{peer.CodeDuplicateRegistration, peer.CodeDuplicateRegistration}}
		l := begin(c)
		defer l.Stop()
		after(250 * time.Millisecond)
		if n, _ := c.count(); l.Epoch() != model.NoBrokerEpoch || n != 2 {
			t.Fatalf("epoch %d after %d registrations", l.Epoch(), n)
		}
		after(200 * time.Millisecond) // 100 ms and 200 ms of back-off are over
		c.mu.Lock()
		third := c.regs[2]
		c.mu.Unlock()
		if l.Epoch() != 100 || third.PreviousEpoch != 55 || len(third.LogDirs) != 1 {
			t.Fatalf("epoch %d, registration %+v", l.Epoch(), third)
		}
		// Not caught up: a heartbeat each 10 ms, fenced at its own wish.
		_, n := c.count()
		after(100 * time.Millisecond)
		if _, m := c.count(); m-n < 9 || m-n > 11 || l.State() != Starting || !c.last().WantFence {
			t.Fatalf("%d heartbeats in 100 ms, state %s", m-n, l.State())
		}
		c.with(func() { l.offset = 90 })
		after(50 * time.Millisecond)
		if l.State() != Recovery {
			t.Fatalf("state %s after catching up", l.State())
		}
		// Loading logs takes a while: every 2 s, still fenced (invariant 4).
		_, n = c.count()
		after(10 * time.Second)
		if _, m := c.count(); m-n != 5 || !c.last().WantFence || !l.Fenced() {
			t.Fatalf("%d heartbeats in 10 s of recovery", m-n)
		}
		l.Ready()
		synctest.Wait()
		if l.State() != Running || l.Fenced() {
			t.Fatalf("state %s after ready", l.State())
		}
		<-l.Unfenced()
		// Fenced by the controller (a pause, say), then unfenced: it keeps running.
		c.with(func() { c.fence = true })
		after(2 * time.Second)
		if !l.Fenced() || l.State() != Running {
			t.Fatalf("fenced %v, state %s", l.Fenced(), l.State())
		}
	})
}

func TestRegistrationTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(&fakeController{silent: true})
		defer l.Stop()
		began := time.Now()
		if err := <-l.Failed(); !errors.Is(err, ErrNotRegistered) || time.Since(began) != time.Minute {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
	})
}

// A refused broker says which finalised levels it lacks, once it has read them.
func TestRefusedRegistrationNamesTheFeatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeController{register: []peer.Code{peer.CodeUnsupportedVersion, peer.CodeUnsupportedVersion}}
		l := begin(c)
		defer l.Stop()
		img := metadata.Empty()
		img.Features = map[string]int16{"metadata.version": 31, "group.version": 1, "share.version": 1, "streams.version": 0}
		l.Published(img)
		after(time.Second)
		l.events.mu.Lock()
		defer l.events.mu.Unlock()
		for _, e := range l.events.list {
			if strings.Contains(e.Detail, "metadata.version=31,share.version=1:") {
				return
			}
		}
		t.Errorf("not named: %+v", l.events.list)
	})
}

func running(t *testing.T, c *fakeController) *life {
	t.Helper()
	l := begin(c)
	l.Ready()
	after(time.Second)
	if l.State() != Running {
		t.Fatalf("state %s", l.State())
	}
	return l
}

func TestControlledShutdown(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    func(*life)
		within time.Duration
		want   bool
		reason string
	}{
		{"granted when leaderships are gone", func(l *life) { l.c.leads = 3 }, time.Second, true, ""},
		{"controller silent", func(l *life) { l.c.silent = true }, 2100 * time.Millisecond, false, "controller-silent"},
		{"controller answers errors", func(l *life) { l.c.staleEpoch = true }, 2100 * time.Millisecond, false,
			"controller-silent"},
		{"no other broker", func(l *life) { l.c.leads, l.others = 1e6, false }, 1100 * time.Millisecond, false,
			"no-other-broker"},
		{"takes too long", func(l *life) { l.c.leads = 1e6 }, 20 * time.Second, false, "time-limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := running(t, &fakeController{})
				l.c.with(func() { c.set(l) })
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				began := time.Now()
				if got := l.Shutdown(ctx); got != c.want || time.Since(began) > c.within {
					t.Fatalf("granted %v after %s, want %v within %s", got, time.Since(began), c.want, c.within)
				}
				if !c.want && l.events.reasonOf(journal.ShutdownForced) != c.reason {
					t.Fatalf("events %+v", l.events.list)
				}
				if l.State() != ShuttingDown {
					t.Fatalf("state %s", l.State())
				}
			})
		})
	}
}

// The heartbeat in flight to a paused controller must not eat the 2 s.
func TestShutdownInterruptsTheHeartbeatInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := running(t, &fakeController{})
		l.c.with(func() { l.c.silent = true })
		after(2500 * time.Millisecond) // a heartbeat waits for its answer
		l.c.with(func() { l.c.silent = false })
		began := time.Now()
		if !l.Shutdown(t.Context()) || time.Since(began) > 500*time.Millisecond {
			t.Fatalf("took %s", time.Since(began))
		}
	})
}

func TestOfflineDirectoryIsReportedOrFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := running(t, &fakeController{})
		l.DirFailed(model.DirectoryID{9})
		synctest.Wait()
		if h := l.c.last(); len(h.OfflineDirs) != 1 || h.OfflineDirs[0] != (model.DirectoryID{9}) {
			t.Fatalf("heartbeat %+v", h)
		}
		after(time.Minute)
		select {
		case err := <-l.Failed():
			t.Fatalf("reported, yet %v", err)
		default:
		}
		l.c.with(func() { l.c.staleEpoch = true })
		l.DirFailed(model.DirectoryID{8})
		began := time.Now()
		if err := <-l.Failed(); !errors.Is(err, ErrDirNotReported) || time.Since(began) > 33*time.Second {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		l.Stop()
	})
}

// scripted is one controller's connection for Channel tests.
type scripted struct {
	Controller
	addr   string
	closed *int
	answer func(addr string) (peer.HeartbeatResult, error)
}

func (s *scripted) BrokerHeartbeat(context.Context, peer.Heartbeat) (peer.HeartbeatResult, error) {
	return s.answer(s.addr)
}

func (s *scripted) Close() error { *s.closed++; return nil }

func TestChannelFindsTheActiveController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		active, known := "a", ""
		set := func(addr string) {
			mu.Lock()
			defer mu.Unlock()
			known = addr
		}
		var dials []string
		closed := 0
		ch := NewChannel(ChannelConfig{
			Resolve: func() (model.BrokerID, string, bool) {
				mu.Lock()
				defer mu.Unlock()
				return 0, known, known != ""
			},
			Dial: func(_ context.Context, addr string) (Controller, error) {
				dials = append(dials, addr)
				if addr == "down" {
					return nil, errors.New("refused")
				}
				return &scripted{addr: addr, closed: &closed, answer: func(at string) (peer.HeartbeatResult, error) {
					if at != active {
						return peer.HeartbeatResult{Code: peer.CodeNotController}, nil
					}
					return peer.HeartbeatResult{}, nil
				}}, nil
			},
		})
		type outcome struct {
			err error
			at  time.Time
		}
		got := make(chan outcome, 1)
		ask := func(limit time.Duration) {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				_, err := ch.BrokerHeartbeat(ctx, peer.Heartbeat{})
				got <- outcome{err, time.Now()}
			}()
		}
		// Nobody is known; then one that is down; then one that isn't active; then the active one.
		began := time.Now()
		ask(time.Minute)
		for _, addr := range []string{"down", "b", "a"} {
			<-time.After(time.Second)
			set(addr)
		}
		if o := <-got; o.err != nil || o.at.Sub(began) > 3100*time.Millisecond {
			t.Fatalf("%v after %s", o.err, o.at.Sub(began))
		}
		dials, closed = nil, 0
		ask(time.Second)
		if o := <-got; o.err != nil || len(dials) != 0 {
			t.Fatalf("%v, dials %q: the connection should be used again", o.err, dials)
		}
		set("")
		ask(time.Second)
		if o := <-got; !errors.Is(o.err, ErrNoController) {
			t.Fatalf("error %v, want ErrNoController", o.err)
		}
		set("a")
		ch.Close()
		ask(time.Second)
		if o := <-got; !errors.Is(o.err, ErrNoController) {
			t.Fatalf("closed channel: %v", o.err)
		}
	})
}
