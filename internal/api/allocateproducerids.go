package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveAllocateProducerIDs answers AllocateProducerIds (key 67).
func serveAllocateProducerIDs(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.AllocateProducerIDsRequest)
	resp, err := submit[controller.AllocateProducerIDsResponse](ctx, s, &controller.AllocateProducerIDs{
		Broker: model.BrokerID(req.BrokerID), Epoch: model.BrokerEpoch(req.BrokerEpoch),
	})
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrAllocateProducerIDsResponse()
	out.ErrorCode = codeOf(resp.Code)
	out.ProducerIDStart, out.ProducerIDLen = int64(resp.First), resp.Count
	return out, nil
}
