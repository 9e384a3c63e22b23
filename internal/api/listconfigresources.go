package api

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"tidemark/internal/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyListConfigResources int16 = 74

// listConfigResourcesAPI answers ListConfigResources (key 74, KIP-1142): what
// DescribeConfigs can be asked about.
//
//	v0  subscriptions of client metrics only
//	v1  the kinds that are asked for; none means all. An unknown kind is
//	    UNSUPPORTED_VERSION
//
// Topics and brokers are listed whether something is set for them or not,
// groups and subscriptions only if it is.
type listConfigResourcesAPI struct{ view ClusterView }

// RegisterListConfigResources adds ListConfigResources.
func RegisterListConfigResources(h *Handlers, view ClusterView) {
	h.Register(keyListConfigResources, (&listConfigResourcesAPI{view}).handle)
}

// listedKinds are the kinds that can be asked for, in the order of the answer.
var listedKinds = []kmsg.ConfigResourceType{
	kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger,
	kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig,
}

func (a *listConfigResourcesAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.ListConfigResourcesRequest)
	resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	kinds := listedKinds
	switch {
	case req.Version == 0:
		kinds = []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeClientMetrics}
	case len(req.ResourceTypes) > 0:
		kinds = nil
		for _, t := range req.ResourceTypes {
			if !slices.Contains(listedKinds, kmsg.ConfigResourceType(t)) {
				c.Fail(fmt.Errorf("config resource type %d: %w", t, kerr.UnsupportedVersion))
				return
			}
		}
		for _, k := range listedKinds {
			if slices.Contains(req.ResourceTypes, int8(k)) {
				kinds = append(kinds, k)
			}
		}
	}
	img := a.view.Image()
	for _, k := range kinds {
		for _, name := range resourceNames(img, k) {
			r := kmsg.NewListConfigResourcesResponseConfigResource()
			r.Type, r.Name = int8(k), name
			resp.ConfigResources = append(resp.ConfigResources, r)
		}
	}
	c.Reply(resp)
}

func resourceNames(img *metadata.Image, kind kmsg.ConfigResourceType) []string { // flat switch
	var names []string
	set := func(t metadata.ResourceType) {
		for r := range img.Configs {
			if r.Type == t {
				names = append(names, r.Name)
			}
		}
	}
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		for name := range img.Topics.ByName {
			names = append(names, name)
		}
	case kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger:
		for id := range img.Brokers {
			names = append(names, strconv.Itoa(int(id)))
		}
		slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
		return names
	case kmsg.ConfigResourceTypeClientMetrics:
		set(metadata.ClientMetricsResource)
	case kmsg.ConfigResourceTypeGroupConfig:
		set(metadata.GroupResource)
	}
	slices.Sort(names)
	return names
}
