package admin

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/replica"
)

var followerLabels = []string{"topic", "partition", "follower"}

// ownRows: what no other broker shows.
var ownRows = []*Metric{
	{Name: "tidemark_replica_lag_records", Labels: followerLabels, Help: "records that the follower is behind its leader's log end, as the leader knows it",
		each: eachFollower(func(f *partition.FollowerMeasures) float64 { return float64(f.Records) })},
	{Name: "tidemark_replica_lag_bytes", Labels: followerLabels, Help: "bytes that the follower is behind its leader's log end",
		each: eachFollower(func(f *partition.FollowerMeasures) float64 { return float64(f.Bytes) })},
	{Name: "tidemark_replica_lag_seconds", Labels: followerLabels, Help: "seconds since the follower was last caught up with its leader; 0 while it is",
		each: eachFollower(func(f *partition.FollowerMeasures) float64 {
			if f.Behind < 0 {
				return -1
			}
			return f.Behind.Seconds()
		})},
	{Name: "tidemark_replication_ack_last_total", Kind: Counter, Labels: []string{"follower"}, Help: "acks=all appends that this replica was the last to complete; none: it was too small an in-sync set that they waited for",
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				for _, a := range n.Broker.Acks {
					out(float64(a.Acks), who(a.Last))
				}
			}
		}},
	{Name: "tidemark_replication_ack_wait_seconds", Kind: Buckets, Labels: []string{"follower", "phase"}, Help: "what acks=all appends waited for, by the replica that completed them: its next fetch, its append, the way back, the leader's flush, or that a replica left",
		hist: func(n *Numbers, out emitBuckets) {
			if n.Broker == nil {
				return
			}
			for _, a := range n.Broker.Acks {
				for _, p := range replica.AckPhases() {
					if h := a.Phases[p]; h.Count > 0 {
						out(partition.AckBounds, h.Buckets, h.Count, h.Sum, who(a.Last), p.String())
					}
				}
			}
		}},
	{Name: "tidemark_followers", Labels: []string{"follower", "state"}, Help: "partitions led here of which this broker is a follower in this state: in-sync, catching-up, lagging, joining, flapping, offline",
		each: followerStates},
	{Name: "tidemark_fetcher_partitions", Labels: []string{"leader", "fetcher"}, Help: "partitions that a fetch loop follows",
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				for _, f := range n.Broker.Fetchers {
					out(float64(f.Partitions), id(f.Leader), id(f.ID))
				}
			}
		}},
	{Name: "tidemark_fetcher_requests_total", Kind: Counter, Labels: []string{"leader", "fetcher"}, Help: "answered fetches of a loop (kafka.server:type=FetcherStats,name=RequestsPerSec)",
		each: eachFetcher(func(f *FetcherNumbers) int64 { return f.Requests })},
	{Name: "tidemark_fetcher_bytes_total", Kind: Counter, Labels: []string{"leader", "fetcher"}, Help: "bytes of records that a loop fetched (kafka.server:type=FetcherStats,name=BytesPerSec)",
		each: eachFetcher(func(f *FetcherNumbers) int64 { return f.Bytes })},
}

// followerStates counts the followers of what is led here, by broker and state.
func followerStates(n *Numbers, out emit) {
	if n.Broker == nil {
		return
	}
	type key struct {
		id    model.BrokerID
		state replica.Health
	}
	counts := map[key]int{}
	for i := range n.Broker.Partitions {
		for _, f := range n.Broker.Partitions[i].Followers {
			counts[key{f.ID, f.Health}]++
		}
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b key) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.state, b.state)) })
	for _, k := range keys {
		out(float64(counts[k]), id(k.id), string(k.state))
	}
}

func eachFetcher(f func(*FetcherNumbers) int64) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Broker != nil {
			for i := range n.Broker.Fetchers {
				l := &n.Broker.Fetchers[i]
				out(float64(f(l)), id(l.Leader), id(l.ID))
			}
		}
	}
}

func who(id model.BrokerID) string {
	if id == model.NoBroker {
		return "none"
	}
	return strconv.Itoa(int(id))
}

func eachFollower(f func(*partition.FollowerMeasures) float64) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Broker == nil {
			return
		}
		for i := range n.Broker.Partitions {
			p := &n.Broker.Partitions[i]
			for k := range p.Followers {
				if v := f(&p.Followers[k]); v >= 0 {
					out(v, p.TP.Topic, id(p.TP.Partition), id(p.Followers[k].ID))
				}
			}
		}
	}
}
