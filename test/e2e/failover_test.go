// Package e2e tests whole clusters: real processes, real clients, real faults.
package e2e

import (
	"testing"
	"time"

	"tidemark/test/cluster"
)

const healed = 60 * time.Second

// The leader of a partition is killed under load and started again.
func TestKillLeaderUnderLoad(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3})
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 3, 3, nil)
	w := cluster.StartWorkload(t, c.Bootstrap(), "orders", 3)
	w.WaitMore(500, healed)
	leader := c.Node(int(cluster.Leader(t, c.Bootstrap(), "orders", 0)))
	leader.Kill()
	w.WaitMore(500, healed)
	leader.Start()
	leader.WaitReady()
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	w.WaitMore(500, healed)
	w.Finish()
}
