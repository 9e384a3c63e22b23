package api

import (
	"cmp"
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Endpoint types of DescribeCluster.
const (
	endpointBrokers     int8 = 1
	endpointControllers int8 = 2
)

// describeClusterAPI answers DescribeCluster (key 60): brokers on a broker's
// listener, controllers on a controller's (KIP-919). Asking for the other kind
// is MISMATCHED_ENDPOINT_TYPE. From v2 on fenced brokers can be listed, too.
type describeClusterAPI struct {
	self       model.BrokerID
	clusterID  string
	view       ClusterView
	controller func() model.BrokerID // active one; nil on a broker's listener
}

// RegisterDescribeCluster adds DescribeCluster. active tells the active
// controller, NoBroker if unknown; it is nil on a broker's listener, where the
// answer names a broker instead, as Metadata does.
func RegisterDescribeCluster(
	h *Handlers, self model.BrokerID, clusterID string, view ClusterView, active func() model.BrokerID,
) {
	a := &describeClusterAPI{self: self, clusterID: clusterID, view: view, controller: active}
	h.Register(wire.KeyDescribeCluster, a.handle)
}

func (a *describeClusterAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DescribeClusterRequest)
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ClusterID = a.clusterID
	resp.ControllerID = int32(model.NoBroker)
	resp.ClusterAuthorizedOperations = noOperations
	want := endpointBrokers
	if a.controller != nil {
		want = endpointControllers
	}
	asked := req.EndpointType
	if req.Version == 0 {
		asked = endpointBrokers
	}
	resp.EndpointType = asked
	if asked != want {
		code := kerr.MismatchedEndpointType
		if asked != endpointBrokers && asked != endpointControllers {
			code = kerr.UnsupportedEndpointType
		}
		resp.ErrorCode = code.Code
		resp.ErrorMessage = kmsg.StringPtr("The request was sent to an endpoint of the wrong type.")
		c.Reply(resp)
		return
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	img := a.view.Image()
	var nodes []node
	if a.controller != nil {
		nodes = controllerNodes(img, c.Listener)
		resp.ControllerID = int32(a.controller())
	} else {
		nodes = endpoints(img, c.Listener, req.IncludeFencedBrokers)
		resp.ControllerID = int32(anyLive(liveEndpoints(img, c.Listener), a.self))
	}
	for _, n := range nodes {
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack, b.IsFenced = int32(n.id), n.host, n.port, n.rack, n.fenced
		resp.Brokers = append(resp.Brokers, b)
	}
	c.Reply(resp)
}

// controllerNodes lists registered controllers that have the listener, by id.
func controllerNodes(img *metadata.Image, listener string) []node {
	nodes := make([]node, 0, len(img.Controllers))
	for id, ctl := range img.Controllers {
		i := slices.IndexFunc(ctl.Endpoints, func(e metadata.Endpoint) bool { return e.Name == listener })
		if i >= 0 {
			nodes = append(nodes, node{id: id, host: ctl.Endpoints[i].Host, port: int32(ctl.Endpoints[i].Port)})
		}
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.id, b.id) })
	return nodes
}
