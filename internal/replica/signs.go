package replica

import (
	"slices"
	"time"

	"tidemark/internal/model"
)

// Link is what is known of the connection through which a follower fetches.
type Link struct {
	Known bool // false: nothing, the rest is zero
	Open  bool
	// Retransmits counts attempts to send something again that its host hasn't
	// acknowledged; 0 for a host that answers.
	Retransmits int
}

// Links may be implemented by SessionTimes: it tells about a silent follower's
// connection.
type Links interface {
	Link(id model.BrokerID) Link
}

// Signs are the numbers by which causes are told apart. Times are medians of
// the last rounds; one round is from reading records for a follower to its next fetch.
type Signs struct {
	Round         time.Duration // 0: not measured lately
	LeaderRead    time.Duration // of Round: until the leader had read the records
	LeaderReadMax time.Duration
	Append        time.Duration // of Round: the follower's own work; 0 unless it tells
	AppendP99     time.Duration // as the follower says
	Network       time.Duration // of Round: the rest; with the follower's work, if it doesn't tell
	Told          bool          // the follower tells of itself

	ThrottledPercent   int  // of the last seconds, by its own quota
	Withheld           bool // the leader's quota kept records from it lately
	Partitions, Behind int  // of its fetcher
	Squeezed           int  // answers lately that had no room for this partition
	SameOffset         int  // fetches in a row at one offset below the leader's end

	BatchBytes, BatchLimit int          // of the last batch that was larger than asked for
	DivergedAt             model.Offset // where its log leaves the leader's
	LostFrom, LostTo       model.Offset // where it was, and where it began again
	Refused                string       // why its fetches are refused
	Trouble                Trouble
	Link                   Link
}

const (
	// signsFor is how long a measurement says something about a follower.
	signsFor = 30 * time.Second
	// slowFloor is what a part of a round must take to be called slow at all, and a
	// third of the round.
	slowFloor = 100 * time.Millisecond
	// squeezedMin is how many answers lately must have had no room for a partition.
	squeezedMin = 3
	// crowd is how many partitions with records make a fetcher's answer crowded.
	crowd = 16
	// roundsMin is how many rounds must have been measured: one that a pause fell
	// into says nothing.
	roundsMin = 3
	// recentMax is how many rounds are remembered.
	recentMax = 8
)

// recent remembers the last rounds' durations of one kind.
type recent struct {
	us [recentMax]uint32
	n  uint32
}

func (r *recent) add(d time.Duration) {
	r.us[r.n%recentMax] = uint32(min(max(0, d.Microseconds()), 1<<32-1))
	r.n++
}

// stats are the median, so that one pause doesn't count as slowness, and the worst.
func (r *recent) stats() (median, worst time.Duration) {
	n := min(r.n, recentMax)
	if n == 0 {
		return 0, 0
	}
	us := r.us
	slices.Sort(us[:n])
	return time.Duration(us[(n-1)/2]) * time.Microsecond, time.Duration(us[n-1]) * time.Microsecond
}

// seen is what the leader's book says beyond positions: where a follower's time
// goes and what went wrong. All of it is evidence only; no rule depends on it.
type seen struct {
	servedAt time.Time     // when records were read for it last
	readTook time.Duration // of that read, as far as it is known
	open     bool          // served, and not yet fetched again
	report   Report        // of its last fetch

	roundAt                     time.Time // of the last measured round
	rounds, reads, applies, net recent
	squeezes                    int
	squeezedAt                  time.Time
	batchAt                     time.Time
	batchBytes, batchLimit      int
	divergedAt                  time.Time
	divergedFrom                model.Offset
	lostAt                      time.Time
	lostFrom, lostTo            model.Offset
	refusedAt                   time.Time
	refused                     string
	trouble                     Trouble
	rejectedAt                  time.Time // when the controller refused to let it join
	sameOffset                  int
	leftCauses                  []Cause              // when it was dropped last
	pairs                       [flapPairs]time.Time // departures that a return followed, newest first
	told                        string               // the condition that the journal was told last
}

// Served tells that records were read for a follower's fetch: those that it
// acknowledges next left the leader now.
func (l *Leader) Served(id model.BrokerID, now time.Time) {
	if f := l.find(id); f != nil {
		f.servedAt, f.readTook, f.open = now, 0, true
	}
}

// ReadTook tells how long the disk took for what was read for a follower last.
func (l *Leader) ReadTook(id model.BrokerID, took time.Duration) {
	if f := l.find(id); f != nil && f.open {
		f.readTook += took
	}
}

// Oversized tells that the batch at a follower's position is larger than what it asked for.
func (l *Leader) Oversized(id model.BrokerID, bytes, limit int, now time.Time) {
	if f := l.find(id); f != nil {
		f.batchAt, f.batchBytes, f.batchLimit = now, bytes, limit
	}
}

// Squeezed tells that there were records for a follower, and no room in the answer.
func (l *Leader) Squeezed(id model.BrokerID, now time.Time) {
	f := l.find(id)
	if f == nil {
		return
	}
	if now.Sub(f.squeezedAt) > signsFor {
		f.squeezes = 0
	}
	f.squeezes++
	f.squeezedAt = now
}

// Diverged tells that a follower was told to cut its log, since it leaves the leader's at
// the offset that it fetched or before.
func (l *Leader) Diverged(id model.BrokerID, at model.Offset, now time.Time) {
	if f := l.find(id); f != nil {
		f.divergedAt, f.divergedFrom = now, at
	}
}

// Refused tells that a follower's fetch was refused for an epoch, and why.
func (l *Leader) Refused(id model.BrokerID, why string, now time.Time) {
	if f := l.find(id); f != nil {
		f.refusedAt, f.refused = now, why
	}
}

// Troubled takes what a follower says of itself and this partition.
func (l *Leader) Troubled(id model.BrokerID, t Trouble) {
	if f := l.find(id); f != nil {
		f.trouble = t
	}
}

// round takes a fetch into account that acknowledges what was served.
func (f *follower) round(advanced bool, now time.Time) {
	open := f.open
	f.open = false
	whole := max(0, now.Sub(f.servedAt))
	if !open || !advanced || whole > signsFor { // that long is a pause, no round
		return
	}
	read := min(f.readTook, whole)
	apply := min(f.report.Append, whole-read)
	if now.Sub(f.roundAt) > signsFor {
		f.rounds, f.reads, f.applies, f.net = recent{}, recent{}, recent{}, recent{}
	}
	f.roundAt = now
	f.rounds.add(whole)
	f.reads.add(read)
	f.applies.add(apply)
	f.net.add(whole - read - apply)
}

// signs gathers the numbers for a Condition.
func (f *follower) signs(now time.Time) Signs {
	s := Signs{
		Told: f.report.Told, AppendP99: f.report.AppendP99, ThrottledPercent: f.report.Throttled,
		Partitions: f.report.Partitions, Behind: f.report.Behind, SameOffset: f.sameOffset,
		LostFrom: f.lostFrom, LostTo: f.lostTo, DivergedAt: f.divergedFrom, Refused: f.refused, Trouble: f.trouble,
	}
	if now.Sub(f.roundAt) <= signsFor && f.rounds.n >= roundsMin {
		s.Round, _ = f.rounds.stats()
		s.LeaderRead, s.LeaderReadMax = f.reads.stats()
		s.Append, _ = f.applies.stats()
		s.Network, _ = f.net.stats()
	}
	s.Withheld = !f.withheld.IsZero() && now.Sub(f.withheld) <= throttleMemory
	if now.Sub(f.squeezedAt) <= signsFor {
		s.Squeezed = f.squeezes
	}
	if now.Sub(f.batchAt) <= signsFor {
		s.BatchBytes, s.BatchLimit = f.batchBytes, f.batchLimit
	}
	return s
}

// slow names what a follower's rounds are spent on, if they are slow: every part
// that takes a third of a round, the largest first.
func (s Signs) slow() []Cause {
	type part struct {
		took time.Duration
		as   []Cause
	}
	disk := []Cause{CauseSlowDiskFollower}
	if s.Behind >= crowd { // a crowd: little for each of them is much for all
		if disk = []Cause{CauseOverwhelmed}; s.Append/time.Duration(s.Behind) >= slowFloor/4 {
			disk = append(disk, CauseSlowDiskFollower)
		}
	}
	rest := []Cause{CauseNetwork}
	if !s.Told { // it can be either
		rest = []Cause{CauseNetwork, CauseSlowDiskFollower}
	}
	parts := []part{{s.Append, disk}, {s.LeaderRead, []Cause{CauseSlowLeaderRead}}, {s.Network, rest}}
	var out []Cause
	for range parts {
		best := 0
		for i := range parts {
			if parts[i].took > parts[best].took {
				best = i
			}
		}
		if took := parts[best].took; took >= slowFloor && took*3 >= s.Round {
			out = append(out, parts[best].as...)
		}
		parts[best].took = -1
	}
	return out
}

// particular names what the numbers show to be in a follower's way.
func (s Signs) particular() []Cause {
	var out []Cause
	if s.BatchBytes > 0 {
		out = append(out, CauseOversizedBatch)
	}
	for _, c := range s.slow() {
		out = withCause(out, c)
	}
	if s.Squeezed >= squeezedMin {
		out = withCause(out, CauseOverwhelmed)
	}
	return out
}

func withCause(list []Cause, c Cause) []Cause {
	for _, x := range list {
		if x == c {
			return list
		}
	}
	return append(list, c)
}
