package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveUnregisterBroker answers UnregisterBroker (key 64).
func serveUnregisterBroker(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.UnregisterBrokerRequest)
	resp, err := submit[controller.UnregisterBrokerResponse](ctx, s,
		&controller.UnregisterBroker{Broker: model.BrokerID(req.BrokerID)})
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrUnregisterBrokerResponse()
	out.ErrorCode, out.ErrorMessage = codeOf(resp.Code), messageOf(resp.Result)
	return out, nil
}
