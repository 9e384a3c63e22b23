package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveIncrementalAlterConfigs answers IncrementalAlterConfigs (key 44, KIP-339).
// The log levels of a broker never come this far: the broker keeps them.
func serveIncrementalAlterConfigs(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (
	kmsg.Response, error) {
	req := msg.(*kmsg.IncrementalAlterConfigsRequest)
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
	resp, err := submit[controller.AlterConfigsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrIncrementalAlterConfigsResponse()
	for i, res := range resp.Resources {
		o := kmsg.NewIncrementalAlterConfigsResponseResource()
		o.ErrorCode, o.ErrorMessage = codeOf(res.Code), messageOf(res.Result)
		o.ResourceType, o.ResourceName = req.Resources[i].ResourceType, res.Resource.Name
		out.Resources = append(out.Resources, o)
	}
	return out, nil
}

func resource(t kmsg.ConfigResourceType, name string) metadata.Resource {
	return metadata.Resource{Type: metadata.ResourceType(t), Name: name}
}

func refuseIncrementalAlterConfigs(msg kmsg.Request, code int16, text string) kmsg.Response {
	req := msg.(*kmsg.IncrementalAlterConfigsRequest)
	out := kmsg.NewPtrIncrementalAlterConfigsResponse()
	for _, res := range req.Resources {
		o := kmsg.NewIncrementalAlterConfigsResponseResource()
		o.ErrorCode, o.ErrorMessage = code, &text
		o.ResourceType, o.ResourceName = res.ResourceType, res.ResourceName
		out.Resources = append(out.Resources, o)
	}
	return out
}
