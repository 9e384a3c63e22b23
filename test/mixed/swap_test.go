package mixed

import (
	"fmt"
	"slices"
	"testing"

	"tidemark/test/cluster"
)

// One broker's directories are run by either implementation in turn, after a
// clean stop and after kill -9: what a live migration does to each node.
func TestSwapInPlace(t *testing.T) {
	const id = 12
	c := cluster.New(t, cluster.Options{Nodes: 3})
	n := c.Join(id, "controller.quorum.bootstrap.servers="+c.Controllers())
	n.WaitReady()
	settings := map[string]string{"min.insync.replicas": "1", "segment.bytes": "1048576"}
	create(t, c.Bootstrap(), "swap", settings, []int32{id, 1}, []int32{2, id})
	cluster.WaitISR(t, c.Bootstrap(), "swap", 2, healed)
	var want [2][]string
	check := func(who string) {
		t.Helper()
		for p := range int32(2) {
			elect(t, c.Bootstrap(), "swap", p)
			waitLeader(t, c.Bootstrap(), "swap", p, []int32{id, 2}[p])
			want[p] = append(want[p], produce(t, c.Bootstrap(), "swap", p, who, 200)...)
			if got := consume(t, c.Bootstrap(), "swap", p, len(want[p])); !slices.Equal(got, want[p]) {
				t.Fatalf("swap-%d under %s: %d records, want %d", p, who, len(got), len(want[p]))
			}
		}
	}
	check("tidemark")
	var a *apache
	for round, stop := range []struct {
		how            string
		tidemark, java func()
	}{
		{"clean", n.Stop, func() { a.Stop(t) }},
		{"killed", n.Kill, func() { a.Kill() }},
	} {
		stop.tidemark()
		waitOut(t, c.Bootstrap(), "swap", 0, id)
		waitOut(t, c.Bootstrap(), "swap", 1, id)
		if a == nil {
			a = joinAs(t, c, id, n.Dir, false)
		} else {
			a.again(c)
		}
		cluster.WaitISR(t, c.Bootstrap(), "swap", 2, healed)
		check(fmt.Sprint("apache-", round))
		same := func() {
			sameBytes(t, c, a, "swap", 0, 1)
			sameBytes(t, c, a, "swap", 1, 2)
		}
		same()
		stop.java()
		waitOut(t, c.Bootstrap(), "swap", 0, id)
		waitOut(t, c.Bootstrap(), "swap", 1, id)
		n.Start()
		n.WaitReady()
		cluster.WaitISR(t, c.Bootstrap(), "swap", 2, healed)
		check(fmt.Sprint("tidemark-", round))
		same()
	}
}
