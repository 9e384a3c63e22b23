package quorum

import (
	"fmt"
	"testing"
	"time"

	"tidemark/internal/model"
)

// Three controllers: one says that it leads, two that they follow and whom they
// voted for; the leader's proposals have a latency, and frames are counted.
func TestMeters(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start(1, 2, 3)
		c.eventually("a leader", time.Minute, func() bool { return c.serving() != nil })
		lead := c.serving()
		for i := range 3 {
			c.propose(lead, name(i))
		}
		c.agree()
		states := map[string]int{}
		var votes int
		for _, n := range c.up() {
			m := n.Meters()
			states[m.State]++
			if m.Vote == lead.cfg.NodeID {
				votes++
			}
			if m.Voters != 3 || m.Leader != lead.cfg.NodeID || m.Elections.Count() == 0 || m.Requests == 0 || m.BytesIn == 0 || m.BytesOut == 0 {
				t.Errorf("node %d: %+v", n.cfg.NodeID, m.View)
			}
			switch n {
			case lead:
				if m.Commits.Count() != 3 || m.Appended < 4 || m.Answers == 0 {
					t.Errorf("the leader committed %d batches, %d records, and got %d answers", m.Commits.Count(), m.Appended, m.Answers)
				}
			default:
				if m.Commits.Count() != 0 || m.Fetched < 3 {
					t.Errorf("a follower committed %d batches, took %d records", m.Commits.Count(), m.Fetched)
				}
			}
		}
		if got := fmt.Sprint(states); got != "map[follower:2 leader:1]" || votes < 2 {
			t.Errorf("%s, %d votes for the leader", got, votes)
		}
		for _, n := range c.up() {
			if n != lead {
				c.kill(n.cfg.NodeID)
			}
		}
		c.eventually("the leader steps down", time.Minute, func() bool { return lead.Meters().Leader == model.NoBroker })
		if s := lead.Meters().State; s != "candidate" && s != "unattached" && s != "voted" {
			t.Errorf("alone it is %s", s)
		}
	})
}
