package replica

import (
	"errors"
	"slices"
	"testing"
	"time"

	"tidemark/internal/model"
)

var t0 = time.Unix(5000, 0)

type brokers map[model.BrokerID]BrokerStatus

func (b brokers) BrokerStatus(id model.BrokerID) BrokerStatus {
	if s, ok := b[id]; ok {
		return s
	}
	return BrokerStatus{Epoch: 1, Eligible: true}
}

func leader(leo, hw model.Offset, minISR int, isr ...model.BrokerID) (*Leader, brokers) {
	b := brokers{}
	l, _ := NewLeader(LeaderOptions{
		Self: 1, Epoch: 4, MinISR: minISR, LagTimeMax: 10 * time.Second, Brokers: b,
		Assignment: Assignment{Replicas: []model.BrokerID{1, 2, 3}, ISR: isr, PartitionEpoch: 7},
		LogEnd:     leo, Flushed: leo, HighWatermark: hw,
	}, t0)
	return l, b
}

func fetched(t *testing.T, l *Leader, id model.BrokerID, at model.Offset, now time.Time) Effects {
	t.Helper()
	e, err := l.Fetched(ReplicaFetch{Broker: id, Epoch: 1, Offset: at}, now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func wantHW(t *testing.T, l *Leader, want model.Offset) {
	t.Helper()
	if l.HighWatermark() != want {
		t.Fatalf("high watermark %d, want %d", l.HighWatermark(), want)
	}
}

// KIP-101: a follower is reconciled by epochs; the high watermark never decides
// where a log is cut, and on a leader it never goes back.
func TestKIP101HighWatermarkNeverGoesBackOnALeader(t *testing.T) {
	l, _ := leader(10, 10, 1, 1, 2, 3)
	fetched(t, l, 2, 10, t0)
	fetched(t, l, 3, 10, t0)
	fetched(t, l, 3, 2, t0)
	wantHW(t, l, 10)
}

// KIP-101: a restarted follower with records above its high watermark keeps
// them if the leader's epochs say that they are the leader's, too.
func TestKIP101RestartKeepsRecordsAboveTheHighWatermark(t *testing.T) {
	own := logOf(2, EpochEnd{0, 0})
	if v, _ := CheckLineage(FetchPosition{2, own.lastEpoch()}, 0, 2, logOf(2, EpochEnd{0, 0})); v != Agrees {
		t.Fatalf("verdict %d: the record above the high watermark would be lost", v)
	}
}

// KIP-207: while the high watermark is below the start of the leader epoch,
// committed records may lie above it, and "latest" is not answered.
func TestKIP207LatestIsUnknownBelowTheEpochStart(t *testing.T) {
	l, _ := leader(10, 6, 1, 1, 2)
	if l.KnowsCommitted() {
		t.Fatal("latest would be answered with 6")
	}
	fetched(t, l, 2, 8, t0)
	if l.KnowsCommitted() {
		t.Fatal("8 is still below the epoch start 10")
	}
	fetched(t, l, 2, 10, t0)
	if !l.KnowsCommitted() {
		t.Fatal("10 is the epoch start")
	}
}

// KAFKA-7128: reaching a temporarily low high watermark does not let a replica
// in that lacks records committed in the previous epoch.
func TestJoinNeedsTheEpochStart(t *testing.T) {
	l, _ := leader(10, 6, 1, 1, 2)
	if e := fetched(t, l, 3, 8, t0); e.Propose != nil {
		t.Fatalf("3 at 8 joins below the epoch start 10: %+v", e.Propose)
	}
	if e := fetched(t, l, 3, 10, t0); e.Propose == nil {
		t.Fatal("3 at 10 may join")
	}
}

// KIP-903: a fetch of an earlier registration is refused and leaves no trace.
func TestKIP903StaleRegistration(t *testing.T) {
	l, b := leader(10, 10, 1, 1, 2)
	b[3] = BrokerStatus{Epoch: 9, Eligible: true}
	_, err := l.Fetched(ReplicaFetch{Broker: 3, Epoch: 5, Offset: 10}, t0)
	if !errors.Is(err, ErrStaleBrokerEpoch) {
		t.Fatalf("error %v", err)
	}
	if f := l.Followers(NoSessions{}, t0)[1]; f.LEO != model.NoOffset || f.BrokerEpoch != model.NoBrokerEpoch {
		t.Fatalf("a refused fetch left %+v", f)
	}
}

// KIP-903: the proposal carries the registrations that were seen fetching, and
// a candidate whose registration differs from the metadata is not proposed.
func TestKIP903ProposalCarriesBrokerEpochs(t *testing.T) {
	l, b := leader(10, 10, 1, 1, 2)
	fetched(t, l, 2, 10, t0)
	b[3] = BrokerStatus{Epoch: 4, Eligible: true}
	// The fetch is ahead of our metadata: epoch 6 is not registered yet as far as we know.
	e, err := l.Fetched(ReplicaFetch{Broker: 3, Epoch: 6, Offset: 10}, t0)
	if err != nil || e.Propose != nil {
		t.Fatalf("%+v %v", e, err)
	}
	b[3] = BrokerStatus{Epoch: 6, Eligible: true}
	e, err = l.Fetched(ReplicaFetch{Broker: 3, Epoch: 6, Offset: 10}, t0)
	want := []ISRMember{{1, model.NoBrokerEpoch}, {2, 1}, {3, 6}}
	if err != nil || e.Propose == nil || !slices.Equal(e.Propose.ISR, want) {
		t.Fatalf("%+v %v", e.Propose, err)
	}
}

// KIP-841: a fenced or stopping broker does not join and does not hold the
// high watermark from outside the ISR.
func TestKIP841IneligibleReplica(t *testing.T) {
	l, b := leader(10, 10, 1, 1, 2)
	b[3] = BrokerStatus{Epoch: 1}
	if e := fetched(t, l, 3, 10, t0); e.Propose != nil {
		t.Fatal("an ineligible broker joins")
	}
	l.Appended(12, NoSessions{}, t0)
	fetched(t, l, 2, 12, t0)
	wantHW(t, l, 12)
}

// A replica outside the ISR that was caught up within the lag time holds the
// high watermark, or it could never reach it.
func TestCaughtUpReplicaOutsideTheISRHoldsTheHighWatermark(t *testing.T) {
	l, _ := leader(10, 10, 1, 1, 2)
	l.minISR = 1
	fetched(t, l, 3, 10, t0) // proposes; the controller refuses
	l.ISRRejected(1, RefusedIneligible, t0)
	l.Appended(12, NoSessions{}, t0)
	fetched(t, l, 2, 12, t0.Add(9*time.Second))
	wantHW(t, l, 10)
	l.Appended(13, NoSessions{}, t0.Add(11*time.Second))
	wantHW(t, l, 12)
}

// KIP-966: strict min ISR. Under it the high watermark stands still, whatever
// acks the producers use; a candidate does not count; RF 1 works under min 2.
func TestKIP966StrictMinISR(t *testing.T) {
	l, _ := leader(10, 10, 2, 1)
	if l.AdmitsAcksAll() {
		t.Fatal("acks=all admitted with ISR [1] and min 2")
	}
	l.Appended(11, NoSessions{}, t0)
	wantHW(t, l, 10)
	e := fetched(t, l, 2, 11, t0)
	if e.Propose == nil || l.AdmitsAcksAll() || !l.EnoughAfterAppend() {
		t.Fatalf("a pending candidate counts after append, not for admission: %+v", e)
	}
	wantHW(t, l, 10)
	e = l.ISRCommitted(ISRAnswer{Proposal: 1, LeaderEpoch: 4, PartitionEpoch: 8, ISR: []model.BrokerID{1, 2}}, t0)
	if !e.Advanced || !l.AdmitsAcksAll() {
		t.Fatalf("%+v", e)
	}
	wantHW(t, l, 11)
}

func TestEffectiveMinISRWithOneReplica(t *testing.T) {
	l, _ := NewLeader(LeaderOptions{
		Self: 1, Epoch: 0, MinISR: 2, LagTimeMax: time.Second, Brokers: brokers{},
		Assignment: Assignment{Replicas: []model.BrokerID{1}, ISR: []model.BrokerID{1}},
	}, t0)
	if !l.AdmitsAcksAll() || !l.Appended(3, NoSessions{}, t0).Advanced {
		t.Fatal("one replica must work under min.insync.replicas=2")
	}
}

// KAFKA-7152: a replica at the leader's end never leaves for its age.
func TestReplicaAtTheEndIsNeverDropped(t *testing.T) {
	l, _ := leader(10, 10, 1, 1, 2)
	fetched(t, l, 2, 10, t0)
	if e := l.Tick(NoSessions{}, t0.Add(time.Hour)); e.Propose != nil {
		t.Fatalf("%+v", e.Propose)
	}
}

// KAFKA-4485: a follower that always reads up to the end of its previous fetch
// stays, although it is never at the end.
func TestBusyFollowerStays(t *testing.T) {
	l, _ := leader(0, 0, 1, 1, 2)
	now := t0
	for i := range 30 {
		l.Appended(model.Offset(10*(i+1)), NoSessions{}, now)
		fetched(t, l, 2, model.Offset(10*i), now)
		now = now.Add(3 * time.Second)
		if e := l.Tick(NoSessions{}, now); e.Propose != nil {
			t.Fatalf("dropped at fetch %d: %v", i, e.Evidence)
		}
	}
}

// KAFKA-13837: a fetch from a broker outside the assignment is refused.
func TestFetchFromOutsideTheAssignment(t *testing.T) {
	l, _ := leader(10, 10, 1, 1, 2)
	if _, err := l.Fetched(ReplicaFetch{Broker: 9, Epoch: 1, Offset: 10}, t0); !errors.Is(err, ErrNotAssigned) {
		t.Fatal(err)
	}
	if _, err := l.Fetched(ReplicaFetch{Broker: 2, Epoch: 1, Offset: 11}, t0); !errors.Is(err, ErrBeyondEnd) {
		t.Fatal(err)
	}
}

// A repeated notification of the same state must not lose follower state.
func TestRepeatedMetadataKeepsTheBooks(t *testing.T) {
	l, _ := leader(10, 0, 1, 1, 2)
	fetched(t, l, 2, 10, t0)
	for range 3 {
		e := l.Update(Assignment{Replicas: []model.BrokerID{1, 2, 3}, ISR: []model.BrokerID{1, 2}, PartitionEpoch: 7}, t0)
		if len(e.Evidence) > 0 || e.Propose != nil {
			t.Fatalf("%+v", e)
		}
	}
	if f := l.Followers(NoSessions{}, t0)[0]; f.LEO != 10 {
		t.Fatalf("%+v", f)
	}
}

// Followers clamp the leader's high watermark to their own log, and take a
// lower one from a new leader.
func TestFollowerHighWatermark(t *testing.T) {
	f := NewFollower(FollowerOptions{Leader: 1, Epoch: 4, LogEnd: 10, HighWatermark: 3})
	f.Appended(12)
	if e := f.Replicated(50, 0, t0); f.HighWatermark() != 12 || !e.Advanced {
		t.Fatalf("%d", f.HighWatermark())
	}
	if e := f.Replicated(5, 0, t0); f.HighWatermark() != 5 || len(e.Evidence) != 1 {
		t.Fatalf("%d %+v", f.HighWatermark(), e)
	}
	if f.Replicated(2, 8, t0); f.HighWatermark() != 8 {
		t.Fatalf("below the log start: %d", f.HighWatermark())
	}
	f.Truncated(0, 6, ReasonDiverged, t0)
	if f.HighWatermark() != 6 || f.LogEnd() != 6 {
		t.Fatalf("%d %d", f.HighWatermark(), f.LogEnd())
	}
}

// With the flush gate a follower acknowledges what is on its disk.
func TestFollowerFlushGate(t *testing.T) {
	f := NewFollower(FollowerOptions{FlushGate: true})
	f.Appended(9)
	if f.FetchOffset() != 0 {
		t.Fatal(f.FetchOffset())
	}
	f.Flushed(9)
	if f.FetchOffset() != 9 {
		t.Fatal(f.FetchOffset())
	}
	// What was cut and written again is other records: they aren't on disk yet.
	f.Truncated(0, 5, ReasonDiverged, t0)
	f.Appended(9)
	if f.FetchOffset() != 5 {
		t.Fatal(f.FetchOffset())
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	l, _ := leader(10, 10, 1, 1, 2, 3)
	off := model.Offset(10)
	if n := testing.AllocsPerRun(100, func() {
		off++
		l.Appended(off, NoSessions{}, t0)
		fetched(t, l, 2, off, t0)
		fetched(t, l, 3, off, t0)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// The answer to AlterPartition may complete a reassignment and come before its
// metadata, which then has the same partition epoch and other replicas.
func TestMetadataAfterACompletedReassignment(t *testing.T) {
	l, _ := leader(10, 10, 2, 1, 2)
	fetched(t, l, 3, 10, t0)
	l.ISRCommitted(ISRAnswer{Proposal: 1, LeaderEpoch: 4, PartitionEpoch: 8, ISR: []model.BrokerID{1, 3}}, t0)
	l.Update(Assignment{Replicas: []model.BrokerID{1, 3}, ISR: []model.BrokerID{1, 3}, PartitionEpoch: 8}, t0)
	if v := l.Followers(NoSessions{}, t0); len(v) != 1 || v[0].ID != 3 || !v[0].InISR || v[0].LEO != 10 {
		t.Fatalf("%+v", v)
	}
}
