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

// ClusterView is what the node knows of the cluster.
type ClusterView interface {
	// Image is the newest published metadata; never nil.
	Image() *metadata.Image
}

// TopicCreator creates topics that clients ask for before they exist.
type TopicCreator interface {
	// CreateAsync begins to create topics with the broker's defaults and returns
	// at once. Names that are being created already are ignored.
	CreateAsync(names []string)
}

// metadataAPI answers Metadata (key 3) from the local image.
//
//	v0   no topics means all; a replica on a dead broker is left out
//	v1   null means all, none means none; controller, rack, internal
//	v4   the client may forbid automatic creation
//	v5   offline replicas
//	v6   a leader without the client's listener is LISTENER_NOT_FOUND
//	v7   leader epoch
//	v8   authorised operations (of the cluster only up to v10)
//	v10  topic ids in the answer, v12 in the question
//	v13  an error code for the whole answer
//
// The endpoints are those of the listener that was asked. The controller id is
// a broker: clients send it admin requests, which every broker forwards.
type metadataAPI struct {
	self      model.BrokerID
	clusterID string
	view      ClusterView
	creator   TopicCreator
}

// RegisterMetadata adds Metadata. creator is nil unless
// auto.create.topics.enable is set.
func RegisterMetadata(h *Handlers, self model.BrokerID, clusterID string, view ClusterView, creator TopicCreator) {
	a := &metadataAPI{self: self, clusterID: clusterID, view: view, creator: creator}
	h.Register(wire.KeyMetadata, a.handle)
}

func (a *metadataAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.MetadataRequest)
	img := a.view.Image()
	resp := kmsg.NewPtrMetadataResponse()
	resp.ClusterID = &a.clusterID
	resp.AuthorizedOperations = noOperations
	if req.IncludeClusterAuthorizedOperations && req.Version >= 8 && req.Version <= 10 {
		resp.AuthorizedOperations = clusterOperations
	}
	live := liveEndpoints(img, c.Listener)
	for _, n := range live {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = int32(n.id), n.host, n.port, n.rack
		resp.Brokers = append(resp.Brokers, b)
	}
	resp.ControllerID = int32(anyLive(live, a.self))
	q := metadataQuery{img: img, listener: c.Listener, version: req.Version, operations: noOperations}
	if req.IncludeTopicAuthorizedOperations && req.Version >= 8 {
		q.operations = topicOperations
	}
	if bad := q.misuse(req); bad != nil { // nothing else is said
		resp.Topics, resp.Brokers, resp.ClusterID, resp.ControllerID = bad, nil, nil, int32(model.NoBroker)
		resp.AuthorizedOperations = noOperations
		c.Reply(resp)
		return
	}
	var missing []string
	resp.Topics, missing = q.topics(req)
	if a.creator != nil && len(missing) > 0 && (req.AllowAutoTopicCreation || req.Version < 4) {
		a.creator.CreateAsync(missing)
	}
	c.Reply(resp)
}

// metadataQuery answers for topics of one image.
type metadataQuery struct {
	img        *metadata.Image
	listener   string
	version    int16
	operations int32
}

// topics returns the answer for each topic asked for, and the valid names that
// don't exist.
func (q *metadataQuery) topics(req *kmsg.MetadataRequest) (out []kmsg.MetadataResponseTopic, missing []string) {
	out = []kmsg.MetadataResponseTopic{}
	if req.Topics == nil || q.version == 0 && len(req.Topics) == 0 {
		for _, t := range q.img.Topics.ByName {
			out = append(out, q.topic(t))
		}
		slices.SortFunc(out, func(a, b kmsg.MetadataResponseTopic) int { return cmp.Compare(*a.Topic, *b.Topic) })
		return out, nil
	}
	byID := slices.ContainsFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool { return t.TopicID != [16]byte{} })
	seen := make(map[string]bool, len(req.Topics))
	for _, want := range req.Topics {
		if byID {
			id := model.TopicID(want.TopicID)
			if id.IsZero() || seen[string(id[:])] {
				continue
			}
			seen[string(id[:])] = true
			if t := q.img.Topics.ByID[id]; t != nil {
				out = append(out, q.topic(t))
			} else {
				out = append(out, q.failed(nil, want.TopicID, kerr.UnknownTopicID))
			}
			continue
		}
		if want.Topic == nil {
			out = append(out, q.failed(nil, want.TopicID, kerr.UnknownTopicID))
			continue
		}
		if seen[*want.Topic] {
			continue
		}
		seen[*want.Topic] = true
		switch t := q.img.Topics.ByName[*want.Topic]; {
		case t != nil:
			out = append(out, q.topic(t))
		case !validTopicName(*want.Topic):
			out = append(out, q.refused(want, kerr.InvalidTopicException))
		default:
			missing = append(missing, *want.Topic)
			out = append(out, q.refused(want, kerr.UnknownTopicOrPartition))
		}
	}
	return out, missing
}

// misuse returns the answer to a request that names topics by id, or not at
// all, in a version before 12; nil if there is none.
func (q *metadataQuery) misuse(req *kmsg.MetadataRequest) []kmsg.MetadataResponseTopic {
	bad := func(t kmsg.MetadataRequestTopic) bool { return t.Topic == nil || t.TopicID != [16]byte{} }
	if q.version >= 12 || !slices.ContainsFunc(req.Topics, bad) {
		return nil
	}
	out := make([]kmsg.MetadataResponseTopic, 0, len(req.Topics))
	for _, t := range req.Topics {
		name := t.Topic
		if name == nil {
			name = new(string)
		}
		out = append(out, q.failed(name, t.TopicID, kerr.InvalidRequest))
	}
	return out
}

func (q *metadataQuery) failed(name *string, id [16]byte, err *kerr.Error) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.ErrorCode, t.Topic, t.TopicID = err.Code, name, id
	if name != nil {
		t.IsInternal = isInternal(*name)
	}
	t.AuthorizedOperations = noOperations
	return t
}

// refused is failed for a topic that was asked for by name: Kafka says what the
// client might do with it, if only it existed.
func (q *metadataQuery) refused(want kmsg.MetadataRequestTopic, err *kerr.Error) kmsg.MetadataResponseTopic {
	t := q.failed(want.Topic, want.TopicID, err)
	t.AuthorizedOperations = q.operations
	return t
}

func (q *metadataQuery) topic(t *metadata.Topic) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = &t.Name, t.ID, isInternal(t.Name)
	out.AuthorizedOperations = q.operations
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, len(t.Partitions))
	for i, p := range t.Partitions {
		out.Partitions = append(out.Partitions, q.partition(int32(i), p))
	}
	return out
}

func (q *metadataQuery) partition(index int32, p *metadata.Partition) kmsg.MetadataResponseTopicPartition {
	out := kmsg.NewMetadataResponseTopicPartition()
	out.Partition, out.Leader, out.LeaderEpoch = index, int32(p.Leader), int32(p.LeaderEpoch)
	out.Replicas, out.ISR, out.OfflineReplicas = q.replicas(p)
	if !q.reachable(p.Leader) {
		out.Leader = int32(model.NoBroker)
		out.ErrorCode = kerr.LeaderNotAvailable.Code
		if q.img.Brokers[p.Leader] != nil && q.version >= 6 {
			out.ErrorCode = kerr.ListenerNotFound.Code
		}
		return out
	}
	if q.version == 0 && (len(out.Replicas) < len(p.Replicas) || len(out.ISR) < len(p.ISR)) {
		out.ErrorCode = kerr.ReplicaNotAvailable.Code
	}
	return out
}

// replicas lists replicas, in-sync ones and offline ones. Version 0 has no
// list of offline replicas: they are missing in the others instead.
func (q *metadataQuery) replicas(p *metadata.Partition) (all, isr, offline []int32) {
	all, isr, offline = make([]int32, 0, len(p.Replicas)), make([]int32, 0, len(p.ISR)), []int32{}
	for _, id := range p.Replicas {
		if q.version > 0 || q.reachable(id) {
			all = append(all, int32(id))
		}
		if !q.reachable(id) || !dirOnline(q.img.Brokers[id], p.Dir(id)) {
			offline = append(offline, int32(id))
		}
	}
	for _, id := range p.ISR {
		if q.version > 0 || q.reachable(id) {
			isr = append(isr, int32(id))
		}
	}
	return all, isr, offline
}

// reachable reports whether clients of the listener can be sent to the broker.
func (q *metadataQuery) reachable(id model.BrokerID) bool {
	b := q.img.Brokers[id]
	if b == nil || b.Fenced {
		return false
	}
	_, ok := q.img.Endpoint(id, q.listener)
	return ok
}

// dirOnline reports whether the broker still has the directory of a replica.
func dirOnline(b *metadata.Broker, dir model.DirectoryID) bool {
	switch dir {
	case model.UnassignedDir, model.MigratingDir:
		return true
	case model.LostDir:
		return false
	}
	return len(b.Dirs) == 0 || slices.Contains(b.Dirs, dir)
}

// node is a broker as one listener shows it.
type node struct {
	id     model.BrokerID
	host   string
	port   int32
	rack   *string
	fenced bool
}

// endpoints lists brokers that have the listener, by id.
func endpoints(img *metadata.Image, listener string, fenced bool) []node {
	nodes := make([]node, 0, len(img.Brokers))
	for id, b := range img.Brokers {
		e, ok := img.Endpoint(id, listener)
		if !ok || b.Fenced && !fenced {
			continue
		}
		n := node{id: id, host: e.Host, port: int32(e.Port), fenced: b.Fenced}
		if b.HasRack {
			n.rack = &b.Rack
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.id, b.id) })
	return nodes
}

func liveEndpoints(img *metadata.Image, listener string) []node {
	return endpoints(img, listener, false)
}

// anyLive is self if it is alive, else the first of the others, else NoBroker.
func anyLive(nodes []node, self model.BrokerID) model.BrokerID {
	if slices.ContainsFunc(nodes, func(n node) bool { return n.id == self }) {
		return self
	}
	if len(nodes) > 0 {
		return nodes[0].id
	}
	return model.NoBroker
}

// isInternal reports whether clients may not write to the topic.
func isInternal(name string) bool {
	return name == "__consumer_offsets" || name == "__transaction_state" || name == "__share_group_state"
}

// validTopicName applies Kafka's rule: 1 to 249 of a-z, A-Z, 0-9, '.', '_'
// and '-', and neither "." nor "..".
func validTopicName(name string) bool {
	if name == "" || len(name) > 249 || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return false
		}
	}
	return true
}
