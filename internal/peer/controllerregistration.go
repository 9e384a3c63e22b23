package peer

import (
	"context"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ControllerRegistration (key 70), sent by every controller to the active one.

// ControllerRegistration is what a controller tells about itself.
type ControllerRegistration struct {
	Controller  model.BrokerID
	Incarnation model.UUID // random per process start
	Listeners   []Listener
	Features    []Feature
}

// RegisterController sends a registration. NOT_CONTROLLER means to ask another.
func (c *Conn) RegisterController(ctx context.Context, r ControllerRegistration) (Code, error) {
	req := kmsg.NewPtrControllerRegistrationRequest()
	req.ControllerID, req.IncarnationID = int32(r.Controller), r.Incarnation
	for _, l := range r.Listeners {
		kl := kmsg.NewControllerRegistrationRequestListener()
		kl.Name, kl.Host, kl.Port, kl.SecurityProtocol = l.Name, l.Host, l.Port, l.Security
		req.Listeners = append(req.Listeners, kl)
	}
	for _, f := range r.Features {
		kf := kmsg.NewControllerRegistrationRequestFeature()
		kf.Name, kf.MinSupportedVersion, kf.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, kf)
	}
	resp, err := do[*kmsg.ControllerRegistrationResponse](ctx, c, req)
	if err != nil {
		return 0, err
	}
	return Code(resp.ErrorCode), nil
}
