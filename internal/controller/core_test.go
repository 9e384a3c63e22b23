package controller

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

func TestNotActive(t *testing.T) {
	s := newStory()
	c := New(s.cfg)
	if d := c.Decide(&DeleteTopics{}, s.env()); !errors.Is(d.Err, ErrNotController) {
		t.Error(d.Err)
	}
	if c.Tick(s.env()) != nil || c.Hint(1, s.env()) != nil || !c.NextTick().IsZero() {
		t.Error("an inactive core decided something")
	}
	s = started(t, nil, 1)
	if d := s.core.Decide("nonsense", s.env()); !errors.Is(d.Err, ErrUnknownRequest) {
		t.Error(d.Err)
	}
}

func TestProducerIDsNeverRepeat(t *testing.T) {
	s := started(t, nil, 1)
	e := s.epoch(1)
	for want := model.ProducerID(0); want < 3000; want += 1000 {
		r := s.decide(&AllocateProducerIDs{Broker: 1, Epoch: e}).(*AllocateProducerIDsResponse)
		if r.Failed() || r.First != want || r.Count != 1000 {
			t.Errorf("%+v, want first %d", r, want)
		}
	}
	if r := s.decide(&AllocateProducerIDs{Broker: 1, Epoch: e + 1}).(*AllocateProducerIDsResponse); r.Code != StaleBrokerEpoch {
		t.Error(r.Result)
	}
}

func TestRegisterControllerWritesOnce(t *testing.T) {
	s := started(t, nil)
	r := &RegisterController{Controller: 100, Incarnation: model.UUID{1}, Endpoints: []metadata.Endpoint{{Name: "CONTROLLER"}},
		Features: map[string]metadata.VersionRange{"a": {Max: 1}, "b": {Max: 2}}}
	before := s.next
	s.decide(r)
	s.decide(r)
	if n := s.next - before; n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

// A renewed session counts from the heartbeat's arrival, not from its decision
// (KAFKA-15019).
func TestTouchKeepsSession(t *testing.T) {
	s := started(t, nil, 1)
	s.now = s.now.Add(8 * time.Second)
	s.core.Touch(1, s.epoch(1)+1, s.now) // another life
	if due := s.core.NextTick().Sub(s.now); due != time.Second {
		t.Errorf("due in %s", due)
	}
	s.core.Touch(1, s.epoch(1), s.now)
	s.now = s.now.Add(8 * time.Second)
	if recs := s.core.Tick(s.env()); recs != nil {
		t.Error("fenced although its heartbeat had arrived")
	}
}

func TestNoOpWhenIdle(t *testing.T) {
	s := started(t, func(c *Config) { c.NoOpInterval = 500 * time.Millisecond })
	s.now = s.core.NextTick()
	recs := s.core.Tick(s.env())
	if len(recs) != 1 || recs[0].Key() != (&metadata.NoOpRecord{}).Key() {
		t.Errorf("%v", recs)
	}
	if due := s.core.NextTick().Sub(s.now); due != 500*time.Millisecond {
		t.Errorf("the next one in %s", due)
	}
}

// A proposal that was certainly not committed leaves nothing behind, and what it
// would have done is done again.
func TestAbandon(t *testing.T) {
	s := started(t, nil, 1, 2)
	s.createTopics(t, manual("x", ids(1, 2)))
	if len(s.core.Hint(1, s.env())) == 0 {
		t.Fatal("the hint fenced nobody")
	}
	s.core.Abandon(s.img)
	if s.core.View().Brokers[1].Fenced {
		t.Error("still fenced in the overlay")
	}
	if len(s.core.Tick(s.env())) == 0 {
		t.Error("the broker isn't fenced again")
	}
}

// A commit of the first of two batches keeps the second in the overlay.
func TestReplayedKeepsLaterRecords(t *testing.T) {
	s := started(t, nil, 1)
	s.hold = true
	s.createTopics(t, auto("first", 1, 1))
	first, at := s.held, s.next-1
	s.createTopics(t, auto("second", 1, 1))
	d := metadata.NewDelta(s.img)
	for _, r := range first {
		if err := d.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	s.core.Replayed(d.Apply(at, 1))
	for _, name := range []string{"first", "second"} {
		if s.core.View().Topics.ByName[name] == nil {
			t.Errorf("topic %s is gone", name)
		}
	}
}

// Random requests, checked against the invariants of every partition after each,
// and twice with the same seed for equal output (invariant 6).
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(60) {
		elr := seed%2 == 1
		one, two := history(t, seed, elr), history(t, seed, elr)
		if one != two {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

func history(t *testing.T, seed uint64, elr bool) string {
	rand := seeded(seed)
	n := func(k int) int { return int(rand() % uint64(k)) }
	s := started(t, func(c *Config) {
		if elr {
			c.Features = map[string]int16{metadata.MetadataVersionFeature: 25}
			c.Static = map[string]string{minISRConfig: "2"}
		}
	}, 1, 2, 3, 4)
	if elr {
		s.take([]metadata.Record{&metadata.FeatureLevelRecord{Name: metadata.ELRVersionFeature, Level: 1}})
		s.core.Abandon(s.img)
		s.core.cfg.Supported = nil
	}
	s.createTopics(t, auto("a", 3, 3), auto("b", 2, 2), auto("c", 1, 1))
	for i := range 150 {
		randomEvent(s, n)
		for _, p := range partitions(s.img, func(*metadata.Partition) bool { return true }) {
			if why := broken(s.img, p.part()); why != "" {
				t.Fatalf("seed %d step %d %s %+v: %s\n%s", seed, i, p.name(), *p.part(), why, s.out.String())
			}
		}
	}
	return s.out.String()
}

func randomEvent(s *story, n func(int) int) {
	id := model.BrokerID(1 + n(4))
	all := partitions(s.core.View(), func(*metadata.Partition) bool { return true })
	p := all[n(len(all))]
	switch n(9) {
	case 0:
		s.take(s.core.Hint(id, s.env()))
	case 1, 2:
		s.decide(&BrokerHeartbeat{Broker: id, Epoch: s.epoch(id), MetadataOffset: s.img.Offset, WantShutdown: n(5) == 0})
	case 3:
		feature := map[string]metadata.VersionRange{
			metadata.MetadataVersionFeature: {Min: 7, Max: 30}, metadata.ELRVersionFeature: {Max: 1},
		}
		prev := model.NoBrokerEpoch
		if n(2) == 0 {
			prev = s.epoch(id)
		}
		s.lives[id]++
		s.decide(&RegisterBroker{Broker: id, ClusterID: "tide", Incarnation: model.UUID{s.lives[id], byte(id)},
			Endpoints: []metadata.Endpoint{{Name: "P"}}, Features: feature, PreviousEpoch: prev,
			Dirs: []model.DirectoryID{{'d', '0' + byte(id), byte(n(3) / 2)}}})
	case 4, 5:
		part := p.part()
		isr := []ISRMember{{part.Leader, -1}}
		for _, r := range part.Replicas {
			if r != part.Leader && n(3) > 0 {
				isr = append(isr, ISRMember{r, -1})
			}
		}
		s.decide(&AlterPartitions{Broker: part.Leader, Epoch: s.epoch(part.Leader), Partitions: []AlterPartition{{
			Partition: p.id(), LeaderEpoch: part.LeaderEpoch, PartitionEpoch: part.PartitionEpoch, ISR: isr}}})
	case 6:
		b := s.core.View().Brokers[id]
		s.decide(&AssignReplicasToDirs{Broker: id, Epoch: b.Epoch,
			Assignments: []DirAssignment{{Dir: b.Dirs[0], Partition: p.id()}}})
	case 7:
		s.decide(&ElectLeaders{Type: ElectionType(n(8) / 7), Partitions: []model.TopicPartition{p.name()}})
	case 8:
		s.decide(&AlterPartitionReassignments{AllowRFChange: true, Partitions: []Reassign{{
			Partition: p.name(), Cancel: n(2) == 0, Replicas: []model.BrokerID{id, id%4 + 1}}}})
	}
}

// broken checks what holds for every committed partition.
func broken(img *metadata.Image, p *metadata.Partition) string {
	el := voters(img)
	for _, id := range slices.Concat(p.ISR, p.ELR, p.Adding, p.Removing) {
		if !slices.Contains(p.Replicas, id) {
			return fmt.Sprintf("%d is not a replica", id)
		}
	}
	for _, id := range p.ELR {
		if slices.Contains(p.ISR, id) {
			return fmt.Sprintf("%d is in ISR and ELR", id)
		}
	}
	elr := img.Features[metadata.ELRVersionFeature] >= 1
	switch {
	case p.Leader != model.NoBroker && !slices.Contains(p.ISR, p.Leader):
		return "the leader is not in the ISR"
	case p.Leader != model.NoBroker && el.acceptable(p, p.Leader) != Eligible:
		return "the leader is " + el.acceptable(p, p.Leader).String()
	case len(p.ISR) == 0 && !elr:
		return "the ISR is empty"
	case p.Leader != model.NoBroker:
		for _, id := range p.ISR {
			if el.acceptable(p, id) != Eligible {
				return fmt.Sprintf("ISR member %d is %s", id, el.acceptable(p, id))
			}
		}
	}
	return ""
}
