package differential

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (g *trace) fetch() kmsg.Request {
	r := kmsg.NewPtrFetchRequest()
	r.Version = g.version(1)
	r.MaxWaitMillis, r.MinBytes = 0, int32(g.pick(0, 1, 1, 1000, -1, math.MaxInt32))
	if g.chance(1) {
		r.MaxBytes = int32(g.pick(-1, math.MinInt32))
	}
	if g.chance(4) {
		r.MaxWaitMillis = int32(g.pick(1, 10, -1))
	}
	r.MaxBytes = int32(g.pick(math.MaxInt32, math.MaxInt32, math.MaxInt32, math.MaxInt32, 1<<20, 1000, 100, 1, 0))
	r.IsolationLevel = g.isolation()
	if g.chance(10) {
		r.Rack = "a"
	}
	r.SessionID, r.SessionEpoch = 0, -1
	if r.Version >= 7 {
		g.session(r)
	}
	r.ReplicaID, r.ReplicaState.ID = -1, -1
	if g.chance(10) {
		id := int32(g.pick(1, 2, 2, 2, 2, -2, -3, 7))
		if r.ReplicaID = id; r.Version >= 15 {
			r.ReplicaState.ID, r.ReplicaState.Epoch = id, g.pick(-1, 0, 5)
		}
	}
	n := 1 + max(0, g.IntN(6)-3)
	if r.SessionEpoch > 0 && g.chance(60) {
		n = 0
	}
	for range n {
		t := g.any()
		if r.ReplicaID == second && g.chance(50) {
			t = g.assigned(t)
		}
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic, ft.TopicID = t.name, t.symbol
		for range 1 + max(0, g.IntN(5)-3) {
			ft.Partitions = append(ft.Partitions, g.fetchPartition(t, r))
		}
		r.Topics = append(r.Topics, ft)
	}
	for _, t := range r.Topics {
		if known := g.known(t.Topic); known != nil && known.recompresses() { // sizes differ by the compressor
			r.MaxBytes = math.MaxInt32
		}
	}
	if r.Version >= 7 && g.chance(10) {
		for range 1 + g.IntN(2) {
			t := g.any()
			f := kmsg.NewFetchRequestForgottenTopic()
			f.Topic, f.TopicID, f.Partitions = t.name, t.symbol, []int32{g.partition(t)}
			r.ForgottenTopics = append(r.ForgottenTopics, f)
		}
	}
	if r.SessionEpoch > 0 && g.chance(5) { // all that it was made for
		if slot := int(r.SessionID) - 1; slot >= 0 && slot < len(g.sessions) {
			r.ForgottenTopics = append(r.ForgottenTopics, g.sessions[slot].named...)
		}
	}
	return r
}

func (g *trace) fetchPartition(t *topic, r *kmsg.FetchRequest) kmsg.FetchRequestTopicPartition {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition = g.partition(t)
	p.FetchOffset, p.CurrentLeaderEpoch = g.offset(t, p.Partition), g.epoch(t)
	p.LogStartOffset, p.LastFetchedEpoch = -1, -1
	if r.Version >= 12 && g.chance(20) {
		p.LastFetchedEpoch = g.epoch(t)
	}
	if r.ReplicaID >= 0 {
		p.LogStartOffset = g.pick(-1, 0, 0, 1, 5)
	}
	p.PartitionMaxBytes = int32(g.pick(math.MaxInt32, 1<<20, 1<<20, 500, 10, 0))
	if r.SessionEpoch == -1 && g.chance(4) {
		p.PartitionMaxBytes = -1
	}
	if t.recompresses() {
		p.PartitionMaxBytes = math.MaxInt32
	}
	return p
}

// session makes r part of an incremental session, or of none.
func (g *trace) session(r *kmsg.FetchRequest) {
	switch g.IntN(10) {
	case 0:
		r.SessionID, r.SessionEpoch = 0, 0
		return
	case 1:
		r.SessionID, r.SessionEpoch = int32(g.pick(-5, 1_000_001, 0)), int32(g.pick(1, 2, 0, -1, -2, math.MinInt32))
		return
	case 2, 3, 4, 5:
		return
	}
	if len(g.sessions) == 0 {
		r.SessionEpoch = 0
		return
	}
	slot := max(0, len(g.sessions)-1-g.IntN(4))
	s := &g.sessions[slot]
	r.SessionID, r.SessionEpoch = int32(slot+1), s.epoch
	if g.chance(90) && s.byID != (r.Version >= 13) {
		r.Version = map[bool]int16{true: max(13, r.Version), false: min(12, r.Version)}[s.byID]
	}
	if g.chance(8) {
		r.SessionEpoch = int32(g.pick(int64(s.epoch)+1, 0, -1, -2, math.MaxInt32))
	}
}

// named lists what a fetch names, in the form to forget it.
func named(r *kmsg.FetchRequest) []kmsg.FetchRequestForgottenTopic {
	var out []kmsg.FetchRequestForgottenTopic
	for _, t := range r.Topics {
		f := kmsg.FetchRequestForgottenTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			f.Partitions = append(f.Partitions, p.Partition)
		}
		out = append(out, f)
	}
	return out
}

// assigned is a topic that names the second broker, or else t.
func (g *trace) assigned(t *topic) *topic {
	if known := g.known([]string{"pair", "open"}[g.IntN(2)]); known != nil {
		return known
	}
	return t
}
