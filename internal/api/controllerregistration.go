package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveControllerRegistration answers ControllerRegistration (key 70, KIP-919).
func serveControllerRegistration(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (
	kmsg.Response, error) {
	req := msg.(*kmsg.ControllerRegistrationRequest)
	r := &controller.RegisterController{
		Controller: model.BrokerID(req.ControllerID), Incarnation: req.IncarnationID,
		Features: map[string]metadata.VersionRange{},
	}
	for _, l := range req.Listeners {
		r.Endpoints = append(r.Endpoints,
			metadata.Endpoint{Name: l.Name, Host: l.Host, Port: l.Port, Security: l.SecurityProtocol})
	}
	for _, f := range req.Features {
		r.Features[f.Name] = metadata.VersionRange{Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion}
	}
	resp, err := submit[controller.RegisterControllerResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrControllerRegistrationResponse()
	out.ErrorCode, out.ErrorMessage = codeOf(resp.Code), messageOf(resp.Result)
	return out, nil
}
