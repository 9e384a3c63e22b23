package controller

import (
	"maps"
	"slices"

	"tidemark/internal/metadata"
)

// BootstrapRecords are the first data records of a new cluster: metadata.version,
// then the other features above level 0 by name (kraft.version is a control record
// and never among them), then the cluster-wide min.insync.replicas if ELR is on.
func BootstrapRecords(features map[string]int16, minISR string) []metadata.Record {
	recs := []metadata.Record{&metadata.FeatureLevelRecord{
		Name: metadata.MetadataVersionFeature, Level: features[metadata.MetadataVersionFeature],
	}}
	for _, name := range slices.Sorted(maps.Keys(features)) {
		if name == metadata.MetadataVersionFeature || name == metadata.KRaftVersionFeature || features[name] == 0 {
			continue
		}
		recs = append(recs, &metadata.FeatureLevelRecord{Name: name, Level: features[name]})
	}
	if features[metadata.ELRVersionFeature] >= 1 {
		recs = append(recs, configRecord(metadata.Resource{Type: metadata.BrokerResource}, minISRConfig, &minISR))
	}
	return recs
}
