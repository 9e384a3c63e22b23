package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveBrokerHeartbeat answers BrokerHeartbeat (key 63). v1 reports directories
// that failed; cordoned directories (v2) aren't looked at.
func serveBrokerHeartbeat(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.BrokerHeartbeatRequest)
	resp, err := submit[controller.BrokerHeartbeatResponse](ctx, s, &controller.BrokerHeartbeat{
		Broker: model.BrokerID(req.BrokerID), Epoch: model.BrokerEpoch(req.BrokerEpoch),
		MetadataOffset: model.Offset(req.CurrentMetadataOffset),
		WantFence:      req.WantFence, WantShutdown: req.WantShutdown,
		OfflineDirs: directories(req.OfflineLogDirs),
	})
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrBrokerHeartbeatResponse()
	out.ErrorCode = codeOf(resp.Code)
	out.IsCaughtUp, out.IsFenced, out.ShouldShutdown = resp.CaughtUp, resp.Fenced, resp.ShouldShutdown
	return out, nil
}
