package api

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestAlterConfigsOnABroker(t *testing.T) {
	const ok = 0
	resources := []struct {
		kind kmsg.ConfigResourceType
		name string
		key  string
		want int16
	}{
		{kmsg.ConfigResourceTypeTopic, "orders", "retention.ms", ok},
		{kmsg.ConfigResourceTypeBroker, "1", "log.retention.ms", ok},
		{kmsg.ConfigResourceTypeBroker, "", "min.insync.replicas", ok},
		{kmsg.ConfigResourceTypeBroker, "1", "leader.replication.throttled.rate", ok},
		{kmsg.ConfigResourceTypeBroker, "1", "unheard.of", ok},
		{kmsg.ConfigResourceTypeGroupConfig, "g", "consumer.session.timeout.ms", ok},
		{kmsg.ConfigResourceTypeBroker, "2", "log.retention.ms", kerr.InvalidRequest.Code},
		{kmsg.ConfigResourceTypeBroker, "x", "log.retention.ms", kerr.InvalidRequest.Code},
		{kmsg.ConfigResourceTypeBroker, "1", "node.id", kerr.InvalidRequest.Code},
		{kmsg.ConfigResourceTypeBroker, "", "log.retention.hours", kerr.InvalidRequest.Code},
		{kmsg.ConfigResourceTypeBrokerLogger, "1", "root", kerr.InvalidConfig.Code},
		{kmsg.ConfigResourceTypeBrokerLogger, "2", "root", kerr.InvalidRequest.Code},
		{99, "z", "root", kerr.InvalidRequest.Code},
	}
	forwarded := make(chan int, 100)
	to := controllerStub{answer: func(msg kmsg.Request) kmsg.Response {
		switch req := msg.(type) {
		case *kmsg.IncrementalAlterConfigsRequest:
			forwarded <- len(req.Resources)
		case *kmsg.AlterConfigsRequest:
			forwarded <- len(req.Resources)
		}
		return refuseAll(msg, &kerr.Error{})
	}}
	h := New(Options{})
	RegisterAlterConfigs(h, 1, serverProperties(), to)
	RegisterForwarding(h, to, func(int16) bool { return true })
	RegisterApiVersions(h, nil)
	c, _ := serve(t, h)

	for _, picked := range []string{"all", "good", "bad"} {
		req, legacy := kmsg.NewPtrIncrementalAlterConfigsRequest(), kmsg.NewPtrAlterConfigsRequest()
		want := map[string]int{}
		for _, r := range resources {
			if picked == "good" && r.want != ok || picked == "bad" && r.want == ok {
				continue
			}
			want[fmt.Sprintf("%q %d", r.name, r.want)]++
			value := kmsg.StringPtr("1")
			req.Resources = append(req.Resources, kmsg.IncrementalAlterConfigsRequestResource{
				ResourceType: r.kind, ResourceName: r.name,
				Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: r.key, Value: value}},
			})
			legacy.Resources = append(legacy.Resources, kmsg.AlterConfigsRequestResource{
				ResourceType: r.kind, ResourceName: r.name,
				Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: r.key, Value: value}},
			})
		}
		check := func(api string, got map[string]int) {
			t.Helper()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, %s: got %v, want %v", api, picked, got, want)
			}
			good := 0
			if picked != "bad" {
				good = <-forwarded
			}
			if wantGood := map[string]int{"all": 6, "good": 6}[picked]; good != wantGood {
				t.Errorf("%s, %s: %d forwarded", api, picked, good)
			}
		}
		for version := int16(0); version <= 1; version++ {
			got := map[string]int{}
			resp := ask[*kmsg.IncrementalAlterConfigsResponse](t, c, req, version)
			for _, r := range resp.Resources {
				got[fmt.Sprintf("%q %d", r.ResourceName, r.ErrorCode)]++
			}
			check(fmt.Sprintf("incremental v%d", version), got)
		}
		for version := int16(0); version <= 2; version++ {
			got := map[string]int{}
			resp := ask[*kmsg.AlterConfigsResponse](t, c, legacy, version)
			for _, r := range resp.Resources {
				got[fmt.Sprintf("%q %d", r.ResourceName, r.ErrorCode)]++
			}
			check(fmt.Sprintf("legacy v%d", version), got)
		}
	}
}

// Taking a config away is always allowed: it may have been set by a version
// that could change it.
func TestDeletingABrokerConfigIsForwarded(t *testing.T) {
	to := controllerStub{answer: func(msg kmsg.Request) kmsg.Response { return refuseAll(msg, &kerr.Error{}) }}
	h := New(Options{})
	RegisterAlterConfigs(h, 1, serverProperties(), to)
	RegisterApiVersions(h, nil)
	c, _ := serve(t, h)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "node.id", Op: kmsg.IncrementalAlterConfigOpDelete}},
	}}
	if r := ask[*kmsg.IncrementalAlterConfigsResponse](t, c, req, 1).Resources[0]; r.ErrorCode != 0 {
		t.Errorf("%+v", r)
	}
}
