package metadata

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Errors of reading a snapshot.
var (
	ErrSnapshotHeader = errors.New("snapshot does not begin with a header")
	ErrSnapshotFooter = errors.New("snapshot is incomplete: no footer")
	ErrSnapshotExtra  = errors.New("snapshot continues after its footer")
	ErrSnapshotGap    = errors.New("snapshot offsets have a gap")
)

// snapshotBatchBytes is when a new batch of a snapshot begins.
const snapshotBatchBytes = 512 << 10

// WriteSnapshot returns the batches of i's snapshot, which stands in a file
// named after i.Offset+1 and i.Epoch. Offsets count from 0 inside it. The
// image must end at a batch boundary (Update.Aligned). lastTimestamp is the
// append time of the last batch that i contains, now the time of writing, in
// ms. Equal images give equal bytes.
func WriteSnapshot(i *Image, lastTimestamp, now int64) []record.Batch {
	head := []Control{&SnapshotHeader{LastContainedLogTimestamp: lastTimestamp}}
	if i.KRaftVersion > 0 {
		head = append(head, &KRaftVersion{Level: i.KRaftVersion}, &KRaftVoters{Voters: i.Voters})
	}
	out := []record.Batch{ControlBatch(head, now)}
	var b record.Builder
	flush := func() {
		if data := b.Build(); data != nil {
			out = append(out, data)
		}
		b.Reset()
	}
	level := i.MetadataVersion()
	for _, r := range SnapshotRecords(i) {
		b.Add(now, nil, Encode(r, level))
		if b.Size() >= snapshotBatchBytes {
			flush()
		}
	}
	flush()
	out = append(out, ControlBatch([]Control{&SnapshotFooter{}}, now))
	next := model.Offset(0)
	for _, b := range out {
		b.Stamp(next, max(i.Epoch, 0))
		next = b.NextOffset()
	}
	return out
}

// ReadSnapshot returns the image that a complete snapshot holds; last and epoch
// are from its name: the offset of the last record contained (the name's end
// offset minus one), and that record's epoch.
func ReadSnapshot(batches []record.Batch, last model.Offset, epoch model.LeaderEpoch) (*Image, error) {
	d := NewDelta(Empty())
	next := model.Offset(0)
	var header, footer bool
	step := func(at model.Offset) error {
		switch {
		case footer:
			return fmt.Errorf("%w: offset %d", ErrSnapshotExtra, at)
		case !header:
			return fmt.Errorf("%w: offset %d", ErrSnapshotHeader, at)
		}
		d.At(last) // for Broker.RegisteredAt: the true offset is not in a snapshot
		return nil
	}
	for _, b := range batches {
		if b.BaseOffset() != next {
			return nil, fmt.Errorf("%w: batch at %d, want %d", ErrSnapshotGap, b.BaseOffset(), next)
		}
		next = b.NextOffset()
		err := visit(b, func(at model.Offset, r Record) error {
			if err := step(at); err != nil {
				return err
			}
			return d.Replay(r)
		}, func(at model.Offset, c Control) error {
			if _, ok := c.(*SnapshotHeader); ok && at == 0 {
				header = true
			}
			if err := step(at); err != nil {
				return err
			}
			_, footer = c.(*SnapshotFooter)
			return d.ReplayControl(c)
		})
		if err != nil {
			return nil, fmt.Errorf("snapshot offset range [%d, %d): %w", b.BaseOffset(), next, err)
		}
	}
	if !footer {
		return nil, ErrSnapshotFooter
	}
	return d.Apply(last, epoch), nil
}

// SnapshotRecords returns the records that rebuild i on an empty image
// (invariant 6), in Kafka's order: features with metadata.version first,
// brokers, controllers, topics with their partitions, configurations, quotas,
// producer ids, ACLs, SCRAM credentials, tokens; each sorted by its key.
func SnapshotRecords(i *Image) []Record {
	var s snapshot
	s.features(i)
	for _, id := range slices.Sorted(maps.Keys(i.Brokers)) {
		s.add(i.Brokers[id].record())
	}
	for _, id := range slices.Sorted(maps.Keys(i.Controllers)) {
		c := i.Controllers[id]
		s.add(&RegisterControllerRecord{ControllerID: c.ID, Incarnation: c.Incarnation, Endpoints: c.Endpoints,
			Features: featureList(c.Features)})
	}
	for _, name := range slices.Sorted(maps.Keys(i.Topics.ByName)) {
		t := i.Topics.ByName[name]
		s.add(&TopicRecord{Name: t.Name, TopicID: t.ID})
		for index, p := range t.Partitions {
			s.add(p.record(t.ID, int32(index)))
		}
	}
	s.configs(i)
	s.quotas(i)
	if i.NextProducerID > 0 {
		s.add(&ProducerIDsRecord{BrokerID: model.NoBroker, BrokerEpoch: model.NoBrokerEpoch,
			NextProducerID: i.NextProducerID})
	}
	s.security(i)
	return s
}

type snapshot []Record

func (s *snapshot) add(r Record) { *s = append(*s, r) }

func (s *snapshot) features(i *Image) {
	// metadata.version comes first: it says how to read everything else.
	if level := i.MetadataVersion(); level > 0 {
		s.add(&FeatureLevelRecord{Name: MetadataVersionFeature, Level: level})
	}
	for _, name := range slices.Sorted(maps.Keys(i.Features)) {
		if name != MetadataVersionFeature {
			s.add(&FeatureLevelRecord{Name: name, Level: i.Features[name]})
		}
	}
}

func (s *snapshot) configs(i *Image) {
	for _, key := range slices.SortedFunc(maps.Keys(i.Configs), Resource.Compare) {
		values := i.Configs[key]
		for _, name := range slices.Sorted(maps.Keys(values)) {
			v := values[name]
			s.add(&ConfigRecord{Type: key.Type, Resource: key.Name, Name: name, Value: &v})
		}
	}
}

func (s *snapshot) quotas(i *Image) {
	for _, key := range slices.Sorted(maps.Keys(i.ClientQuotas)) {
		q := i.ClientQuotas[key]
		for _, name := range slices.Sorted(maps.Keys(q.Values)) {
			s.add(&ClientQuotaRecord{Entity: q.Entity, Name: name, Value: q.Values[name]})
		}
	}
}

func (s *snapshot) security(i *Image) {
	for _, id := range slices.SortedFunc(maps.Keys(i.ACLs), model.UUID.Compare) {
		s.add(i.ACLs[id])
	}
	for _, key := range slices.SortedFunc(maps.Keys(i.ScramCredentials), ScramKey.compare) {
		s.add(i.ScramCredentials[key])
	}
	for _, id := range slices.Sorted(maps.Keys(i.Tokens)) {
		s.add(i.Tokens[id])
	}
}

func (k ScramKey) compare(o ScramKey) int {
	return cmp.Or(cmp.Compare(k.Mechanism, o.Mechanism), cmp.Compare(k.User, o.User))
}

// record is the registration as a record.
func (b *Broker) record() *RegisterBrokerRecord {
	r := &RegisterBrokerRecord{
		BrokerID: b.ID, MigratingZk: b.MigratingZk, Incarnation: b.Incarnation, BrokerEpoch: b.Epoch,
		Endpoints: b.Endpoints, Features: featureList(b.Features), Fenced: b.Fenced,
		InControlledShutdown: b.InControlledShutdown, Dirs: b.Dirs,
		// Never null, where the version has it: so Kafka writes it.
		CordonedDirs: append([]model.DirectoryID{}, b.CordonedDirs...),
	}
	if b.HasRack {
		r.Rack = new(b.Rack)
	}
	return r
}

// record is the whole state as a record.
func (p *Partition) record(id model.TopicID, index int32) *PartitionRecord {
	return &PartitionRecord{
		PartitionID: index, TopicID: id, Replicas: p.Replicas, ISR: p.ISR, Removing: p.Removing, Adding: p.Adding,
		Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Dirs: p.Dirs,
		Recovery: p.Recovery, ELR: p.ELR, LastKnownELR: p.LastKnownELR,
	}
}

func featureList(m map[string]VersionRange) []FeatureRange {
	var fs []FeatureRange
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fs = append(fs, FeatureRange{Name: name, Min: m[name].Min, Max: m[name].Max})
	}
	return fs
}
