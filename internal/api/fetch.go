package api

import (
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
	"tidemark/internal/replica"
	"tidemark/internal/server"
	"tidemark/internal/session"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
)

// fetchAPI answers Fetch (key 1) for data partitions, to followers and
// consumers.
//
//	v7   incremental sessions (KIP-227): package session
//	v9   current leader epoch; v12 last fetched epoch and diverging epoch
//	v11  rack and preferred replica (KIP-392); consumers may read followers
//	v13  topics by id
//	v15  the follower's broker epoch (KIP-903)
//	v16  where the leader is, on NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH
//
// A fetch is answered at once if it waits for nothing, has enough bytes, or any
// partition has an error, a divergence or a preferred replica. Otherwise it is
// parked in its session and read anew when it wakes. The state of a follower is
// updated once, when its fetch arrives.
type fetchAPI struct{ *dataAPI }

// fetchOp is one fetch request until its answer.
type fetchOp struct {
	a        *fetchAPI
	req      *server.Request
	s        *session.Session
	full     bool // answer for every partition, not only for those with news
	cached   bool // the session lives on
	watching bool // entries are subscribed: always for a cached session

	replicaEpoch model.BrokerEpoch
	report       replica.Report // what a follower tells of itself
	isolation    partition.Isolation
	rack         string
	maxBytes     int
	minBytes     int
	deadline     time.Time
	wait         bool
	expired      bool

	hints   hints
	touched []*partition.Partition
	results []fetchResult
	dirty   []*session.Entry
}

// fetchResult is what one partition had to say.
type fetchResult struct {
	e         *session.Entry
	source    *partition.Partition
	got       partition.Fetched
	err       error
	topic     *metadata.Topic
	preferred model.BrokerID
	roomy     bool // there was room, if too little for a batch
	skipped   bool // not enough room was left: look again
}

func (a *fetchAPI) handle(c *Call) {
	d := drainOf(c.Req.Conn)
	req := &d.fetch
	if err := req.Decode(c.Header.Version, c.Body); err != nil {
		c.Close(err)
		return
	}
	op := &fetchOp{
		a: a, req: c.Req, replicaEpoch: req.ReplicaEpoch, isolation: partition.Isolation(req.Isolation),
		rack: string(req.Rack), maxBytes: int(min(req.MaxBytes, a.FetchMaxBytes)),
		deadline: c.Now.Add(time.Duration(req.MaxWaitMillis) * time.Millisecond), wait: req.MaxWaitMillis > 0,
		hints: hints{listener: c.Listener},
	}
	op.minBytes = min(int(req.MinBytes), op.maxBytes)
	if req.Replica >= 0 {
		c.Req.Follower()
	}
	if err := op.open(req, c, d); err != nil {
		op.respond(&wire.FetchResponse{Error: ErrorCode(err)})
		return
	}
	if op.s.Follower() {
		op.s.Via(c.Req.Conn)
		op.report = reportOf(&req.Report)
	}
	op.serve(&d.ready) // releases op.s.Serve
	op.troubles(&req.Report)
	for _, p := range op.touched {
		d.touch(p)
	}
}

// open finds or makes the session and brings it up to date with the request.
// It returns with Serve held.
func (op *fetchOp) open(req *wire.FetchRequest, c *Call, d *drain) error {
	byID := c.Header.Version >= 13
	if req.SessionEpoch != session.InitialEpoch && req.SessionEpoch != session.FinalEpoch {
		s, err := op.a.Sessions.Find(req.SessionID, req.SessionEpoch, byID, c.Now)
		if err != nil {
			return err
		}
		if earlier := s.Unpark(); earlier != nil { // sent without waiting for the answer
			s.Serve.Unlock()
			earlier.Complete()
			s.Serve.Lock()
		}
		if req.Replica != s.Replica {
			s = op.a.taken(s, req.Replica, d)
		}
		op.s, op.cached, op.watching = s, true, true
		if op.name(req); len(s.All()) == 0 {
			op.emptied(req, byID, c.Now)
		}
		return nil
	}
	if req.SessionID != 0 {
		op.a.end(op.a.Sessions.Remove(req.SessionID), d)
	}
	op.s, op.full = session.New(req.Replica, byID, c.Now), true
	op.s.Serve.Lock()
	op.name(req)
	if req.SessionEpoch == session.InitialEpoch && c.Header.Version >= 7 {
		evicted := op.a.Sessions.Add(op.s, c.Now)
		op.cached, op.watching = op.s.ID != 0, op.s.ID != 0
		// Nobody else can hold our Serve yet, so that taking another is safe.
		op.a.end(evicted, d)
	}
	return nil
}

// emptied ends a session that has nothing left. What the request names it gets,
// once, even if it forgets it at the same time: as in Kafka.
func (op *fetchOp) emptied(req *wire.FetchRequest, byID bool, now time.Time) {
	op.a.Sessions.Remove(op.s.ID)
	op.s.Close() // nothing is parked
	op.s.Serve.Unlock()
	op.s, op.full, op.cached, op.watching = session.New(req.Replica, byID, now), true, false, false
	op.s.Serve.Lock()
	op.name(req)
}

// taken makes the session that of another replica: Kafka takes each request's.
// It returns with Serve held, as it was called.
func (a *fetchAPI) taken(s *session.Session, by model.BrokerID, d *drain) *session.Session {
	n := s.As(by)
	n.Serve.Lock()
	a.Sessions.Replace(s, n)
	if woken := s.Close(); woken != nil {
		d.ready.Add(woken)
	}
	s.Serve.Unlock()
	return n
}

// end closes a session that was taken out of the cache.
func (a *fetchAPI) end(s *session.Session, d *drain) {
	if s == nil {
		return
	}
	s.Serve.Lock()
	woken := s.Close()
	s.Serve.Unlock()
	if woken != nil {
		d.ready.Add(woken)
	}
}

// name takes over what the request adds, moves and forgets.
func (op *fetchOp) name(req *wire.FetchRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		key := session.Key{ID: t.ID}
		if t.Name != nil {
			key.Topic = string(t.Name)
		}
		for k := range t.Partitions {
			p := &t.Partitions[k]
			key.Partition = p.Index
			op.s.Name(key, session.Position{
				// Every negative epoch means none, here but not in ListOffsets.
				Offset: p.Offset, CurrentEpoch: max(p.CurrentEpoch, model.NoLeaderEpoch),
				LastFetchedEpoch: max(p.LastFetchedEpoch, model.NoLeaderEpoch),
				LogStart:         p.LogStart, MaxBytes: p.MaxBytes,
			})
		}
	}
	if op.full { // nothing to forget
		return
	}
	for i := range req.Forgotten {
		t := &req.Forgotten[i]
		key := session.Key{ID: t.ID}
		if t.Name != nil {
			key.Topic = string(t.Name)
		}
		for _, index := range t.Partitions {
			key.Partition = index
			op.s.Forget(key)
		}
	}
}

// serve reads, and answers or parks. The caller holds Serve, which is released.
func (op *fetchOp) serve(ready *purgatory.Ready) {
	for {
		total, now := op.pass()
		if !op.wait || op.expired || now || total >= op.minBytes {
			op.answer()
			op.s.Serve.Unlock()
			return
		}
		again := op.waiting()
		op.release()
		if !op.watching { // read again, now that changes are noticed
			op.watching = true
			continue
		}
		r := op.a.Fetches.NewRequest(1, op.deadline, op.resume)
		parked := op.s.Park(r, op.minBytes-total)
		op.s.Again(again...)
		if !parked {
			op.expired = op.s.Hurry()
			continue
		}
		op.s.Serve.Unlock()
		// ErrFull: Park has answered with what there is, as at the deadline.
		_ = r.Park(ready)
		return
	}
}

// waiting returns the entries that must be looked at again when the request
// wakes.
func (op *fetchOp) waiting() []*session.Entry {
	op.dirty = op.dirty[:0]
	for i := range op.results {
		if r := &op.results[i]; r.skipped || op.news(r) {
			op.dirty = append(op.dirty, r.e)
		}
	}
	return op.dirty
}

// resume runs when the session has something to say, or the deadline passes.
func (op *fetchOp) resume(r *purgatory.Request) {
	var ready purgatory.Ready
	op.s.Serve.Lock()
	op.expired = op.s.Hurry() || r.Expired()
	op.serve(&ready)
	for _, p := range op.touched { // a read that failed took it offline
		p.Perform(&ready)
	}
	ready.Run()
}

// news tells whether a partition belongs into an incremental answer.
func (op *fetchOp) news(r *fetchResult) bool {
	return r.err != nil || r.got.Diverging || r.preferred != model.NoBroker || r.got.Slice.Len() > 0 ||
		r.got.HW != r.e.ToldHW || r.got.LogStart != r.e.ToldLogStart
}

// answer sends what was read. The caller holds Serve.
func (op *fetchOp) answer() {
	resp := &wire.FetchResponse{}
	if op.cached {
		resp.SessionID = op.s.ID
	}
	op.dirty = op.dirty[:0]
	for i := range op.results { // left behind: first in line next time
		if r := &op.results[i]; r.skipped {
			op.dirty = append(op.dirty, r.e)
			if op.s.Follower() && !r.got.Withheld {
				r.source.Squeezed(op.s.Replica)
			}
		}
	}
	for i := range op.results {
		r := &op.results[i]
		if r.err != nil || r.got.Diverging || r.got.Slice.Len() > 0 {
			// Sent and not yet taken: whatever the client asks next, it is looked
			// at again.
			op.dirty = append(op.dirty, r.e)
		}
		if !op.full && !op.news(r) {
			r.got.Slice.Release()
			continue
		}
		r.e.ToldHW, r.e.ToldLogStart = r.got.HW, r.got.LogStart
		if r.err != nil || r.got.Diverging { // the follower takes no more of that than where to cut
			r.e.ToldHW, r.e.ToldLogStart = model.NoOffset, model.NoOffset
		}
		op.add(resp, r)
	}
	if !op.s.Follower() { // a follower knows its leader from the metadata
		resp.Nodes = op.hints.nodes
	}
	if op.cached {
		op.s.Again(op.dirty...)
	} else {
		op.s.Close() // nobody is parked: we are the one
	}
	op.respond(resp)
	op.results = nil
}

// add appends one partition's answer, under its topic.
func (op *fetchOp) add(resp *wire.FetchResponse, r *fetchResult) {
	n := len(resp.Topics)
	if n == 0 || resp.Topics[n-1].ID != r.e.ID || string(resp.Topics[n-1].Name) != r.e.Topic {
		resp.Topics = append(resp.Topics, wire.FetchTopicResult{ID: r.e.ID, Name: []byte(r.e.Topic)})
		n++
	}
	out := wire.FetchPartitionResult{
		Index: r.e.Partition, Error: ErrorCode(r.err), HighWatermark: r.got.HW, LastStable: r.got.LSO,
		LogStart: r.got.LogStart, PreferredReplica: r.preferred,
	}
	switch {
	case r.err != nil:
		out.HighWatermark, out.LastStable, out.LogStart = model.NoOffset, model.NoOffset, model.NoOffset
		moved := out.Error == kerr.NotLeaderForPartition.Code || out.Error == kerr.FencedLeaderEpoch.Code
		if moved && op.req.Header.Version >= 16 {
			out.Leader = op.hints.leader(r.topic, r.e.Partition)
		}
	case r.got.Diverging:
		out.Diverging = wire.EpochEnd{Known: true, Epoch: r.got.Divergence.Epoch, EndOffset: r.got.Divergence.End}
	}
	if n := r.got.Slice.Len(); n > 0 {
		out.Slice = r.got.Slice
		if op.s.Follower() {
			r.source.Sent(n)
			out.Slice = timedSlice{r.got.Slice, r.source, op.s.Replica}
		}
	} else {
		r.got.Slice.Release()
	}
	out.Aborted = op.aborted(r, out.Error)
	t := &resp.Topics[n-1]
	t.Partitions = append(t.Partitions, out)
}

// aborted lists the aborted transactions of an answer. Like Kafka's, it is null
// on most errors and where the first batch was too large, and empty where the
// partition doesn't exist.
func (op *fetchOp) aborted(r *fetchResult, code int16) []wire.AbortedTxn {
	switch {
	case code == kerr.UnknownTopicOrPartition.Code || code == kerr.UnknownTopicID.Code:
		return []wire.AbortedTxn{}
	case op.isolation != partition.ReadCommitted || op.s.Follower() || r.err != nil:
		return nil
	case r.skipped && r.roomy || r.got.Diverging || r.preferred != model.NoBroker:
		return nil
	}
	list := make([]wire.AbortedTxn, 0, len(r.got.Aborted))
	for _, t := range r.got.Aborted {
		list = append(list, wire.AbortedTxn{ProducerID: t.ProducerID, FirstOffset: t.First})
	}
	return list
}

func (op *fetchOp) respond(resp *wire.FetchResponse) {
	op.req.Error(resp.Error, 1)
	for i := range resp.Topics {
		for k := range resp.Topics[i].Partitions {
			op.req.Error(resp.Topics[i].Partitions[k].Error, 1)
		}
	}
	b := scratch.Get().(*[]byte)
	var few [8]wire.Part
	*b = (*b)[:0]
	op.req.Respond(wire.FetchResponseParts(few[:0], *b, op.req.Header, resp)...)
	scratch.Put(b)
}

// release gives back what was read and is not sent.
func (op *fetchOp) release() {
	for i := range op.results {
		op.results[i].got.Slice.Release()
		op.results[i].got.Slice = noSlice
	}
}
