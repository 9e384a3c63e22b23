package fetcher

import (
	"cmp"
	"slices"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/replica"
	"tidemark/internal/wire"
)

// self is what a loop knows of its own side and tells the leader with each
// fetch. Owned by run.
type self struct {
	answered time.Time     // when the last answer arrived; zero once it was told
	asleep   time.Duration // since then
	records  bool          // the last answer had records
	behind   int           // partitions that got records with the last answer

	took    [appendsKept]time.Duration // of the last answers with records
	n       int                        // how many of them there have been
	worst   time.Duration              // the percentile
	worstAt time.Time                  // when it was computed

	windowStart, lastBuild     time.Time
	held, heldBefore, lengthOf time.Duration // of this window and the one before
	holding                    bool          // a partition was throttled at lastBuild

	troubles map[*follower]replica.Trouble
	untold   bool // troubles has something that no fetch has carried yet
}

const (
	appendsKept    = 128              // answers that the percentile is taken of
	throttleWindow = 10 * time.Second // of the share of throttling
	// percentileEvery spares a busy loop the sorting.
	percentileEvery = 100 * time.Millisecond
)

// arrived tells that an answer is here.
func (s *self) arrived(now time.Time) {
	s.answered, s.asleep, s.records, s.behind = now, 0, false, 0
	for p, t := range s.troubles {
		if t.Code == replica.TroubleOversized {
			delete(s.troubles, p)
		}
	}
}

// report is what the next request carries. parts is how many partitions the loop
// has, holding whether the own quota holds one of them back now.
func (s *self) report(now time.Time, parts int, holding bool) wire.FetchReport {
	r := wire.FetchReport{Told: true, Partitions: uint32(parts), Behind: uint32(s.behind)}
	if !s.answered.IsZero() {
		took := max(0, now.Sub(s.answered)-s.asleep)
		r.AppendMicros = micros(took)
		if s.records {
			s.took[s.n%appendsKept] = took
			s.n++
		}
		s.answered = time.Time{}
	}
	if now.Sub(s.worstAt) >= percentileEvery {
		s.worst, s.worstAt = s.p99(), now
	}
	r.AppendP99Micros = micros(s.worst)
	r.ThrottledPercent = s.throttled(now, holding)
	for p, t := range s.troubles {
		if len(r.Troubles) == wire.MaxFetchTroubles {
			break
		}
		r.Troubles = append(r.Troubles, wire.FetchTrouble{
			ID: p.a.TopicID, Partition: p.a.TP.Partition, Code: uint8(t.Code), Text: t.Text,
		})
	}
	slices.SortFunc(r.Troubles, func(a, b wire.FetchTrouble) int {
		return cmp.Or(a.ID.Compare(b.ID), cmp.Compare(a.Partition, b.Partition))
	})
	s.untold = false
	return r
}

func micros(d time.Duration) uint32 { return uint32(min(d.Microseconds(), 1<<32-1)) }

func (s *self) p99() time.Duration {
	n := min(s.n, appendsKept)
	if n == 0 {
		return 0
	}
	var sorted [appendsKept]time.Duration
	copy(sorted[:n], s.took[:n])
	slices.Sort(sorted[:n])
	return sorted[(n*99+99)/100-1]
}

// throttled is the share of the last ten to twenty seconds, in percent, in which
// the quota held a partition back.
func (s *self) throttled(now time.Time, holding bool) uint32 {
	if s.lastBuild.IsZero() {
		s.windowStart = now
	} else if s.holding {
		s.held += now.Sub(s.lastBuild)
	}
	s.lastBuild, s.holding = now, holding
	length := now.Sub(s.windowStart)
	share := uint32(0)
	if all := length + s.lengthOf; all > 0 {
		share = uint32(min(100, 100*(s.held+s.heldBefore)/all))
	}
	if length >= throttleWindow {
		s.windowStart, s.heldBefore, s.lengthOf, s.held = now, s.held, length, 0
	}
	return share
}

// trouble notes why p gets nowhere, or with TroubleNone that it does.
func (s *self) trouble(p *follower, t replica.Trouble) {
	old, had := s.troubles[p]
	switch {
	case t.Code == replica.TroubleNone:
		delete(s.troubles, p)
	case !had || old != t:
		if s.troubles == nil {
			s.troubles = map[*follower]replica.Trouble{}
		}
		s.troubles[p] = t
		s.untold = true
	}
}

// forget drops the troubles of partitions that the loop no longer has.
func (s *self) forget(parts map[model.TopicPartition]*follower) {
	for p := range s.troubles {
		if parts[p.a.TP] != p {
			delete(s.troubles, p)
		}
	}
}
