package peer

import (
	"context"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// AllocateProducerIds (key 67), sent by a broker to the active controller when
// its block of producer ids is used up.

// ProducerIDBlock is a range of producer ids [First, First+Count).
type ProducerIDBlock struct {
	Code  Code
	First model.ProducerID
	Count int32
}

// AllocateProducerIDs asks for the next block.
func (c *Conn) AllocateProducerIDs(ctx context.Context, from model.BrokerID, epoch model.BrokerEpoch,
) (ProducerIDBlock, error) {
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = int32(from), int64(epoch)
	resp, err := do[*kmsg.AllocateProducerIDsResponse](ctx, c, req)
	if err != nil {
		return ProducerIDBlock{}, err
	}
	return ProducerIDBlock{
		Code: Code(resp.ErrorCode), First: model.ProducerID(resp.ProducerIDStart), Count: resp.ProducerIDLen,
	}, nil
}
