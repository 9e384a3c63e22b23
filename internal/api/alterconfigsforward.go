package api

import (
	"fmt"
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
	var refused []alterOutcome
	var left []int
	for i, r := range alteredResources(msg) {
		if err := a.refuse(r); err != nil {
			refused = append(refused, r.outcome(ErrorCode(err), kmsg.StringPtr(text(err))))
		} else {
			left = append(left, i)
		}
	}
	switch {
	case len(refused) == 0:
		a.forward.send(c, c.Body)
		return
	case len(left) == 0:
		c.Reply(alterResponse(msg, refused))
		return
	}
	inner := *c
	inner.Req = c.Req.Capture(c.Header, func(parts []wire.Part) {
		got, err := decodeCaptured(c.Header, parts)
		if err != nil {
			c.Close(err)
			return
		}
		c.Reply(alterResponse(msg, append(refused, alterOutcomes(got)...)))
	})
	keepResources(msg, left)
	a.forward.send(&inner, msg.AppendTo(nil))
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
func (a *alterConfigsAPI) refuse(r alteredResource) error {
	name := r.Name
	switch kmsg.ConfigResourceType(r.Type) { // flat switch
	case kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig:
		return nil
	case kmsg.ConfigResourceTypeBroker:
		if name != "" && name != strconv.Itoa(int(a.self)) {
			return refuse(kerr.InvalidRequest, "Unexpected broker id, expected %d, but received %s", a.self, name)
		}
		var fixed []string
		for _, n := range r.set {
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
		return refuse(kerr.InvalidConfig, "Logger %s does not exist!", strings.Join(r.set, ", "))
	}
	return refuse(kerr.InvalidRequest, "Unknown resource type %d", r.Type)
}
