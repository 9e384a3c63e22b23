package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/internal/fetcher"
	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/producer"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

const self = model.BrokerID(1)

// story records what the broker asked of its surroundings, in order.
type story struct {
	mu     sync.Mutex
	lines  []string
	events []journal.Event
	failed []model.DirectoryID
	alter  func([]peer.AlterPartition) (peer.AlterPartitionsResult, error)
	assign func([]peer.DirAssignment) (peer.AssignDirsResult, error)
}

func (s *story) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// take returns what was told since the last take.
func (s *story) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.lines, "; ")
	s.lines = nil
	return out
}

func (s *story) Add(as []fetcher.Assignment) {
	for _, a := range as {
		s.tell("fetch %s from %d at %s epoch %d", a.TP, a.Leader, a.Addr, a.Epoch)
	}
}

func (s *story) Remove(tps []model.TopicPartition) {
	for _, tp := range tps {
		s.tell("unfetch %s", tp)
	}
}

func (s *story) Resize(n int) error {
	s.tell("%d fetchers", n)
	return nil
}

func (s *story) Close() {}

func (s *story) Emit(e journal.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// last returns the newest event of a kind.
func (s *story) last(k journal.Kind) (e journal.Event, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range slices.Backward(s.events) {
		if e.Kind == k {
			return e, true
		}
	}
	return e, false
}

func (s *story) Elected(p *partition.Partition, epoch model.LeaderEpoch) {
	s.tell("elected %s epoch %d", p.TP(), epoch)
}

func (s *story) Resigned(tp model.TopicPartition, epoch model.LeaderEpoch) {
	s.tell("resigned %s epoch %d", tp, epoch)
}

func (s *story) AlterPartitions(_ context.Context, _ model.BrokerID, _ model.BrokerEpoch, ps []peer.AlterPartition,
) (peer.AlterPartitionsResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alter == nil {
		return peer.AlterPartitionsResult{Code: peer.CodeNotController}, nil
	}
	return s.alter(ps)
}

func (s *story) AssignReplicasToDirs(_ context.Context, _ model.BrokerID, _ model.BrokerEpoch,
	as []peer.DirAssignment) (peer.AssignDirsResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range as {
		s.lines = append(s.lines, fmt.Sprintf("assign %d to %d", a.Of.Partition, a.Dir[15]))
	}
	if s.assign != nil {
		return s.assign(as)
	}
	var out peer.AssignDirsResult
	for _, a := range as {
		out.Replicas = append(out.Replicas, peer.DirAssigned{DirAssignment: a})
	}
	return out, nil
}

func dirID(n byte) model.DirectoryID { return model.DirectoryID{0: 9, 15: n} }

func topicID(name string) (id model.TopicID) { copy(id[:], name); return id }

// node is one broker over a file system that outlives it.
type node struct {
	*Broker
	*story
	fs    vfs.FS
	epoch model.BrokerEpoch
	img   *metadata.Image
}

func start(t *testing.T, fs vfs.FS, dirs int, set func(*Config)) *node {
	t.Helper()
	n := &node{story: &story{}, fs: fs, epoch: 500}
	cfg := Config{
		Self: self, Epoch: func() model.BrokerEpoch { return n.epoch }, FS: fs, Listener: "PLAINTEXT",
		Fetchers: n.story, Alter: n.story, Assign: n.story, Coordinators: n.story, Events: n.story,
		DirFailed: func(id model.DirectoryID, left int) { n.tell("dir %d failed, %d left", id[15], left) },
	}
	for i := range dirs {
		cfg.Dirs = append(cfg.Dirs, Dir{Path: fmt.Sprintf("d%d", i+1), ID: dirID(byte(i + 1))})
	}
	if set != nil {
		set(&cfg)
	}
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Broker = b
	n.img = metadata.Empty()
	b.Start()
	return n
}

// apply replays records and applies them, with the delta or as a whole image.
func (n *node) apply(t *testing.T, whole bool, recs ...metadata.Record) {
	t.Helper()
	d := metadata.NewDelta(n.img)
	for _, r := range recs {
		if err := d.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	n.img = d.Apply(n.img.Offset+model.Offset(len(recs)), 1)
	if whole {
		d = nil
	}
	n.Apply(n.img, d)
}

// cluster is metadata of three brokers, this one registered with epoch 500.
func cluster() []metadata.Record {
	recs := []metadata.Record{&metadata.FeatureLevelRecord{Name: metadata.MetadataVersionFeature, Level: 25}}
	for id := model.BrokerID(1); id <= 3; id++ {
		recs = append(recs, &metadata.RegisterBrokerRecord{
			BrokerID: id, BrokerEpoch: 499 + model.BrokerEpoch(id),
			Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: fmt.Sprintf("h%d", id), Port: 9092}},
		})
	}
	return recs
}

func topic(name string) metadata.Record {
	return &metadata.TopicRecord{Name: name, TopicID: topicID(name)}
}

func part(name string, index int32, leader model.BrokerID, replicas ...model.BrokerID) *metadata.PartitionRecord {
	dirs := make([]model.DirectoryID, len(replicas))
	for i := range dirs {
		dirs[i] = dirID(1)
	}
	return &metadata.PartitionRecord{
		TopicID: topicID(name), PartitionID: index, Replicas: replicas, ISR: replicas, Leader: leader, Dirs: dirs,
	}
}

func leaderIs(name string, index int32, leader model.BrokerID) *metadata.PartitionChangeRecord {
	r := &metadata.PartitionChangeRecord{TopicID: topicID(name), PartitionID: index}
	r.Leader = &leader
	return r
}

func tpOf(name string, index int32) model.TopicPartition {
	return model.TopicPartition{Topic: name, Partition: index}
}

// produce appends n records to a partition that leads.
func (n *node) produce(t *testing.T, tp model.TopicPartition, count int) {
	t.Helper()
	p, err := n.Partition(tp)
	if err != nil {
		t.Fatal(err)
	}
	for range count {
		var b record.Builder
		b.Add(time.Now().UnixMilli(), nil, []byte("value"))
		if _, err := p.AppendAsLeader(b.Build(), partition.Append{Origin: producer.Client, Epoch: model.NoLeaderEpoch}); err != nil {
			t.Fatal(err)
		}
	}
	perform(p)
}

func (n *node) role(t *testing.T, tp model.TopicPartition) string {
	t.Helper()
	p, err := n.Partition(tp)
	if err != nil {
		return err.Error()
	}
	return p.State().Role
}
