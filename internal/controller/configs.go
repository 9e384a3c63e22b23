package controller

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

const (
	minISRConfig  = "min.insync.replicas"
	uncleanConfig = "unclean.leader.election.enable"
)

// decideIncrementalAlterConfigs changes single configs (KIP-339); each resource
// succeeds or fails as a whole.
func (c *Core) decideIncrementalAlterConfigs(t *step, r *IncrementalAlterConfigs) *AlterConfigsResponse {
	resp := &AlterConfigsResponse{}
	seen := map[metadata.Resource]bool{}
	for i := range r.Resources {
		ch := &r.Resources[i]
		res := duplicateResource(seen, ch.Resource)
		if !res.Failed() {
			res = c.alterResource(t, ch.Resource, func(old map[string]string) (map[string]string, Result) {
				return applyOps(c, t.img, ch, old)
			})
		}
		resp.Resources = append(resp.Resources, ConfigResult{ch.Resource, res})
	}
	if r.ValidateOnly {
		t.discard()
	}
	return resp
}

// decideAlterConfigs replaces all configs of a resource.
func (c *Core) decideAlterConfigs(t *step, r *AlterConfigs) *AlterConfigsResponse {
	resp := &AlterConfigsResponse{}
	seen := map[metadata.Resource]bool{}
	for i := range r.Resources {
		rep := &r.Resources[i]
		res := duplicateResource(seen, rep.Resource)
		if !res.Failed() {
			res = c.alterResource(t, rep.Resource, func(map[string]string) (map[string]string, Result) {
				return replacement(rep)
			})
		}
		resp.Resources = append(resp.Resources, ConfigResult{rep.Resource, res})
	}
	if r.ValidateOnly {
		t.discard()
	}
	return resp
}

func duplicateResource(seen map[metadata.Resource]bool, r metadata.Resource) Result {
	if seen[r] {
		return fail(InvalidRequest, "Each resource must appear at most once.")
	}
	seen[r] = true
	return Result{}
}

func replacement(r *ConfigReplace) (map[string]string, Result) {
	now := map[string]string{}
	for _, e := range r.Configs {
		if e.Value == nil {
			return nil, fail(InvalidConfig, "Null value not supported for : %s", e.Name)
		}
		now[e.Name] = *e.Value
	}
	return now, Result{}
}

func applyOps(c *Core, img *metadata.Image, ch *ConfigChange, old map[string]string) (map[string]string, Result) {
	now := maps.Clone(old)
	if now == nil {
		now = map[string]string{}
	}
	for i, op := range ch.Ops {
		if slices.ContainsFunc(ch.Ops[:i], func(o ConfigOp) bool { return o.Name == op.Name }) {
			return nil, fail(InvalidRequest, "Error due to duplicate config keys")
		}
		if op.Op != ConfigDelete && op.Value == nil {
			return nil, fail(InvalidRequest, "Null value not supported for : %s", op.Name)
		}
		switch op.Op {
		case ConfigSet:
			now[op.Name] = *op.Value
		case ConfigDelete:
			delete(now, op.Name)
		case ConfigAppend, ConfigSubtract:
			list, res := c.listOp(img, ch.Resource, op, old)
			if res.Failed() {
				return nil, res
			}
			now[op.Name] = list
		default:
			return nil, fail(InvalidRequest, "Unknown config operation %d", op.Op)
		}
	}
	return now, Result{}
}

// listOp adds to or takes from a list; one that isn't set begins at its default.
func (c *Core) listOp(img *metadata.Image, res metadata.Resource, op ConfigOp, old map[string]string) (
	string, Result) {
	def, known := LookupTopicConfig(op.Name)
	if !known && res.Type == metadata.BrokerResource {
		def, known = topicConfigFor(op.Name)
	}
	if !known || def.Type != TypeList {
		return "", fail(InvalidConfig, "Can't %s to key %s because its type is not LIST.",
			map[ConfigOpKind]string{ConfigAppend: "APPEND", ConfigSubtract: "SUBTRACT"}[op.Op], op.Name)
	}
	value, set := old[op.Name]
	if !set && res.Type == metadata.TopicResource {
		value, _ = c.defaults().Inherited(img, def)
	}
	list := SplitList(value)
	for _, v := range SplitList(*op.Value) {
		i := slices.Index(list, v)
		switch {
		case op.Op == ConfigAppend && i < 0:
			list = append(list, v)
		case op.Op == ConfigSubtract && i >= 0:
			list = slices.Delete(list, i, i+1)
		}
	}
	return strings.Join(list, ","), Result{}
}

// alterResource validates a resource's next configs and emits the differences.
func (c *Core) alterResource(t *step, r metadata.Resource,
	next func(old map[string]string) (map[string]string, Result)) Result {
	if res := checkResource(t.img, r); res.Failed() {
		return res
	}
	old := t.img.Configs[r]
	now, res := next(old)
	if res.Failed() {
		return res
	}
	if res := checkValues(r, now, old); res.Failed() {
		return res
	}
	if res := c.checkELRConfigs(t.img, r, old, now); res.Failed() {
		return res
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, kept := now[name]; !kept {
			t.emit(configRecord(r, name, nil))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if v := now[name]; old[name] != v || !has(old, name) {
			t.emit(configRecord(r, name, &v))
		}
	}
	c.minISRChanged(t, r, old, now)
	return Result{}
}

func has(m map[string]string, name string) bool {
	_, ok := m[name]
	return ok
}

func configRecord(r metadata.Resource, name string, value *string) *metadata.ConfigRecord {
	return &metadata.ConfigRecord{Type: r.Type, Resource: r.Name, Name: name, Value: value}
}

func checkResource(img *metadata.Image, r metadata.Resource) Result {
	switch r.Type {
	case metadata.TopicResource:
		if res := checkTopicName(r.Name); res.Failed() {
			return res
		}
		if img.Topics.ByName[r.Name] == nil {
			return fail(UnknownTopic, "The topic '%s' does not exist.", r.Name)
		}
	case metadata.BrokerResource:
		if r.Name == "" {
			return Result{}
		}
		id, err := strconv.ParseInt(r.Name, 10, 32)
		if err != nil || id < 0 {
			return fail(InvalidRequest, "Invalid broker name %s", strconv.Quote(r.Name))
		}
		if _, ok := img.Brokers[model.BrokerID(id)]; !ok {
			return fail(BrokerNotRegistered, "No broker with id %d found.", id)
		}
	case metadata.ClientMetricsResource, metadata.GroupResource:
		if r.Name == "" {
			return fail(InvalidRequest, "Default %s resources are not allowed.", r.Type)
		}
	default:
		return fail(InvalidRequest, "Unexpected resource type %s.", r.Type)
	}
	return Result{}
}

// checkValues checks names and values. Of a broker's configs only those that have
// a topic config behind them are known here; the broker itself judges the rest.
func checkValues(r metadata.Resource, now, old map[string]string) Result {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		var def TopicConfig
		known := true
		switch r.Type {
		case metadata.TopicResource:
			if def, known = LookupTopicConfig(name); !known {
				return fail(InvalidConfig, "Unknown topic config name: %s", name)
			}
		case metadata.BrokerResource:
			def, known = topicConfigFor(name)
		default:
			known = false
		}
		if !known || old[name] == now[name] && has(old, name) {
			continue
		}
		if err := def.Check(now[name]); err != nil {
			return Result{Code: InvalidConfig, Message: err.Error()}
		}
	}
	if r.Type == metadata.TopicResource {
		return checkCombination(now)
	}
	return Result{}
}

// checkCombination checks what concerns two configs at once.
func checkCombination(now map[string]string) Result {
	lo, okLo := parse(now["min.compaction.lag.ms"])
	hi, okHi := parse(now["max.compaction.lag.ms"])
	if okLo && okHi && lo > hi {
		return fail(InvalidConfig, "conflict topic config setting min.compaction.lag.ms (%d) > "+
			"max.compaction.lag.ms (%d)", lo, hi)
	}
	if strings.EqualFold(strings.TrimSpace(now["remote.storage.enable"]), "true") {
		return fail(InvalidConfig, "Tiered Storage functionality is disabled in the broker. Topic cannot be "+
			"configured with remote log storage.")
	}
	return Result{}
}

func parse(v string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	return n, err == nil
}

// topicConfigFor finds the topic config that a broker setting is a synonym of.
// Only a first synonym can be changed at run time.
func topicConfigFor(broker string) (TopicConfig, bool) {
	i := slices.IndexFunc(topicConfigs, func(c TopicConfig) bool {
		return len(c.Synonyms) > 0 && c.Synonyms[0] == broker
	})
	if i < 0 {
		return TopicConfig{}, false
	}
	return topicConfigs[i], true
}

// checkELRConfigs keeps the cluster-wide min.insync.replicas while ELR is on, and
// none per broker: the ELR depends on one value for all (KIP-966).
func (c *Core) checkELRConfigs(img *metadata.Image, r metadata.Resource, old, now map[string]string) Result {
	if img.Features[metadata.ELRVersionFeature] < 1 || r.Type != metadata.BrokerResource {
		return Result{}
	}
	switch {
	case r.Name == "" && has(old, minISRConfig) && !has(now, minISRConfig):
		return fail(InvalidConfig, "Cluster level %s cannot be removed while ELR is enabled.", minISRConfig)
	case r.Name != "" && has(now, minISRConfig):
		return fail(InvalidConfig, "Broker-level %s cannot be altered while ELR is enabled.", minISRConfig)
	}
	return Result{}
}

// minISRChanged empties the ELR of the topics concerned: who was eligible under
// the old minimum may not have all that was committed under the new one.
func (c *Core) minISRChanged(t *step, r metadata.Resource, old, now map[string]string) {
	if t.img.Features[metadata.ELRVersionFeature] < 1 || old[minISRConfig] == now[minISRConfig] {
		return
	}
	switch {
	case r.Type == metadata.TopicResource:
		t.emit(&metadata.ClearELRRecord{Topic: r.Name})
	case r.Type == metadata.BrokerResource && r.Name == "":
		t.emit(&metadata.ClearELRRecord{})
	}
}

// topicConfigs validates the configs of a new topic. A nil value leaves the
// default.
func (c *Core) topicConfigs(img *metadata.Image, entries []ConfigEntry) ([]ConfigEntry, Result) {
	now := map[string]string{}
	for _, e := range entries {
		if e.Value == nil {
			return nil, fail(InvalidConfig, "Null value not supported for topic configs: %s", e.Name)
		}
		now[e.Name] = *e.Value
	}
	if res := checkValues(metadata.Resource{Type: metadata.TopicResource}, now, nil); res.Failed() {
		return nil, res
	}
	out := make([]ConfigEntry, 0, len(now))
	for _, name := range slices.Sorted(maps.Keys(now)) {
		v := now[name]
		out = append(out, ConfigEntry{Name: name, Value: &v})
	}
	return out, Result{}
}

// minISRDefault is what a new cluster with ELR writes as its cluster-wide value.
func (cfg Config) minISRDefault() string {
	if v, ok := cfg.Static[minISRConfig]; ok {
		return v
	}
	return "1"
}
