package replica

import (
	"fmt"
	"strings"
	"time"
)

// Cause is a reason code for why a follower isn't in sync. The words are stable:
// they appear in the journal, the API, the console and on the command line.
type Cause string

// The causes. Where the numbers fit several, all are named, the likeliest first.
const (
	// CauseControllerFenced: the controller has fenced its broker, or doesn't know it.
	CauseControllerFenced Cause = "CONTROLLER_FENCED"
	// CauseShutdownControlled: its broker is shutting down in order.
	CauseShutdownControlled Cause = "SHUTDOWN_CONTROLLED"
	// CauseLogDirOffline: the log directory that holds it failed.
	CauseLogDirOffline Cause = "LOG_DIR_OFFLINE"
	// CauseLogLost: it fetched again from further back than it had been: a wiped or
	// repaired disk.
	CauseLogLost Cause = "LOG_LOST"
	// CauseNeverFetched: not once in this leader epoch.
	CauseNeverFetched Cause = "NEVER_FETCHED"
	// CauseFetchStopped: it has stopped asking.
	CauseFetchStopped Cause = "FETCH_STOPPED"
	// CauseProcessPaused: it has stopped asking, yet its connection lives and its
	// host answers: the process stands still, or hangs in a write.
	CauseProcessPaused Cause = "PROCESS_PAUSED"
	// CauseNetwork: what is sent doesn't arrive, or takes most of each round.
	CauseNetwork Cause = "NETWORK"
	// CauseNotAdvancing: it asks for the same offset again and again (KAFKA-15911).
	CauseNotAdvancing Cause = "FETCHING_NOT_ADVANCING"
	// CauseAppendFailed: its log refuses the records; its own words are in the text.
	CauseAppendFailed Cause = "APPEND_FAILED"
	// CauseDiskFull: its disk is full.
	CauseDiskFull Cause = "DISK_FULL_FOLLOWER"
	// CauseDamagedRecords: what arrives there is damaged.
	CauseDamagedRecords Cause = "DAMAGED_RECORDS"
	// CauseSlowerThanLeader: it advances, and the leader's end moves away faster.
	CauseSlowerThanLeader Cause = "SLOWER_THAN_LEADER"
	// CauseThrottled: by leader. or follower.replication.throttled.rate.
	CauseThrottled Cause = "THROTTLED"
	// CauseSlowDiskFollower: its appends take most of each round.
	CauseSlowDiskFollower Cause = "SLOW_DISK_FOLLOWER"
	// CauseSlowLeaderRead: reading on the leader takes most of each round.
	CauseSlowLeaderRead Cause = "SLOW_LEADER_READ"
	// CauseOverwhelmed: too many partitions share its fetches.
	CauseOverwhelmed Cause = "OVERWHELMED"
	// CauseOversizedBatch: batches are larger than what it asks for at a time.
	CauseOversizedBatch Cause = "OVERSIZED_BATCH"
	// CauseBacklog: nothing is wrong but the distance.
	CauseBacklog Cause = "BACKLOG"
	// CauseDivergedTruncating: its log leaves the leader's and is being cut.
	CauseDivergedTruncating Cause = "DIVERGED_TRUNCATING"
	// CauseEpochMismatch: its fetches are refused for a leader epoch or a broker
	// epoch that isn't the current one.
	CauseEpochMismatch Cause = "EPOCH_MISMATCH"
	// CauseISRUpdatePending: a change of the ISR waits for the controller.
	CauseISRUpdatePending Cause = "ISR_UPDATE_PENDING"
	// CauseISRUpdateRejected: the controller refused to let it join.
	CauseISRUpdateRejected Cause = "ISR_UPDATE_REJECTED"
	// CauseAdminRemoved: a reassignment takes it away.
	CauseAdminRemoved Cause = "ADMIN_REMOVED"
	// CauseLeftRepeatedly: it has left and joined the ISR again and again.
	CauseLeftRepeatedly Cause = "LEFT_REPEATEDLY"
)

// Causes lists every code.
func Causes() []Cause {
	return []Cause{
		CauseControllerFenced, CauseShutdownControlled, CauseLogDirOffline, CauseLogLost, CauseNeverFetched, CauseFetchStopped,
		CauseProcessPaused, CauseNetwork, CauseNotAdvancing, CauseAppendFailed, CauseDiskFull, CauseDamagedRecords,
		CauseSlowerThanLeader, CauseThrottled, CauseSlowDiskFollower, CauseSlowLeaderRead, CauseOverwhelmed,
		CauseOversizedBatch, CauseBacklog, CauseDivergedTruncating, CauseEpochMismatch, CauseISRUpdatePending,
		CauseISRUpdateRejected, CauseAdminRemoved, CauseLeftRepeatedly,
	}
}

// JoinCauses writes causes as one word, "" for none.
func JoinCauses(list []Cause) string {
	s := make([]string, len(list))
	for i, c := range list {
		s[i] = string(c)
	}
	return strings.Join(s, "+")
}

// Why says what the causes were judged by: numbers only, "" if there are none.
func (c Condition) Why() string {
	if c.Health == Flapping {
		return fmt.Sprintf("left and came back %d times in %s", flapPairs, FlapWindow)
	}
	var out []string
	for _, cause := range c.Causes {
		if s := c.numbers(cause); s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, "; ")
}

func (c Condition) numbers(cause Cause) string { // flat switch
	n := c.Signs
	switch cause {
	case CauseFetchStopped:
		return fmt.Sprintf("last fetch %s ago", round(c.SinceFetch))
	case CauseProcessPaused:
		return "its connection is open and answers"
	case CauseNetwork:
		return n.network()
	case CauseNotAdvancing:
		return fmt.Sprintf("same offset for %s, %d fetches", round(c.SinceAdvance), n.SameOffset)
	case CauseAppendFailed, CauseDiskFull, CauseDamagedRecords:
		return n.Trouble.Text
	case CauseThrottled:
		if n.Withheld {
			return "the leader's quota is used up"
		}
		if n.ThrottledPercent == 0 { // it hasn't fetched since
			return "held back by its own quota"
		}
		return fmt.Sprintf("held back by its own quota, %d%% of the time", n.ThrottledPercent)
	case CauseSlowDiskFollower:
		if !n.Told {
			return "" // with the network's
		}
		return fmt.Sprintf("append p99 %s, %d%% of each round", round(max(n.AppendP99, n.Append)), percent(n.Append, n.Round))
	case CauseSlowLeaderRead:
		return fmt.Sprintf("leader read up to %s, %d%% of each round", round(n.LeaderReadMax), percent(n.LeaderRead, n.Round))
	case CauseOverwhelmed:
		return fmt.Sprintf("%d partitions in one fetcher, %d behind, left out of %d answers", n.Partitions, n.Behind, n.Squeezed)
	case CauseOversizedBatch:
		if n.Trouble.Code == TroubleOversized {
			return n.Trouble.Text
		}
		return fmt.Sprintf("batch of %d bytes, %d asked for", n.BatchBytes, n.BatchLimit)
	case CauseBacklog:
		return fmt.Sprintf("%d records behind, %.0f/s, %.0f s left", c.Lag, c.Rate, c.SecondsLeft)
	case CauseSlowerThanLeader:
		return fmt.Sprintf("%.0f/s, leader %.0f/s", c.Rate, c.LeaderRate)
	case CauseDivergedTruncating:
		return fmt.Sprintf("diverges at %d", n.DivergedAt)
	case CauseLogLost:
		return fmt.Sprintf("had %d, fetched again at %d", n.LostFrom, n.LostTo)
	case CauseEpochMismatch:
		return n.Refused
	}
	return ""
}

func (n Signs) network() string {
	switch {
	case n.Link.Known && !n.Link.Open:
		return "its connection is gone"
	case n.Link.Retransmits > 0:
		return fmt.Sprintf("%d retransmissions unanswered", n.Link.Retransmits)
	}
	where := "on the way"
	if !n.Told {
		where = "on the way and at the follower"
	}
	return fmt.Sprintf("%s %s, %d%% of each round", round(n.Network), where, percent(n.Network, n.Round))
}

func round(d time.Duration) time.Duration {
	if d >= time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

func percent(part, whole time.Duration) int {
	if whole <= 0 {
		return 0
	}
	return int(100 * part / whole)
}
