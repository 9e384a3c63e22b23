package node

import (
	"tidemark/internal/api"
	"tidemark/internal/config"
)

// staticSettings shows the node's own configuration to DescribeConfigs.
type staticSettings struct{ c *config.Config }

// StaticSettings implements api.StaticConfig.
func (s staticSettings) StaticSettings() []api.StaticSetting {
	var out []api.StaticSetting
	for _, k := range config.Keys() {
		if k.Status == config.Removed {
			continue
		}
		set := api.StaticSetting{Name: k.Name, Type: k.Kind}
		if k.Default != "" && k.Default != config.Required {
			set.Default = &k.Default
		}
		if given, ok := s.c.Settings[k.Name]; ok {
			set.Value = &given.Value
		}
		out = append(out, set)
	}
	for name, given := range s.c.Settings {
		if _, known := config.Lookup(name); !known {
			out = append(out, api.StaticSetting{Name: name, Value: &given.Value})
		}
	}
	return out
}
