package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"tidemark/internal/admin"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/replica"
)

// remoteView is what another broker says of a partition that it leads.
type remoteView struct {
	highWatermark, logEnd model.Offset
	told                  bool // the leader says in what condition its followers are
	followers             []admin.Follower
}

// leaders asks the other brokers about the partitions that they lead, over their
// own listeners and with a request of Kafka's (DescribeQuorum). Answers are kept
// for a second, so any number of pages costs the cluster one question a second.
type leaders struct {
	listener string
	clientID string

	mu    sync.Mutex
	conns map[model.BrokerID]*peer.Conn
	views map[model.TopicPartition]remoteView
	asked time.Time
}

const (
	viewsFor    = time.Second
	viewTimeout = 800 * time.Millisecond // a leader that doesn't answer must not hold up the page
)

func newLeaders(listener, clientID string) *leaders {
	return &leaders{listener: listener, clientID: clientID, conns: map[model.BrokerID]*peer.Conn{}}
}

// otherViews returns the newest answers of the other leaders.
func (n *Node) otherViews(ctx context.Context, img *metadata.Image) map[model.TopicPartition]remoteView {
	if n.others == nil {
		return nil
	}
	return n.others.ask(ctx, img, n.o.Config.NodeID)
}

func (l *leaders) ask(ctx context.Context, img *metadata.Image, self model.BrokerID) map[model.TopicPartition]remoteView {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.asked) < viewsFor {
		return l.views
	}
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	byLeader := map[model.BrokerID][]model.TopicPartition{}
	for _, t := range img.Topics.ByID {
		for i, p := range t.Partitions {
			if p.Leader != self && p.Leader != model.NoBroker {
				byLeader[p.Leader] = append(byLeader[p.Leader], model.TopicPartition{Topic: t.Name, Partition: int32(i)})
			}
		}
	}
	views := map[model.TopicPartition]remoteView{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for id, tps := range byLeader {
		conn := l.conn(ctx, img, id)
		if conn == nil {
			continue
		}
		slices.SortFunc(tps, model.TopicPartition.Compare)
		for part := range slices.Chunk(tps, peer.MaxDescribedPartitions) {
			wg.Go(func() {
				answers, err := conn.DescribeReplicas(ctx, part)
				if err != nil {
					return // its partitions show as unknown
				}
				mu.Lock()
				defer mu.Unlock()
				now := time.Now()
				for _, a := range answers {
					if a.Code == peer.CodeNone {
						views[a.TP] = viewOf(a, now)
					}
				}
			})
		}
	}
	wg.Wait()
	l.views, l.asked = views, time.Now()
	return views
}

// conn returns a working connection to a broker, nil if there is none.
func (l *leaders) conn(ctx context.Context, img *metadata.Image, id model.BrokerID) *peer.Conn {
	if c := l.conns[id]; c != nil {
		select {
		case <-c.Broken():
		default:
			return c
		}
	}
	delete(l.conns, id)
	e, ok := img.Endpoint(id, l.listener)
	if !ok || !img.IsActive(id) {
		return nil
	}
	c, err := peer.Dial(ctx, address(e), peer.Options{ClientID: l.clientID, RequestTimeout: viewTimeout})
	if err != nil {
		return nil
	}
	l.conns[id] = c
	return c
}

func (l *leaders) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
}

func viewOf(a peer.DescribedReplicas, now time.Time) remoteView {
	v := remoteView{highWatermark: a.HighWatermark, logEnd: model.NoOffset, told: a.Conditions != nil}
	for _, c := range a.Conditions {
		v.followers = append(v.followers, followerRow(c))
	}
	for i, r := range a.Replicas {
		if i == 0 { // the leader
			v.logEnd = r.LogEnd
			continue
		}
		if v.told {
			continue
		}
		f := admin.Follower{Broker: r.ID, LogEnd: r.LogEnd, Lag: -1, LagBytes: -1, InSync: r.InISR, FetchAgeMs: age(r.LastFetch, now), CaughtUpAgeMs: age(r.LastCaughtUp, now), State: string(replica.InSync), SecondsToCatchUp: -1}
		if r.LogEnd != model.NoOffset {
			f.Lag = int64(v.logEnd - r.LogEnd)
		}
		if !r.InISR {
			f.State = string(replica.Lagging) // why is more than this leader tells
		}
		v.followers = append(v.followers, f)
	}
	return v
}

// FillRemote adds to out what its leader says of it. One that doesn't tell its
// followers' conditions, like Apache Kafka's, knows no more than the metadata:
// of those that aren't active, that they are fenced.
func FillRemote(out *admin.Partition, a peer.DescribedReplicas, now time.Time, active func(model.BrokerID) bool) {
	fillOther(out, viewOf(a, now), active)
}

func fillOther(out *admin.Partition, v remoteView, active func(model.BrokerID) bool) {
	for i := range v.followers {
		if f := &v.followers[i]; !v.told && !active(f.Broker) {
			f.State, f.Reason = string(replica.Offline), string(replica.CauseControllerFenced)
		}
	}
	out.Known, out.HighWatermark, out.LogEnd, out.Followers = true, v.highWatermark, v.logEnd, v.followers
}
