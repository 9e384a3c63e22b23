package metadata

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"tidemark/internal/model"
)

// replayed returns base with the records applied.
func replayed(t testing.TB, base *Image, rs ...Record) (*Image, *Delta) {
	t.Helper()
	d := NewDelta(base)
	for _, r := range rs {
		must(t, d.Replay(r))
	}
	return d.Apply(base.Offset+model.Offset(len(rs)), 1), d
}

// cluster is one broker, and topics of two partitions each.
func cluster(t testing.TB, topics int) *Image {
	rs := []Record{
		&FeatureLevelRecord{Name: MetadataVersionFeature, Level: 25},
		&RegisterBrokerRecord{BrokerID: 1, BrokerEpoch: 10, Fenced: true,
			Endpoints: []Endpoint{{Name: "PLAINTEXT", Host: "h", Port: 1}}},
	}
	for n := range topics {
		id := topicID(n)
		rs = append(rs, &TopicRecord{Name: fmt.Sprintf("t%05d", n), TopicID: id})
		for p := range int32(2) {
			rs = append(rs, &PartitionRecord{PartitionID: p, TopicID: id, Replicas: ids(1, 2, 3), ISR: ids(1, 2, 3), Leader: 1,
				LeaderEpoch: 4, PartitionEpoch: 9, Dirs: []model.UUID{uid(1), uid(2), uid(3)}})
		}
	}
	i, _ := replayed(t, Empty(), rs...)
	return i
}

func topicID(n int) model.TopicID { return model.TopicID{9, 14: byte(n >> 8), 15: byte(n)} }

// invariant 4
func TestEpochs(t *testing.T) {
	base := cluster(t, 1)
	for _, c := range []struct {
		name          string
		r             PartitionChangeRecord
		leader        model.BrokerID
		leaderEpoch   model.LeaderEpoch
		partitionPlus model.PartitionEpoch
	}{
		{"isr only", PartitionChangeRecord{ISR: ids(1)}, 1, 4, 1},
		{"nothing set", PartitionChangeRecord{}, 1, 4, 1},
		{"new leader", PartitionChangeRecord{Leader: new(model.BrokerID(2))}, 2, 5, 1},
		{"same leader", PartitionChangeRecord{Leader: new(model.BrokerID(1))}, 1, 5, 1},
		{"broker 0 is a leader", PartitionChangeRecord{Leader: new(model.BrokerID(0))}, 0, 5, 1},
		{"no leader", PartitionChangeRecord{Leader: new(model.NoBroker)}, model.NoBroker, 5, 1},
	} {
		c.r.TopicID = topicID(0)
		i, _ := replayed(t, base, &c.r)
		p := i.Topics.ByID[topicID(0)].Partitions[0]
		if p.Leader != c.leader || p.LeaderEpoch != c.leaderEpoch || p.PartitionEpoch != 9+c.partitionPlus {
			t.Errorf("%s: leader %d epochs %d/%d", c.name, p.Leader, p.LeaderEpoch, p.PartitionEpoch)
		}
	}
}

// New replicas without directories keep those of the replicas that stay.
func TestReassignmentKeepsDirectories(t *testing.T) {
	i, _ := replayed(t, cluster(t, 1), &PartitionChangeRecord{TopicID: topicID(0), Replicas: ids(4, 3, 1)})
	p := i.Topics.ByID[topicID(0)].Partitions[0]
	if want := []model.UUID{model.MigratingDir, uid(3), uid(1)}; !slices.Equal(p.Dirs, want) {
		t.Errorf("dirs %v, want %v", p.Dirs, want)
	}
}

// invariant 1: what a delta doesn't touch is the same memory as before, and
// what it touches leaves the base as it was.
func TestDeltaCopiesOnlyWhatItTouches(t *testing.T) {
	base := cluster(t, 3)
	before := SnapshotRecords(base)
	next, _ := replayed(t, base,
		&PartitionChangeRecord{TopicID: topicID(1), PartitionID: 1, Leader: new(model.BrokerID(2))},
		&ConfigRecord{Type: TopicResource, Resource: "t00000", Name: "a", Value: new("b")},
		&BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 10, Fenced: Unfence})
	if !reflect.DeepEqual(SnapshotRecords(base), before) {
		t.Error("the base changed")
	}
	for n, same := range []bool{true, false, true} {
		if got := base.Topics.ByID[topicID(n)] == next.Topics.ByID[topicID(n)]; got != same {
			t.Errorf("topic %d shared: %v, want %v", n, got, same)
		}
	}
	a, b := base.Topics.ByID[topicID(1)], next.Topics.ByID[topicID(1)]
	if a.Partitions[0] != b.Partitions[0] || a.Partitions[1] == b.Partitions[1] {
		t.Error("of the partitions, only 1 must be a copy")
	}
	if next.Topics.ByName["t00001"] != b {
		t.Error("ByName and ByID disagree")
	}
	if reflect.ValueOf(base.Features).Pointer() != reflect.ValueOf(next.Features).Pointer() {
		t.Error("features were copied without need")
	}
	if base.Brokers[1] == next.Brokers[1] || !base.Brokers[1].Fenced || next.Brokers[1].Fenced {
		t.Error("the broker must be a copy, unfenced")
	}
}

func TestTopicChanges(t *testing.T) {
	base := cluster(t, 4)
	_, d := replayed(t, base,
		&RemoveTopicRecord{TopicID: topicID(2)},
		&TopicRecord{Name: "t00002", TopicID: topicID(50)}, // a new one of the same name
		&PartitionRecord{TopicID: topicID(50), Replicas: ids(1), ISR: ids(1), Leader: 1},
		&TopicRecord{Name: "gone", TopicID: topicID(51)}, // comes and goes: no change
		&RemoveTopicRecord{TopicID: topicID(51)},
		&PartitionChangeRecord{TopicID: topicID(1), PartitionID: 1, ISR: ids(1)},
		&PartitionRecord{TopicID: topicID(1), PartitionID: 2, Replicas: ids(2), ISR: ids(2), Leader: 2},
		&PartitionRecord{TopicID: topicID(0), PartitionID: 0, Replicas: ids(1, 2, 3), ISR: ids(1, 2, 3), Leader: 1,
			LeaderEpoch:    4,
			PartitionEpoch: 9, Dirs: []model.UUID{uid(1), uid(2), uid(3)}}, // what it is already
	)
	changed, deleted := d.Topics()
	if !slices.Equal(deleted, []model.TopicID{topicID(2)}) {
		t.Errorf("deleted %v", deleted)
	}
	var got []string
	for _, c := range changed {
		for _, p := range c.Partitions {
			was := "-"
			if p.Old != nil {
				was = fmt.Sprint(p.Old.ISR)
			}
			got = append(got, fmt.Sprintf("%s-%d new=%v %s->%v", c.New.Name, p.Index, c.Old == nil, was, p.New.ISR))
		}
	}
	want := []string{"t00001-1 new=false [1 2 3]->[1]", "t00001-2 new=false -->[2]", "t00002-0 new=true -->[1]"}
	if !slices.Equal(got, want) {
		t.Errorf("changed\n%q, want\n%q", got, want)
	}
}

func TestConfigChanges(t *testing.T) {
	topic := func(name, key string, value *string) Record {
		return &ConfigRecord{Type: TopicResource, Resource: name, Name: key, Value: value}
	}
	base, _ := replayed(t, cluster(t, 2), topic("t00000", "a", new("1")),
		topic("t00001", "a", new("1")), topic("t00001", "b", new("2")))
	next, d := replayed(t, base, topic("t00001", "a", nil), &RemoveTopicRecord{TopicID: topicID(0)},
		&ConfigRecord{Type: BrokerResource, Resource: "1", Name: "x", Value: new("y")})
	want := []Resource{{TopicResource, "t00000"}, {TopicResource, "t00001"}, {BrokerResource, "1"}}
	if got := d.ConfigChanges(); !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	if next.TopicConfig("t00000") != nil || len(base.TopicConfig("t00001")) != 2 ||
		next.TopicConfig("t00001")["b"] != "2" {
		t.Errorf("base %v, next %v", base.Configs, next.Configs)
	}
	if next.TopicConfig("t00001")["a"] != "" {
		t.Error("a was deleted")
	}
}

func TestReplayRefuses(t *testing.T) {
	id := topicID(0)
	for _, c := range []struct {
		r    Record
		want error
	}{
		{&PartitionChangeRecord{TopicID: topicID(9)}, ErrUnknownTopic},
		{&PartitionChangeRecord{TopicID: id, PartitionID: 2}, ErrUnknownPartition},
		{&PartitionChangeRecord{TopicID: id, PartitionID: -1}, ErrUnknownPartition},
		{&PartitionChangeRecord{TopicID: id, Replicas: ids()}, ErrBadPartition},
		{&PartitionChangeRecord{TopicID: id, Dirs: []model.UUID{uid(1)}}, ErrBadPartition},
		{&PartitionChangeRecord{TopicID: id, Leader: new(model.BrokerID(-2))}, ErrBadPartition},
		{&PartitionChangeRecord{TopicID: id, Recovery: new(RecoveryState(7))}, ErrBadPartition},
		{&PartitionRecord{TopicID: id, PartitionID: 3, Replicas: ids(1)}, ErrPartitionGap},
		{&PartitionRecord{TopicID: id, PartitionID: -1, Replicas: ids(1)}, ErrPartitionGap},
		{&PartitionRecord{TopicID: topicID(9), Replicas: ids(1)}, ErrUnknownTopic},
		{&PartitionRecord{TopicID: id}, ErrBadPartition},
		{&TopicRecord{Name: "t00000", TopicID: topicID(9)}, ErrTopicExists},
		{&TopicRecord{Name: "other", TopicID: id}, ErrTopicExists},
		{&RemoveTopicRecord{TopicID: topicID(9)}, ErrUnknownTopic},
		{&ClearELRRecord{Topic: "other"}, ErrUnknownTopic},
		{&FenceBrokerRecord{BrokerID: 2}, ErrUnknownBroker},
		{&UnfenceBrokerRecord{BrokerID: 1, BrokerEpoch: 9}, ErrBrokerEpoch},
		{&UnregisterBrokerRecord{BrokerID: 1, BrokerEpoch: 11}, ErrBrokerEpoch},
		{&BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 11}, ErrBrokerEpoch},
		{&BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 10, Fenced: 2}, ErrBadValue},
		{&BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 10, InControlledShutdown: -1}, ErrBadValue},
		{&RegisterBrokerRecord{BrokerID: -1}, ErrBadValue},
		{&FeatureLevelRecord{Name: MetadataVersionFeature, Level: 31}, ErrMetadataVersion},
		{&FeatureLevelRecord{Name: MetadataVersionFeature, Level: 0}, ErrMetadataVersion},
		{&FeatureLevelRecord{Name: GroupVersionFeature, Level: -1}, ErrBadValue},
		{&RemoveAccessControlEntryRecord{}, ErrUnknownEntry},
		{&UnregisterControllerRecord{ControllerID: 1}, ErrUnknownEntry},
		{&EndTransactionRecord{}, ErrTransaction},
	} {
		if err := NewDelta(cluster(t, 1)).Replay(c.r); !errors.Is(err, c.want) {
			t.Errorf("%T %+v: %v, want %v", c.r, c.r, err, c.want)
		}
	}
	_, d := replayed(t, cluster(t, 1))
	if err := d.Replay(&NoOpRecord{}); !errors.Is(err, ErrApplied) {
		t.Errorf("after Apply: %v", err)
	}
}

func TestBrokersOfImage(t *testing.T) {
	base := cluster(t, 0)
	i, d := replayed(t, base,
		&RegisterBrokerRecord{BrokerID: 3, BrokerEpoch: 1},
		&RegisterBrokerRecord{BrokerID: 2, BrokerEpoch: 2, InControlledShutdown: true})
	if got := i.LiveBrokers(); !slices.Equal(got, ids(2, 3)) {
		t.Errorf("live %v", got)
	}
	for id, want := range []bool{false, false, false, true, false} {
		if got := i.IsActive(model.BrokerID(id)); got != want {
			t.Errorf("broker %d active: %v", id, got)
		}
	}
	if e, ok := i.Endpoint(1, "PLAINTEXT"); !ok || e.Host != "h" {
		t.Errorf("endpoint %v %v", e, ok)
	}
	if _, ok := i.Endpoint(1, "SSL"); ok {
		t.Error("there is no such listener")
	}
	if got := d.Brokers(); !slices.Equal(got, ids(2, 3)) || !d.LiveBrokersChanged() {
		t.Errorf("changed %v", got)
	}
	if got := i.Brokers[2].RegisteredAt; got != base.Offset+2 {
		t.Errorf("registered at %d, want %d", got, base.Offset+2)
	}
}

// One change among 2,000 topics must not cost a copy of the topics.
func TestSmallDeltaAllocatesLittle(t *testing.T) {
	base := cluster(t, 2000)
	r := &PartitionChangeRecord{TopicID: topicID(77), ISR: ids(1)}
	n := testing.AllocsPerRun(20, func() { replayed(t, base, r) })
	if n > 100 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSmallDelta(b *testing.B) {
	base := cluster(b, 2000)
	r := &PartitionChangeRecord{TopicID: topicID(77), ISR: ids(1)}
	b.ReportAllocs()
	for b.Loop() {
		replayed(b, base, r)
	}
}
