package coordinator

import (
	"sync"

	"tidemark/internal/group"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
)

// Coordinator answers for the groups whose partition of __consumer_offsets this
// broker leads. It implements broker.Coordinators. Safe for concurrent use.
type Coordinator struct {
	cfg   Config
	waits *purgatory.Purgatory

	mu struct {
		sync.Mutex
		hosted map[int32]*instance
		closed bool
	}
}

// New returns a Coordinator that hosts nothing yet.
func New(cfg Config) *Coordinator {
	cfg.setDefaults()
	c := &Coordinator{cfg: cfg, waits: purgatory.New(waitsMax)}
	c.mu.hosted = map[int32]*instance{}
	return c
}

// Elected begins to load the groups of a partition that this broker now leads;
// partitions of other topics are ignored.
func (c *Coordinator) Elected(p *partition.Partition, epoch model.LeaderEpoch) {
	if p.TP().Topic != group.OffsetsTopic {
		return
	}
	c.Lead(p.TP().Partition, epoch, replicaLog{p, c.waits, c.cfg.CommitTimeout, c.cfg.Now})
}

// Resigned drops the groups of a partition that this broker leads no more.
func (c *Coordinator) Resigned(tp model.TopicPartition, epoch model.LeaderEpoch) {
	if tp.Topic == group.OffsetsTopic {
		c.Resign(tp.Partition, epoch)
	}
}

// Lead is Elected for any log.
func (c *Coordinator) Lead(index int32, epoch model.LeaderEpoch, log Log) {
	i := &instance{c: c, index: index, epoch: epoch, log: log}
	i.mu.tickets = map[group.Ticket]func(any){}
	c.mu.Lock()
	old := c.mu.hosted[index]
	if c.mu.closed || old != nil && old.epoch >= epoch {
		c.mu.Unlock()
		return
	}
	c.mu.hosted[index] = i
	c.mu.Unlock()
	if old != nil {
		old.end(group.NotCoordinator)
	}
	go i.load()
}

// Resign ends the leadership of that epoch, or an earlier one.
func (c *Coordinator) Resign(index int32, epoch model.LeaderEpoch) {
	c.mu.Lock()
	i := c.mu.hosted[index]
	if i == nil || i.epoch > epoch {
		c.mu.Unlock()
		return
	}
	delete(c.mu.hosted, index)
	c.mu.Unlock()
	i.end(group.NotCoordinator)
}

// Close ends all instances: what waits is answered with NOT_COORDINATOR.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.mu.closed = true
	all := c.instancesLocked()
	c.mu.hosted = map[int32]*instance{}
	c.mu.Unlock()
	for _, i := range all {
		i.end(group.NotCoordinator)
	}
	c.waits.Close()
}

// MetadataChanged removes the offsets of deleted topics. To be subscribed to
// the metadata beside broker.Apply.
func (c *Coordinator) MetadataChanged(_ *metadata.Image, d *metadata.Delta) {
	if d == nil {
		return
	}
	_, deleted := d.Topics()
	names := map[string]bool{}
	for _, id := range deleted {
		if t := d.Base().Topics.ByID[id]; t != nil {
			names[t.Name] = true
		}
	}
	if len(names) == 0 {
		return
	}
	for _, i := range c.instances() {
		i.topicsDeleted(names)
	}
}

func (c *Coordinator) instances() []*instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.instancesLocked()
}

func (c *Coordinator) instancesLocked() []*instance {
	out := make([]*instance, 0, len(c.mu.hosted))
	for _, i := range c.mu.hosted {
		out = append(out, i)
	}
	return out
}

// of returns the instance for a group, or why there is none.
func (c *Coordinator) of(id string) (*instance, group.Code) {
	t := c.cfg.Image().Topics.ByName[group.OffsetsTopic]
	if t == nil {
		return nil, group.NotCoordinator
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, group.CoordinatorNotAvailable
	}
	if i := c.mu.hosted[group.PartitionOf(id, int32(len(t.Partitions)))]; i != nil {
		return i, group.OK
	}
	return nil, group.NotCoordinator
}

// Stats counts what is hosted.
type Stats struct{ Partitions, Loading, Groups, Members, Offsets int }

// Stats counts what is hosted, for metrics.
func (c *Coordinator) Stats() (s Stats) {
	for _, i := range c.instances() {
		i.mu.Lock()
		s.Partitions++
		switch i.mu.state {
		case loading:
			s.Loading++
		case active:
			s.Groups += i.mu.core.Groups()
			s.Members += i.mu.core.Members()
			s.Offsets += i.mu.core.Offsets()
		}
		i.mu.Unlock()
	}
	return s
}
