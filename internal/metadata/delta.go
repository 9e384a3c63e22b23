package metadata

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"tidemark/internal/model"
)

// Errors of replay. A committed log never causes one; they mean that the log
// isn't what it claims, or that a record was skipped.
var (
	ErrUnknownTopic     = errors.New("unknown topic")
	ErrTopicExists      = errors.New("topic exists")
	ErrUnknownPartition = errors.New("unknown partition")
	ErrPartitionGap     = errors.New("partition ids have a gap")
	ErrBadPartition     = errors.New("impossible partition state")
	ErrUnknownBroker    = errors.New("unknown broker")
	ErrBrokerEpoch      = errors.New("broker epoch does not match the registration")
	ErrUnknownEntry     = errors.New("unknown entry")
	ErrBadValue         = errors.New("value out of range")
	ErrMetadataVersion  = errors.New("metadata.version not supported")
	ErrTransaction      = errors.New("metadata transaction out of order")
	ErrApplied          = errors.New("delta was already applied")
)

// Delta collects records on top of an image. It copies what it changes and
// shares everything else with its base: a map when the first of its entries
// changes, a topic and a partition when they do (invariant 1). It is not safe
// for concurrent use until Apply; after that it is read-only.
//
// Records of a metadata transaction are bracketed by Loader, not here.
type Delta struct {
	base, img *Image
	next      model.Offset // offset of the next record
	applied   bool

	copied struct {
		features, brokers, controllers, topics, configs bool
		quotas, scram, acls, tokens                     bool
	}
	topics      map[model.TopicID]*topicTouch
	brokers     map[model.BrokerID]bool // false: only in base; true: img.Brokers[id] is our copy
	controllers map[model.BrokerID]struct{}
	configs     map[Resource]struct{}
	features    map[string]struct{}
	voters      bool
}

// NewDelta starts a delta on top of base. The first record replayed counts as
// the one after base.Offset, unless At says otherwise.
func NewDelta(base *Image) *Delta {
	img := *base
	return &Delta{
		base: base, img: &img, next: base.Offset + 1,
		topics:      map[model.TopicID]*topicTouch{},
		brokers:     map[model.BrokerID]bool{},
		controllers: map[model.BrokerID]struct{}{},
		configs:     map[Resource]struct{}{},
		features:    map[string]struct{}{},
	}
}

// At sets the offset of the next record; each replay then adds one.
func (d *Delta) At(next model.Offset) { d.next = next }

// Base is the image that the delta started from.
func (d *Delta) Base() *Image { return d.base }

// Pending is the state with every record replayed so far, to look at between
// two replays. It must not be kept: the next replay changes it. Its Offset and
// Epoch are still those of the base.
func (d *Delta) Pending() *Image { return d.img }

// Image is what Apply returned, nil before.
func (d *Delta) Image() *Image {
	if !d.applied {
		return nil
	}
	return d.img
}

// Apply ends the delta and returns the new image, which is the state after the
// record at offset, of a batch of that epoch.
func (d *Delta) Apply(offset model.Offset, epoch model.LeaderEpoch) *Image {
	if !d.applied {
		d.img.Offset, d.img.Epoch, d.applied = offset, epoch, true
	}
	return d.img
}

// Empty reports that nothing has changed so far, other than by records that
// only move the offset.
func (d *Delta) Empty() bool {
	c := d.copied
	return !(c.features || c.brokers || c.controllers || c.topics || c.configs || c.quotas || c.scram || c.acls ||
		c.tokens || d.voters || d.img.NextProducerID != d.base.NextProducerID)
}

// Replay applies one record. After an error the delta must be dropped: part of
// the record may have been applied.
func (d *Delta) Replay(r Record) error {
	if d.applied {
		return ErrApplied
	}
	err := d.replay(r)
	if err != nil {
		return fmt.Errorf("offset %d, %T: %w", d.next, r, err)
	}
	d.next++
	return nil
}

func (d *Delta) replay(r Record) error { // flat switch
	switch r := r.(type) {
	case *RegisterBrokerRecord:
		return d.registerBroker(r)
	case *UnregisterBrokerRecord:
		return d.unregisterBroker(r)
	case *BrokerRegistrationChangeRecord:
		return d.changeBroker(r)
	case *FenceBrokerRecord:
		return d.fence(r.BrokerID, r.BrokerEpoch, true)
	case *UnfenceBrokerRecord:
		return d.fence(r.BrokerID, r.BrokerEpoch, false)
	case *RegisterControllerRecord:
		d.registerController(r)
	case *UnregisterControllerRecord:
		return d.unregisterController(r)
	case *TopicRecord:
		return d.addTopic(r)
	case *RemoveTopicRecord:
		return d.removeTopic(r)
	case *PartitionRecord:
		return d.setPartition(r)
	case *PartitionChangeRecord:
		return d.changePartition(r)
	case *ClearELRRecord:
		return d.clearELR(r)
	case *ConfigRecord:
		d.setConfig(r)
	case *FeatureLevelRecord:
		return d.setFeature(r)
	case *ProducerIDsRecord:
		d.img.NextProducerID = r.NextProducerID
	case *ClientQuotaRecord:
		d.setQuota(r)
	case *UserScramCredentialRecord:
		d.scram()[ScramKey{r.Name, r.Mechanism}] = r
	case *RemoveUserScramCredentialRecord:
		delete(d.scram(), ScramKey{r.Name, r.Mechanism})
	case *AccessControlEntryRecord:
		d.acls()[r.ID] = r
	case *RemoveAccessControlEntryRecord:
		return d.removeACL(r)
	case *DelegationTokenRecord:
		d.tokens()[r.TokenID] = r
	case *RemoveDelegationTokenRecord:
		delete(d.tokens(), r.TokenID)
	case *NoOpRecord, *ZkMigrationStateRecord:
	case *BeginTransactionRecord, *EndTransactionRecord, *AbortTransactionRecord:
		return fmt.Errorf("%w: brackets belong to Loader", ErrTransaction)
	default:
		return fmt.Errorf("%w: %T", ErrUnknownRecord, r)
	}
	return nil
}

// ReplayControl applies one control record.
func (d *Delta) ReplayControl(c Control) error {
	if d.applied {
		return ErrApplied
	}
	switch c := c.(type) {
	case *KRaftVersion:
		d.img.KRaftVersion, d.voters = c.Level, true
	case *KRaftVoters:
		d.img.Voters, d.voters = c.Voters, true
	}
	d.next++
	return nil
}

func (d *Delta) setConfig(r *ConfigRecord) {
	key := Resource{r.Type, r.Resource}
	if !d.copied.configs {
		d.img.Configs, d.copied.configs = maps.Clone(d.img.Configs), true
	}
	values := d.img.Configs[key]
	if _, ours := d.configs[key]; !ours {
		values = maps.Clone(values)
		d.configs[key] = struct{}{}
	}
	if values == nil {
		values = map[string]string{}
	}
	if r.Value == nil {
		delete(values, r.Name)
	} else {
		values[r.Name] = *r.Value
	}
	if len(values) == 0 {
		delete(d.img.Configs, key)
		return
	}
	d.img.Configs[key] = values
}

// removeConfigs drops all configuration of a resource.
func (d *Delta) removeConfigs(key Resource) {
	if _, ok := d.img.Configs[key]; !ok {
		return
	}
	if !d.copied.configs {
		d.img.Configs, d.copied.configs = maps.Clone(d.img.Configs), true
	}
	delete(d.img.Configs, key)
	d.configs[key] = struct{}{}
}

func (d *Delta) setFeature(r *FeatureLevelRecord) error {
	if r.Name == MetadataVersionFeature && (r.Level < MinMetadataVersion || r.Level > MaxMetadataVersion) {
		return fmt.Errorf("%w: level %d, supported %d to %d", ErrMetadataVersion, r.Level,
			MinMetadataVersion, MaxMetadataVersion)
	}
	if r.Level < 0 {
		return fmt.Errorf("%w: %s level %d", ErrBadValue, r.Name, r.Level)
	}
	if !d.copied.features {
		d.img.Features, d.copied.features = maps.Clone(d.img.Features), true
	}
	d.features[r.Name] = struct{}{}
	if r.Level == 0 {
		delete(d.img.Features, r.Name)
		return nil
	}
	d.img.Features[r.Name] = r.Level
	return nil
}

// Brokers returns the ids whose registration was set, changed or dropped,
// ascending.
func (d *Delta) Brokers() []model.BrokerID { return slices.Sorted(maps.Keys(d.brokers)) }

// Controllers returns the ids of controllers whose registration changed, ascending.
func (d *Delta) Controllers() []model.BrokerID { return slices.Sorted(maps.Keys(d.controllers)) }

// Features returns the names of features whose level was set or removed, sorted.
func (d *Delta) Features() []string { return slices.Sorted(maps.Keys(d.features)) }

// VotersChanged reports whether kraft.version or the voter set was written.
func (d *Delta) VotersChanged() bool { return d.voters }

// ConfigChanges returns the resources whose configuration changed or went away
// with their topic, sorted by type and name.
func (d *Delta) ConfigChanges() []Resource {
	return slices.SortedFunc(maps.Keys(d.configs), Resource.Compare)
}
