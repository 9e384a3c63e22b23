package session

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"tidemark/internal/model"
)

// Errors of Cache.Find.
var (
	// ErrNotFound: no such session, it was evicted or belongs to an earlier life.
	ErrNotFound = errors.New("fetch session not found")
	// ErrEpoch: the request is not the next one of its session.
	ErrEpoch = errors.New("fetch session epoch is not the expected one")
	// ErrTopicID: the request names topics by id and the session by name, or
	// the reverse.
	ErrTopicID = errors.New("fetch session mixes topic names and ids")
)

// Epochs of a request that mean something else than a number in sequence.
const (
	InitialEpoch int32 = 0  // a full fetch that asks for a session
	FinalEpoch   int32 = -1 // a full fetch that wants none
)

// evictAfter is how long a session must be idle, or have existed, before
// another may take its slot (KIP-227, min.incremental.fetch.session.eviction.ms).
const evictAfter = 120 * time.Second

// Cache holds the sessions of a broker. Safe for concurrent use.
type Cache struct {
	slots int // max.incremental.fetch.session.cache.slots

	mu struct {
		sync.Mutex
		sessions map[int32]*Session
		evicted  uint64
	}
}

// NewCache makes a cache for at most slots sessions.
func NewCache(slots int) *Cache {
	c := &Cache{slots: slots}
	c.mu.sessions = map[int32]*Session{}
	return c
}

// Len is the number of sessions.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.sessions)
}

// Evictions counts sessions that lost their slot to another.
func (c *Cache) Evictions() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.evicted
}

// Find returns the session of an incremental request, with Serve held, and
// expects the next epoch from now on. Errors: ErrNotFound, ErrEpoch, ErrTopicID;
// then nothing is held and nothing changed.
func (c *Cache) Find(id, epoch int32, byID bool, now time.Time) (*Session, error) {
	c.mu.Lock()
	s := c.mu.sessions[id]
	c.mu.Unlock()
	if s == nil {
		return nil, ErrNotFound
	}
	s.Serve.Lock()
	switch {
	case epoch != s.epoch:
		s.Serve.Unlock()
		return nil, ErrEpoch
	case byID != s.ByID:
		s.Serve.Unlock()
		return nil, ErrTopicID
	}
	if s.epoch++; s.epoch <= 0 || s.epoch == math.MaxInt32 {
		s.epoch = 1
	}
	s.Touch(now)
	return s, nil
}

// Remove takes a session out of the cache; the caller closes it. Nil if there
// is none.
func (c *Cache) Remove(id int32) *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.sessions[id]
	delete(c.mu.sessions, id)
	return s
}

// Replace puts another session into the slot of s, if s still has it.
func (c *Cache) Replace(s, by *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.sessions[s.ID] == s {
		c.mu.sessions[s.ID] = by
	}
}

// Add gives s a slot and an id. It may cost another session its slot, which is
// returned for the caller to close. Without a free slot s keeps id 0, and the
// client goes on with full fetches.
func (c *Cache) Add(s *Session, now time.Time) (evicted *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.sessions) >= c.slots { // invariant 3
		evicted = c.victim(s, now)
		if evicted == nil {
			return nil
		}
		delete(c.mu.sessions, evicted.ID)
		c.mu.evicted++
	}
	for s.ID == 0 || c.mu.sessions[s.ID] != nil {
		s.ID = rand.Int32N(math.MaxInt32-1) + 1
	}
	c.mu.sessions[s.ID] = s
	return evicted
}

// victim chooses who makes room for s: the longest unused one if it was idle
// long enough; else a consumer's for a replica; else one that has existed long
// enough and is not larger.
func (c *Cache) victim(s *Session, now time.Time) *Session {
	var idle, best *Session
	for _, x := range c.mu.sessions {
		if idle == nil || older(x.LastFetch(), idle.LastFetch(), x.ID, idle.ID) {
			idle = x
		}
		if !evictable(x, s, now) {
			continue
		}
		if best == nil || prefer(x, best) {
			best = x
		}
	}
	if idle != nil && now.Sub(idle.LastFetch()) > evictAfter {
		return idle
	}
	return best
}

func evictable(x, by *Session, now time.Time) bool {
	if by.Follower() && !x.Follower() {
		return true
	}
	if x.Follower() && !by.Follower() {
		return false
	}
	return now.Sub(x.Created) > evictAfter && x.Size() <= by.Size()
}

// prefer consumers, then small ones, then old ones.
func prefer(a, b *Session) bool {
	if a.Follower() != b.Follower() {
		return !a.Follower()
	}
	if an, bn := a.Size(), b.Size(); an != bn {
		return an < bn
	}
	return older(a.Created, b.Created, a.ID, b.ID)
}

func older(a, b time.Time, aID, bID int32) bool {
	if a.Equal(b) {
		return aID < bID
	}
	return a.Before(b)
}

// View is a session as the console shows it.
type View struct {
	ID         int32
	Replica    model.BrokerID
	Partitions int
	Created    time.Time
	LastFetch  time.Time
}

// Views lists the sessions by id.
func (c *Cache) Views() []View {
	c.mu.Lock()
	defer c.mu.Unlock()
	views := make([]View, 0, len(c.mu.sessions))
	for _, s := range c.mu.sessions {
		views = append(views, View{
			ID: s.ID, Replica: s.Replica, Partitions: s.Size(), Created: s.Created, LastFetch: s.LastFetch(),
		})
	}
	slices.SortFunc(views, func(a, b View) int { return cmp.Compare(a.ID, b.ID) })
	return views
}
