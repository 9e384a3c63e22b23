package mixed

import (
	"slices"
	"testing"

	"tidemark/test/cluster"
)

// An Apache Kafka broker in a cluster of ours, which controller.quorum.voters
// names: leaders there with followers here, and the other way round.
func TestReplicatesBothWays(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Static: true})
	a := join(t, c, true)
	all := c.Bootstrap() + "," + a.addr()
	create(t, c.Bootstrap(), "shared", nil, []int32{apacheID, 1, 2}, []int32{1, apacheID, 2}, []int32{2, 3, apacheID})
	cluster.WaitISR(t, all, "shared", 3, healed)
	for p := range int32(3) {
		var want []string
		want = append(want, produce(t, c.Bootstrap(), "shared", p, "through-tidemark", 200)...)
		want = append(want, produce(t, a.addr(), "shared", p, "through-apache", 200)...)
		for _, from := range []string{c.Bootstrap(), a.addr()} {
			if got := consume(t, from, "shared", p, len(want)); !slices.Equal(got, want) {
				t.Errorf("shared-%d through %s: %d records, want %d", p, from, len(got), len(want))
			}
		}
	}
	sameBytes(t, c, a, "shared", 0, 1, 2)
	sameBytes(t, c, a, "shared", 1, 1, 2)
	sameBytes(t, c, a, "shared", 2, 2, 3)
}
