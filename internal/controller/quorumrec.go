package controller

import (
	"slices"

	"tidemark/internal/metadata"
)

// decideRegisterController records where a controller can be reached and what it
// supports (KIP-919). A repeated registration writes nothing.
func (c *Core) decideRegisterController(t *step, r *RegisterController) *RegisterControllerResponse {
	if t.img.MetadataVersion() < levelControllers {
		return &RegisterControllerResponse{Result: fail(UnsupportedVersion,
			"The current MetadataVersion is too old to support controller registrations.")}
	}
	if r.Controller < 0 || len(r.Endpoints) == 0 {
		return &RegisterControllerResponse{Result: fail(InvalidRequest,
			"controller %d with %d listeners", r.Controller, len(r.Endpoints))}
	}
	features := featureRanges(r.Features)
	if old := t.img.Controllers[r.Controller]; old != nil && old.Incarnation == r.Incarnation &&
		slices.Equal(old.Endpoints, r.Endpoints) && slices.Equal(featureRanges(old.Features), features) {
		return &RegisterControllerResponse{}
	}
	t.emit(&metadata.RegisterControllerRecord{
		ControllerID: r.Controller, Incarnation: r.Incarnation,
		Endpoints: slices.Clone(r.Endpoints), Features: features,
	})
	return &RegisterControllerResponse{}
}
