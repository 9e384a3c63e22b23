package controller

import (
	"slices"
	"strings"
	"testing"

	"tidemark/internal/metadata"
)

func TestTopicConfigTable(t *testing.T) {
	names := make([]string, 0, len(topicConfigs))
	for _, c := range topicConfigs {
		names = append(names, c.Name)
		if c.Default == "" && c.Type != TypeList {
			t.Errorf("%s has no default", c.Name)
		}
		if err := c.Check(c.Default); err != nil {
			t.Errorf("the default of %s: %v", c.Name, err)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("the table isn't sorted by name") // LookupTopicConfig searches it
	}
}

func TestTopicConfigCheck(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		ok          bool
	}{
		{"retention.ms", "-1", true}, {"retention.ms", "-2", false}, {"retention.ms", "1h", false},
		{"retention.ms", "9223372036854775807", true}, {"retention.ms", "9223372036854775808", false},
		{"segment.bytes", "1048576", true}, {"segment.bytes", "1048575", false}, {"segment.bytes", "2147483648", false},
		{"min.insync.replicas", "0", false}, {"min.insync.replicas", " 2 ", true},
		{"cleanup.policy", "compact,delete", true}, {"cleanup.policy", "", true}, {"cleanup.policy", "drop", false},
		{"compression.type", "zstd", true}, {"compression.type", "lzma", false},
		{"preallocate", "TRUE", true}, {"preallocate", "yes", false},
		{"min.cleanable.dirty.ratio", "0.25", true}, {"min.cleanable.dirty.ratio", "1.1", false},
		{"min.cleanable.dirty.ratio", "NaN", false},
		{"leader.replication.throttled.replicas", "*", true}, {"leader.replication.throttled.replicas", "0:1, 1:2", true},
		{"leader.replication.throttled.replicas", "0-1", false},
		{"message.timestamp.type", "logappendtime", false},
	} {
		c, ok := LookupTopicConfig(tc.name)
		if !ok {
			t.Fatalf("%s isn't in the table", tc.name)
		}
		if err := c.Check(tc.value); (err == nil) != tc.ok {
			t.Errorf("%s=%q: %v", tc.name, tc.value, err)
		}
	}
	if _, ok := LookupTopicConfig("message.format.version"); ok {
		t.Error("a config that Kafka 4 removed is known")
	}
}

func ptr(s string) *string { return &s }

func TestIncrementalAlterConfigs(t *testing.T) {
	s := started(t, nil, 1)
	s.createTopics(t, auto("x", 1, 1))
	topic := metadata.Resource{Type: metadata.TopicResource, Name: "x"}
	for _, tc := range []struct {
		name string
		r    metadata.Resource
		ops  []ConfigOp
		want Code
		then string // cleanup.policy, retention.ms
	}{
		{"append to the default", topic, []ConfigOp{{"cleanup.policy", ConfigAppend, ptr("compact")}}, OK, "delete,compact,"},
		{"append again", topic, []ConfigOp{{"cleanup.policy", ConfigAppend, ptr("compact")}}, OK, "delete,compact,"},
		{"subtract", topic, []ConfigOp{{"cleanup.policy", ConfigSubtract, ptr("delete")}}, OK, "compact,"},
		{"set", topic, []ConfigOp{{"retention.ms", ConfigSet, ptr("7")}}, OK, "compact,7"},
		{"all or nothing", topic, []ConfigOp{{"retention.ms", ConfigSet, ptr("8")}, {"flush.ms", ConfigSet, ptr("x")}},
			InvalidConfig, "compact,7"},
		{"delete", topic, []ConfigOp{{"cleanup.policy", ConfigDelete, nil}}, OK, ",7"},
		{"append to a number", topic, []ConfigOp{{"retention.ms", ConfigAppend, ptr("8")}}, InvalidConfig, ",7"},
		{"null", topic, []ConfigOp{{"retention.ms", ConfigSet, nil}}, InvalidRequest, ",7"},
		{"twice", topic, []ConfigOp{{"retention.ms", ConfigSet, ptr("8")}, {"retention.ms", ConfigDelete, nil}},
			InvalidRequest, ",7"},
		{"operation", topic, []ConfigOp{{"retention.ms", 9, ptr("8")}}, InvalidRequest, ",7"},
		{"unknown topic", metadata.Resource{Type: metadata.TopicResource, Name: "nope"}, nil, UnknownTopic, ",7"},
		{"unknown broker", metadata.Resource{Type: metadata.BrokerResource, Name: "9"}, nil, BrokerNotRegistered, ",7"},
		{"no broker", metadata.Resource{Type: metadata.BrokerResource, Name: "b"}, nil, InvalidRequest, ",7"},
		{"resource", metadata.Resource{Type: 77, Name: "b"}, nil, InvalidRequest, ",7"},
		{"bad synonym", metadata.Resource{Type: metadata.BrokerResource}, []ConfigOp{{"log.retention.ms", ConfigSet, ptr("x")}},
			InvalidConfig, ",7"},
		{"broker's own", metadata.Resource{Type: metadata.BrokerResource}, []ConfigOp{{"listeners", ConfigSet, ptr("x")}}, OK, ",7"},
		{"conflict", topic, []ConfigOp{{"min.compaction.lag.ms", ConfigSet, ptr("9")}, {"max.compaction.lag.ms", ConfigSet, ptr("8")}},
			InvalidConfig, ",7"},
		{"tiered storage", topic, []ConfigOp{{"remote.storage.enable", ConfigSet, ptr("true")}}, InvalidConfig, ",7"},
	} {
		r := s.decide(&IncrementalAlterConfigs{Resources: []ConfigChange{{Resource: tc.r, Ops: tc.ops}}}).(*AlterConfigsResponse)
		if r.Resources[0].Code != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, r.Resources[0].Result, tc.want)
		}
		now := s.img.TopicConfig("x")
		if got := now["cleanup.policy"] + "," + now["retention.ms"]; got != tc.then {
			t.Errorf("%s: configs are %q, want %q", tc.name, got, tc.then)
		}
	}
}

func TestAlterConfigsReplaces(t *testing.T) {
	s := started(t, nil, 1)
	s.createTopics(t, with(with(auto("x", 1, 1), "retention.ms", "1"), "flush.ms", "2"))
	topic := metadata.Resource{Type: metadata.TopicResource, Name: "x"}
	s.out.Reset()
	s.decide(&AlterConfigs{Resources: []ConfigReplace{{topic, []ConfigEntry{{"flush.ms", ptr("2")}, {"segment.ms", ptr("3")}}}}})
	got := strings.Join(strings.Split(strings.TrimSpace(s.out.String()), "\n"), "; ")
	want := `Config topic "x" retention.ms=(deleted); Config topic "x" segment.ms=3`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	before := s.next
	r := s.decide(&AlterConfigs{Resources: []ConfigReplace{{Resource: topic}}, ValidateOnly: true}).(*AlterConfigsResponse)
	if r.Resources[0].Failed() || s.next != before {
		t.Errorf("validate only: %s, %d records", r.Resources[0].Result, s.next-before)
	}
}

func TestUpdateFeatures(t *testing.T) {
	s := started(t, nil, 1)
	for _, tc := range []struct {
		name  string
		u     FeatureUpdate
		want  Code
		level int16 // metadata.version afterwards
	}{
		{"upgrade", FeatureUpdate{metadata.MetadataVersionFeature, 27, FeatureUpgrade}, OK, 27},
		{"same", FeatureUpdate{metadata.MetadataVersionFeature, 27, FeatureUpgrade}, OK, 27},
		{"beyond us", FeatureUpdate{metadata.MetadataVersionFeature, 31, FeatureUpgrade}, InvalidUpdateVersion, 27},
		{"down as upgrade", FeatureUpdate{metadata.MetadataVersionFeature, 26, FeatureUpgrade}, InvalidUpdateVersion, 27},
		{"safe downgrade", FeatureUpdate{metadata.MetadataVersionFeature, 25, FeatureSafeDowngrade}, OK, 25},
		{"lossy downgrade", FeatureUpdate{metadata.MetadataVersionFeature, 20, FeatureSafeDowngrade}, InvalidUpdateVersion, 25},
		{"negative", FeatureUpdate{metadata.MetadataVersionFeature, -1, FeatureUpgrade}, InvalidUpdateVersion, 25},
		{"unknown", FeatureUpdate{"share.version", 1, FeatureUpgrade}, InvalidUpdateVersion, 25},
		{"quorum's", FeatureUpdate{metadata.KRaftVersionFeature, 1, FeatureUpgrade}, InvalidUpdateVersion, 25},
		{"beyond a broker", FeatureUpdate{metadata.GroupVersionFeature, 1, FeatureUpgrade}, InvalidUpdateVersion, 25},
	} {
		r := s.decide(&UpdateFeatures{Updates: []FeatureUpdate{tc.u}}).(*UpdateFeaturesResponse)
		if r.Code != tc.want || s.img.MetadataVersion() != tc.level {
			t.Errorf("%s: %s, level %d; want %s, %d", tc.name, r.Result, s.img.MetadataVersion(), tc.want, tc.level)
		}
	}
}

// The most specific place that sets a value counts.
func TestDefaultsOrder(t *testing.T) {
	def, _ := LookupTopicConfig("retention.ms")
	img := metadata.Empty()
	d := Defaults{Node: 1}
	expect := func(value string, source ConfigSource) {
		t.Helper()
		if v, s := d.Inherited(img, def); v != value || s != source {
			t.Errorf("got %s from %d, want %s from %d", v, s, value, source)
		}
	}
	expect("604800000", SourceDefault)
	d.Static = map[string]string{"retention.ms": "1"}
	expect("1", SourceStatic)
	all := metadata.Resource{Type: metadata.BrokerResource}
	img.Configs[all] = map[string]string{"log.retention.ms": "2"}
	expect("2", SourceCluster)
	img.Configs[metadata.Resource{Type: metadata.BrokerResource, Name: "2"}] = map[string]string{"log.retention.ms": "9"}
	expect("2", SourceCluster)
	img.Configs[metadata.Resource{Type: metadata.BrokerResource, Name: "1"}] = map[string]string{"log.retention.ms": "3"}
	expect("3", SourceBroker)
	img.Configs[metadata.Resource{Type: metadata.TopicResource, Name: "t"}] = map[string]string{"retention.ms": "4"}
	if v := d.Value(img, "t", "retention.ms"); v != "4" {
		t.Errorf("the topic's own value is %s", v)
	}
	if v := d.Value(img, "t", "nope"); v != "" {
		t.Errorf("an unknown config has the value %q", v)
	}
}
