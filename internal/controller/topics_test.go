package controller

import (
	"fmt"
	"strings"
	"testing"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// started returns a story with the given brokers unfenced and committed.
func started(t *testing.T, cfg func(*Config), brokers ...model.BrokerID) *story {
	t.Helper()
	s := newStory()
	if cfg != nil {
		cfg(&s.cfg)
	}
	s.core = New(s.cfg)
	s.take(s.core.Activate(s.img, 1, s.env()))
	for _, id := range brokers {
		r := s.decide(&RegisterBroker{
			Broker: id, ClusterID: "tide", Incarnation: model.UUID{0: 1, 15: byte(id)},
			Endpoints:     []metadata.Endpoint{{Name: "PLAINTEXT", Host: "b", Port: 9092}},
			Features:      map[string]metadata.VersionRange{metadata.MetadataVersionFeature: {Min: 7, Max: 30}},
			PreviousEpoch: -1, Dirs: []model.DirectoryID{soleDir(id)},
		}).(*RegisterBrokerResponse)
		if r.Failed() {
			t.Fatal(r.Result)
		}
		s.decide(&BrokerHeartbeat{Broker: id, Epoch: r.Epoch, MetadataOffset: s.img.Offset})
	}
	return s
}

func (s *story) createTopics(t *testing.T, topics ...NewTopic) []CreatedTopic {
	t.Helper()
	return s.decide(&CreateTopics{Topics: topics}).(*CreateTopicsResponse).Topics
}

func auto(name string, partitions int32, rf int16) NewTopic {
	return NewTopic{Name: name, Partitions: partitions, ReplicationFactor: rf}
}

func manual(name string, replicas ...[]model.BrokerID) NewTopic {
	nt := auto(name, -1, -1)
	for i, r := range replicas {
		nt.Assignments = append(nt.Assignments, Assignment{Partition: int32(i), Replicas: r})
	}
	return nt
}

func ids(n ...model.BrokerID) []model.BrokerID { return n }

func with(nt NewTopic, name, value string) NewTopic {
	nt.Configs = append(nt.Configs, ConfigEntry{name, &value})
	return nt
}

func TestCreateTopicRefusals(t *testing.T) {
	s := started(t, nil, 1, 2, 3)
	if r := s.createTopics(t, auto("a.b", 1, 1)); r[0].Failed() {
		t.Fatal(r[0].Result)
	}
	nullConfig := auto("x", 1, 1)
	nullConfig.Configs = []ConfigEntry{{Name: "retention.ms"}}
	twice := manual("x", ids(1), ids(2))
	twice.Assignments[1].Partition = 0
	gap := manual("x", ids(1), ids(2))
	gap.Assignments[1].Partition = 2
	both := manual("x", ids(1))
	both.ReplicationFactor = 1
	count := manual("x", ids(1))
	count.Partitions = 1
	for _, tc := range []struct {
		name string
		nt   NewTopic
		want Code
	}{
		{"empty name", auto("", 1, 1), InvalidTopic},
		{"dot", auto(".", 1, 1), InvalidTopic},
		{"dots", auto("..", 1, 1), InvalidTopic},
		{"letters", auto("a/b", 1, 1), InvalidTopic},
		{"not ascii", auto("ä", 1, 1), InvalidTopic},
		{"too long", auto(strings.Repeat("x", 250), 1, 1), InvalidTopic},
		{"collision", auto("a_b", 1, 1), InvalidTopic},
		{"exists", auto("a.b", 1, 1), TopicExists},
		{"metadata topic", auto(model.MetadataTopic, 1, 1), TopicAuthorization},
		{"no partitions", auto("x", 0, 1), InvalidPartitions},
		{"negative partitions", auto("x", -2, 1), InvalidPartitions},
		{"too many partitions", auto("x", 10_000, 1), PolicyViolation},
		{"far too many partitions", auto("x", 2_000_000_000, 1), PolicyViolation},
		{"no replicas", auto("x", 1, 0), InvalidReplicationFactor},
		{"too many replicas", auto("x", 1, 4), InvalidReplicationFactor},
		{"manual and rf", both, InvalidRequest},
		{"manual and partitions", count, InvalidRequest},
		{"partition twice", twice, InvalidAssignment},
		{"partition missing", gap, InvalidAssignment},
		{"replica twice", manual("x", ids(1, 1)), InvalidAssignment},
		{"unknown broker", manual("x", ids(9)), InvalidAssignment},
		{"negative broker", manual("x", ids(-1)), InvalidAssignment},
		{"no replica list", manual("x", ids()), InvalidAssignment},
		{"uneven", manual("x", ids(1, 2), ids(1)), InvalidAssignment},
		{"unknown config", with(auto("x", 1, 1), "nope", "1"), InvalidConfig},
		{"bad config", with(auto("x", 1, 1), "retention.ms", "-2"), InvalidConfig},
		{"null config", nullConfig, InvalidConfig},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := s.next
			r := s.createTopics(t, tc.nt)
			if r[0].Code != tc.want {
				t.Errorf("got %s, want %s", r[0].Result, tc.want)
			}
			if s.next != before {
				t.Error("a refused topic left records behind") // invariant 7
			}
			if r[0].Partitions != -1 || r[0].ReplicationFactor != -1 {
				t.Errorf("refused, but %d partitions of %d replicas", r[0].Partitions, r[0].ReplicationFactor)
			}
		})
	}
}

func TestCreateTopicDefaultsAndBatch(t *testing.T) {
	s := started(t, func(c *Config) { c.NumPartitions, c.ReplicationFactor = 3, 2 }, 1, 2, 3)
	r := s.createTopics(t, auto("ok", -1, -1), auto("dup", 1, 1), auto("dup", 1, 1), auto("bad", 0, 1),
		auto("x.y", 1, 1), auto("x_y", 1, 1))
	var got []string
	for _, c := range r {
		got = append(got, fmt.Sprintf("%s %s %d/%d", c.Name, c.Code, c.Partitions, c.ReplicationFactor))
	}
	want := "[ok ok 3/2 dup invalid-request -1/-1 bad invalid-partitions -1/-1 x.y ok 1/1 x_y invalid-topic -1/-1]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	if len(r[0].Configs) != len(TopicConfigs()) {
		t.Errorf("%d configs in the answer, want all %d", len(r[0].Configs), len(TopicConfigs()))
	}
	if len(s.img.Topics.ByName) != 2 {
		t.Errorf("%d topics, want 2", len(s.img.Topics.ByName))
	}
}

func TestCreateTopicValidateOnly(t *testing.T) {
	s := started(t, nil, 1)
	before := s.next
	r := s.decide(&CreateTopics{Topics: []NewTopic{auto("x", 2, 1)}, ValidateOnly: true}).(*CreateTopicsResponse)
	if r.Topics[0].Failed() || r.Topics[0].Partitions != 2 || s.next != before {
		t.Errorf("%+v, %d records", r.Topics[0], s.next-before)
	}
}

// A fenced replica is assigned but isn't in the ISR (KAFKA-13841).
func TestCreateTopicWithFencedBrokers(t *testing.T) {
	s := started(t, nil, 1, 2)
	s.take(s.core.Hint(1, s.env()))
	s.createTopics(t, manual("x", ids(1, 2)), auto("y", 1, 2))
	for _, name := range []string{"x", "y"} {
		_, p, ok := s.img.Partition(model.TopicPartition{Topic: name})
		if !ok || p.Leader != 2 || fmt.Sprint(p.ISR) != "[2]" || len(p.Replicas) != 2 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	s.take(s.core.Hint(2, s.env()))
	r := s.createTopics(t, manual("z", ids(1, 2)), auto("w", 1, 1))
	if r[0].Code != InvalidAssignment || r[1].Code != InvalidReplicationFactor {
		t.Errorf("all fenced: %s, %s", r[0].Result, r[1].Result)
	}
}

func TestDeleteTopics(t *testing.T) {
	s := started(t, nil, 1)
	made := s.createTopics(t, with(auto("x", 1, 1), "retention.ms", "1"), auto("y", 1, 1))
	r := s.decide(&DeleteTopics{Topics: []TopicRef{
		{Name: "x"}, {ID: made[1].ID}, {Name: "y"}, {Name: "nope"}, {ID: model.TopicID{0: 9}},
	}}).(*DeleteTopicsResponse)
	want := []Code{OK, OK, InvalidRequest, UnknownTopic, UnknownTopicID}
	for i, w := range want {
		if r.Topics[i].Code != w {
			t.Errorf("%d: %s, want %s", i, r.Topics[i].Result, w)
		}
	}
	if r.Topics[1].Name != "y" || len(s.img.Topics.ByID) != 0 || len(s.img.Configs) != 0 {
		t.Errorf("%+v, left %v %v", r.Topics[1], s.img.Topics.ByName, s.img.Configs)
	}
	// A topic of the same name is another one.
	if again := s.createTopics(t, auto("x", 1, 1)); again[0].ID == made[0].ID {
		t.Error("the id was used again")
	}
	s = started(t, func(c *Config) { c.DeleteTopics = false }, 1)
	s.createTopics(t, auto("x", 1, 1))
	r = s.decide(&DeleteTopics{Topics: []TopicRef{{Name: "x"}}}).(*DeleteTopicsResponse)
	if r.Topics[0].Code != TopicDeletionDisabled {
		t.Error(r.Topics[0].Result)
	}
}

func TestCreatePartitions(t *testing.T) {
	s := started(t, nil, 1, 2)
	s.createTopics(t, auto("x", 2, 2))
	for _, tc := range []struct {
		name string
		m    MorePartitions
		want Code
	}{
		{"unknown", MorePartitions{Name: "nope", Count: 3}, UnknownTopic},
		{"same", MorePartitions{Name: "x", Count: 2}, InvalidPartitions},
		{"fewer", MorePartitions{Name: "x", Count: 1}, InvalidPartitions},
		{"too many", MorePartitions{Name: "x", Count: 20_000}, PolicyViolation},
		{"lists missing", MorePartitions{Name: "x", Count: 4, Assignments: [][]model.BrokerID{ids(1, 2)}}, InvalidAssignment},
		{"rf differs", MorePartitions{Name: "x", Count: 3, Assignments: [][]model.BrokerID{ids(1)}}, InvalidAssignment},
		{"manual", MorePartitions{Name: "x", Count: 3, Assignments: [][]model.BrokerID{ids(2, 1)}}, OK},
		{"placed", MorePartitions{Name: "x", Count: 5}, OK},
	} {
		r := s.decide(&CreatePartitions{Topics: []MorePartitions{tc.m}}).(*CreatePartitionsResponse)
		if r.Topics[0].Code != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, r.Topics[0].Result, tc.want)
		}
	}
	if x := s.img.Topics.ByName["x"]; len(x.Partitions) != 5 || x.Partitions[2].Leader != 2 {
		t.Errorf("%d partitions, third led by %d", len(x.Partitions), x.Partitions[2].Leader)
	}
}
