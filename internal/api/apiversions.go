package api

import (
	"regexp"

	"tidemark/internal/server"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Features is what ApiVersions says about features (KIP-584).
type Features struct {
	// Supported are the levels this node can run, in the order they are listed.
	Supported []SupportedFeature
	// Finalized are the levels in force, in the order they are listed, as of
	// Epoch: the offset of the metadata image, -1 if there is none.
	Finalized []FinalizedFeature
	Epoch     int64
}

// SupportedFeature is an inclusive range of levels.
type SupportedFeature struct {
	Name     string
	Min, Max int16
}

// FinalizedFeature is a level in force.
type FinalizedFeature struct {
	Name  string
	Level int16
}

// apiVersionsAPI answers ApiVersions (key 18).
//
// A version that isn't served is answered in version 0 with
// UNSUPPORTED_VERSION and the range of ApiVersions itself, so that a client
// can ask again (KIP-511). From v3 on the client must introduce itself with a
// name and a version of a certain form. Up to v3 a supported feature that
// begins at level 0 is left out, because older clients refuse it
// (KAFKA-17011).
type apiVersionsAPI struct {
	keys     []kmsg.ApiVersionsResponseApiKey
	features func() Features
}

// RegisterApiVersions adds ApiVersions. Call it last: it advertises what is
// registered by then. features may be nil.
func RegisterApiVersions(h *Handlers, features func() Features) {
	a := &apiVersionsAPI{features: features}
	h.Register(wire.KeyApiVersions, a.handle)
	for _, row := range h.APIs() {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = row.Key, row.Min, row.Max
		if row.Key == wire.KeyProduce && !h.o.Controller {
			// librdkafka takes a broker without Produce v0 for one that can't
			// compress. The versions below 3 are listed, but refused (KAFKA-18659).
			k.MinVersion = 0
		}
		a.keys = append(a.keys, k)
	}
}

var softwarePattern = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

func (a *apiVersionsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.ApiVersionsRequest)
	resp := kmsg.NewPtrApiVersionsResponse()
	if req.Version >= 3 && !(softwarePattern.MatchString(req.ClientSoftwareName) &&
		softwarePattern.MatchString(req.ClientSoftwareVersion)) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		c.Reply(resp)
		return
	}
	resp.ApiKeys = a.keys
	if a.features != nil && req.Version >= 3 {
		a.addFeatures(resp, req.Version)
	}
	c.Reply(resp)
}

func (a *apiVersionsAPI) addFeatures(resp *kmsg.ApiVersionsResponse, version int16) {
	f := a.features()
	for _, s := range f.Supported {
		if s.Min == 0 && version < 4 {
			continue
		}
		out := kmsg.NewApiVersionsResponseSupportedFeature()
		out.Name, out.MinVersion, out.MaxVersion = s.Name, s.Min, s.Max
		resp.SupportedFeatures = append(resp.SupportedFeatures, out)
	}
	resp.FinalizedFeaturesEpoch = f.Epoch
	for _, l := range f.Finalized {
		out := kmsg.NewApiVersionsResponseFinalizedFeature()
		out.Name, out.MinVersionLevel, out.MaxVersionLevel = l.Name, l.Level, l.Level
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, out)
	}
}

// respondUnsupportedApiVersions answers a version from the future.
func respondUnsupportedApiVersions(r *server.Request) {
	own, _ := wire.Lookup(wire.KeyApiVersions)
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = own.Key, own.Min, own.Max
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{k}
	h := r.Header
	h.Version = 0
	r.Respond(wire.Part{Bytes: wire.EncodeResponse(h, resp)})
}
