package controller

import (
	"fmt"
	"slices"
	"strings"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// decideCreateTopics creates each topic on its own; one that fails leaves nothing
// behind (invariant 7).
func (c *Core) decideCreateTopics(t *step, r *CreateTopics) *CreateTopicsResponse {
	resp := &CreateTopicsResponse{}
	count := map[string]int{}
	for i := range r.Topics {
		count[r.Topics[i].Name]++
	}
	made := map[string]bool{} // names and collision keys of this request
	for i := range r.Topics {
		nt := &r.Topics[i]
		n := count[nt.Name]
		if n == 0 {
			continue // a duplicate, answered already
		}
		count[nt.Name] = 0
		out := CreatedTopic{Name: nt.Name, Partitions: -1, ReplicationFactor: -1}
		if n > 1 {
			out.Result = fail(InvalidRequest, "Duplicate topic name.")
		} else {
			c.createTopic(t, nt, made, &out)
		}
		resp.Topics = append(resp.Topics, out)
	}
	switch {
	case r.ValidateOnly:
		t.discard()
	case len(t.records) > maxRecords:
		t.discard()
		for i := range resp.Topics {
			resp.Topics[i] = CreatedTopic{Name: resp.Topics[i].Name, Result: tooManyRecords(),
				Partitions: -1, ReplicationFactor: -1}
		}
	}
	return resp
}

func (c *Core) createTopic(t *step, nt *NewTopic, made map[string]bool, out *CreatedTopic) {
	if out.Result = checkNewName(t.img, nt.Name, made); out.Failed() {
		return
	}
	configs, res := c.topicConfigs(t.img, nt.Configs)
	if out.Result = res; out.Failed() {
		return
	}
	parts, res := c.initialPartitions(t, nt)
	if out.Result = res; out.Failed() {
		return
	}
	out.ID = freshID(t)
	t.emit(&metadata.TopicRecord{Name: nt.Name, TopicID: out.ID})
	for _, cr := range configs {
		t.emit(&metadata.ConfigRecord{
			Type: metadata.TopicResource, Resource: nt.Name, Name: cr.Name, Value: cr.Value,
		})
	}
	for i, p := range parts {
		p.TopicID, p.PartitionID = out.ID, int32(i)
		t.emit(p)
	}
	made[nt.Name], made[collisionKey(nt.Name)] = true, true
	out.Partitions, out.ReplicationFactor = int32(len(parts)), int16(len(parts[0].Replicas))
	overrides := map[string]string{}
	for _, e := range configs {
		overrides[e.Name] = *e.Value
	}
	out.Configs = c.defaults().with(t.img, overrides)
}

// initialPartitions places a new topic, by hand or by the placer.
func (c *Core) initialPartitions(t *step, nt *NewTopic) ([]*metadata.PartitionRecord, Result) {
	if len(nt.Assignments) > 0 {
		return c.manualPartitions(t, nt)
	}
	n, rf := nt.Partitions, nt.ReplicationFactor
	if n == -1 {
		n = c.cfg.NumPartitions
	}
	if rf == -1 {
		rf = c.cfg.ReplicationFactor
	}
	switch {
	case n <= 0:
		return nil, fail(InvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	case rf <= 0:
		return nil, fail(InvalidReplicationFactor,
			"Replication factor was set to an invalid non-positive value.")
	case n > maxRecords:
		return nil, tooManyRecords()
	}
	return c.placed(t, int(n), int(rf))
}

func (c *Core) placed(t *step, n, rf int) ([]*metadata.PartitionRecord, Result) {
	pl := newPlacer(t.img, t.env.Rand)
	if res := pl.check(rf); res.Failed() {
		res.Message = fmt.Sprintf("Unable to replicate the partition %d time(s): %s", rf, res.Message)
		return nil, res
	}
	parts := make([]*metadata.PartitionRecord, 0, n)
	for _, replicas := range pl.place(n, rf) {
		parts = append(parts, newPartition(t.img, replicas))
	}
	return parts, Result{}
}

func (c *Core) manualPartitions(t *step, nt *NewTopic) ([]*metadata.PartitionRecord, Result) {
	switch {
	case nt.ReplicationFactor != -1:
		return nil, fail(InvalidRequest,
			"A manual partition assignment was specified, but replication factor was not set to -1.")
	case nt.Partitions != -1:
		return nil, fail(InvalidRequest,
			"A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	as := slices.SortedStableFunc(slices.Values(nt.Assignments), func(a, b Assignment) int {
		return int(a.Partition) - int(b.Partition)
	})
	parts := make([]*metadata.PartitionRecord, 0, len(as))
	for i, a := range as {
		switch {
		case i > 0 && as[i-1].Partition == a.Partition:
			return nil, fail(InvalidAssignment, "Found multiple manual partition assignments for partition %d",
				a.Partition)
		case a.Partition != int32(i):
			return nil, fail(InvalidAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		p, res := c.manualPartition(t.img, a.Replicas, len(as[0].Replicas))
		if res.Failed() {
			return nil, res
		}
		parts = append(parts, p)
	}
	return parts, Result{}
}

// manualPartition checks one replica list given by hand, which must be as long as
// the others of its topic and have a live member.
func (c *Core) manualPartition(img *metadata.Image, replicas []model.BrokerID, rf int) (
	*metadata.PartitionRecord, Result) {
	if res := checkAssignment(img, replicas); res.Failed() {
		return nil, res
	}
	if len(replicas) != rf {
		return nil, fail(InvalidAssignment, "The manual partition assignment includes a partition with %d "+
			"replica(s), but this is not consistent with previous partitions, which have %d replica(s).",
			len(replicas), rf)
	}
	p := newPartition(img, replicas)
	if p.Leader == model.NoBroker {
		return nil, fail(InvalidAssignment, "All brokers specified in the manual partition assignment for "+
			"the partition are fenced or in controlled shutdown.")
	}
	return p, Result{}
}

// newPartition is the first state of a partition: the live replicas are its ISR,
// in order, and the first of them leads.
func newPartition(img *metadata.Image, replicas []model.BrokerID) *metadata.PartitionRecord {
	p := &metadata.PartitionRecord{Replicas: slices.Clone(replicas), Leader: model.NoBroker}
	el := voters(img)
	for _, id := range replicas {
		p.Dirs = append(p.Dirs, defaultDir(img.Brokers[id]))
		if el.active(id) == Eligible {
			p.ISR = append(p.ISR, id)
		}
	}
	if len(p.ISR) > 0 {
		p.Leader = p.ISR[0]
	}
	return p
}

const maxTopicName = 249 // a directory is named "name-partition.uniquesuffix"

func checkNewName(img *metadata.Image, name string, made map[string]bool) Result {
	if name == model.MetadataTopic {
		return fail(TopicAuthorization, "Authorization failed.")
	}
	if res := checkTopicName(name); res.Failed() {
		return res
	}
	if img.Topics.ByName[name] != nil {
		return fail(TopicExists, "Topic '%s' already exists.", name)
	}
	key := collisionKey(name)
	if made[key] {
		return fail(InvalidTopic, "Topic '%s' collides with another topic of this request.", name)
	}
	if !strings.ContainsAny(name, "._") {
		return Result{} // nothing to confuse
	}
	if other := collides(img, key); other != "" {
		return fail(InvalidTopic, "Topic '%s' collides with existing topic: %s", name, other)
	}
	return Result{}
}

// collides returns the first existing name that differs only in '.' and '_': both
// become the same name in metrics.
func collides(img *metadata.Image, key string) string {
	found := ""
	for name := range img.Topics.ByName {
		if len(name) == len(key) && collisionKey(name) == key && (found == "" || name < found) {
			found = name
		}
	}
	return found
}

func collisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

// checkTopicName is what makes a name usable as a directory.
func checkTopicName(name string) Result {
	switch {
	case name == "":
		return fail(InvalidTopic, "Topic name is invalid: the empty string is not allowed")
	case name == "." || name == "..":
		return fail(InvalidTopic, "Topic name is invalid: '.' or '..' is not allowed")
	case len(name) > maxTopicName:
		return fail(InvalidTopic, "Topic name is invalid: the length of '%s' is longer than the max allowed "+
			"length %d", name, maxTopicName)
	}
	for _, ch := range []byte(name) {
		legal := ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' ||
			ch == '.' || ch == '_' || ch == '-'
		if !legal {
			return fail(InvalidTopic, "Topic name is invalid: '%s' contains one or more characters other than "+
				"ASCII alphanumerics, '.', '_' and '-'", name)
		}
	}
	return Result{}
}

// decideDeleteTopics removes topics at once; brokers that are down remove their
// replicas when they come back.
func (c *Core) decideDeleteTopics(t *step, r *DeleteTopics) *DeleteTopicsResponse {
	resp := &DeleteTopicsResponse{}
	gone := map[model.TopicID]bool{}
	for _, ref := range r.Topics {
		out := DeletedTopic{Name: ref.Name, ID: ref.ID}
		topic := lookup(t.img, ref)
		switch {
		case !c.cfg.DeleteTopics:
			out.Result = fail(TopicDeletionDisabled, "Topic deletion is disabled.")
		case topic == nil && !ref.ID.IsZero():
			out.Result = fail(UnknownTopicID, "This server does not host this topic ID.")
		case topic == nil:
			out.Result = fail(UnknownTopic, "This server does not host this topic-partition.")
		case gone[topic.ID]:
			out.Result = fail(InvalidRequest, "Duplicate topic.")
		case len(t.records) >= maxRecords:
			out.Result = tooManyRecords()
		default:
			out.Name, out.ID = topic.Name, topic.ID
			gone[topic.ID] = true
			t.emit(&metadata.RemoveTopicRecord{TopicID: topic.ID})
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func lookup(img *metadata.Image, r TopicRef) *metadata.Topic {
	if !r.ID.IsZero() {
		return img.Topics.ByID[r.ID]
	}
	return img.Topics.ByName[r.Name]
}

// decideCreatePartitions grows topics; the present partitions don't move.
func (c *Core) decideCreatePartitions(t *step, r *CreatePartitions) *CreatePartitionsResponse {
	resp := &CreatePartitionsResponse{}
	seen := map[string]bool{}
	for i := range r.Topics {
		m := &r.Topics[i]
		var res Result
		if seen[m.Name] {
			res = fail(InvalidRequest, "Duplicate topic name.")
		} else {
			res = c.addPartitions(t, m)
		}
		seen[m.Name] = true
		resp.Topics = append(resp.Topics, TopicResult{m.Name, res})
	}
	if r.ValidateOnly {
		t.discard()
	}
	return resp
}

func (c *Core) addPartitions(t *step, m *MorePartitions) Result {
	topic := t.img.Topics.ByName[m.Name]
	if topic == nil {
		return fail(UnknownTopic, "This server does not host this topic-partition.")
	}
	have := len(topic.Partitions)
	more := int(m.Count) - have
	switch {
	case more == 0:
		return fail(InvalidPartitions, "Topic already has %d partition(s).", have)
	case more < 0:
		return fail(InvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an "+
			"increase.", m.Name, have, m.Count)
	case more > maxRecords-len(t.records):
		return tooManyRecords()
	}
	parts, res := c.morePartitions(t, m, topic, more)
	if res.Failed() {
		return res
	}
	for i, p := range parts {
		p.TopicID, p.PartitionID = topic.ID, int32(have+i)
		t.emit(p)
	}
	return Result{}
}

func (c *Core) morePartitions(t *step, m *MorePartitions, topic *metadata.Topic, more int) (
	[]*metadata.PartitionRecord, Result) {
	first := topic.Partitions[0]
	rf := len(original(first))
	if m.Assignments == nil {
		return c.placed(t, more, rf)
	}
	if len(m.Assignments) != more {
		return nil, fail(InvalidAssignment, "Attempted to add %d additional partition(s), but only %d "+
			"assignment(s) were specified.", more, len(m.Assignments))
	}
	var parts []*metadata.PartitionRecord
	for _, replicas := range m.Assignments {
		p, res := c.manualPartition(t.img, replicas, rf)
		if res.Failed() {
			return nil, res
		}
		parts = append(parts, p)
	}
	return parts, Result{}
}
