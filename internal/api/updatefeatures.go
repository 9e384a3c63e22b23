package api

import (
	"context"

	"tidemark/internal/controller"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveUpdateFeatures answers UpdateFeatures (key 57, KIP-584).
//
//	v0  a downgrade is allowed or not
//	v1  kind of downgrade, validation only
//	v2  no answer per feature: the first error is that of the whole
func serveUpdateFeatures(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.UpdateFeaturesRequest)
	r := &controller.UpdateFeatures{ValidateOnly: req.ValidateOnly}
	for _, u := range req.FeatureUpdates {
		typ := controller.UpgradeType(u.UpgradeType)
		if req.Version == 0 {
			typ = controller.FeatureUpgrade
			if u.AllowDowngrade {
				typ = controller.FeatureSafeDowngrade
			}
		}
		r.Updates = append(r.Updates, controller.FeatureUpdate{Name: u.Feature, Level: u.MaxVersionLevel, Type: typ})
	}
	resp, err := submit[controller.UpdateFeaturesResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	out := kmsg.NewPtrUpdateFeaturesResponse()
	if req.Version >= 2 {
		out.ErrorCode, out.ErrorMessage = codeOf(resp.Code), messageOf(resp.Result)
		return out, nil
	}
	for _, f := range resp.Features {
		of := kmsg.NewUpdateFeaturesResponseResult()
		of.Feature, of.ErrorCode, of.ErrorMessage = f.Name, codeOf(f.Code), messageOf(f.Result)
		out.Results = append(out.Results, of)
	}
	return out, nil
}
