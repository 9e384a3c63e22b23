package metadata

import (
	"cmp"
	"slices"
	"strings"

	"tidemark/internal/model"
)

// Image is the state of the cluster after one offset of the metadata log. It is
// immutable once Delta.Apply or Empty has returned it: any goroutine may read
// it, nobody may write to it or to anything it points to (invariant 1).
type Image struct {
	Offset model.Offset      // last record applied; model.NoOffset: nothing yet
	Epoch  model.LeaderEpoch // epoch of that record's batch

	Features       map[string]int16 // finalised levels above 0, metadata.version among them
	Brokers        map[model.BrokerID]*Broker
	Controllers    map[model.BrokerID]*Controller
	Topics         Topics
	Configs        map[Resource]map[string]string // never an empty inner map
	NextProducerID int64                          // first producer id not yet handed out
	KRaftVersion   int16                          // finalised kraft.version
	Voters         []Voter                        // as in the last KRaftVoters

	ClientQuotas     map[string]*ClientQuota // by QuotaKey
	ScramCredentials map[ScramKey]*UserScramCredentialRecord
	ACLs             map[model.UUID]*AccessControlEntryRecord
	Tokens           map[string]*DelegationTokenRecord // by token id
}

// Topics holds every topic, by both of its names.
type Topics struct {
	ByID   map[model.TopicID]*Topic
	ByName map[string]*Topic
}

// Topic is one topic. Its configuration is in Image.Configs.
type Topic struct {
	Name       string
	ID         model.TopicID
	Partitions []*Partition // index = partition id; dense (invariant 2)
}

// Partition is the replicated state of one partition.
type Partition struct {
	Replicas       []model.BrokerID    // in order of preference
	Dirs           []model.DirectoryID // one for each replica (invariant 3)
	ISR            []model.BrokerID
	Adding         []model.BrokerID
	Removing       []model.BrokerID
	ELR            []model.BrokerID
	LastKnownELR   []model.BrokerID
	Leader         model.BrokerID // model.NoBroker: none
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch
	Recovery       RecoveryState
}

// Broker is one registration of a broker.
type Broker struct {
	ID                   model.BrokerID
	Epoch                model.BrokerEpoch
	Incarnation          model.UUID
	Endpoints            []Endpoint
	Rack                 string // "" if HasRack is false
	HasRack              bool
	Fenced               bool
	InControlledShutdown bool
	MigratingZk          bool
	Dirs                 []model.DirectoryID // online log directories
	CordonedDirs         []model.DirectoryID
	Features             map[string]VersionRange

	// RegisteredAt is the offset of the RegisterBroker record; after a snapshot
	// the snapshot's last offset, which is never below it.
	RegisteredAt model.Offset
}

// Controller is one registration of a controller (KIP-919).
type Controller struct {
	ID          model.BrokerID
	Incarnation model.UUID
	Endpoints   []Endpoint
	Features    map[string]VersionRange
}

// Resource names what a configuration belongs to. The default of all brokers is
// {BrokerResource, ""}.
type Resource struct {
	Type ResourceType
	Name string
}

// Compare orders by type, then name.
func (r Resource) Compare(o Resource) int {
	if c := cmp.Compare(r.Type, o.Type); c != 0 {
		return c
	}
	return strings.Compare(r.Name, o.Name)
}

// ScramKey names one SCRAM credential.
type ScramKey struct {
	User      string
	Mechanism int8
}

// ClientQuota is every quota of one entity.
type ClientQuota struct {
	Entity []QuotaEntityPart // sorted by type
	Values map[string]float64
}

// Empty returns the image before the first record.
func Empty() *Image {
	return &Image{
		Offset:           model.NoOffset,
		Epoch:            model.NoLeaderEpoch,
		Features:         map[string]int16{},
		Brokers:          map[model.BrokerID]*Broker{},
		Controllers:      map[model.BrokerID]*Controller{},
		Topics:           Topics{ByID: map[model.TopicID]*Topic{}, ByName: map[string]*Topic{}},
		Configs:          map[Resource]map[string]string{},
		ClientQuotas:     map[string]*ClientQuota{},
		ScramCredentials: map[ScramKey]*UserScramCredentialRecord{},
		ACLs:             map[model.UUID]*AccessControlEntryRecord{},
		Tokens:           map[string]*DelegationTokenRecord{},
	}
}

// MetadataVersion returns the finalised metadata.version, 0 before there is one.
func (i *Image) MetadataVersion() int16 { return i.Features[MetadataVersionFeature] }

// Partition looks a partition up by its topic's name.
func (i *Image) Partition(tp model.TopicPartition) (*Topic, *Partition, bool) {
	t := i.Topics.ByName[tp.Topic]
	p := t.Partition(tp.Partition)
	return t, p, p != nil
}

// PartitionByID looks a partition up by its topic's id.
func (i *Image) PartitionByID(tp model.TopicIDPartition) (*Topic, *Partition, bool) {
	t := i.Topics.ByID[tp.TopicID]
	p := t.Partition(tp.Partition)
	return t, p, p != nil
}

// Partition returns the partition of that index, nil if there is none. A nil
// topic has no partitions.
func (t *Topic) Partition(index int32) *Partition {
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[index]
}

// TopicConfig returns what is set on the topic itself, nil if nothing is. The
// defaults of brokers and of Kafka are the caller's business.
func (i *Image) TopicConfig(topic string) map[string]string {
	return i.Configs[Resource{TopicResource, topic}]
}

// LiveBrokers returns the ids of all brokers that are registered and not
// fenced, ascending. Clients may be sent to these.
func (i *Image) LiveBrokers() []model.BrokerID {
	ids := make([]model.BrokerID, 0, len(i.Brokers))
	for id, b := range i.Brokers {
		if !b.Fenced {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// IsActive reports whether a broker may become leader or join an ISR: it is
// registered, not fenced and not about to stop (KIP-841).
func (i *Image) IsActive(id model.BrokerID) bool {
	b := i.Brokers[id]
	return b != nil && !b.Fenced && !b.InControlledShutdown
}

// Endpoint returns where a registered broker, fenced or not, listens under that
// listener name. ok is false for an unknown broker or listener.
func (i *Image) Endpoint(id model.BrokerID, listener string) (e Endpoint, ok bool) {
	b := i.Brokers[id]
	if b == nil {
		return Endpoint{}, false
	}
	n := slices.IndexFunc(b.Endpoints, func(e Endpoint) bool { return e.Name == listener })
	if n < 0 {
		return Endpoint{}, false
	}
	return b.Endpoints[n], true
}

// Dir returns the directory that holds broker's replica, model.MigratingDir if
// the broker has none.
func (p *Partition) Dir(broker model.BrokerID) model.DirectoryID {
	if n := slices.Index(p.Replicas, broker); n >= 0 && n < len(p.Dirs) {
		return p.Dirs[n]
	}
	return model.MigratingDir
}

// Equal reports whether both states are the same in every field.
func (p *Partition) Equal(o *Partition) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.Leader == o.Leader && p.LeaderEpoch == o.LeaderEpoch && p.PartitionEpoch == o.PartitionEpoch &&
		p.Recovery == o.Recovery && slices.Equal(p.Replicas, o.Replicas) && slices.Equal(p.Dirs, o.Dirs) &&
		slices.Equal(p.ISR, o.ISR) && slices.Equal(p.Adding, o.Adding) && slices.Equal(p.Removing, o.Removing) &&
		slices.Equal(p.ELR, o.ELR) && slices.Equal(p.LastKnownELR, o.LastKnownELR)
}

// QuotaKey returns the canonical name of a quota's entity, whatever the order
// of its parts.
func QuotaKey(entity []QuotaEntityPart) string {
	parts := sortedEntity(entity)
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Type)
		if p.Name == nil {
			b.WriteString("\x00\x00")
			continue
		}
		b.WriteString("\x00\x01")
		b.WriteString(*p.Name)
		b.WriteByte(0)
	}
	return b.String()
}

func sortedEntity(entity []QuotaEntityPart) []QuotaEntityPart {
	return slices.SortedStableFunc(slices.Values(entity), func(a, b QuotaEntityPart) int {
		return strings.Compare(a.Type, b.Type)
	})
}
