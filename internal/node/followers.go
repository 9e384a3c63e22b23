package node

import (
	"tidemark/internal/admin"
	"tidemark/internal/peer"
)

// followerRow is a follower as page and command line show it, whoever leads the
// partition.
func followerRow(c peer.FollowerCondition) admin.Follower {
	f := admin.Follower{
		Broker: c.Broker, LogEnd: c.LogEnd, Lag: c.Lag, LagBytes: c.LagBytes, InSync: c.InSync, FetchAgeMs: c.FetchAgeMs,
		CaughtUpAgeMs: c.CaughtUpAgeMs, State: c.Health, Reasons: c.Causes, Detail: c.Why, Joined: c.Joined, Left: c.Left,
		RecordsPerSecond: c.Rate, LeaderRecordsPerSecond: c.LeaderRate, SecondsToCatchUp: c.SecondsLeft,
	}
	if len(c.Causes) > 0 {
		f.Reason = c.Causes[0]
	}
	if c.Lag > 0 && c.LagBytes > 0 {
		f.BytesPerSecond = c.Rate * float64(c.LagBytes) / float64(c.Lag)
	}
	return f
}
