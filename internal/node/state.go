package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemark/internal/admin"
	"tidemark/internal/api"
	"tidemark/internal/controller"
	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/observer"
	"tidemark/internal/partition"
)

// eventsShown is how many events of the journal a State carries.
const eventsShown = 100

// State implements admin.Source: the cluster as this node's metadata shows it,
// with the numbers of every partition's leader.
func (n *Node) State(ctx context.Context) admin.State {
	if !n.open.Load() {
		return admin.State{At: time.Now(), Node: admin.Node{ID: n.o.Config.NodeID, Version: n.o.Version, Roles: roles(n.o.Config), Started: n.started, BrokerStateIs: "opening its logs"},
			Controller: admin.Controller{Leader: model.NoBroker}}
	}
	img := n.image()
	s := admin.State{At: time.Now(), Node: n.nodeState(img), Controller: n.controllerState(img)}
	led := n.ledViews()
	others := n.otherViews(ctx, img)
	brokers := map[model.BrokerID]*admin.Broker{}
	for _, id := range slices.Sorted(maps.Keys(img.Brokers)) {
		s.Brokers = append(s.Brokers, n.brokerState(img.Brokers[id]))
	}
	for i := range s.Brokers {
		brokers[s.Brokers[i].ID] = &s.Brokers[i]
	}
	static := controller.Defaults{Node: n.o.Config.NodeID, Static: n.o.Config.Topics.Defaults}
	for _, name := range slices.Sorted(maps.Keys(img.Topics.ByName)) {
		t := img.Topics.ByName[name]
		minISR := atoi(static.Value(img, name, "min.insync.replicas"))
		for i, p := range t.Partitions {
			tp := model.TopicPartition{Topic: name, Partition: int32(i)}
			out := n.partitionState(t, int32(i), p, minISR)
			if v, ok := led[tp]; ok {
				fillLed(&out, v, s.At)
			} else if v, ok := others[tp]; ok {
				fillOther(&out, v, img.IsActive)
			}
			count(&s.Summary, brokers, &out)
			s.Partitions = append(s.Partitions, out)
		}
	}
	s.Summary.Topics, s.Summary.Brokers = len(img.Topics.ByName), len(s.Brokers)
	for _, b := range s.Brokers {
		if b.State != stateRunning {
			s.Summary.BrokersFenced++
		}
	}
	s.Events = n.events()
	return s
}

func atoi(s string) int {
	n := 0
	_, _ = fmt.Sscanf(s, "%d", &n) // checked when it was set
	return n
}

const stateRunning = "running"

func (n *Node) nodeState(img *metadata.Image) admin.Node {
	c := n.o.Config
	out := admin.Node{ID: c.NodeID, ClusterID: n.id.cluster, Version: n.o.Version, Roles: roles(c), Started: n.started,
		BrokerState: n.BrokerState(), MetadataOffset: img.Offset}
	out.BrokerStateIs = "controller only"
	if n.brk == nil {
		return out
	}
	out.BrokerStateIs = n.brk.lifecycle.State().String()
	for _, d := range n.brk.broker.LogDirs() {
		dir := admin.Dir{Path: d.Path, ID: d.ID, Online: d.Err == nil, Full: d.Full, Free: d.Free, Total: d.Total, Replica: len(d.Replicas)}
		switch {
		case d.Err != nil:
			dir.Reason = d.Err.Error()
		case d.Full:
			dir.Reason = fullDir
		}
		out.Dirs = append(out.Dirs, dir)
	}
	return out
}

const fullDir = "the disk is full: records are refused, reads go on"

func (n *Node) controllerState(img *metadata.Image) admin.Controller {
	out := admin.Controller{Leader: model.NoBroker}
	for _, v := range img.Voters {
		out.Voters = append(out.Voters, v.ID)
	}
	switch {
	case n.ctl != nil:
		v := n.ctl.quorum.View()
		out.Leader, out.Epoch, out.HighWatermark = v.Leader, v.Epoch, v.LogEnd
	case n.brk != nil:
		l := n.brk.observer.Leader()
		out.Leader, out.Epoch, out.HighWatermark = l.ID, l.Epoch, n.brk.observer.HighWatermark()
	}
	return out
}

func (n *Node) brokerState(b *metadata.Broker) admin.Broker {
	out := admin.Broker{ID: b.ID, Rack: b.Rack, Epoch: b.Epoch, State: stateRunning, Since: n.tracker.brokerSince(b.ID)}
	switch {
	case b.Fenced:
		out.State = "fenced"
	case b.InControlledShutdown:
		out.State = "shutting down"
	default:
		out.Since = nil
	}
	for _, e := range b.Endpoints {
		out.Endpoints = append(out.Endpoints, e.Name+"://"+address(e))
	}
	return out
}

func (n *Node) partitionState(t *metadata.Topic, index int32, p *metadata.Partition, minISR int) admin.Partition {
	out := admin.Partition{Topic: t.Name, Partition: index, TopicID: t.ID, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
		Replicas: p.Replicas, ISR: p.ISR, Adding: p.Adding, Removing: p.Removing, ELR: p.ELR, Missing: outside(p),
		MinISR: min(minISR, len(p.Replicas)), HighWatermark: model.NoOffset, LogEnd: model.NoOffset, LogStart: model.NoOffset}
	out.UnderReplicated = len(out.Missing) > 0
	if out.UnderReplicated || p.Leader == model.NoBroker {
		out.Since = n.tracker.partitionSince(model.TopicIDPartition{TopicID: t.ID, Partition: index})
	}
	if p.Leader == model.NoBroker {
		out.Reason = n.whyOffline(p)
	}
	return out
}

// whyOffline says for each replica why it can't lead.
func (n *Node) whyOffline(p *metadata.Partition) string {
	var why []string
	for _, c := range controller.Candidates(n.image(), p) {
		why = append(why, fmt.Sprintf("%d: %s", c.Broker, c.Verdict))
	}
	return "no replica may lead: " + strings.Join(why, ", ")
}

// ledViews are the partitions that this node leads, as their cores see them.
func (n *Node) ledViews() map[model.TopicPartition]partition.StateView {
	out := map[model.TopicPartition]partition.StateView{}
	if n.brk == nil {
		return out
	}
	for _, p := range n.brk.broker.Partitions() {
		if leads, _ := p.Leads(); leads {
			out[p.TP()] = p.State()
		}
	}
	return out
}

func fillLed(out *admin.Partition, v partition.StateView, now time.Time) {
	out.Known, out.HighWatermark, out.LogEnd, out.LogStart = true, v.HighWatermark, v.LogEnd, v.LogStart
	for _, c := range api.FollowerConditions(v, now) {
		out.Followers = append(out.Followers, followerRow(c))
	}
}

func age(t, now time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return now.Sub(t).Milliseconds()
}

func count(s *admin.Summary, brokers map[model.BrokerID]*admin.Broker, p *admin.Partition) {
	s.Partitions++
	inSync := len(p.ISR)
	switch {
	case p.Leader == model.NoBroker:
		s.Offline++
	case inSync < p.MinISR:
		s.UnderMinISR++
	case inSync == p.MinISR:
		s.AtMinISR++
	}
	if p.UnderReplicated {
		s.UnderReplicated++
	}
	if len(p.Replicas) > 0 && p.Leader != p.Replicas[0] {
		s.NotPreferred++
	}
	for _, r := range p.Replicas {
		if b := brokers[r]; b != nil {
			b.Replicas++
			if p.Leader == r {
				b.Leaders++
			}
			if slices.Contains(p.Missing, r) {
				b.OutOfSync++
			}
		}
	}
}

func (n *Node) events() []admin.Event {
	list := n.journal.Events(journal.Filter{Newest: eventsShown})
	out := make([]admin.Event, 0, len(list))
	for _, e := range slices.Backward(list) {
		where := fmt.Sprintf("broker %d", e.Node)
		if tp, ok := e.TopicPartition(); ok {
			where = tp.String()
		}
		out = append(out, admin.Event{At: e.At, Kind: string(e.Kind), Where: where, Text: e.String(), Reason: e.Reason})
	}
	return out
}

// BrokerState implements admin.Source with Kafka's numbers.
func (n *Node) BrokerState() int {
	if !n.open.Load() {
		return int(observer.NotRunning)
	}
	if n.brk == nil {
		return int(observer.Running)
	}
	return int(n.brk.lifecycle.State())
}

// Recovery implements admin.Source.
func (n *Node) Recovery() (logs, segments int) {
	if !n.open.Load() || n.brk == nil {
		return 0, 0
	}
	for _, d := range n.brk.broker.Recovery() {
		logs, segments = logs+d.Logs, segments+d.Segments
	}
	return logs, segments
}

// Checks implements admin.Source.
func (n *Node) Checks() []admin.Check {
	var out []admin.Check
	add := func(name string, ok bool, format string, args ...any) {
		c := admin.Check{Name: name, OK: ok}
		if !ok {
			c.Reason = fmt.Sprintf(format, args...)
		}
		out = append(out, c)
	}
	add("logs of the metadata opened", n.open.Load(), "the node is opening its files")
	if !n.open.Load() {
		return out
	}
	if n.ctl != nil {
		v := n.ctl.quorum.View()
		add("metadata quorum has a leader", v.Leader != model.NoBroker, "no controller leads at epoch %d: a majority of the voters has to be up", v.Epoch)
	}
	if n.brk == nil {
		return out
	}
	st := n.brk.lifecycle.State()
	done, total := n.brk.broker.Loading()
	add("registered", n.brk.lifecycle.Epoch() != model.NoBrokerEpoch, "no active controller has accepted the registration yet")
	add("logs loaded", done == total, "%d of %d logs loaded", done, total)
	add("caught up with the metadata", st >= observer.Recovery, "applied up to offset %d of %d", n.brk.observer.Applied(), n.brk.observer.HighWatermark()-1)
	add("unfenced", st == observer.Running && !n.brk.lifecycle.Fenced(), "the broker is %s; the controller still has it fenced", st)
	out = append(out, dirCheck(len(n.brk.broker.DirIDs()), len(n.o.Config.LogDirs)), n.spaceCheck())
	return out
}

// dirCheck warns of offline directories. A node that has one left serves what is
// there, so it is ready.
func dirCheck(online, all int) admin.Check {
	c := admin.Check{Name: "log directories online", OK: online > 0}
	if online < all {
		c.Reason = fmt.Sprintf("%d of %d are online", online, all)
	}
	return c
}

// spaceCheck names full disks. A node that has one is ready all the same: it
// serves what it has, and goes on when there is space.
func (n *Node) spaceCheck() admin.Check {
	c := admin.Check{Name: "disks have space", OK: true}
	for _, d := range n.brk.broker.LogDirs() {
		if d.Full {
			c.Reason += fmt.Sprintf("%s: %s (%d bytes are free); ", d.Path, fullDir, d.Free)
		}
	}
	c.Reason = strings.TrimSuffix(c.Reason, "; ")
	return c
}

// eventOf translates a decision of the controller for the journal.
func eventOf(e controller.Evidence) journal.Event {
	out := journal.New(journal.Note)
	switch e.Kind {
	case controller.BrokerFenced:
		out.Kind = journal.Fenced
	case controller.BrokerUnfenced:
		out.Kind = journal.Unfenced
	case controller.BrokerRegistered:
		out.Kind = journal.Registered
	case controller.ControlledShutdown:
		out.Kind = journal.ShutdownRequested
	case controller.PartitionChanged:
		if out.Kind = journal.LeaderElected; e.Election == controller.FromUnclean {
			out.Kind = journal.UncleanElection
		} else if e.OldLeader == e.NewLeader {
			out.Kind = journal.ISRCommitted
		}
	}
	if e.Topic != "" {
		k := out.Kind
		out = journal.For(k, model.TopicPartition{Topic: e.Topic, Partition: e.Partition.Partition})
		out.Leader, out.OldISR, out.NewISR = e.NewLeader, e.OldISR, e.NewISR
		out.LeaderEpoch, out.PartitionEpoch = e.LeaderEpoch, e.PartitionEpoch
	}
	out.Broker, out.BrokerEpoch, out.Reason = e.Broker, e.Epoch, e.Reason.String()
	if out.Kind == journal.Note || len(e.Candidates) > 0 { // the other kinds have a sentence of their own
		out.Detail = e.String()
	}
	return out
}
