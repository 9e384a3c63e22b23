package mixed

import (
	"fmt"
	"os"
	"testing"
	"time"

	"tidemark/test/cluster"
)

// snapshots makes the controllers take one every few records and keep no log
// below it, so that whoever was away has to fetch a snapshot.
var snapshots = []string{"metadata.log.max.record.bytes.between.snapshots=3000", "metadata.max.retention.bytes=1"}

// Under load: the active controller is killed twice, the Apache Kafka broker is
// killed and comes back by way of a snapshot, and at last leaves in order.
func TestOutlivesControllersAndItself(t *testing.T) {
	t.Run("bootstrap servers", func(t *testing.T) { outlives(t, false) })
	if os.Getenv("TIDEMARK_LONG") != "" {
		t.Run("static voters", func(t *testing.T) { outlives(t, true) })
	}
}

func outlives(t *testing.T, static bool) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Static: static, Settings: snapshots})
	a := join(t, c, static)
	all := c.Bootstrap() + "," + a.addr()
	create(t, all, "lives", nil, []int32{apacheID, 1, 2}, []int32{2, apacheID, 3}, []int32{3, 1, apacheID})
	cluster.WaitISR(t, all, "lives", 3, healed)
	w := cluster.StartWorkload(t, all, "lives", 3)
	w.WaitMore(300, healed)

	for range 2 {
		active := activeController(t, c)
		active.Kill()
		w.WaitMore(300, healed)
		active.Start()
		active.WaitReady()
		cluster.WaitISR(t, a.addr(), "lives", 3, healed)
	}

	killed := time.Now()
	a.Kill()
	cluster.WaitISR(t, c.Bootstrap(), "lives", 2, healed)
	if took := time.Since(killed); took > 5*time.Second {
		t.Errorf("the dead broker left the in-sync sets after %v; its refused connection should have told", took)
	}
	w.WaitMore(300, healed)
	for i := range 20 {
		create(t, c.Bootstrap(), fmt.Sprintf("meanwhile-%d", i), nil, []int32{1, 2, 3})
	}
	fetched := a.count("Fetching snapshot")
	a.again(c)
	if a.count("Fetching snapshot") == fetched {
		t.Error("the restarted broker did not fetch a snapshot")
	}
	cluster.WaitISR(t, a.addr(), "lives", 3, healed)
	elect(t, all, "lives", 0)
	waitLeader(t, all, "lives", 0, apacheID)
	w.WaitMore(300, healed)

	a.Stop(t) // a controlled shutdown
	if l := cluster.Leader(t, c.Bootstrap(), "lives", 0); l == apacheID {
		t.Error("the Apache Kafka broker leads after its controlled shutdown")
	}
	w.WaitMore(300, healed)
	a.again(c)
	cluster.WaitISR(t, a.addr(), "lives", 3, healed)
	w.Finish()
	sameBytes(t, c, a, "lives", 0, 1, 2)
	sameBytes(t, c, a, "lives", 1, 2, 3)
	sameBytes(t, c, a, "lives", 2, 3, 1)
}
