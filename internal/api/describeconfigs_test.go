package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type settings []StaticSetting

func (s settings) StaticSettings() []StaticSetting { return s }

// serverProperties are settings as a node has them: retention given in hours,
// the segment size left out, a secret, and a key that nobody knows.
func serverProperties() settings {
	str := kmsg.StringPtr
	return settings{
		{Name: "node.id", Value: str("1"), Type: "int"},
		{Name: "log.retention.hours", Value: str("24"), Default: str("168"), Type: "int"},
		{Name: "log.retention.minutes", Type: "int"},
		{Name: "log.retention.ms", Type: "long"},
		{Name: "log.roll.hours", Default: str("168"), Type: "int"},
		{Name: "log.roll.ms", Type: "long"},
		{Name: "log.segment.bytes", Default: str("1073741824"), Type: "int"},
		{Name: "min.insync.replicas", Value: str("2"), Default: str("1"), Type: "int"},
		{Name: "ssl.keystore.password", Value: str("secret"), Type: "password"},
		{Name: "my.plugin.token", Value: str("secret"), Type: ""},
		{Name: "log.dirs", Value: str("/data"), Default: str("/tmp/kafka-logs"), Type: "list"},
	}
}

func configImage() *metadata.Image {
	img := cluster()
	topic := func(name string) metadata.Resource {
		return metadata.Resource{Type: metadata.TopicResource, Name: name}
	}
	img.Topics.ByName["plain"] = &metadata.Topic{Name: "plain"}
	img.Topics.ByName["tuned"] = &metadata.Topic{Name: "tuned"}
	img.Configs[topic("tuned")] = map[string]string{"retention.ms": "5000", "cleanup.policy": "compact"}
	img.Configs[metadata.Resource{Type: metadata.BrokerResource, Name: "1"}] = map[string]string{
		"log.segment.bytes": "2000000", "node.id": "7", "leader.replication.throttled.rate": "1000",
	}
	img.Configs[metadata.Resource{Type: metadata.BrokerResource}] = map[string]string{
		"log.segment.bytes": "3000000", "some.secret": "s",
	}
	img.Configs[metadata.Resource{Type: metadata.GroupResource, Name: "g"}] = map[string]string{
		"consumer.session.timeout.ms": "46000",
	}
	return img
}

func configHandlers(controllerListener bool) *Handlers {
	h := New(Options{Controller: controllerListener})
	RegisterDescribeConfigs(h, ConfigOptions{
		Self: 1, View: view{configImage()}, Static: serverProperties(),
		Defaults: controller.Defaults{Node: 1, Static: map[string]string{"retention.ms": "86400000", "min.insync.replicas": "2"}},
	})
	RegisterApiVersions(h, nil)
	return h
}

func configsReq(kind kmsg.ConfigResourceType, name string, names ...string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, names
	req.Resources = append(req.Resources, r)
	return req
}

// line is one config as a reader sees it.
func line(c kmsg.DescribeConfigsResponseResourceConfig) string {
	value := "null"
	if c.Value != nil {
		value = *c.Value
	}
	s := fmt.Sprintf("%s=%s %s", c.Name, value, strings.ToLower(c.Source.String()))
	for _, syn := range c.ConfigSynonyms {
		v := "null"
		if syn.Value != nil {
			v = *syn.Value
		}
		s += fmt.Sprintf(" < %s=%s", syn.Name, v)
	}
	if c.ReadOnly {
		s += " read-only"
	}
	if c.IsSensitive {
		s += " sensitive"
	}
	return s
}

func TestDescribeConfigs(t *testing.T) {
	topic, broker := kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	for _, test := range []struct {
		req  *kmsg.DescribeConfigsRequest
		want []string
	}{
		{configsReq(topic, "tuned", "retention.ms", "nonsense", "cleanup.policy"), []string{
			"cleanup.policy=compact dynamic_topic_config < cleanup.policy=compact",
			"retention.ms=5000 dynamic_topic_config < retention.ms=5000 < log.retention.hours=24 < log.retention.hours=168",
		}},
		{configsReq(topic, "plain", "retention.ms", "segment.ms", "segment.bytes", "min.insync.replicas"), []string{
			"min.insync.replicas=2 static_broker_config < min.insync.replicas=2 < min.insync.replicas=1",
			"retention.ms=86400000 static_broker_config < log.retention.hours=24 < log.retention.hours=168",
			"segment.bytes=2000000 dynamic_broker_config < log.segment.bytes=2000000 < log.segment.bytes=3000000 < " +
				"log.segment.bytes=1073741824",
			"segment.ms=604800000 default_config",
		}},
		{configsReq(broker, "1"), []string{
			"leader.replication.throttled.rate=1000 dynamic_broker_config < leader.replication.throttled.rate=1000",
			"log.dirs=/data static_broker_config < log.dirs=/data < log.dirs=/tmp/kafka-logs read-only",
			"log.retention.hours=24 static_broker_config < log.retention.hours=24 < log.retention.hours=168 read-only",
			"log.retention.minutes=null default_config read-only",
			"log.retention.ms=null default_config",
			"log.roll.hours=168 default_config < log.roll.hours=168 read-only",
			"log.roll.ms=null default_config",
			"log.segment.bytes=2000000 dynamic_broker_config < log.segment.bytes=2000000 < log.segment.bytes=3000000 < " +
				"log.segment.bytes=1073741824",
			"min.insync.replicas=2 static_broker_config < min.insync.replicas=2 < min.insync.replicas=1",
			"my.plugin.token=null static_broker_config < my.plugin.token=null read-only sensitive",
			"node.id=1 static_broker_config < node.id=1 read-only",
			"some.secret=null dynamic_default_broker_config < some.secret=null read-only sensitive",
			"ssl.keystore.password=null static_broker_config < ssl.keystore.password=null read-only sensitive",
		}},
		{configsReq(broker, ""), []string{
			"log.segment.bytes=3000000 dynamic_default_broker_config < log.segment.bytes=3000000",
			"some.secret=null dynamic_default_broker_config read-only sensitive",
		}},
		{configsReq(kmsg.ConfigResourceTypeBrokerLogger, "1"), nil},
		{configsReq(kmsg.ConfigResourceTypeClientMetrics, "m"), nil},
		{configsReq(kmsg.ConfigResourceTypeGroupConfig, "g"), []string{
			"consumer.session.timeout.ms=46000 group_config < consumer.session.timeout.ms=46000",
		}},
	} {
		for _, onController := range []bool{false, true} {
			c, _ := serve(t, configHandlers(onController))
			for version := int16(1); version <= 4; version++ {
				r := ask[*kmsg.DescribeConfigsResponse](t, c, test.req, version).Resources[0]
				var got []string
				for _, e := range r.Configs {
					got = append(got, line(e))
					if typed := e.ConfigType != 0; typed != (version >= 3 && !e.IsSensitive || e.ConfigType == kmsg.ConfigTypePassword) {
						t.Errorf("v%d: %s has type %v", version, e.Name, e.ConfigType)
					}
				}
				if r.ErrorCode != 0 || !slices.Equal(got, test.want) {
					t.Errorf("%s %q v%d: %d\ngot  %s\nwant %s", r.ResourceType, r.ResourceName, version, r.ErrorCode,
						strings.Join(got, "\n     "), strings.Join(test.want, "\n     "))
				}
			}
		}
	}
}

func TestDescribeConfigsOfEveryTopicConfig(t *testing.T) {
	c, _ := serve(t, configHandlers(false))
	req := configsReq(kmsg.ConfigResourceTypeTopic, "plain")
	req.IncludeSynonyms = false
	r := ask[*kmsg.DescribeConfigsResponse](t, c, req, 4).Resources[0]
	if len(r.Configs) != len(controller.TopicConfigs()) || len(topicConfigDocs) != len(controller.TopicConfigs()) {
		t.Fatalf("%d configs, %d documented, want %d", len(r.Configs), len(topicConfigDocs), len(controller.TopicConfigs()))
	}
	for _, e := range r.Configs {
		if e.Documentation == nil || *e.Documentation == "" || e.Value == nil || len(e.ConfigSynonyms) != 0 || e.ReadOnly {
			t.Errorf("%+v", e)
		}
	}
	req.IncludeDocumentation = false
	for _, e := range ask[*kmsg.DescribeConfigsResponse](t, c, req, 4).Resources[0].Configs {
		if e.Documentation != nil {
			t.Errorf("%s: documentation that nobody asked for", e.Name)
		}
	}
}

func TestDescribeConfigsErrors(t *testing.T) {
	c, _ := serve(t, configHandlers(false))
	for _, test := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want *kerr.Error
	}{
		{kmsg.ConfigResourceTypeTopic, "absent", kerr.UnknownTopicOrPartition},
		{kmsg.ConfigResourceTypeTopic, "no such!", kerr.InvalidTopicException},
		{kmsg.ConfigResourceTypeTopic, "", kerr.InvalidTopicException},
		{kmsg.ConfigResourceTypeBroker, "2", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeBroker, "x", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "2", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeClientMetrics, "", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeGroupConfig, "", kerr.InvalidRequest},
		{99, "g", kerr.InvalidRequest},
	} {
		r := ask[*kmsg.DescribeConfigsResponse](t, c, configsReq(test.kind, test.name), 4).Resources[0]
		if r.ErrorCode != test.want.Code || r.ErrorMessage == nil || *r.ErrorMessage == "" || len(r.Configs) != 0 {
			t.Errorf("%v %q: %+v", test.kind, test.name, r)
		}
	}
}
