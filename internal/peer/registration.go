package peer

import (
	"context"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BrokerRegistration (key 62), sent by a broker to the active controller at
// start and again when its registration needs fields that it lacks.

// Listener is one advertised listener of a broker.
type Listener struct {
	Name     string // upper case
	Host     string // resolved, never a wildcard address
	Port     uint16
	Security int16 // 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL
}

// Feature is a range of levels that a node supports.
type Feature struct {
	Name     string
	Min, Max int16
}

// Registration is everything that a broker tells a controller about itself.
type Registration struct {
	Broker        model.BrokerID
	ClusterID     string
	Incarnation   model.UUID // random per process start
	Listeners     []Listener
	Features      []Feature
	Rack          string              // "" for none
	LogDirs       []model.DirectoryID // of the directories that are online, sorted
	PreviousEpoch model.BrokerEpoch   // of the last life, if it ended cleanly; else NoBrokerEpoch
}

// RegistrationResult is the controller's answer. Epoch counts only with CodeNone.
type RegistrationResult struct {
	Code  Code
	Epoch model.BrokerEpoch
}

// RegisterBroker sends a BrokerRegistration. Below version 4 features with
// minimum 0 are left out (KAFKA-17011).
func (c *Conn) RegisterBroker(ctx context.Context, r Registration) (RegistrationResult, error) {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.BrokerID, req.ClusterID, req.IncarnationID = int32(r.Broker), r.ClusterID, r.Incarnation
	for _, l := range r.Listeners {
		kl := kmsg.NewBrokerRegistrationRequestListener()
		kl.Name, kl.Host, kl.Port, kl.SecurityProtocol = l.Name, l.Host, l.Port, l.Security
		req.Listeners = append(req.Listeners, kl)
	}
	version, err := c.Version(int16(kmsg.BrokerRegistration))
	if err != nil {
		return RegistrationResult{}, err
	}
	for _, f := range r.Features {
		if f.Min == 0 && version < 4 {
			continue
		}
		kf := kmsg.NewBrokerRegistrationRequestFeature()
		kf.Name, kf.MinSupportedVersion, kf.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, kf)
	}
	if r.Rack != "" {
		req.Rack = kmsg.StringPtr(r.Rack)
	}
	for _, d := range r.LogDirs {
		req.LogDirs = append(req.LogDirs, d)
	}
	req.PreviousBrokerEpoch = int64(r.PreviousEpoch)
	resp, err := do[*kmsg.BrokerRegistrationResponse](ctx, c, req)
	if err != nil {
		return RegistrationResult{}, err
	}
	return RegistrationResult{Code: Code(resp.ErrorCode), Epoch: model.BrokerEpoch(resp.BrokerEpoch)}, nil
}
