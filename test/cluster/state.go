package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// State is the part of /v1/state that tests look at.
type State struct {
	Node struct {
		ID    int    `json:"id"`
		State string `json:"brokerStateIs"`
		Dirs  []struct {
			Path   string `json:"path"`
			ID     string `json:"id"`
			Online bool   `json:"online"`
		} `json:"dirs"`
	} `json:"node"`
	Controller struct {
		Leader int   `json:"leader"`
		Epoch  int   `json:"epoch"`
		Voters []int `json:"voters"`
	} `json:"controller"`
	Brokers []struct {
		ID    int    `json:"id"`
		State string `json:"state"`
	} `json:"brokers"`
	Partitions []PartitionState `json:"partitions"`
}

// PartitionState is one partition of State.
type PartitionState struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Leader    int    `json:"leader"`
	Epoch     int    `json:"leaderEpoch"`
	Replicas  []int  `json:"replicas"`
	ISR       []int  `json:"isr"`
	Reason    string `json:"reason"`
	LogEnd    int64  `json:"logEnd"`
}

// Partition finds one partition of the state.
func (s State) Partition(topic string, partition int) (PartitionState, error) {
	for _, p := range s.Partitions {
		if p.Topic == topic && p.Partition == partition {
			return p, nil
		}
	}
	return PartitionState{}, fmt.Errorf("node %d doesn't know %s-%d", s.Node.ID, topic, partition)
}

// State asks the node for /v1/state.
func (n *Node) State() (State, error) {
	var s State
	code, body, err := n.Get("/v1/state")
	if err != nil || code != http.StatusOK {
		return s, fmt.Errorf("node %d: /v1/state: %d %w", n.ID, code, err)
	}
	return s, json.Unmarshal([]byte(body), &s)
}

// Controller waits until the running nodes agree on an active controller that
// runs, and returns it.
func (c *Cluster) Controller() *Node {
	c.T.Helper()
	var leader int
	Eventually(c.T, time.Minute, func() error {
		leader = -1
		for _, n := range c.Nodes {
			if !n.Running() {
				continue
			}
			s, err := n.State()
			if err != nil {
				return err
			}
			if s.Controller.Leader < 1 || leader >= 0 && s.Controller.Leader != leader {
				return fmt.Errorf("node %d says that the active controller is %d, another one %d", n.ID, s.Controller.Leader, leader)
			}
			leader = s.Controller.Leader
		}
		if leader < 1 || !c.Node(leader).Running() {
			return fmt.Errorf("active controller %d doesn't run", leader)
		}
		return nil
	})
	return c.Node(leader)
}

// LeaderNode is the node that leads the partition.
func (c *Cluster) LeaderNode(topic string, partition int32) *Node {
	c.T.Helper()
	return c.Node(int(Leader(c.T, c.Bootstrap(), topic, partition)))
}

// WaitPartition waits until n's metadata shows the partition as ok says.
func (n *Node) WaitPartition(topic string, partition int, limit time.Duration, ok func(PartitionState) bool) PartitionState {
	n.c.T.Helper()
	var got PartitionState
	Eventually(n.c.T, limit, func() error {
		s, err := n.State()
		if err != nil {
			return err
		}
		if got, err = s.Partition(topic, partition); err != nil {
			return err
		}
		if !ok(got) {
			return fmt.Errorf("node %d sees %+v", n.ID, got)
		}
		return nil
	})
	return got
}

// Stays calls f again and again for the duration; the test fails on its first error.
func Stays(t testing.TB, d time.Duration, f func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
}

// Others are the nodes besides those given.
func (c *Cluster) Others(not ...*Node) []*Node {
	var out []*Node
	for _, n := range c.Nodes {
		if !slices.Contains(not, n) {
			out = append(out, n)
		}
	}
	return out
}
