package peer

import (
	"context"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BrokerHeartbeat (key 63), sent by a registered broker to the active controller.

// Heartbeat is one sign of life and what the broker wishes.
type Heartbeat struct {
	Broker         model.BrokerID
	Epoch          model.BrokerEpoch
	MetadataOffset model.Offset // last applied offset of the metadata log
	WantFence      bool
	WantShutdown   bool
	OfflineDirs    []model.DirectoryID
	CordonedDirs   []model.DirectoryID // nil says nothing about cordoned directories
}

// HeartbeatResult is the controller's answer; the flags count only with CodeNone.
type HeartbeatResult struct {
	Code           Code
	CaughtUp       bool // the metadata offset reached the broker's own registration
	Fenced         bool
	ShouldShutdown bool
}

// BrokerHeartbeat sends one heartbeat.
func (c *Conn) BrokerHeartbeat(ctx context.Context, h Heartbeat) (HeartbeatResult, error) {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.BrokerID, req.BrokerEpoch = int32(h.Broker), int64(h.Epoch)
	req.CurrentMetadataOffset = int64(h.MetadataOffset)
	req.WantFence, req.WantShutdown = h.WantFence, h.WantShutdown
	for _, d := range h.OfflineDirs {
		req.OfflineLogDirs = append(req.OfflineLogDirs, d)
	}
	if h.CordonedDirs != nil {
		req.CordonedLogDirs = make([][16]byte, 0, len(h.CordonedDirs))
		for _, d := range h.CordonedDirs {
			req.CordonedLogDirs = append(req.CordonedLogDirs, d)
		}
	}
	resp, err := do[*kmsg.BrokerHeartbeatResponse](ctx, c, req)
	if err != nil {
		return HeartbeatResult{}, err
	}
	return HeartbeatResult{
		Code: Code(resp.ErrorCode), CaughtUp: resp.IsCaughtUp, Fenced: resp.IsFenced, ShouldShutdown: resp.ShouldShutdown,
	}, nil
}
