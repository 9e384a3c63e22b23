package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterConfigs (key 33) replaces all configs of a resource, IncrementalAlterConfigs
// (key 44, KIP-339) changes some of them. Only what a request says of a config
// differs; resources and answers have one shape. All versions mean the same.

// alteredResource is a resource of either request.
type alteredResource struct {
	metadata.Resource
	set []string // names of the configs that get a value
}

// alterOutcome answers for a resource; the other API's has the same fields.
type alterOutcome = kmsg.AlterConfigsResponseResource

func (r alteredResource) outcome(code int16, text *string) alterOutcome {
	return alterOutcome{
		ErrorCode: code, ErrorMessage: text, ResourceType: kmsg.ConfigResourceType(r.Type), ResourceName: r.Name,
	}
}

func resource(t kmsg.ConfigResourceType, name string) metadata.Resource {
	return metadata.Resource{Type: metadata.ResourceType(t), Name: name}
}

// alteredResources lists the resources of a request, in its order.
func alteredResources(msg kmsg.Request) (out []alteredResource) {
	switch req := msg.(type) {
	case *kmsg.AlterConfigsRequest:
		for _, r := range req.Resources {
			a := alteredResource{Resource: resource(r.ResourceType, r.ResourceName)}
			for _, cfg := range r.Configs {
				a.set = append(a.set, cfg.Name)
			}
			out = append(out, a)
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		for _, r := range req.Resources {
			a := alteredResource{Resource: resource(r.ResourceType, r.ResourceName)}
			for _, cfg := range r.Configs {
				if cfg.Op != kmsg.IncrementalAlterConfigOpDelete {
					a.set = append(a.set, cfg.Name)
				}
			}
			out = append(out, a)
		}
	}
	return out
}

// keepResources drops the other resources from a request.
func keepResources(msg kmsg.Request, keep []int) {
	switch req := msg.(type) {
	case *kmsg.AlterConfigsRequest:
		req.Resources = pick(req.Resources, keep)
	case *kmsg.IncrementalAlterConfigsRequest:
		req.Resources = pick(req.Resources, keep)
	}
}

func pick[T any](all []T, keep []int) []T {
	some := make([]T, len(keep))
	for i, k := range keep {
		some[i] = all[k]
	}
	return some
}

// alterResponse answers a request of either kind.
func alterResponse(msg kmsg.Request, outcomes []alterOutcome) kmsg.Response {
	switch resp := msg.ResponseKind().(type) {
	case *kmsg.AlterConfigsResponse:
		resp.Resources = outcomes
		return resp
	case *kmsg.IncrementalAlterConfigsResponse:
		for _, o := range outcomes {
			resp.Resources = append(resp.Resources, kmsg.IncrementalAlterConfigsResponseResource(o))
		}
		return resp
	}
	return nil
}

// alterOutcomes is what an answer of either kind says.
func alterOutcomes(msg kmsg.Response) (out []alterOutcome) {
	switch resp := msg.(type) {
	case *kmsg.AlterConfigsResponse:
		return resp.Resources
	case *kmsg.IncrementalAlterConfigsResponse:
		for _, r := range resp.Resources {
			out = append(out, alterOutcome(r))
		}
	}
	return out
}

// serveAlterConfigs answers on a controller. The log levels of a broker never come
// this far: the broker keeps them.
func serveAlterConfigs(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	resp, err := submit[controller.AlterConfigsResponse](ctx, s, alteration(msg))
	if err != nil {
		return nil, err
	}
	asked := alteredResources(msg)
	outcomes := make([]alterOutcome, len(resp.Resources))
	for i, res := range resp.Resources {
		outcomes[i] = asked[i].outcome(codeOf(res.Code), messageOf(res.Result))
	}
	return alterResponse(msg, outcomes), nil
}

// alteration is the request as the controller takes it.
func alteration(msg kmsg.Request) any {
	switch req := msg.(type) {
	case *kmsg.AlterConfigsRequest:
		r := &controller.AlterConfigs{ValidateOnly: req.ValidateOnly}
		for _, res := range req.Resources {
			rep := controller.ConfigReplace{Resource: resource(res.ResourceType, res.ResourceName)}
			for _, cfg := range res.Configs {
				rep.Configs = append(rep.Configs, controller.ConfigEntry{Name: cfg.Name, Value: cfg.Value})
			}
			r.Resources = append(r.Resources, rep)
		}
		return r
	case *kmsg.IncrementalAlterConfigsRequest:
		r := &controller.IncrementalAlterConfigs{ValidateOnly: req.ValidateOnly}
		for _, res := range req.Resources {
			ch := controller.ConfigChange{Resource: resource(res.ResourceType, res.ResourceName)}
			for _, cfg := range res.Configs {
				ch.Ops = append(ch.Ops, controller.ConfigOp{
					Name: cfg.Name, Op: controller.ConfigOpKind(cfg.Op), Value: cfg.Value,
				})
			}
			r.Resources = append(r.Resources, ch)
		}
		return r
	}
	return nil
}

func refuseAlterConfigs(msg kmsg.Request, code int16, text string) kmsg.Response {
	var outcomes []alterOutcome
	for _, r := range alteredResources(msg) {
		outcomes = append(outcomes, r.outcome(code, &text))
	}
	return alterResponse(msg, outcomes)
}
