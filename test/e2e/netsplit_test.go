package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tidemark/test/cluster"
)

// netsplit is a cluster whose nodes are hosts of their own, and a topic of one partition.
type netsplit struct {
	t         *testing.T
	c         *cluster.Cluster
	h         *cluster.Hosts
	w         *cluster.Workload
	topic     string
	leader    *cluster.Node
	followers []*cluster.Node
	ctl       *cluster.Node
}

// moved waits until one of the others sees another leader.
func (s *netsplit) moved() {
	s.t.Helper()
	s.sees(s.followers[0], func(p cluster.PartitionState) bool { return p.Leader > 0 && p.Leader != s.leader.ID })
}

// sees waits until the node's metadata of the partition is so.
func (s *netsplit) sees(n *cluster.Node, ok func(cluster.PartitionState) bool) {
	s.t.Helper()
	n.WaitPartition(s.topic, 0, healed, ok)
}

func without(n *cluster.Node) func(cluster.PartitionState) bool {
	return func(p cluster.PartitionState) bool { return p.Leader > 0 && !slices.Contains(p.ISR, n.ID) }
}

// Every kind of partition of the network, each healed and its history judged.
// leads says whether the leader is the active controller as well.
var splits = []struct {
	name  string
	leads bool
	run   func(s *netsplit)
}{
	{"follower cut off", false, func(s *netsplit) { // a minority of one, seen by clients only
		f := s.others(s.ctl)
		s.h.Split([]int{f.ID}, s.rest(f))
		s.sees(s.leader, without(f))
	}},
	{"leader cut off", false, func(s *netsplit) { // clients still reach it
		s.h.Split([]int{s.leader.ID}, s.rest(s.leader))
		s.moved()
	}},
	{"leader that is the active controller cut off", true, func(s *netsplit) {
		s.h.Split([]int{s.leader.ID}, s.rest(s.leader))
		s.moved()
	}},
	{"one way from the leader", false, func(s *netsplit) {
		for _, f := range s.followers {
			s.h.Cut(s.leader.ID, f.ID)
		}
		s.moved()
	}},
	{"one way to the leader", false, func(s *netsplit) {
		for _, f := range s.followers {
			s.h.Cut(f.ID, s.leader.ID)
		}
		// It may still tell the controller that nobody follows, and be fenced after
		// that: then it was alone in the ISR, and nobody else may lead.
		s.sees(s.followers[0], func(p cluster.PartitionState) bool { return p.Leader != s.leader.ID })
		s.h.Heal()
	}},
	{"one way from a follower to its leader", true, func(s *netsplit) {
		s.h.Cut(s.followers[0].ID, s.leader.ID)
		s.sees(s.followers[1], without(s.followers[0]))
	}},
	{"bridge", true, func(s *netsplit) { // leader and one follower don't see each other, the third sees both
		s.h.Split([]int{s.leader.ID}, []int{s.followers[0].ID})
		s.w.WaitMore(200, healed)
		s.sees(s.followers[1], func(p cluster.PartitionState) bool { return len(p.ISR) == 2 })
	}},
	{"leader cut from the controllers, not from followers", false, func(s *netsplit) {
		for _, n := range s.followers {
			s.h.CutPort(s.leader.ID, n.ID, n.Control)
			s.h.CutPort(n.ID, s.leader.ID, s.leader.Control)
		}
		s.moved()
	}},
	{"active controller isolated", false, func(s *netsplit) {
		s.h.Split([]int{s.ctl.ID}, s.rest(s.ctl))
		cluster.Eventually(s.t, healed, func() error { return s.controllerMoved() })
		s.sees(s.leader, without(s.ctl))
	}},
	{"clients only", false, func(s *netsplit) { // nothing moves: the cluster is well
		s.h.CutPort(0, s.leader.ID, s.leader.Client)
		before, _ := s.leader.State()
		cluster.Stays(s.t, 2*time.Second, func() error { return s.unmoved(before) })
		s.h.Heal()
	}},
}

func TestNetworkPartitions(t *testing.T) {
	if !cluster.InNamespaces(t) {
		return
	}
	h := cluster.NewHosts(t, 3)
	c := cluster.New(t, cluster.Options{Nodes: 3, Hosts: h, Settings: quick})
	for i, p := range splits {
		t.Run(p.name, func(t *testing.T) {
			c.T = t
			defer h.Heal()
			s := &netsplit{t: t, c: c, h: h, topic: topicName(i), ctl: c.Controller()}
			s.leader = s.ctl
			if !p.leads {
				s.leader = c.Others(s.ctl)[0]
			}
			s.followers = c.Others(s.leader)
			cluster.CreateAssigned(t, c.Bootstrap(), s.topic, s.leader.ID, s.followers[0].ID, s.followers[1].ID)
			s.w = cluster.StartWorkload(t, c.Bootstrap(), s.topic, 1, cluster.Impatient...)
			s.w.WaitMore(200, healed)
			began := time.Now()
			p.run(s)
			t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
			s.w.WaitMore(200, healed)
			h.Heal()
			began = time.Now()
			cluster.Eventually(t, healed, s.agreed)
			t.Logf("healed after %v, longest gap %v", time.Since(began).Round(time.Millisecond), s.w.LongestGap().Round(time.Millisecond))
			s.w.WaitMore(200, healed)
			s.w.Finish()
		})
	}
	c.T = t
}

func topicName(i int) string { return "orders-" + string(rune('a'+i)) }

// others is the follower that isn't n.
func (s *netsplit) others(n *cluster.Node) *cluster.Node {
	if s.followers[0] == n {
		return s.followers[1]
	}
	return s.followers[0]
}

// rest are the ids of all nodes but n.
func (s *netsplit) rest(n *cluster.Node) []int {
	var out []int
	for _, o := range s.c.Others(n) {
		out = append(out, o.ID)
	}
	return out
}

// agreed says whether all nodes see the same controller, every broker running and
// the partition in sync under the same leader. One that was cut off believes in
// what it knew, so each has to be asked.
func (s *netsplit) agreed() error {
	var first cluster.State
	var was cluster.PartitionState
	for i, n := range s.c.Nodes {
		st, err := n.State()
		if err != nil {
			return err
		}
		p, err := st.Partition(s.topic, 0)
		if err != nil {
			return err
		}
		if i == 0 {
			first, was = st, p
		}
		if len(p.ISR) != 3 || p.Leader != was.Leader || p.Epoch != was.Epoch || st.Controller.Epoch != first.Controller.Epoch || st.Controller.Leader < 1 {
			return fmt.Errorf("node %d sees %+v under controller %+v, node 1 %+v under %+v", n.ID, p, st.Controller, was, first.Controller)
		}
		for _, b := range st.Brokers {
			if b.State != "running" {
				return fmt.Errorf("node %d sees broker %d %s", n.ID, b.ID, b.State)
			}
		}
	}
	return nil
}

// controllerMoved says whether the others agree on a new active controller.
func (s *netsplit) controllerMoved() error {
	for _, n := range s.c.Others(s.ctl) {
		st, err := n.State()
		if err != nil {
			return err
		}
		if st.Controller.Leader < 1 || st.Controller.Leader == s.ctl.ID {
			return fmt.Errorf("node %d says that the active controller is %d", n.ID, st.Controller.Leader)
		}
	}
	return nil
}

// unmoved says whether the partition is led and in sync as before.
func (s *netsplit) unmoved(before cluster.State) error {
	was, err := before.Partition(s.topic, 0)
	if err != nil {
		return err
	}
	st, err := s.leader.State()
	if err != nil {
		return err
	}
	now, err := st.Partition(s.topic, 0)
	if err != nil {
		return err
	}
	if now.Leader != was.Leader || now.Epoch != was.Epoch || len(now.ISR) != 3 {
		return fmt.Errorf("was %+v, is %+v", was, now)
	}
	return nil
}
