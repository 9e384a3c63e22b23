//go:build storm

package mixed

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tidemark/test/cluster"
)

var (
	stormSeed  = flag.Uint64("storm-seed", 0, "of the faults of TestStorm; 0 takes the clock")
	stormSteps = flag.Int("storm-steps", 25, "faults of TestStorm")
)

// Fault after fault under load, one at a time and each healed before the next:
// nothing that was acknowledged is lost, and the replicas end up equal.
func TestStorm(t *testing.T) {
	seed := *stormSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-storm-seed=%d -storm-steps=%d", seed, *stormSteps)
	r := rand.New(rand.NewPCG(seed, 0))
	c := cluster.New(t, cluster.Options{Nodes: 3, Settings: append([]string{"broker.session.timeout.ms=4000"}, snapshots...)})
	a := join(t, c, r.IntN(2) == 0, "metadata.log.max.record.bytes.between.snapshots=4000")
	all := c.Bootstrap() + "," + a.addr()
	create(t, all, "storm", nil, []int32{apacheID, 1, 2}, []int32{2, apacheID, 3}, []int32{3, 1, apacheID}, []int32{1, 2, 3})
	cluster.WaitISR(t, all, "storm", 3, healed)
	w := cluster.StartWorkload(t, all, "storm", 4)
	for i := range *stormSteps {
		w.WaitMore(int64(r.IntN(500)), healed)
		n := c.Node(1 + r.IntN(3))
		switch kind := r.IntN(9); kind {
		case 0, 1:
			step(t, i, "kill -9 of the Apache Kafka broker", func() { a.Kill(); w.WaitMore(100, healed); a.again(c) })
		case 2:
			step(t, i, "stop of the Apache Kafka broker", func() { a.Stop(t); w.WaitMore(100, healed); a.again(c) })
		case 3:
			step(t, i, fmt.Sprintf("kill -9 of node %d", n.ID), func() { n.Kill(); w.WaitMore(100, healed); n.Start(); n.WaitReady() })
		case 4:
			step(t, i, fmt.Sprintf("stop of node %d", n.ID), func() { n.Stop(); n.Start(); n.WaitReady() })
		case 5:
			act := activeController(t, c)
			step(t, i, fmt.Sprintf("kill -9 of the active controller %d and of the Apache Kafka broker", act.ID), func() {
				act.Kill()
				a.Kill()
				act.Start()
				act.WaitReady()
				a.again(c)
			})
		case 6:
			step(t, i, "pause of the Apache Kafka broker", func() {
				a.Pause() // until its session ends: it wakes as a leader that has long been replaced
				waitOut(t, c.Bootstrap(), "storm", 0, a.id)
				a.Continue()
			})
		case 7:
			step(t, i, fmt.Sprintf("pause of node %d", n.ID), func() {
				n.Pause()
				waitOut(t, a.addr(), "storm", 3, int32(n.ID))
				n.Continue()
			})
		case 8:
			step(t, i, "topics come", func() {
				for k := range 5 {
					create(t, all, fmt.Sprintf("by-the-way-%d-%d", i, k), nil, []int32{apacheID, int32(n.ID)})
				}
			})
		}
		cluster.WaitISR(t, all, "storm", 3, healed)
		if r.IntN(2) == 0 {
			for p := range int32(4) {
				elect(t, all, "storm", p)
			}
		}
	}
	w.Finish()
	sameBytes(t, c, a, "storm", 0, 1, 2)
	sameBytes(t, c, a, "storm", 1, 2, 3)
	sameBytes(t, c, a, "storm", 2, 3, 1)
}

func step(t *testing.T, i int, what string, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	t.Logf("%s %d: %s (%v)", begin.Format(time.TimeOnly), i, what, time.Since(begin).Round(time.Millisecond))
}
