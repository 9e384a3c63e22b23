package node

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"tidemark/internal/admin"
	"tidemark/internal/api"
	"tidemark/internal/fetcher"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/server"
)

// lateTxn is when an open transaction counts as late: Kafka's
// transaction.max.timeout.ms, and the five minutes that it adds.
const lateTxn = 20 * time.Minute

// Numbers implements admin.Source.
func (n *Node) Numbers(ctx context.Context, groups bool) *admin.Numbers {
	out := &admin.Numbers{At: time.Now(), Node: n.o.Config.NodeID, BrokerState: n.BrokerState(), CPUs: runtime.GOMAXPROCS(0),
		Uptime: time.Since(n.started), CPU: cpuTime()}
	out.ReadBytes, out.WriteBytes = diskBytes()
	n.tally.fill(&out.Counts)
	for _, r := range n.requests.Requests() {
		out.Requests = append(out.Requests, requestNumbers(r))
	}
	out.Requests = withFetch(out.Requests)
	out.IdleClosed = n.requests.IdleClosed()
	if !n.open.Load() {
		return out
	}
	for _, s := range slices.Concat(n.servers, n.control) {
		out.Listeners = append(out.Listeners, admin.ListenerNumbers{Name: s.Listener(), Open: s.Connections(), Accepted: s.Accepted()})
	}
	img := n.image()
	if n.ctl != nil {
		out.Controller = n.controllerNumbers(img)
	}
	if n.brk != nil {
		out.Broker = n.brokerNumbers(img)
		out.Counts.ScrubbedBytes, out.Counts.DamagedRuns, out.Counts.DamagedReplicas = n.brk.broker.Scrubbed()
		if groups {
			out.Broker.Groups = n.groupNumbers(ctx, img)
		}
	}
	return out
}

func requestNumbers(r server.RequestStats) admin.RequestNumbers {
	out := admin.RequestNumbers{Request: r.Name, Bytes: r.Bytes, Queue: r.Times[server.Queued], Local: r.Times[server.Local], Remote: r.Times[server.Remote],
		Answer: r.Times[server.Answered], Send: r.Times[server.Sent], Total: r.Times[server.Total]}
	for _, v := range r.Versions {
		out.Versions = append(out.Versions, admin.Labelled{Value: strconv.Itoa(v.Version), Count: v.Count})
	}
	for _, e := range r.Errors {
		out.Errors = append(out.Errors, admin.Labelled{Value: api.ErrorName(e.Code), Count: e.Count})
	}
	return out
}

// withFetch adds the sum of the two kinds of Fetch, which Kafka calls Fetch.
func withFetch(all []admin.RequestNumbers) []admin.RequestNumbers {
	sum := admin.RequestNumbers{Request: "Fetch"}
	for i := range all {
		if r := &all[i]; r.Request == "FetchConsumer" || r.Request == "FetchFollower" {
			sum.Bytes += r.Bytes
			sum.Versions, sum.Errors = merge(sum.Versions, r.Versions), merge(sum.Errors, r.Errors)
			sum.Queue.Add(&r.Queue)
			sum.Local.Add(&r.Local)
			sum.Remote.Add(&r.Remote)
			sum.Answer.Add(&r.Answer)
			sum.Send.Add(&r.Send)
			sum.Total.Add(&r.Total)
		}
	}
	if sum.Bytes == 0 {
		return all
	}
	return append(all, sum)
}

func merge(a, b []admin.Labelled) []admin.Labelled {
	for _, x := range b {
		if i := slices.IndexFunc(a, func(y admin.Labelled) bool { return x.Value == y.Value }); i >= 0 {
			a[i].Count += x.Count
		} else {
			a = append(a, x)
		}
	}
	return a
}

func (n *Node) controllerNumbers(img *metadata.Image) *admin.ControllerNumbers {
	out := &admin.ControllerNumbers{Meters: n.ctl.quorum.Meters()}
	out.Active = out.Leading && out.Ready
	out.Queued, out.Decided = n.ctl.active.Times()
	for _, id := range slices.Sorted(maps.Keys(img.Brokers)) {
		b := n.brokerState(img.Brokers[id])
		if b.State != stateRunning {
			out.Summary.BrokersFenced++
		}
		for _, e := range img.Brokers[id].Endpoints {
			b.Endpoints = []string{address(e)}
			break
		}
		out.Brokers = append(out.Brokers, b)
	}
	out.Summary.Brokers, out.Summary.Topics = len(out.Brokers), len(img.Topics.ByName)
	for _, name := range slices.Sorted(maps.Keys(img.Topics.ByName)) {
		t := img.Topics.ByName[name]
		out.Topics = append(out.Topics, admin.ClusterTopic{Name: name, Partitions: len(t.Partitions)})
		out.Summary.Partitions += len(t.Partitions)
		for i, p := range t.Partitions {
			switch {
			case p.Leader == model.NoBroker:
				out.Summary.Offline++
				out.Offline = append(out.Offline, admin.ClusterPartition{Topic: name, Partition: int32(i), Replicas: len(p.Replicas), ISR: len(p.ISR)})
				fallthrough // it has no leader, so not the preferred one
			case len(p.Replicas) > 0 && p.Leader != p.Replicas[0]:
				out.Summary.NotPreferred++
			}
		}
	}
	return out
}

func (n *Node) brokerNumbers(img *metadata.Image) *admin.BrokerNumbers {
	b := n.brk
	out := &admin.BrokerNumbers{Totals: b.broker.Counters(), Flushes: b.broker.Flushes(), Acks: b.acks.Snapshot(),
		Sessions: b.sessions.Len(), SessionEvictions: b.sessions.Evictions(), Dirs: n.nodeState(img).Dirs,
		MetadataOffset: b.observer.Applied(), MetadataEnd: b.observer.HighWatermark(), MetadataLevel: int(img.MetadataVersion())}
	_, out.MetadataTime = b.observer.Taken()
	n.replicaNumbers(out, img)
	for _, s := range b.fetchers.Status() {
		out.Followed = append(out.Followed, admin.FollowedNumbers{TP: s.TP, Leader: s.Leader, Loop: s.Loop, Lag: s.Lag, Failed: s.Phase == fetcher.Failed})
	}
	for _, l := range b.fetchers.Loops() {
		out.Fetchers = append(out.Fetchers, admin.FetcherNumbers{LoopStatus: l})
	}
	for _, w := range b.waiting {
		out.Waiting = append(out.Waiting, admin.WaitingNumbers{Operation: w.operation, Size: w.Len(), Expired: w.Expired()})
	}
	for _, v := range b.sessions.Views() {
		out.SessionPartitions += v.Partitions
	}
	var bad []model.TopicPartition
	out.Compactions, bad = b.broker.Cleaning()
	out.Uncleanable = len(bad)
	g := b.groups.Stats()
	out.GroupCount, out.GroupsLoading, out.GroupMembers, out.GroupOffsets = g.Groups, g.Loading, g.Members, g.Offsets
	for _, d := range b.broker.Recovery() {
		out.Loading = append(out.Loading, admin.LoadingNumbers{Dir: d.Dir, Logs: d.Logs, Segments: d.Segments})
	}
	return out
}

// replicaNumbers measures every hosted replica, and sums up by topic.
func (n *Node) replicaNumbers(out *admin.BrokerNumbers, img *metadata.Image) {
	all := n.brk.broker.Partitions()
	out.Partitions = make([]admin.PartitionNumbers, len(all))
	for i, p := range all { // sorted: those of a topic are adjacent
		m := &out.Partitions[i]
		p.Measure(&m.Measures, lateTxn)
		if _, mp, ok := img.Partition(m.TP); ok && m.Leads {
			m.Preferred = len(mp.Replicas) > 0 && mp.Replicas[0] == n.o.Config.NodeID
			if len(mp.Adding)+len(mp.Removing) > 0 {
				out.Reassigns++
			}
		}
		if k := len(out.Topics); k == 0 || out.Topics[k-1].Topic != m.TP.Topic {
			out.Topics = append(out.Topics, admin.TopicNumbers{Topic: m.TP.Topic})
		}
		out.Topics[len(out.Topics)-1].Add(p.Counters())
	}
}

// groupNumbers are the groups that this broker coordinates. The end of a partition
// that it doesn't host is asked of its leader.
func (n *Node) groupNumbers(ctx context.Context, img *metadata.Image) (out []admin.GroupNumbers) {
	list, _ := n.brk.groups.List(nil, nil) // those that are loading come later
	var others map[model.TopicPartition]remoteView
	for _, g := range list {
		row := admin.GroupNumbers{Group: g.Group, Members: len(n.brk.groups.Describe(g.Group).Members)}
		offsets, _ := n.brk.groups.Offsets(g.Group, nil)
		for _, o := range offsets {
			at := admin.GroupOffset{TP: o.Partition, Offset: o.Offset.Offset, Lag: -1}
			if p, err := n.brk.broker.Partition(o.Partition); err == nil {
				at.Lag = max(0, int64(p.HighWatermark()-at.Offset))
			} else {
				if others == nil {
					others = n.otherViews(ctx, img)
				}
				if v, ok := others[o.Partition]; ok {
					at.Lag = max(0, int64(v.highWatermark-at.Offset))
				}
			}
			row.Offsets = append(row.Offsets, at)
		}
		slices.SortFunc(row.Offsets, func(a, b admin.GroupOffset) int { return a.TP.Compare(b.TP) })
		out = append(out, row)
	}
	return out
}

// cpuTime is the processor time that the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// diskBytes are what the kernel says that the process read from and wrote to
// disks; -1 where it doesn't say.
func diskBytes() (read, written int64) {
	read, written = -1, -1
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return read, written
	}
	for line := range bytes.Lines(b) {
		var v int64
		if _, err := fmt.Sscanf(string(line), "read_bytes: %d", &v); err == nil {
			read = v
		} else if _, err := fmt.Sscanf(string(line), "write_bytes: %d", &v); err == nil {
			written = v
		}
	}
	return read, written
}
