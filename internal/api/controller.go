package api

import (
	"context"
	"fmt"
	"time"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// controllerSubmitter decides: it hands one of package controller's requests to the
// active controller and waits until the outcome is committed.
type controllerSubmitter interface {
	Submit(ctx context.Context, req any) (any, error)
}

// controllerAPI is one API that the active controller serves: it converts the
// request, submits it, and converts the answer.
type controllerAPI struct {
	key int16
	// serve returns an error only if nothing was decided, or it is unknown whether
	// anything was.
	serve func(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error)
	// refuse answers with one code for everything in the request; nil means that
	// the response has a code of its own, and nothing else is to be said.
	refuse func(msg kmsg.Request, code int16, text string) kmsg.Response
}

// brokerTimeout bounds requests without a time-out of their own: those of brokers,
// which repeat them.
const brokerTimeout = 30 * time.Second

var controllerAPIs = []controllerAPI{
	{key: 19, serve: serveCreateTopics, refuse: refuseCreateTopics},
	{key: 20, serve: serveDeleteTopics, refuse: refuseDeleteTopics},
	{key: 33, serve: serveAlterConfigs, refuse: refuseAlterConfigs},
	{key: 37, serve: serveCreatePartitions, refuse: refuseCreatePartitions},
	{key: 43, serve: serveElectLeaders, refuse: refuseElectLeaders},
	{key: 44, serve: serveAlterConfigs, refuse: refuseAlterConfigs},
	{key: 45, serve: serveAlterReassignments},
	{key: 46, serve: serveListReassignments},
	{key: 56, serve: serveAlterPartition},
	{key: 57, serve: serveUpdateFeatures},
	{key: 62, serve: serveBrokerRegistration},
	{key: 63, serve: serveBrokerHeartbeat},
	{key: 64, serve: serveUnregisterBroker},
	{key: 67, serve: serveAllocateProducerIDs},
	{key: 70, serve: serveControllerRegistration},
	{key: 73, serve: serveAssignReplicasToDirs},
}

// RegisterController adds the APIs of the active controller to the handlers of a
// controller's listener. On a node that isn't active each answers NOT_CONTROLLER.
func RegisterController(h *Handlers, s controllerSubmitter) {
	for _, a := range controllerAPIs {
		h.Register(a.key, Async(func(c *Call) {
			resp, err := a.call(s, c.Msg)
			if err == nil {
				c.Reply(resp)
				return
			}
			if a.refuse == nil {
				c.Fail(err)
				return
			}
			c.Reply(a.refuse(c.Msg, ErrorCode(err), err.Error()))
		}))
	}
}

func (a controllerAPI) call(s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	timeout := brokerTimeout
	if t, ok := msg.(kmsg.TimeoutRequest); ok {
		timeout = time.Duration(max(0, t.Timeout())) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	resp, err := a.serve(ctx, s, msg)
	if err != nil {
		return nil, err
	}
	resp.SetVersion(msg.GetVersion())
	return resp, nil
}

// submit is Submit with the type of the answer.
func submit[T any](ctx context.Context, s controllerSubmitter, req any) (*T, error) {
	out, err := s.Submit(ctx, req)
	if err != nil {
		return nil, err
	}
	resp, ok := out.(*T)
	if !ok {
		return nil, fmt.Errorf("%T answered with %T", req, out)
	}
	return resp, nil
}

// messageOf is null on success.
func messageOf(r controller.Result) *string {
	if !r.Failed() || r.Message == "" {
		return nil
	}
	return &r.Message
}

func brokers(ids []int32) []model.BrokerID {
	if ids == nil {
		return nil
	}
	out := make([]model.BrokerID, len(ids))
	for i, id := range ids {
		out[i] = model.BrokerID(id)
	}
	return out
}

func int32s(ids []model.BrokerID) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

func directories(ids [][16]byte) []model.DirectoryID {
	out := make([]model.DirectoryID, len(ids))
	for i, id := range ids {
		out[i] = id
	}
	return out
}
