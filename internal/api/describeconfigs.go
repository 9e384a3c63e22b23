package api

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyDescribeConfigs int16 = 32

// StaticConfig is the node's own configuration: file, environment, flags.
type StaticConfig interface {
	// StaticSettings lists every setting that exists, and those that were given
	// without being known. It doesn't change while the node runs.
	StaticSettings() []StaticSetting
}

// StaticSetting is one setting of the node's own configuration.
type StaticSetting struct {
	Name string
	// Value is what was given; nil if the setting was left out.
	Value *string
	// Default counts then; nil is none.
	Default *string
	// Type is boolean, string, int, short, long, double, list, class or password;
	// "" is a setting that nobody knows, whose value might be a secret.
	Type string
}

// ConfigOptions configure DescribeConfigs.
type ConfigOptions struct {
	Self model.BrokerID
	View ClusterView
	// Static may be nil: then only dynamic configs and defaults are known.
	Static StaticConfig
	// Defaults give the values of topics without an override.
	Defaults controller.Defaults
}

// describeConfigsAPI answers DescribeConfigs (key 32) from the local image and
// this node's own configuration, on brokers' and controllers' listeners.
//
//	topic           every config with its value in force, the most specific
//	                source first: topic, this broker, all brokers, static, default
//	broker, by id   only this node's; "" is what is set for all brokers
//	broker logger   an empty list: levels can't be changed one by one
//	group, client   what is set for it
//	metrics
//
// No names, or an empty list, asks for all. v3 adds types and documentation.
type describeConfigsAPI struct {
	ConfigOptions
	settings map[string]StaticSetting
	names    []string // of settings, sorted
}

// RegisterDescribeConfigs adds DescribeConfigs.
func RegisterDescribeConfigs(h *Handlers, o ConfigOptions) {
	a := &describeConfigsAPI{ConfigOptions: o, settings: map[string]StaticSetting{}}
	if o.Static != nil {
		for _, s := range o.Static.StaticSettings() {
			a.settings[s.Name] = s
			a.names = append(a.names, s.Name)
		}
	}
	slices.Sort(a.names)
	a.names = slices.Compact(a.names)
	h.Register(keyDescribeConfigs, a.handle)
}

// configEntry is one config on its way into an answer.
type configEntry struct {
	name      string
	value     *string
	source    kmsg.ConfigSource
	kind      kmsg.ConfigType
	doc       string
	readOnly  bool
	sensitive bool
	synonyms  []configSynonym
}

type configSynonym struct {
	name, value string
	source      kmsg.ConfigSource
}

func (a *describeConfigsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DescribeConfigsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	img := a.View.Image()
	for _, r := range req.Resources {
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName, out.ErrorMessage = r.ResourceType, r.ResourceName, kmsg.StringPtr("")
		entries, err := a.resource(img, r)
		if err != nil {
			out.ErrorCode, out.ErrorMessage = ErrorCode(err), kmsg.StringPtr(text(err))
		}
		for _, e := range entries {
			if len(r.ConfigNames) == 0 || slices.Contains(r.ConfigNames, e.name) {
				out.Configs = append(out.Configs, e.encode(req))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	c.Reply(resp)
}

// refusal is an error of the protocol with a text of its own.
type refusal struct {
	code *kerr.Error
	text string
}

func (r *refusal) Error() string { return r.text }

// Unwrap returns the protocol's error.
func (r *refusal) Unwrap() error { return r.code }

func refuse(code *kerr.Error, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// text is what a client is told of err.
func text(err error) string {
	var own *kerr.Error
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r.text
	case errors.As(err, &own):
		return own.Description
	}
	return err.Error()
}

func (a *describeConfigsAPI) resource(
	img *metadata.Image, r kmsg.DescribeConfigsRequestResource,
) ([]configEntry, error) {
	switch r.ResourceType { // flat switch
	case kmsg.ConfigResourceTypeTopic:
		if err := checkTopicName(r.ResourceName); err != nil {
			return nil, err
		}
		if img.Topics.ByName[r.ResourceName] == nil {
			return nil, refuse(kerr.UnknownTopicOrPartition, "The topic '%s' does not exist.", r.ResourceName)
		}
		return a.topic(img, r.ResourceName), nil
	case kmsg.ConfigResourceTypeBroker:
		if r.ResourceName == "" {
			return a.allBrokers(img), nil
		}
		if err := a.checkSelf(r.ResourceName, " or empty string, but"); err != nil {
			return nil, err
		}
		return a.broker(img), nil
	case kmsg.ConfigResourceTypeBrokerLogger:
		if r.ResourceName == "" {
			return nil, refuse(kerr.InvalidRequest, "Broker id must not be empty")
		}
		return nil, a.checkSelf(r.ResourceName, " but")
	case kmsg.ConfigResourceTypeClientMetrics:
		if r.ResourceName == "" {
			return nil, refuse(kerr.InvalidRequest, "Client metrics subscription name must not be empty")
		}
		res := metadata.Resource{Type: metadata.ClientMetricsResource, Name: r.ResourceName}
		return ownConfigs(img, res, kmsg.ConfigSourceClientMetricsConfig), nil
	case kmsg.ConfigResourceTypeGroupConfig:
		if r.ResourceName == "" {
			return nil, refuse(kerr.InvalidRequest, "Group name must not be empty")
		}
		res := metadata.Resource{Type: metadata.GroupResource, Name: r.ResourceName}
		return ownConfigs(img, res, kmsg.ConfigSourceGroupConfig), nil
	}
	return nil, refuse(kerr.InvalidRequest, "Unknown resource type %d", r.ResourceType)
}

func (a *describeConfigsAPI) checkSelf(name, or string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	switch {
	case err != nil:
		return refuse(kerr.InvalidRequest, "Broker id must be an integer, but it is: %s", name)
	case model.BrokerID(id) != a.Self:
		return refuse(kerr.InvalidRequest, "Unexpected broker id, expected %d%s received %s", a.Self, or, name)
	}
	return nil
}

func checkTopicName(name string) error {
	switch {
	case validTopicName(name):
		return nil
	case name == "":
		return refuse(kerr.InvalidTopicException, "Topic name is invalid: the empty string is not allowed")
	}
	return refuse(kerr.InvalidTopicException, "Topic name is invalid: '%s' is longer than 249 characters, '.', '..', or "+
		"contains characters other than ASCII alphanumerics, '.', '_' and '-'", name)
}

func (a *describeConfigsAPI) topic(img *metadata.Image, topic string) []configEntry {
	overrides := img.TopicConfig(topic)
	var out []configEntry
	for _, def := range controller.TopicConfigs() {
		e := configEntry{name: def.Name, kind: topicConfigTypes[def.Type], doc: topicConfigDocs[def.Name]}
		value, _ := a.Defaults.Inherited(img, def)
		if len(def.Synonyms) > 0 {
			e.synonyms = a.synonyms(img, def.Synonyms[0], def.Synonyms, true)
		}
		if own, ok := overrides[def.Name]; ok {
			value = own
			e.synonyms = slices.Insert(e.synonyms, 0, configSynonym{def.Name, own, kmsg.ConfigSourceDynamicTopicConfig})
		}
		e.value, e.source = &value, sourceOf(e.synonyms)
		out = append(out, e)
	}
	return out
}

// broker describes the settings of this node.
func (a *describeConfigsAPI) broker(img *metadata.Image) []configEntry {
	var out []configEntry
	for _, name := range a.brokerNames(img) {
		s := a.settings[name]
		e := a.brokerEntry(name)
		e.synonyms = a.synonyms(img, name, family(name), false)
		e.source = sourceOf(e.synonyms)
		switch {
		case e.sensitive:
			for i := range e.synonyms {
				e.synonyms[i].value = ""
			}
		case len(e.synonyms) > 0:
			e.value = &e.synonyms[0].value
		default:
			e.value = cmp.Or(s.Value, s.Default)
		}
		out = append(out, e)
	}
	return out
}

// brokerNames lists the settings of this node, and what else is set for it.
func (a *describeConfigsAPI) brokerNames(img *metadata.Image) []string {
	names := slices.Clone(a.names)
	for _, resource := range []string{"", strconv.Itoa(int(a.Self))} {
		for name := range img.Configs[metadata.Resource{Type: metadata.BrokerResource, Name: resource}] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// allBrokers describes what is set for all brokers.
func (a *describeConfigsAPI) allBrokers(img *metadata.Image) []configEntry {
	res := metadata.Resource{Type: metadata.BrokerResource}
	out := ownConfigs(img, res, kmsg.ConfigSourceDynamicDefaultBrokerConfig)
	for i := range out {
		b := a.brokerEntry(out[i].name)
		b.value, b.source, b.synonyms = out[i].value, out[i].source, out[i].synonyms
		if out[i] = b; b.sensitive {
			out[i].value, out[i].synonyms = nil, nil
		}
	}
	return out
}

// brokerEntry is what is known of a broker setting besides its value.
func (a *describeConfigsAPI) brokerEntry(name string) configEntry {
	s := a.settings[name]
	e := configEntry{name: name, kind: settingTypes[s.Type], readOnly: !dynamicSetting(name)}
	e.sensitive = e.kind == kmsg.ConfigTypePassword || e.kind == kmsg.ConfigTypeUnknown
	if slices.Contains(throttles, name) {
		e.kind, e.sensitive = kmsg.ConfigTypeLong, false
	}
	if def, ok := synonymOf(name); ok {
		e.doc, e.kind, e.sensitive = topicConfigDocs[def.Name], topicConfigTypes[def.Type], false
	}
	return e
}

// synonyms lists where the value of a setting comes from, strongest first.
// names are tried in order within each source. What stands before the first
// entry of name itself says nothing about name and is left out; of a topic's
// config, whose unit may differ from the setting's, only defaults are.
func (a *describeConfigsAPI) synonyms(img *metadata.Image, name string, names []string, topic bool) []configSynonym {
	var list []configSynonym
	dynamic := func(resource string, source kmsg.ConfigSource) {
		set := img.Configs[metadata.Resource{Type: metadata.BrokerResource, Name: resource}]
		for _, n := range names {
			// Of a setting that exists and counts only at start, nobody has taken notice.
			if v, ok := set[n]; ok && (dynamicSetting(n) || a.settings[n].Type == "") {
				list = append(list, configSynonym{n, v, source})
			}
		}
	}
	static := func(of func(StaticSetting) *string, source kmsg.ConfigSource) {
		for _, n := range names {
			if v := of(a.settings[n]); v != nil {
				list = append(list, configSynonym{n, *v, source})
			}
		}
	}
	dynamic(strconv.Itoa(int(a.Self)), kmsg.ConfigSourceDynamicBrokerConfig)
	dynamic("", kmsg.ConfigSourceDynamicDefaultBrokerConfig)
	static(func(s StaticSetting) *string { return s.Value }, kmsg.ConfigSourceStaticBrokerConfig)
	static(func(s StaticSetting) *string { return s.Default }, kmsg.ConfigSourceDefaultConfig)
	first := slices.IndexFunc(list, func(s configSynonym) bool {
		return s.name == name || topic && s.source != kmsg.ConfigSourceDefaultConfig
	})
	if first < 0 {
		return nil
	}
	return list[first:]
}

func sourceOf(list []configSynonym) kmsg.ConfigSource {
	if len(list) == 0 {
		return kmsg.ConfigSourceDefaultConfig
	}
	return list[0].source
}

// ownConfigs lists what is set on a resource itself, by name.
func ownConfigs(img *metadata.Image, r metadata.Resource, source kmsg.ConfigSource) []configEntry {
	var out []configEntry
	for name, value := range img.Configs[r] {
		out = append(out, configEntry{
			name: name, value: &value, source: source, kind: kmsg.ConfigTypeString,
			synonyms: []configSynonym{{name, value, source}},
		})
	}
	slices.SortFunc(out, func(a, b configEntry) int { return cmp.Compare(a.name, b.name) })
	return out
}

func (e configEntry) encode(req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value, out.Source, out.ConfigType = e.name, e.value, e.source, e.kind
	out.ReadOnly, out.IsSensitive = e.readOnly, e.sensitive
	if req.IncludeDocumentation && e.doc != "" {
		out.Documentation = &e.doc
	}
	if req.IncludeSynonyms {
		for _, s := range e.synonyms {
			syn := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			syn.Name, syn.Source = s.name, s.source
			if !e.sensitive {
				syn.Value = &s.value
			}
			out.ConfigSynonyms = append(out.ConfigSynonyms, syn)
		}
	}
	return out
}
