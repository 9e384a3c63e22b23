package cli

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidemark/internal/admin"
	"tidemark/internal/model"
	"tidemark/internal/node"
	"tidemark/internal/peer"
)

// leaderTimeout bounds how long one leader is waited for; the partitions of one
// that doesn't answer show without numbers.
const leaderTimeout = 3 * time.Second

// kafkaState puts the state of all partitions together with requests of Kafka's
// protocol: metadata and settings from any broker, the followers' positions and
// conditions from each leader (DescribeQuorum).
func (f *clientFlags) kafkaState(ctx context.Context) (admin.State, error) {
	opts, err := f.options()
	if err != nil {
		return admin.State{}, err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return admin.State{}, err
	}
	defer cl.Close()
	md, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
	if err != nil {
		return admin.State{}, fmt.Errorf("no broker answers at %v; name others with --bootstrap-server: %w", cl.OptValue(kgo.SeedBrokers), err)
	}
	s := admin.State{At: time.Now()}
	if err := listPartitions(ctx, kadm.NewClient(cl), md, &s); err != nil {
		return s, err
	}
	askLeaders(ctx, md, &s)
	return s, nil
}

// listPartitions fills in what every broker knows of the partitions.
func listPartitions(ctx context.Context, adm *kadm.Client, md *kmsg.MetadataResponse, s *admin.State) error {
	var names []string
	all := kadm.TopicsSet{}
	for _, t := range md.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("topic %s: %w", *t.Topic, err)
		}
		names = append(names, *t.Topic)
		for _, p := range t.Partitions {
			all.Add(*t.Topic, p.Partition)
		}
	}
	if len(names) == 0 {
		return nil
	}
	configs, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("reading min.insync.replicas: %w", err)
	}
	moves, err := adm.ListPartitionReassignments(ctx, all)
	if err != nil {
		return fmt.Errorf("reading the reassignments: %w", err)
	}
	for _, t := range md.Topics {
		minISR := minISROf(configs, *t.Topic)
		for _, p := range t.Partitions {
			move := moves[*t.Topic][p.Partition]
			out := admin.Partition{Topic: *t.Topic, Partition: p.Partition, TopicID: t.TopicID, Leader: model.BrokerID(p.Leader),
				LeaderEpoch: model.LeaderEpoch(p.LeaderEpoch), PartitionEpoch: unknownEpoch, Replicas: brokers(p.Replicas), ISR: brokers(p.ISR),
				Adding: brokers(move.AddingReplicas), Removing: brokers(move.RemovingReplicas),
				MinISR: min(minISR, len(p.Replicas)), HighWatermark: model.NoOffset, LogEnd: model.NoOffset, LogStart: model.NoOffset}
			for _, r := range out.Replicas {
				if !slices.Contains(out.ISR, r) && !slices.Contains(out.Adding, r) {
					out.Missing = append(out.Missing, r)
				}
			}
			out.UnderReplicated = len(out.Missing) > 0
			s.Partitions = append(s.Partitions, out)
		}
	}
	slices.SortFunc(s.Partitions, func(a, b admin.Partition) int { return tpOf(&a).Compare(tpOf(&b)) })
	return nil
}

// unknownEpoch stands for a partition epoch, which no client request tells.
const unknownEpoch = model.PartitionEpoch(-1)

func tpOf(p *admin.Partition) model.TopicPartition {
	return model.TopicPartition{Topic: p.Topic, Partition: p.Partition}
}

func brokers(list []int32) []model.BrokerID {
	var out []model.BrokerID
	for _, id := range list {
		out = append(out, model.BrokerID(id))
	}
	return out
}

// minISROf is 1, Kafka's default, if the brokers don't tell.
func minISROf(configs kadm.ResourceConfigs, topic string) int {
	for _, rc := range configs {
		for _, c := range rc.Configs {
			if rc.Name == topic && c.Key == "min.insync.replicas" && c.Value != nil {
				if n, err := strconv.Atoi(*c.Value); err == nil {
					return n
				}
			}
		}
	}
	return 1
}

// askLeaders asks each leader of its partitions, all leaders at once.
func askLeaders(ctx context.Context, md *kmsg.MetadataResponse, s *admin.State) {
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	addresses := map[model.BrokerID]string{} // of the brokers in service
	for _, b := range md.Brokers {
		addresses[model.BrokerID(b.NodeID)] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	active := func(id model.BrokerID) bool { _, ok := addresses[id]; return ok }
	byLeader := map[model.BrokerID][]*admin.Partition{}
	for i := range s.Partitions {
		p := &s.Partitions[i]
		byLeader[p.Leader] = append(byLeader[p.Leader], p)
	}
	var wg sync.WaitGroup
	for leader, led := range byLeader {
		if !active(leader) {
			continue
		}
		wg.Go(func() {
			conn, err := peer.Dial(ctx, addresses[leader], peer.Options{ClientID: "tidemark-cli", RequestTimeout: leaderTimeout})
			if err != nil {
				return
			}
			defer conn.Close()
			for part := range slices.Chunk(led, peer.MaxDescribedPartitions) {
				askLeader(ctx, conn, part, active)
			}
		})
	}
	wg.Wait()
}

func askLeader(ctx context.Context, conn *peer.Conn, led []*admin.Partition, active func(model.BrokerID) bool) {
	byTP := map[model.TopicPartition]*admin.Partition{}
	var tps []model.TopicPartition
	for _, p := range led {
		tps, byTP[tpOf(p)] = append(tps, tpOf(p)), p
	}
	answers, err := conn.DescribeReplicas(ctx, tps)
	if err != nil {
		return
	}
	now := time.Now()
	for _, a := range answers {
		if p := byTP[a.TP]; p != nil && a.Code == peer.CodeNone {
			node.FillRemote(p, a, now, active)
		}
	}
}
