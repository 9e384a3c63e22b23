package controller

import (
	"math"
	"strconv"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// decideAllocateProducerIDs hands out the next block; ids never come back.
func (c *Core) decideAllocateProducerIDs(t *step, r *AllocateProducerIDs) *AllocateProducerIDsResponse {
	if res := checkEpoch(t.img.Brokers[r.Broker], r.Broker, r.Epoch); res.Failed() {
		return &AllocateProducerIDsResponse{Result: res}
	}
	first := t.img.NextProducerID
	if first > math.MaxInt64-producerIDBlock {
		return &AllocateProducerIDsResponse{Result: fail(Unknown, "producer ids are exhausted at %d", first)}
	}
	t.emit(&metadata.ProducerIDsRecord{
		BrokerID: r.Broker, BrokerEpoch: r.Epoch, NextProducerID: first + producerIDBlock,
	})
	return &AllocateProducerIDsResponse{First: model.ProducerID(first), Count: producerIDBlock}
}

// freshID draws ids until one is neither reserved nor in use.
func freshID(t *step) model.TopicID {
	for {
		id := t.env.NewID()
		if _, used := t.img.Topics.ByID[id]; !used && !id.IsReserved() {
			return id
		}
	}
}

func idString(id model.BrokerID) string { return strconv.Itoa(int(id)) }
