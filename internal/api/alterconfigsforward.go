package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tidemark/internal/model"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	keyAlterConfigs            int16 = 33
	keyIncrementalAlterConfigs int16 = 44
)

// alterConfigsAPI answers AlterConfigs (key 33) and IncrementalAlterConfigs (key
// 44) on a broker's listener. The active controller decides, except for what
// only the broker itself can judge:
//
//   - another broker's id: clients must send a broker's configs to that broker
//   - a setting that exists but counts only at start
//   - log levels, which can't be changed one by one
//   - a kind of resource that nobody knows
//
// Those are refused here and the rest is forwarded. A request without any is
// forwarded byte for byte.
type alterConfigsAPI struct {
	self    model.BrokerID
	fixed   map[string]bool // settings that exist and can't be changed
	forward forwardAPI
}

// RegisterAlterConfigs adds AlterConfigs and IncrementalAlterConfigs. It goes
// before RegisterForwarding, which leaves alone what is registered.
func RegisterAlterConfigs(h *Handlers, self model.BrokerID, static StaticConfig, to Forwarder) {
	a := &alterConfigsAPI{self: self, fixed: map[string]bool{}, forward: forwardAPI{to}}
	for _, s := range static.StaticSettings() {
		a.fixed[s.Name] = s.Type != "" && !dynamicSetting(s.Name)
	}
	h.RegisterRaw(keyAlterConfigs, a.handle)
	h.RegisterRaw(keyIncrementalAlterConfigs, a.handle)
}

func (a *alterConfigsAPI) handle(c *Call) {
	msg, err := wire.DecodeRequest(c.Header, c.Body)
	if err != nil {
		c.Close(err)
		return
	}
	switch req := msg.(type) {
	case *kmsg.IncrementalAlterConfigsRequest:
		a.incremental(c, req)
	case *kmsg.AlterConfigsRequest:
		a.all(c, req)
	}
}

func (a *alterConfigsAPI) incremental(c *Call, req *kmsg.IncrementalAlterConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	rest := slices.DeleteFunc(slices.Clone(req.Resources), func(r kmsg.IncrementalAlterConfigsRequestResource) bool {
		var names []string
		for _, cfg := range r.Configs {
			if cfg.Op != kmsg.IncrementalAlterConfigOpDelete {
				names = append(names, cfg.Name)
			}
		}
		err := a.refuse(r.ResourceType, r.ResourceName, names)
		if err == nil {
			return false
		}
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
		out.ErrorCode, out.ErrorMessage = ErrorCode(err), kmsg.StringPtr(text(err))
		resp.Resources = append(resp.Resources, out)
		return true
	})
	req.Resources = rest
	a.sendRest(c, req, resp, len(resp.Resources), len(rest), func(got kmsg.Response) {
		resp.Resources = append(resp.Resources, got.(*kmsg.IncrementalAlterConfigsResponse).Resources...)
	})
}

func (a *alterConfigsAPI) all(c *Call, req *kmsg.AlterConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	rest := slices.DeleteFunc(slices.Clone(req.Resources), func(r kmsg.AlterConfigsRequestResource) bool {
		var names []string
		for _, cfg := range r.Configs {
			names = append(names, cfg.Name)
		}
		err := a.refuse(r.ResourceType, r.ResourceName, names)
		if err == nil {
			return false
		}
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
		out.ErrorCode, out.ErrorMessage = ErrorCode(err), kmsg.StringPtr(text(err))
		resp.Resources = append(resp.Resources, out)
		return true
	})
	req.Resources = rest
	a.sendRest(c, req, resp, len(resp.Resources), len(rest), func(got kmsg.Response) {
		resp.Resources = append(resp.Resources, got.(*kmsg.AlterConfigsResponse).Resources...)
	})
}

// sendRest forwards what wasn't refused and answers with both.
func (a *alterConfigsAPI) sendRest(
	c *Call, req kmsg.Request, resp kmsg.Response, refused, left int, merge func(kmsg.Response),
) {
	switch {
	case refused == 0:
		a.forward.send(c, c.Body)
		return
	case left == 0:
		c.Reply(resp)
		return
	}
	inner := *c
	inner.Req = c.Req.Capture(c.Header, func(parts []wire.Part) {
		got, err := decodeCaptured(c.Header, parts)
		if err != nil {
			c.Close(err)
			return
		}
		merge(got)
		c.Reply(resp)
	})
	a.forward.send(&inner, req.AppendTo(nil))
}

func decodeCaptured(h wire.Header, parts []wire.Part) (kmsg.Response, error) {
	data, err := gather(parts)
	if err != nil {
		return nil, err
	}
	skip := 4
	if wire.ResponseHeaderFlexible(h.Key, h.Version) {
		skip = 5
	}
	if len(data) < skip {
		return nil, fmt.Errorf("answer of %d bytes: %w", len(data), wire.ErrMalformed)
	}
	return wire.DecodeResponse(h.Key, h.Version, data[skip:])
}

// refuse is why a resource isn't the controller's to judge, or nil.
func (a *alterConfigsAPI) refuse(kind kmsg.ConfigResourceType, name string, configs []string) error {
	switch kind { // flat switch
	case kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig:
		return nil
	case kmsg.ConfigResourceTypeBroker:
		if name != "" && name != strconv.Itoa(int(a.self)) {
			return refuse(kerr.InvalidRequest, "Unexpected broker id, expected %d, but received %s", a.self, name)
		}
		var fixed []string
		for _, n := range configs {
			if a.fixed[n] {
				fixed = append(fixed, n)
			}
		}
		if len(fixed) > 0 {
			return refuse(kerr.InvalidRequest, "Cannot update these configs dynamically: [%s]", strings.Join(fixed, ", "))
		}
		return nil
	case kmsg.ConfigResourceTypeBrokerLogger:
		if name != strconv.Itoa(int(a.self)) {
			return refuse(kerr.InvalidRequest, "Unexpected node id. Expected %d, but received %s", a.self, name)
		}
		return refuse(kerr.InvalidConfig, "Logger %s does not exist!", strings.Join(configs, ", "))
	}
	return refuse(kerr.InvalidRequest, "Unknown resource type %d", kind)
}
