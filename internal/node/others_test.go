package node

import (
	"slices"
	"testing"
	"time"

	"tidemark/internal/admin"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// A leader of this product tells why its followers aren't in sync; of one that
// doesn't, positions and what the metadata knows of the brokers are all there is.
func TestViewOfAnotherLeader(t *testing.T) {
	img := &metadata.Image{Brokers: map[model.BrokerID]*metadata.Broker{
		1: {ID: 1}, 2: {ID: 2}, 3: {ID: 3, Fenced: true},
	}}
	positions := []peer.ReplicaPosition{
		{ID: 1, InISR: true, LogEnd: 100}, {ID: 2, LogEnd: 40, LastFetch: time.Unix(99, 0)}, {ID: 3, LogEnd: model.NoOffset},
	}
	conditions := []peer.FollowerCondition{
		{Broker: 2, Health: "catching-up", Causes: []string{"SLOW_DISK_FOLLOWER", "BACKLOG"}, Why: "append p99 300ms", LogEnd: 40, Lag: 60,
			LagBytes: 6000, Rate: 10, SecondsLeft: 6},
		{Broker: 3, Health: "offline", Causes: []string{"SHUTDOWN_CONTROLLED"}, LogEnd: model.NoOffset, Lag: -1, LagBytes: -1},
	}
	show := func(told []peer.FollowerCondition) []admin.Follower {
		v := viewOf(peer.DescribedReplicas{HighWatermark: 40, Replicas: positions, Conditions: told}, time.Unix(100, 0))
		var out admin.Partition
		fillOther(&out, v, img.IsActive)
		if !out.Known || out.LogEnd != 100 || out.HighWatermark != 40 || len(out.Followers) != 2 {
			t.Fatalf("%+v", out)
		}
		return out.Followers
	}
	for _, tt := range []struct {
		told    []peer.FollowerCondition
		two     string
		twoWhy  []string
		three   string
		because string
	}{
		{conditions, "catching-up", []string{"SLOW_DISK_FOLLOWER", "BACKLOG"}, "offline", "SHUTDOWN_CONTROLLED"},
		{nil, "lagging", nil, "offline", "CONTROLLER_FENCED"},
	} {
		got := show(tt.told)
		if got[0].State != tt.two || !slices.Equal(got[0].Reasons, tt.twoWhy) || got[0].Lag != 60 {
			t.Errorf("follower 2: %+v", got[0])
		}
		if got[1].State != tt.three || got[1].Reason != tt.because || got[1].Lag != -1 {
			t.Errorf("follower 3: %+v", got[1])
		}
	}
	if two := show(conditions)[0]; two.BytesPerSecond != 1000 || two.SecondsToCatchUp != 6 || two.Detail != "append p99 300ms" {
		t.Errorf("%+v", two)
	}
}
