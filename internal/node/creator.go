package node

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"tidemark/internal/api"
	"tidemark/internal/config"
	"tidemark/internal/group"
	"tidemark/internal/peer"
	"tidemark/internal/wire"
)

// topicChannel creates topics on the active controller; *observer.Channel is one.
type topicChannel interface {
	CreateTopics(ctx context.Context, topics []peer.NewTopic, limit time.Duration) (peer.CreatedTopics, error)
}

// creator creates topics that clients name before they exist. One request per
// name is under way at a time. Safe for concurrent use.
type creator struct {
	to       topicChannel
	internal map[string]peer.NewTopic // topics that are made in a way of their own
	others   bool                     // auto.create.topics.enable

	mu      sync.Mutex
	pending map[string]bool
}

func newCreator(to topicChannel, c *config.Config) *creator {
	offsets := peer.NewTopic{Name: group.OffsetsTopic, Partitions: c.Groups.OffsetsPartitions, Replicas: c.Groups.OffsetsReplication,
		Configs: map[string]string{"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": strconv.FormatInt(c.Groups.OffsetsSegmentBytes, 10)}}
	return &creator{to: to, pending: map[string]bool{}, others: c.Topics.AutoCreate, internal: map[string]peer.NewTopic{offsets.Name: offsets}}
}

// unservedInternal are Kafka's internal topics whose coordinators don't exist
// here yet: made with the defaults of ordinary topics they would be in the way
// of those that will.
var unservedInternal = []string{"__transaction_state", "__share_group_state"}

const (
	createTimeout  = 30 * time.Second
	maxPendingName = 1000 // names being created at once; more are left to the clients' next try
)

// CreateAsync implements api.TopicCreator. What comes of it, the client sees in
// its next Metadata answer.
func (c *creator) CreateAsync(names []string) {
	c.mu.Lock()
	var todo []peer.NewTopic
	for _, n := range names {
		topic, internal := c.internal[n]
		if slices.Contains(unservedInternal, n) {
			continue
		}
		if !internal {
			topic = peer.NewTopic{Name: n, Partitions: -1, Replicas: -1}
		}
		if (internal || c.others) && !c.pending[n] && len(c.pending) < maxPendingName {
			c.pending[n] = true
			todo = append(todo, topic)
		}
	}
	c.mu.Unlock()
	if len(todo) == 0 {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), createTimeout)
		defer cancel()
		_, _ = c.to.CreateTopics(ctx, todo, createTimeout) // refusals show as an unknown topic
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, t := range todo {
			delete(c.pending, t.Name)
		}
	}()
}

// servedByControllers tells which forwarded APIs our controllers implement.
func servedByControllers(key int16) bool {
	a, ok := wire.Lookup(key)
	return ok && a.Forward && slices.Contains(implementedByControllers, key)
}

// implementedByControllers are the forwardable keys that package api has a
// controller handler for; TestForwardedKeysAreServed compares.
var implementedByControllers = []int16{19, 20, 33, 37, 43, 44, 45, 46, 55, 57, 64}

func sortFeatures(f *api.Features) {
	slices.SortFunc(f.Supported, func(a, b api.SupportedFeature) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(f.Finalized, func(a, b api.FinalizedFeature) int { return cmp.Compare(a.Name, b.Name) })
}
