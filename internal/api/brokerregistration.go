package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveBrokerRegistration answers BrokerRegistration (key 62).
//
//	v1  says whether the broker comes from ZooKeeper; none does
//	v2  directories of the broker (KIP-858)
//	v3  epoch of the last clean stop; older brokers count as stopped uncleanly
//	v4  features that begin at level 0
func serveBrokerRegistration(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.BrokerRegistrationRequest)
	out := kmsg.NewPtrBrokerRegistrationResponse()
	if req.IsMigratingZkBroker {
		out.ErrorCode, out.BrokerEpoch = kerr.BrokerIDNotRegistered.Code, -1
		return out, nil
	}
	r := &controller.RegisterBroker{
		Broker: model.BrokerID(req.BrokerID), ClusterID: req.ClusterID, Incarnation: req.IncarnationID,
		Features: map[string]metadata.VersionRange{}, Dirs: directories(req.LogDirs),
		PreviousEpoch: model.NoBrokerEpoch,
	}
	if req.Version >= 3 {
		r.PreviousEpoch = model.BrokerEpoch(req.PreviousBrokerEpoch)
	}
	if req.Rack != nil {
		r.Rack, r.HasRack = *req.Rack, true
	}
	for _, l := range req.Listeners {
		r.Endpoints = append(r.Endpoints,
			metadata.Endpoint{Name: l.Name, Host: l.Host, Port: l.Port, Security: l.SecurityProtocol})
	}
	for _, f := range req.Features {
		r.Features[f.Name] = metadata.VersionRange{Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion}
	}
	resp, err := submit[controller.RegisterBrokerResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out.ErrorCode, out.BrokerEpoch = codeOf(resp.Code), int64(resp.Epoch)
	return out, nil
}
