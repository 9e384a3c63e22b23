package controller

import (
	"maps"
	"slices"

	"tidemark/internal/metadata"
)

// DefaultFeatures are the levels that a new cluster finalises: metadata.version
// 25, which is 4.0-IV3. The other features follow as their protocols are served.
func DefaultFeatures() map[string]int16 {
	return map[string]int16{metadata.MetadataVersionFeature: 25}
}

// SupportedFeatures are the levels that a controller of this build may finalise.
func SupportedFeatures() map[string]metadata.VersionRange {
	return map[string]metadata.VersionRange{
		metadata.MetadataVersionFeature:    {Min: metadata.MinMetadataVersion, Max: metadata.MaxMetadataVersion},
		metadata.KRaftVersionFeature:       {Min: 0, Max: 1},
		metadata.GroupVersionFeature:       {Min: 0, Max: 1},
		metadata.TransactionVersionFeature: {Min: 0, Max: 2},
		metadata.ELRVersionFeature:         {Min: 0, Max: 1},
	}
}

// barriers are the levels of metadata.version that change what is in the log: one
// can't be taken back by just lowering the level.
var barriers = []int16{7, 8, 11, 13, 14, 15, 17, 23, 30, 32, 33}

// decideUpdateFeatures finalises all levels asked for, or none (KIP-584).
func (c *Core) decideUpdateFeatures(t *step, r *UpdateFeatures) *UpdateFeaturesResponse {
	resp := &UpdateFeaturesResponse{}
	seen := map[string]bool{}
	for _, u := range r.Updates {
		var res Result
		if seen[u.Name] {
			res = fail(InvalidRequest, "Feature %s is named twice.", u.Name)
		} else {
			res = c.checkFeatureUpdate(t, u)
		}
		seen[u.Name] = true
		resp.Features = append(resp.Features, FeatureResult{u.Name, res})
		if res.Failed() && !resp.Failed() {
			resp.Result = Result{Code: res.Code, Message: "The update failed for all features since the following " +
				"feature had an error: " + res.Message}
		}
	}
	if resp.Failed() || r.ValidateOnly {
		return resp
	}
	for _, u := range r.Updates {
		if t.img.Features[u.Name] != u.Level {
			t.emit(&metadata.FeatureLevelRecord{Name: u.Name, Level: u.Level})
		}
		if u.Name == metadata.ELRVersionFeature {
			c.elrEnabled(t, u.Level)
		}
	}
	return resp
}

func (c *Core) checkFeatureUpdate(t *step, u FeatureUpdate) Result {
	now := t.img.Features[u.Name]
	wrong := func(format string, args ...any) Result {
		return fail(InvalidUpdateVersion, "Invalid update version %d for feature %s. "+format,
			append([]any{u.Level, u.Name}, args...)...)
	}
	v, known := c.cfg.Supported[u.Name]
	switch {
	case u.Level < 0:
		return wrong("A negative level isn't valid.")
	case !known:
		return wrong("The controller does not support the given feature.")
	case u.Name == metadata.KRaftVersionFeature:
		return wrong("The voters of the quorum decide it.")
	case u.Level != 0 && (u.Level < v.Min || u.Level > v.Max) || u.Level == 0 && v.Min > 0:
		return wrong("Local controller %d only supports versions %d-%d", c.cfg.NodeID, v.Min, v.Max)
	case u.Type < FeatureUpgrade || u.Type > FeatureUnsafeDowngrade:
		return wrong("Unknown upgrade type %d.", u.Type)
	case u.Level > now && u.Type != FeatureUpgrade:
		return wrong("Can't downgrade to a higher version.")
	case u.Level < now && u.Type == FeatureUpgrade:
		return wrong("Can't downgrade the version of this feature without setting the upgrade type to either " +
			"safe or unsafe downgrade.")
	}
	if u.Name == metadata.ELRVersionFeature && u.Level > 0 && t.img.MetadataVersion() < levelELR {
		return wrong("It depends on metadata.version %d.", levelELR)
	}
	if res := c.brokersSupport(t.img, u); res.Failed() {
		return res
	}
	if u.Name == metadata.MetadataVersionFeature && u.Level < now {
		return checkDowngrade(u, now)
	}
	return Result{}
}

// brokersSupport refuses a level that a registered broker or controller doesn't
// understand: it could not go on.
func (c *Core) brokersSupport(img *metadata.Image, u FeatureUpdate) Result {
	for _, id := range brokerIDs(img) {
		v := img.Brokers[id].Features[u.Name]
		if u.Level != 0 && (u.Level < v.Min || u.Level > v.Max) {
			return fail(InvalidUpdateVersion, "Invalid update version %d for feature %s. Broker %d only supports "+
				"versions %d-%d", u.Level, u.Name, id, v.Min, v.Max)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(img.Controllers)) {
		v := img.Controllers[id].Features[u.Name]
		if u.Level != 0 && (u.Level < v.Min || u.Level > v.Max) {
			return fail(InvalidUpdateVersion, "Invalid update version %d for feature %s. Controller %d only "+
				"supports versions %d-%d", u.Level, u.Name, id, v.Min, v.Max)
		}
	}
	return Result{}
}

func checkDowngrade(u FeatureUpdate, now int16) Result {
	lossy := slices.ContainsFunc(barriers, func(b int16) bool { return u.Level < b && b <= now })
	if !lossy {
		return Result{}
	}
	if u.Type == FeatureSafeDowngrade {
		return fail(InvalidUpdateVersion, "Invalid update version %d for feature %s. Refusing to perform the "+
			"requested downgrade because it might delete metadata information.", u.Level, u.Name)
	}
	return fail(InvalidUpdateVersion, "Invalid update version %d for feature %s. Unsafe metadata downgrade is "+
		"not supported in this version.", u.Level, u.Name)
}

// elrEnabled writes the cluster-wide min.insync.replicas that ELR depends on, and
// takes away those of single brokers.
func (c *Core) elrEnabled(t *step, level int16) {
	if level < 1 || t.img.Features[metadata.ELRVersionFeature] >= 1 {
		return
	}
	all := metadata.Resource{Type: metadata.BrokerResource}
	if _, ok := t.img.Configs[all][minISRConfig]; !ok {
		v := c.cfg.minISRDefault()
		t.emit(configRecord(all, minISRConfig, &v))
	}
	for _, r := range slices.SortedFunc(maps.Keys(t.img.Configs), metadata.Resource.Compare) {
		if r.Type == metadata.BrokerResource && r.Name != "" && has(t.img.Configs[r], minISRConfig) {
			t.emit(configRecord(r, minISRConfig, nil))
		}
	}
}
