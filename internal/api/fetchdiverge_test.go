package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A follower takes nothing but the divergence from a diverging answer
// (KAFKA-14704): the high watermark in it has to be told again, or an idle
// follower that had nothing to cut never hears of it.
func TestDivergenceIsFollowedByTheHighWatermark(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c, f2 := n.dial(), n.dial()
	produce(t, c, 1, 0, oneBatch("a"))
	call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, -1, 1), 17) // commits it
	n.become(orders0, 1, 2)

	diverges := fetchReq(2, 0, 0, 1)
	diverges.Topics[0].Partitions[0].LastFetchedEpoch = 1
	s := call[*kmsg.FetchResponse](t, f2, diverges, 17)
	p := s.Topics[0].Partitions[0]
	if p.DivergingEpoch.EndOffset != 1 || p.HighWatermark != 1 {
		t.Fatalf("want a divergence at 1 under the high watermark 1, got %+v", p)
	}
	again := fetchReq(2, s.SessionID, 1, 1)
	again.Topics[0].Partitions[0].LastFetchedEpoch = 0
	if p := one(t, f2, again, 17); p.DivergingEpoch.Epoch != -1 || p.HighWatermark != 1 {
		t.Fatalf("after the divergence: %+v", p)
	}
}
