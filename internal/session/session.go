package session

import (
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/model"
)

// Parked is a request that waits for the session to have something to say; a
// *purgatory.Request is one.
type Parked interface {
	// Wake claims the request; false: its deadline was quicker.
	Wake() bool
	// Complete answers a request that was claimed.
	Complete()
}

// Key names a partition in the way the client does: by topic id from Fetch v13
// on (Topic is empty), by name before.
type Key struct {
	Topic     string
	ID        model.TopicID
	Partition int32
}

// Position is where and how a client reads one partition.
type Position struct {
	Offset           model.Offset
	CurrentEpoch     model.LeaderEpoch
	LastFetchedEpoch model.LeaderEpoch
	LogStart         model.Offset // a follower's own
	MaxBytes         int32
}

// Entry is one partition of a session.
type Entry struct {
	Key
	Session *Session
	// The holder of Session.Serve owns these.
	Position
	Fresh        bool         // named by the request that is being served
	ToldHW       model.Offset // of the last response, NoOffset to tell again
	ToldLogStart model.Offset
	// Name is the topic's, as it was last known: a session by id remembers it
	// when the topic has gone.
	Name string
	// Source is where the entry is subscribed, nil if nowhere.
	Source Source

	dirty bool // in Session.mu.dirty; guarded by Session.mu
	gone  bool // forgotten; guarded by Session.mu
}

// Source is what marks an entry: a partition.
type Source interface {
	// Unsubscribe ends the marking of e.
	Unsubscribe(e *Entry)
}

// Change says what happened to a partition.
type Change uint8

const (
	// Data: the log end moved. Wakes followers.
	Data Change = 1 << iota
	// Committed: high watermark or last stable offset moved. Wakes consumers;
	// a follower is told with the next response.
	Committed
	// Quiet: something to tell with the next response, like a log start.
	Quiet
	// Broken: role, epoch, error or truncation. Wakes everybody.
	Broken
)

// Session is one fetch session.
type Session struct {
	ID      int32 // 0: not in the cache
	Replica model.BrokerID
	ByID    bool // names topics by id
	Created time.Time

	Serve     sync.Mutex // held while a request or a completion is at work
	lastFetch atomic.Int64
	link      atomic.Pointer[Link] // nil: none yet
	epoch     int32                // next expected; owned by the holder of Serve
	entries   map[Key]*Entry
	order     []*Entry // for full passes: in the order of the request

	mu struct {
		sync.Mutex
		dirty  []*Entry
		parked Parked
		need   int  // bytes that the parked request still misses
		woken  bool // a wake-worthy mark came since Take
		hurry  bool // the request at work must be answered, not parked
		closed bool
		named  int // entries, for the cache
	}
}

// New makes a session that is in no cache. replica is NoBroker for a consumer.
func New(replica model.BrokerID, byID bool, now time.Time) *Session {
	s := &Session{Replica: replica, ByID: byID, Created: now, entries: map[Key]*Entry{}, epoch: 1}
	s.Touch(now)
	return s
}

// As returns the session as the same one of another replica: under its id, with
// its epoch and entries, which all are to be looked at. The caller holds Serve of
// s, and closes it.
func (s *Session) As(replica model.BrokerID) *Session {
	n := New(replica, s.ByID, s.Created)
	n.ID, n.epoch = s.ID, s.epoch
	n.lastFetch.Store(s.lastFetch.Load())
	for _, e := range s.order {
		c := n.Name(e.Key, e.Position)
		c.Fresh, c.ToldHW, c.ToldLogStart, c.Name = false, e.ToldHW, e.ToldLogStart, e.Name
	}
	return n
}

// Follower tells whether a replica reads.
func (s *Session) Follower() bool { return s.Replica >= 0 }

// Touch records a request.
func (s *Session) Touch(now time.Time) { s.lastFetch.Store(now.UnixNano()) }

// LastFetch is when the session was last used. Safe for concurrent use.
func (s *Session) LastFetch() time.Time { return time.Unix(0, s.lastFetch.Load()) }

// Size is the number of partitions. Safe for concurrent use.
func (s *Session) Size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.named
}

// Name adds a partition or moves its position. It becomes dirty. The caller
// holds Serve.
func (s *Session) Name(k Key, at Position) *Entry {
	e := s.entries[k]
	if e == nil {
		e = &Entry{Key: k, Session: s, ToldHW: model.NoOffset, ToldLogStart: model.NoOffset}
		s.entries[k] = e
		s.order = append(s.order, e)
	}
	e.Position, e.Fresh = at, true
	s.mu.Lock()
	s.mu.named = len(s.entries)
	s.markLocked(e)
	s.mu.Unlock()
	return e
}

// Forget drops a partition. The caller holds Serve.
func (s *Session) Forget(k Key) {
	e := s.entries[k]
	if e == nil {
		return
	}
	delete(s.entries, k)
	for i, x := range s.order {
		if x == e {
			s.order = append(s.order[:i], s.order[i+1:]...)
			break
		}
	}
	s.mu.Lock()
	e.gone = true
	s.mu.named = len(s.entries)
	s.mu.Unlock()
	if e.Source != nil {
		e.Source.Unsubscribe(e)
		e.Source = nil
	}
}

// Close ends the session: no marks any more. If a request is parked, the caller
// completes what is returned. The caller holds Serve.
func (s *Session) Close() Parked {
	s.mu.Lock()
	s.mu.closed, s.mu.hurry = true, true
	woken := s.wakeLocked()
	s.mu.Unlock()
	for _, e := range s.order {
		if e.Source != nil {
			e.Source.Unsubscribe(e)
			e.Source = nil
		}
	}
	return woken
}

// All returns every entry in order. The caller holds Serve.
func (s *Session) All() []*Entry { return s.order }

// Take begins a pass: it returns the dirty entries, oldest first, appended to
// dst, and leaves none behind. The caller holds Serve.
func (s *Session) Take(dst []*Entry) []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.mu.dirty {
		e.dirty = false
		if !e.gone {
			dst = append(dst, e)
		}
	}
	clear(s.mu.dirty)
	s.mu.dirty = s.mu.dirty[:0]
	s.mu.woken = false
	return dst
}

// Again makes entries dirty that the pass could not finish with, without
// waking anybody. The caller holds Serve.
func (s *Session) Again(entries ...*Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.markLocked(e)
	}
}

func (s *Session) markLocked(e *Entry) {
	if e.dirty || e.gone || s.mu.closed {
		return
	}
	e.dirty = true
	s.mu.dirty = append(s.mu.dirty, e)
}

// Mark tells that something changed at the partition of e: bytes is how much
// there is to read in addition, if known. If that satisfies the parked request
// it is returned, claimed, for the caller to complete. Safe for concurrent use,
// under no lock.
func (e *Entry) Mark(what Change, bytes int) Parked {
	s := e.Session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || e.gone {
		return nil
	}
	if what == Data && !s.Follower() {
		return nil // a consumer sees it when it is committed
	}
	s.markLocked(e)
	switch {
	case what == Quiet || what == Committed && s.Follower():
		return nil
	case what == Broken:
		s.mu.need = 0
	default:
		s.mu.need -= bytes
	}
	s.mu.woken = true
	if s.mu.need > 0 {
		return nil
	}
	return s.wakeLocked()
}

// wakeLocked claims the parked request, if there is one.
func (s *Session) wakeLocked() Parked {
	r := s.mu.parked
	s.mu.parked = nil
	if r == nil || !r.Wake() {
		return nil
	}
	return r
}

// Park leaves r to be completed by the next wake-worthy Mark of at least need
// bytes. False: one came since Take, so the pass must be repeated.
// The caller holds Serve.
func (s *Session) Park(r Parked, need int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.woken || s.mu.closed { // invariant 2
		return false
	}
	s.mu.parked, s.mu.need = r, need
	return true
}

// Unpark claims the parked request, if any, for the caller to complete: a
// client that sends its next request without waiting gets both answers.
func (s *Session) Unpark() Parked {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.parked == nil {
		return nil
	}
	s.mu.hurry = true
	return s.wakeLocked()
}

// Hurry tells the request at work whether it must be answered with what there
// is, because the session was closed or has another request. It is told once,
// or always if the session was closed. The caller holds Serve.
func (s *Session) Hurry() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.mu.hurry
	s.mu.hurry = s.mu.closed
	return h
}
