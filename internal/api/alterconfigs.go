package api

import (
	"context"

	"tidemark/internal/controller"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveAlterConfigs answers AlterConfigs (key 33), which replaces all configs of a
// resource. All versions mean the same.
func serveAlterConfigs(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.AlterConfigsRequest)
	r := &controller.AlterConfigs{ValidateOnly: req.ValidateOnly}
	for _, res := range req.Resources {
		rep := controller.ConfigReplace{Resource: resource(res.ResourceType, res.ResourceName)}
		for _, cfg := range res.Configs {
			rep.Configs = append(rep.Configs, controller.ConfigEntry{Name: cfg.Name, Value: cfg.Value})
		}
		r.Resources = append(r.Resources, rep)
	}
	resp, err := submit[controller.AlterConfigsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrAlterConfigsResponse()
	for i, res := range resp.Resources {
		o := kmsg.NewAlterConfigsResponseResource()
		o.ErrorCode, o.ErrorMessage = codeOf(res.Code), messageOf(res.Result)
		o.ResourceType, o.ResourceName = req.Resources[i].ResourceType, res.Resource.Name
		out.Resources = append(out.Resources, o)
	}
	return out, nil
}

func refuseAlterConfigs(msg kmsg.Request, code int16, text string) kmsg.Response {
	req := msg.(*kmsg.AlterConfigsRequest)
	out := kmsg.NewPtrAlterConfigsResponse()
	for _, res := range req.Resources {
		o := kmsg.NewAlterConfigsResponseResource()
		o.ErrorCode, o.ErrorMessage = code, &text
		o.ResourceType, o.ResourceName = res.ResourceType, res.ResourceName
		out.Resources = append(out.Resources, o)
	}
	return out
}
