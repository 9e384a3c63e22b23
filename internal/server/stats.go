package server

import (
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"tidemark/internal/latency"
	"tidemark/internal/wire"
)

// Phase is a part of a request's time. The phases follow each other; Total is
// their sum.
type Phase uint8

// The phases of a request.
const (
	// Queued: received, while earlier requests of the same read were handled.
	Queued Phase = iota
	// Local: in its handler.
	Local
	// Remote: waiting for others, in a purgatory or another goroutine.
	Remote
	// Answered: the answer waits for earlier answers and for the socket.
	Answered
	// Sent: the socket takes the answer.
	Sent
	// Total is the time from the bytes' arrival until the socket had the answer.
	Total
	phases
)

// What kinds of requests are told apart: each API key, followers' fetches, and
// this product's private requests together.
const (
	kindFollower = 96
	kindPrivate  = 97
	kinds        = 98
	versionsMax  = 32
	errorsMax    = 160 // codes -1 to 158
)

// Stats counts the requests of listeners, and what their time goes to. Safe for
// concurrent use; a connection's counters are shared with few others.
type Stats struct{ shards []statShard }

type statShard struct {
	kinds [kinds]atomic.Pointer[kindStats]
	idle  atomic.Uint64 // connections closed for being idle
	_     [64]byte
}

type kindStats struct {
	versions [versionsMax]atomic.Uint64
	errors   [errorsMax]atomic.Uint64
	bytes    atomic.Uint64
	times    [phases]latency.Histogram
}

// shardsMax bounds the memory: some 7 kB for each kind of request in use.
const shardsMax = 8

// NewStats returns Stats for any number of listeners.
func NewStats() *Stats {
	return &Stats{shards: make([]statShard, max(1, min(runtime.GOMAXPROCS(0), shardsMax)))}
}

// shard returns where a connection counts; nil if nothing is counted.
func (s *Stats) shard(conn uint64) *statShard {
	if s == nil {
		return nil
	}
	return &s.shards[conn%uint64(len(s.shards))]
}

func (s *statShard) of(kind uint8) *kindStats {
	if k := s.kinds[kind].Load(); k != nil {
		return k
	}
	s.kinds[kind].CompareAndSwap(nil, new(kindStats))
	return s.kinds[kind].Load()
}

func kindOf(key int16) uint8 {
	if key < 0 || key >= kindFollower {
		return kindPrivate
	}
	return uint8(key)
}

// Follower tells that a Fetch comes from another broker. Call it in Handle.
func (r *Request) Follower() { r.kind = kindFollower }

// Error counts n answers, or answers for one partition, with an error code of
// Kafka's; 0 is none.
func (r *Request) Error(code int16, n int) {
	if r.Conn == nil || r.Conn.stats == nil || r.captured != nil || n == 0 {
		return
	}
	i := int(code) + 1
	if i < 0 || i >= errorsMax {
		i = 0 // UNKNOWN_SERVER_ERROR
	}
	r.Conn.stats.of(r.kind).errors[i].Add(uint64(n))
}

// done counts a request whose answer the socket took; begun is when the socket
// got it, zero for a request without an answer.
func (s *statShard) done(r *Request, begun, now time.Time) {
	k := s.of(r.kind)
	k.versions[min(max(int(r.Header.Version), 0), versionsMax-1)].Add(1)
	k.bytes.Add(uint64(r.size))
	total := now.Sub(r.Received)
	answered, handled := r.answeredAt, time.Duration(r.handledAt.Load())
	if begun.IsZero() {
		begun = now
	}
	if answered == 0 { // in its handler
		answered = handled
	}
	if answered == 0 || handled == 0 || handled > answered {
		if answered == 0 { // sent while its handler still ran
			answered = begun.Sub(r.Received)
		}
		handled = answered
	}
	k.times[Queued].Observe(r.startedAt)
	k.times[Local].Observe(handled - r.startedAt)
	if answered > handled {
		k.times[Remote].Observe(answered - handled)
	}
	sending := max(begun.Sub(r.Received), answered)
	k.times[Answered].Observe(sending - answered)
	k.times[Sent].Observe(total - sending)
	k.times[Total].Observe(total)
}

// ErrorCount is how often a kind of request was answered with a code.
type ErrorCount struct {
	Code  int16
	Count uint64
}

// VersionCount is how often a kind of request came in a version.
type VersionCount struct {
	Version int
	Count   uint64
}

// RequestStats is what was counted of one kind of request since the start.
type RequestStats struct {
	Name     string // Kafka's; FetchConsumer and FetchFollower for the two kinds of Fetch
	Count    uint64
	Bytes    uint64 // of the requests
	Versions []VersionCount
	Errors   []ErrorCount // by code, 0 included
	Times    [phases]latency.Snapshot
}

// Requests lists the kinds of requests that were seen, by key.
func (s *Stats) Requests() []RequestStats {
	var out []RequestStats
	for kind := range uint8(kinds) {
		var r RequestStats
		var versions [versionsMax]uint64
		var errs [errorsMax]uint64
		seen := false
		for i := range s.shards {
			k := s.shards[i].kinds[kind].Load()
			if k == nil {
				continue
			}
			seen = true
			r.Bytes += k.bytes.Load()
			for v := range versions {
				versions[v] += k.versions[v].Load()
			}
			for c := range errs {
				errs[c] += k.errors[c].Load()
			}
			for p := range k.times {
				k.times[p].AddTo(&r.Times[p])
			}
		}
		if !seen {
			continue
		}
		r.Name = kindName(kind)
		for v, n := range versions {
			if n > 0 {
				r.Versions = append(r.Versions, VersionCount{v, n})
			}
		}
		for c, n := range errs {
			if n > 0 {
				r.Errors = append(r.Errors, ErrorCount{int16(c - 1), n})
			}
		}
		r.Count = r.Times[Total].Count()
		r.Times[Remote].Zeros(r.Count - min(r.Count, r.Times[Remote].Count()))
		out = append(out, r)
	}
	return slices.Clip(out)
}

// IdleClosed counts connections that were closed for connections.max.idle.ms.
func (s *Stats) IdleClosed() (n uint64) {
	for i := range s.shards {
		n += s.shards[i].idle.Load()
	}
	return n
}

func kindName(kind uint8) string {
	switch kind {
	case kindFollower:
		return "FetchFollower"
	case kindPrivate:
		return "Private"
	case uint8(wire.KeyFetch):
		return "FetchConsumer"
	}
	return wire.APIName(int16(kind))
}
