package api

import (
	"time"

	"tidemark/internal/partition"
	"tidemark/internal/peer"
)

// FollowerConditions is what a leader says of its followers, in replica order.
func FollowerConditions(v partition.StateView, now time.Time) []peer.FollowerCondition {
	out := []peer.FollowerCondition{}
	for _, f := range v.Followers {
		c := f.Condition
		fc := peer.FollowerCondition{
			Broker: f.ID, Health: string(c.Health), Why: c.Why(), LogEnd: f.LEO, InSync: f.InISR, Lag: f.LagRecords, LagBytes: f.LagBytes,
			FetchAgeMs: age(f.LastFetch, now), CaughtUpAgeMs: age(f.LastCaughtUp, now), Rate: c.Rate, LeaderRate: c.LeaderRate,
			SecondsLeft: c.SecondsLeft, Joined: f.Joined, Left: f.Left, AppendP99Micros: c.Signs.AppendP99.Microseconds(),
		}
		for _, cause := range c.Causes {
			fc.Causes = append(fc.Causes, string(cause))
		}
		out = append(out, fc)
	}
	return out
}

// age is in milliseconds, -1 for a time that never was.
func age(t, now time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return max(0, now.Sub(t).Milliseconds())
}
