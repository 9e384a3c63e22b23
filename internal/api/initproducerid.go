package api

import (
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// noTransactions is what a client is told that wants a transactional producer.
const noTransactions = "transactions are not supported by this version of the broker"

// ProducerIDSource hands out fresh producer ids; *coordinator.ProducerIDs is one.
type ProducerIDSource interface {
	Next(reply func(model.ProducerID, error))
}

// initProducerIDAPI answers InitProducerId (key 22) for idempotent producers:
// always a fresh id with epoch 0, whatever the producer had before.
//
// There are no transactions yet: a transactional id is refused with
// UNSUPPORTED_VERSION. It is fatal to the producers of Java, librdkafka and
// franz-go; every retriable code would make them try for as long as their
// time-outs allow, and the authorisation codes would send people to their ACLs.
type initProducerIDAPI struct{ ids ProducerIDSource }

// RegisterInitProducerID adds InitProducerId.
func RegisterInitProducerID(h *Handlers, ids ProducerIDSource) {
	h.Register(keyInitProducerID, (&initProducerIDAPI{ids}).handle)
}

func (a *initProducerIDAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.InitProducerIDRequest)
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = int64(model.NoProducerID), -1
	switch {
	case req.TransactionalID != nil && *req.TransactionalID == "":
		resp.ErrorCode = kerr.InvalidRequest.Code
		c.Reply(resp)
		return
	case req.TransactionalID != nil:
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		c.Reply(resp)
		return
	}
	a.ids.Next(func(id model.ProducerID, err error) {
		if err != nil {
			resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code // retriable in every client
		} else {
			resp.ProducerID, resp.ProducerEpoch = int64(id), 0
		}
		c.Reply(resp)
	})
}
