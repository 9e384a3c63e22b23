package api

import (
	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/session"
)

var noSlice commitlog.Slice

// pass reads the partitions that may have something to say: all of a full
// fetch, the dirty ones of an incremental one. total is the number of record
// bytes; now says that the answer must not wait. The caller holds Serve.
func (op *fetchOp) pass() (total int, now bool) {
	op.hints.img, op.hints.nodes = op.a.Partitions.Image(), nil
	op.dirty = op.s.Take(op.dirty[:0])
	entries := op.dirty
	if op.full {
		entries = op.s.All()
	}
	op.results = op.results[:0]
	room := op.maxBytes
	for _, e := range entries {
		r := op.read(e, room, total == 0)
		n := r.got.Slice.Len()
		total += n
		room = max(0, room-n)
		now = now || r.err != nil || r.got.Diverging || r.preferred != model.NoBroker
		op.results = append(op.results, r)
		e.Fresh = false
	}
	return total, now || len(op.s.All()) == 0
}

// read reads one partition.
func (op *fetchOp) read(e *session.Entry, room int, minOne bool) fetchResult {
	r := fetchResult{e: e, preferred: model.NoBroker}
	var p *partition.Partition
	if op.s.ByID {
		r.topic, p, r.err = op.identified(e)
	} else {
		r.topic, p, r.err = op.a.named(op.hints.img, []byte(e.Topic), e.Partition)
	}
	if r.err != nil {
		return r
	}
	if op.watching && e.Source != session.Source(p) {
		if e.Source != nil {
			e.Source.Unsubscribe(e)
		}
		p.Subscribe(e) // before the read, or a change in between is missed
		e.Source = p
	}
	version := op.req.Header.Version
	f := partition.Fetch{
		Replica: op.s.Replica, ReplicaEpoch: op.replicaEpoch, Acknowledge: e.Fresh && op.s.Follower(),
		FromFollower: version >= 11, Offset: e.Offset, CurrentEpoch: e.CurrentEpoch,
		LastFetchedEpoch: e.LastFetchedEpoch, LogStart: e.LogStart,
		MaxBytes: min(int(e.MaxBytes), room), Asked: int(e.MaxBytes), MinOne: minOne, Isolation: op.isolation, Report: op.report,
	}
	r.source = p
	r.got, r.err = p.Fetch(f)
	if f.Acknowledge || r.err != nil || r.got.Withheld {
		op.touched = append(op.touched, p)
	}
	if r.err != nil {
		return r
	}
	r.roomy = f.MaxBytes > 0
	r.skipped = r.got.Slice.Len() == 0 && e.Offset < op.readable(&r.got) && !r.got.Diverging
	if op.a.RackAware && op.rack != "" && !op.s.Follower() && version >= 11 && r.got.Leads {
		r.preferred = op.nearest(p, e.Offset)
	}
	if r.preferred != model.NoBroker {
		r.got.Slice.Release()
		r.got.Slice, r.skipped = noSlice, false
	}
	return r
}

// identified finds an entry's partition by its topic's id. A session remembers
// the name: if another topic has it now, that is INCONSISTENT_TOPIC_ID, and if
// none has, UNKNOWN_TOPIC_OR_PARTITION, as in Kafka.
func (op *fetchOp) identified(e *session.Entry) (*metadata.Topic, *partition.Partition, error) {
	t, p, err := op.a.identified(op.hints.img, e.ID, e.Partition)
	switch {
	case t != nil:
		e.Name = t.Name
	case e.Name != "":
		if _, p, err = op.a.named(op.hints.img, []byte(e.Name), e.Partition); p != nil {
			err = partition.ErrInconsistentTopicID
		}
	}
	if err != nil {
		p = nil
	}
	return t, p, err
}

// readable is how far this fetch may read.
func (op *fetchOp) readable(got *partition.Fetched) model.Offset {
	switch {
	case op.s.Follower():
		return got.LogEnd
	case op.isolation == partition.ReadCommitted:
		return got.LSO
	}
	return got.HW
}

// nearest picks an in-sync replica in the consumer's rack: the leader if it is
// there, else the one that is most caught up, else NoBroker, which means the
// leader, too (KIP-392).
func (op *fetchOp) nearest(p *partition.Partition, at model.Offset) model.BrokerID {
	img := op.hints.img
	if rackOf(img, op.a.Self) == op.rack {
		return model.NoBroker
	}
	best := model.NoBroker
	bestEnd := model.NoOffset
	for _, f := range p.ReadReplicas(at) {
		if rackOf(img, f.ID) != op.rack || !img.IsActive(f.ID) {
			continue
		}
		if _, ok := img.Endpoint(f.ID, op.hints.listener); !ok {
			continue
		}
		if f.LEO > bestEnd {
			best, bestEnd = f.ID, f.LEO
		}
	}
	return best
}

func rackOf(img *metadata.Image, id model.BrokerID) string {
	if b := img.Brokers[id]; b != nil {
		return b.Rack
	}
	return ""
}
