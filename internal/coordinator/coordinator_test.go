package coordinator

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/group"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
)

// fakeLog is the log of one partition. It is one for all leaderships, as the
// replicas of a partition are. What is above the high watermark can be cut.
type fakeLog struct {
	mu      sync.Mutex
	batches []record.Batch
	hw      model.Offset
	epoch   model.LeaderEpoch
	refuse  error
	auto    bool // commit at once
	waits   []fakeWait
	timeout time.Duration
}

type fakeWait struct {
	at   Position
	done func(error)
	t    *time.Timer
}

func (l *fakeLog) endLocked() model.Offset {
	if n := len(l.batches); n > 0 {
		return l.batches[n-1].NextOffset()
	}
	return 0
}

func (l *fakeLog) Scan(fn func(record.Batch) error) (model.Offset, error) {
	l.mu.Lock()
	batches, end := slices.Clone(l.batches), l.endLocked()
	l.mu.Unlock()
	for _, b := range batches {
		if err := fn(b); err != nil {
			return 0, err
		}
	}
	return end, nil
}

func (l *fakeLog) Append(b record.Batch, epoch model.LeaderEpoch, ready *purgatory.Ready) (Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return Position{}, l.refuse
	}
	if epoch != l.epoch {
		return Position{}, fmt.Errorf("epoch %d: %w", epoch, partition.ErrFencedEpoch)
	}
	b.Stamp(l.endLocked(), epoch)
	l.batches = append(l.batches, b)
	if l.auto {
		l.hw = b.NextOffset()
	}
	return Position{epoch, b.LastOffset()}, nil
}

func (l *fakeLog) Await(at Position, ready *purgatory.Ready, done func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case at.Epoch != l.epoch:
		ready.Add(completer(func() { done(ErrLost) }))
	case l.hw > at.Last:
		ready.Add(completer(func() { done(nil) }))
	default:
		w := fakeWait{at: at, done: done}
		w.t = time.AfterFunc(l.timeout, func() {
			if l.drop(at) {
				done(ErrTimedOut)
			}
		})
		l.waits = append(l.waits, w)
	}
}

func (l *fakeLog) drop(at Position) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.waits)
	l.waits = slices.DeleteFunc(l.waits, func(w fakeWait) bool { return w.at == at })
	return len(l.waits) < n
}

type completer func()

func (c completer) Complete() { c() }

// commit moves the high watermark to the end; backwards tells the waiting
// appends in the wrong order.
func (l *fakeLog) commit(backwards bool) {
	l.mu.Lock()
	l.hw = l.endLocked()
	waits := l.waits
	l.waits = nil
	l.mu.Unlock()
	if backwards {
		slices.Reverse(waits)
	}
	for _, w := range waits {
		w.t.Stop()
		w.done(nil)
	}
}

// elect ends the leadership. What is not committed is cut, and the next leader's
// own records take its offsets.
func (l *fakeLog) elect(epoch model.LeaderEpoch, cut bool) {
	l.mu.Lock()
	l.epoch = epoch
	if cut {
		l.batches = slices.DeleteFunc(l.batches, func(b record.Batch) bool { return b.BaseOffset() >= l.hw })
	}
	waits := l.waits
	l.waits = nil
	l.mu.Unlock()
	for _, w := range waits {
		w.t.Stop()
		w.done(ErrLost)
	}
}

type fixture struct {
	*Coordinator
	log  *fakeLog
	logs bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{log: &fakeLog{epoch: 1, timeout: 5 * time.Second}}
	img := metadata.Empty()
	img.Topics.ByName[group.OffsetsTopic] = &metadata.Topic{Name: group.OffsetsTopic, Partitions: []*metadata.Partition{{}}}
	cfg := group.DefaultConfig()
	cfg.InitialRebalanceDelay = time.Second
	f.Coordinator = New(Config{ // with debug lines: empty partitions, too
		Groups: cfg, Image: func() *metadata.Image { return img }, Logger: slog.New(slog.NewTextHandler(&f.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) lead(epoch model.LeaderEpoch) {
	f.Lead(0, epoch, f.log)
	synctest.Wait()
}

// commit commits an offset and returns where its answer appears.
func (f *fixture) commitOffset(off model.Offset) *answers {
	got := &answers{}
	f.Commit(group.Commit{Group: "g", Generation: -1, Retention: -1, Offsets: []group.CommitOffset{
		{Partition: tp, Offset: off, LeaderEpoch: -1},
	}}, func(c group.Committed) { got.add(fmt.Sprint(c.Code, c.Partitions)) })
	synctest.Wait()
	return got
}

var tp = model.TopicPartition{Topic: "t"}

func (f *fixture) offset(t *testing.T) model.Offset {
	t.Helper()
	got, code := f.Offsets("g", []model.TopicPartition{tp})
	if code != group.OK {
		t.Fatalf("offsets: %s", code)
	}
	return got[0].Offset.Offset
}

// answers gathers what was answered, by any goroutine.
type answers struct {
	mu  sync.Mutex
	all []string
}

func (a *answers) add(s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, s)
}

func expect(t *testing.T, got *answers, want ...string) {
	t.Helper()
	synctest.Wait()
	got.mu.Lock()
	defer got.mu.Unlock()
	if !slices.Equal(got.all, want) {
		t.Fatalf("answers %q, want %q", got.all, want)
	}
}

func TestCommitIsAnsweredAndVisibleWhenCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		expect(t, f.commitOffset(1), "NOT_COORDINATOR []")
		f.lead(1)
		a, b := f.commitOffset(10), f.commitOffset(11)
		expect(t, a)
		if got := f.offset(t); got != -1 {
			t.Fatalf("visible before it is committed: %d", got)
		}
		f.log.commit(true) // notices overtake each other
		expect(t, a, "OK [OK]")
		expect(t, b, "OK [OK]")
		if got := f.offset(t); got != 11 {
			t.Fatalf("committed offset %d", got)
		}
		if b := f.log.batches[0]; b.ProducerID() != -1 || b.Transactional() || b.CheckCRC() != nil {
			t.Fatalf("batch %v", b)
		}
	})
}

// A former leader's commit must not be acknowledged because the high watermark
// passes its offset over the records of another leader (KAFKA-20634).
func TestCommitOfALostLeadershipFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.lead(1)
		f.log.commit(false)
		a := f.commitOffset(10)
		f.log.elect(2, true)
		expect(t, a, "NOT_COORDINATOR []")
		if _, code := f.Offsets("g", nil); code != group.NotCoordinator {
			t.Fatalf("still serves: %s", code)
		}
	})
}

func TestOffsetsSurviveAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.lead(1)
		a := f.commitOffset(10)
		f.log.commit(false)
		expect(t, a, "OK [OK]")
		lost := f.commitOffset(20)
		f.log.elect(2, true)
		f.Resign(0, 1)
		expect(t, lost, "NOT_COORDINATOR []")
		f.lead(2)
		if got := f.offset(t); got != 10 {
			t.Fatalf("after the move: %d", got)
		}
	})
}

// The new leader has records that are not committed yet: it must not tell them
// to anybody before they are.
func TestLoadWaitsForTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.lead(1)
		f.commitOffset(10)
		f.log.elect(2, false)
		f.lead(2)
		if _, code := f.Offsets("g", nil); code != group.CoordinatorLoading {
			t.Fatalf("code %s", code)
		}
		if code := f.Heartbeat(group.Heartbeat{Group: "g"}); code != group.OK {
			t.Fatalf("heartbeat while loading: %s", code)
		}
		if _, code := f.List(nil, nil); code != group.CoordinatorLoading {
			t.Fatalf("list while loading: %s", code)
		}
		<-time.After(20 * time.Second) // longer than the time-out of one wait
		f.log.commit(false)
		synctest.Wait()
		if got := f.offset(t); got != 10 {
			t.Fatalf("after loading: %d", got)
		}
		if s := f.Stats(); s != (Stats{Partitions: 1, Groups: 1, Offsets: 1}) {
			t.Fatalf("%+v", s)
		}
	})
}

func TestLateCommitIsAppliedAfterItsTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.lead(1)
		a := f.commitOffset(10)
		<-time.After(5*time.Second + time.Millisecond)
		expect(t, a, "OK [COORDINATOR_NOT_AVAILABLE]")
		<-time.After(time.Minute)
		if got := f.offset(t); got != -1 {
			t.Fatalf("visible: %d", got)
		}
		f.log.commit(false)
		<-time.After(f.cfg.Retry)
		synctest.Wait()
		if got := f.offset(t); got != 10 {
			t.Fatalf("what is in the log is not in memory: %d", got)
		}
	})
}

func TestErrorsOfAppends(t *testing.T) {
	for err, want := range map[error]string{
		partition.ErrNotEnoughReplicas: "OK [COORDINATOR_NOT_AVAILABLE]",
		partition.ErrUnknownPartition:  "OK [COORDINATOR_NOT_AVAILABLE]",
		partition.ErrNotLeader:         "OK [NOT_COORDINATOR]",
		partition.ErrStorage:           "OK [NOT_COORDINATOR]",
		partition.ErrFencedEpoch:       "OK [NOT_COORDINATOR]",
		record.ErrTooLarge:             "OK [UNKNOWN_SERVER_ERROR]",
		partition.ErrSegmentTooSmall:   "OK [UNKNOWN_SERVER_ERROR]",
		errors.New("surprise"):         "OK [UNKNOWN_SERVER_ERROR]",
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			f.lead(1)
			f.log.refuse = fmt.Errorf("append: %w", err)
			expect(t, f.commitOffset(1), want)
		})
	}
}

func TestSessionsAndRebalancesByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.log.auto = true
		f.lead(1)
		got := &answers{}
		join := func(member string) {
			f.Join(group.Join{
				Group: "g", Member: member, NewID: "m1", Session: 10 * time.Second, Rebalance: time.Minute,
				ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range"}},
			}, func(j group.Joined) { got.add(fmt.Sprint(j.Code, " ", j.Generation, " ", j.Member)) })
		}
		join("")
		<-time.After(999 * time.Millisecond)
		expect(t, got)
		<-time.After(2 * time.Millisecond) // the initial delay is over
		expect(t, got, "OK 1 m1")
		f.Sync(group.Sync{Group: "g", Member: "m1", Generation: 1, Assignments: []group.Assignment{{Member: "m1", Data: []byte("x")}}},
			func(s group.Synced) { got.add(fmt.Sprintf("%s %s", s.Code, s.Assignment)) })
		expect(t, got, "OK 1 m1", "OK x")
		beat := func() group.Code {
			return f.Heartbeat(group.Heartbeat{Group: "g", Member: "m1", Generation: 1})
		}
		for range 5 {
			<-time.After(9 * time.Second)
			if code := beat(); code != group.OK {
				t.Fatalf("heartbeat: %s", code)
			}
		}
		<-time.After(10*time.Second + time.Millisecond)
		if code := beat(); code != group.UnknownMemberID {
			t.Fatalf("after the session: %s", code)
		}
		if d := f.Describe("g"); d.State != group.Empty || d.Code != group.OK {
			t.Fatalf("%+v", d)
		}
		// A week later nothing is left, of the group or in memory.
		<-time.After(8 * 24 * time.Hour)
		if d := f.Describe("g"); d.Code != group.GroupIDNotFound {
			t.Fatalf("after retention: %+v", d)
		}
	})
}

func TestResignAnswersParkedJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.log.epoch = 3
		f.lead(3)
		got := &answers{}
		f.Join(group.Join{
			Group: "g", NewID: "m1", Session: 10 * time.Second, ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range"}},
		}, func(j group.Joined) { got.add(j.Code.String()) })
		f.Resign(0, 2) // of an older leadership: ignored
		expect(t, got)
		f.lead(3) // known already
		expect(t, got)
		f.Resign(0, 3)
		expect(t, got, "NOT_COORDINATOR")
	})
}

func TestLargeWritesTakeSeveralBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.BatchBytes = 300
		f.lead(1)
		var offs []group.CommitOffset
		for n := range 20 {
			offs = append(offs, group.CommitOffset{Partition: model.TopicPartition{Topic: strings.Repeat("t", 40), Partition: int32(n)}})
		}
		done := false
		f.Commit(group.Commit{Group: "g", Generation: -1, Retention: -1, Offsets: offs}, func(c group.Committed) {
			done = c.Code == group.OK && !slices.ContainsFunc(c.Partitions, func(c group.Code) bool { return c != group.OK })
		})
		f.log.commit(true)
		synctest.Wait()
		if all, _ := f.Offsets("g", nil); !done || len(all) != 20 || len(f.log.batches) < 5 {
			t.Fatalf("done %v, %d offsets, %d batches", done, len(all), len(f.log.batches))
		}
		for _, b := range f.log.batches {
			if len(b) > 300 {
				t.Errorf("batch of %d bytes", len(b))
			}
		}
	})
}

// Offsets that Apache Kafka's producers committed in transactions count if the
// transaction was committed; other kinds of groups are skipped.
func TestLoadsTransactionsAndSkipsOtherGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.lead(1)
		f.commitOffset(1)
		f.log.commit(false)
		var key, value []byte
		for r, err := range f.log.batches[0].Records(1 << 20) {
			if err != nil {
				t.Fatal(err)
			}
			key, value = clone(r.Key), clone(r.Value)
		}
		txn := func(pid model.ProducerID, offset byte) {
			v := clone(value)
			v[9] = offset
			var b record.Builder
			b.SetTransactional()
			b.SetProducer(pid, 0, record.NoSequence)
			b.Add(1, key, v)
			f.log.add(b.Build())
		}
		txn(7, 50)
		txn(8, 60)
		txn(9, 70)
		f.log.add(record.Marker(8, 0, record.EndTxn{}))
		f.log.add(record.Marker(7, 0, record.EndTxn{Commit: true}))
		var b record.Builder
		b.Add(1, []byte{0, 3, 0, 1, 'g'}, []byte{0, 0})
		f.log.add(b.Build())
		f.log.elect(2, false)
		f.log.commit(false)
		f.Resign(0, 1)
		f.lead(2)
		if got := f.offset(t); got != 50 {
			t.Fatalf("offset %d, want that of the committed transaction", got)
		}
		if !strings.Contains(f.logs.String(), "skipped=1") {
			t.Fatalf("log: %s", f.logs.String())
		}
	})
}

func (l *fakeLog) add(b record.Batch) {
	b.Stamp(l.endLocked(), l.epoch)
	l.batches = append(l.batches, b)
}
