package controller

import (
	"strings"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// Defaults is where one node finds the value of a topic config that the topic
// doesn't set. Nodes may differ in it; the controller's counts for elections, each
// broker's for its own replicas.
type Defaults struct {
	Node model.BrokerID
	// Static holds the node's static values under the topic config's name, with
	// hours and minutes already turned into milliseconds.
	Static map[string]string
}

// Inherited is the value for topics that don't set the config: from this node's
// dynamic configs, the cluster's, this node's static ones, the default.
func (d Defaults) Inherited(img *metadata.Image, def TopicConfig) (string, ConfigSource) {
	if len(def.Synonyms) > 0 {
		name := def.Synonyms[0]
		own := metadata.Resource{Type: metadata.BrokerResource, Name: idString(d.Node)}
		if v, ok := img.Configs[own][name]; ok {
			return v, SourceBroker
		}
		if v, ok := img.Configs[metadata.Resource{Type: metadata.BrokerResource}][name]; ok {
			return v, SourceCluster
		}
	}
	if v, ok := d.Static[def.Name]; ok {
		if v == def.Default { // a node fills in what its file doesn't say
			return v, SourceDefault
		}
		return v, SourceStatic
	}
	return def.Default, SourceDefault
}

// Value is one config of a topic, "" for a name that isn't in the table. A topic
// that doesn't exist has only defaults.
func (d Defaults) Value(img *metadata.Image, topic, name string) string {
	if v, ok := img.TopicConfig(topic)[name]; ok {
		return v
	}
	def, ok := LookupTopicConfig(name)
	if !ok {
		return ""
	}
	v, _ := d.Inherited(img, def)
	return v
}

// Topic lists every config of a topic, sorted by name.
func (d Defaults) Topic(img *metadata.Image, topic string) []EffectiveConfig {
	return d.with(img, img.TopicConfig(topic))
}

func (d Defaults) with(img *metadata.Image, overrides map[string]string) []EffectiveConfig {
	out := make([]EffectiveConfig, 0, len(topicConfigs))
	for _, def := range topicConfigs {
		e := EffectiveConfig{Name: def.Name, Source: SourceTopic}
		var set bool
		if e.Value, set = overrides[def.Name]; !set {
			e.Value, e.Source = d.Inherited(img, def)
		}
		out = append(out, e)
	}
	return out
}

func (c *Core) defaults() Defaults { return Defaults{Node: c.cfg.NodeID, Static: c.cfg.Static} }

func (c *Core) minISR(img *metadata.Image, topic string) int {
	n, ok := parse(c.defaults().Value(img, topic, minISRConfig))
	if !ok || n < 1 {
		return 1
	}
	return int(min(n, 1<<20))
}

func (c *Core) uncleanAllowed(img *metadata.Image, topic string) bool {
	return strings.EqualFold(strings.TrimSpace(c.defaults().Value(img, topic, uncleanConfig)), "true")
}
