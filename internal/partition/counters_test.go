package partition

import (
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/producer"
)

// What clients are expected to meet (a leader that moved) is no failure of the
// broker, a short ISR is one, as in Kafka; refused records count as rejected.
func TestCounters(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1)
	set := h.p.Settings()
	set.MaxBatchBytes = 200
	h.p.UpdateSettings(set)
	h.append(Append{}, "a", "b")
	big := batch(string(make([]byte, 300)))
	_, tooLarge := h.p.AppendAsLeader(big, Append{Epoch: -1})
	_, short := h.p.AppendAsLeader(batch("a"), Append{AcksAll: true, Epoch: -1})
	_, own := h.p.AppendAsLeader(batch("a"), Append{Origin: producer.Coordinator, Epoch: -1})
	if tooLarge == nil || short == nil || own != nil {
		t.Fatalf("%v, %v, %v", tooLarge, short, own)
	}
	h.acked(2, 0)
	if _, err := h.fetch(2, 99); err == nil {
		t.Fatal("a fetch beyond the end succeeded")
	}
	h.follow(1)
	if _, err := h.p.AppendAsLeader(batch("a"), Append{Epoch: -1}); err == nil {
		t.Fatal("a follower took records")
	}
	got := h.p.Counters()
	if got.BytesIn == 0 || got.ReplicationBytesOut != got.BytesIn {
		t.Errorf("%d bytes in, %d replicated", got.BytesIn, got.ReplicationBytesOut)
	}
	got.BytesIn, got.ReplicationBytesOut = 0, 0
	want := Counters{MessagesIn: 3, BytesRejected: int64(len(big)), Produces: 4, FailedProduces: 1, Fetches: 2}
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestMeasure(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1, 2)
	h.append(Append{}, "a", "b", "c")
	h.acked(2, 3)
	h.acked(3, 1)
	h.now = h.now.Add(5 * time.Second)
	m := Measures{Followers: make([]FollowerMeasures, 0, 2)}
	h.p.Measure(&m, time.Hour)
	if !m.Leads || m.LogEnd != 3 || m.HighWatermark != 3 || m.ISR != 2 || m.Replicas != 3 || m.Segments != 1 || m.Size == 0 {
		t.Errorf("%+v", m)
	}
	if f := m.Followers[0]; f.Records != 0 || f.Bytes != 0 || f.Behind != 0 || !f.InISR {
		t.Errorf("the follower that has everything: %+v", f)
	}
	if f := m.Followers[1]; f.Records != 2 || f.Bytes <= 0 || f.InISR {
		t.Errorf("the one that is behind: %+v", f)
	}
	if n := testing.AllocsPerRun(100, func() { h.p.Measure(&m, time.Hour) }); n > 4 {
		t.Errorf("%v allocations for two followers", n)
	}
	h.follow(1)
	if h.p.Measure(&m, time.Hour); m.Leads || !m.Follows || len(m.Followers) != 0 {
		t.Errorf("as a follower: %+v", m)
	}
}

// A replica that a reassignment brings isn't missing while it catches up, and what
// it is sent is counted apart (KIP-352).
func TestReassignmentIsNotUnderReplication(t *testing.T) {
	h := newHost(t)
	state := State{Leader: 1, Replicas: []model.BrokerID{1, 2, 3}, ISR: []model.BrokerID{1, 2}, Adding: []model.BrokerID{3}}
	if err := h.p.BecomeLeader(state); err != nil {
		t.Fatal(err)
	}
	h.perform()
	h.append(Append{}, "a", "b")
	h.acked(2, 0)
	half := h.p.Counters().ReplicationBytesOut
	h.acked(3, 0)
	var m Measures
	h.p.Measure(&m, time.Hour)
	if c := h.p.Counters(); m.Replicas != 2 || m.ISR != 2 || h.p.State().UnderReplicated || c.ReassignmentBytesOut != half || c.ReplicationBytesOut != 2*half {
		t.Errorf("%+v, %+v", m, c)
	}
	state.Adding, state.PartitionEpoch = nil, 1 // it has arrived
	if err := h.p.BecomeLeader(state); err != nil {
		t.Fatal(err)
	}
	if h.p.Measure(&m, time.Hour); m.Replicas != 3 || !h.p.State().UnderReplicated {
		t.Errorf("afterwards %+v", m)
	}
}
