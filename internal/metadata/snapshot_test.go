package metadata

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

func readBatches(t *testing.T, name string) []record.Batch {
	p, err := os.ReadFile(filepath.Join(kafkaDir, name))
	if err != nil {
		t.Fatal(err)
	}
	var out []record.Batch
	for len(p) > 0 {
		var b record.Batch
		if b, p, err = record.Next(p); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// What kafka-storage writes for a new cluster can be read.
func TestReadKafkaBootstrap(t *testing.T) {
	i, err := ReadSnapshot(readBatches(t, "bootstrap.checkpoint"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int16{"metadata.version": 30, "eligible.leader.replicas.version": 1, "group.version": 1,
		"share.version": 1, "streams.version": 1, "transaction.version": 2}
	if !reflect.DeepEqual(i.Features, want) {
		t.Errorf("features %v, want %v", i.Features, want)
	}
	i, err = ReadSnapshot(readBatches(t, "00000000000000000000-0000000000.checkpoint"), model.NoOffset, 0)
	if err != nil {
		t.Fatal(err)
	}
	if i.KRaftVersion != 1 || len(i.Voters) != 1 || i.Voters[0].ID != 1 || i.Voters[0].Endpoints[0].Port != 19093 {
		t.Errorf("kraft.version %d, voters %+v", i.KRaftVersion, i.Voters)
	}
}

// Our control batches are Kafka's, byte for byte.
func TestControlBatchIsKafkas(t *testing.T) {
	for _, b := range readBatches(t, "00000000000000000000-0000000000.checkpoint") {
		var cs []Control
		if err := visit(b, nil, func(_ model.Offset, c Control) error { cs = append(cs, c); return nil }); err != nil {
			t.Fatal(err)
		}
		ours := ControlBatch(cs, b.BaseTimestamp())
		ours.Stamp(b.BaseOffset(), b.LeaderEpoch())
		if !bytes.Equal(ours, b) {
			t.Errorf("%T:\nours   %x\nKafka's %x", cs[0], ours, b)
		}
	}
	for _, b := range readBatches(t, "bootstrap.checkpoint") {
		if b.Control() {
			continue
		}
		var rs []Record
		if err := visit(b, func(_ model.Offset, r Record) error { rs = append(rs, r); return nil }, nil); err != nil {
			t.Fatal(err)
		}
		ours := DataBatch(rs, 30, b.BaseTimestamp())
		ours.Stamp(b.BaseOffset(), b.LeaderEpoch())
		if !bytes.Equal(ours, b) {
			t.Errorf("data:\nours   %x\nKafka's %x", ours, b)
		}
	}
}

// invariant 6: an image that came from deltas and one loaded from its snapshot
// are the same, and so are their snapshots.
func TestSnapshotEqualsImage(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		g := newHistory(rng)
		image := Empty()
		for range 12 {
			d := NewDelta(image)
			for range rng.IntN(30) {
				r := g.next(d.Pending())
				if err := d.Replay(r); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if rng.IntN(4) == 0 {
				must(t, d.ReplayControl(&KRaftVersion{Level: 1}))
				must(t, d.ReplayControl(&KRaftVoters{Voters: []Voter{{ID: 1, Dir: uid(200), KRaftVersion: VersionRange{0, 1}}}}))
			}
			image = d.Apply(image.Offset+10, image.Epoch+2)
		}
		batches := WriteSnapshot(image, 5, 6)
		loaded, err := ReadSnapshot(batches, image.Offset, image.Epoch)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, b := range loaded.Brokers {
			b.RegisteredAt = image.Brokers[b.ID].RegisteredAt
		}
		if !reflect.DeepEqual(loaded, image) {
			t.Fatalf("seed %d:\nloaded %+v\nimage  %+v", seed, loaded, image)
		}
		if again := WriteSnapshot(loaded, 5, 6); !reflect.DeepEqual(again, batches) {
			t.Fatalf("seed %d: equal images, different snapshots", seed)
		}
		if d := Between(image, loaded); len(d.Brokers())+len(d.ConfigChanges())+len(d.topics)+len(d.Features()) > 0 {
			t.Fatalf("seed %d: equal images, but %+v", seed, d)
		}
	}
}

func TestReadSnapshotRefusesBrokenFiles(t *testing.T) {
	d := NewDelta(Empty())
	must(t, d.Replay(&FeatureLevelRecord{Name: MetadataVersionFeature, Level: 25}))
	good := WriteSnapshot(d.Apply(0, 1), 0, 0)
	at := func(base model.Offset, b record.Batch) record.Batch {
		b = append(record.Batch(nil), b...)
		b.Stamp(base, 1)
		return b
	}
	flipped := at(1, good[1])
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		batches []record.Batch
		want    error
	}{
		"empty":     {nil, ErrSnapshotFooter},
		"no footer": {good[:2], ErrSnapshotFooter},
		"no header": {[]record.Batch{at(0, good[1]), at(1, good[2])}, ErrSnapshotHeader},
		"gap":       {[]record.Batch{good[0], good[2]}, ErrSnapshotGap},
		"data last": {[]record.Batch{good[0], at(1, good[2]), at(2, good[1])}, ErrSnapshotExtra},
		"bit flip":  {[]record.Batch{good[0], flipped, good[2]}, record.ErrCorrupt},
	} {
		if _, err := ReadSnapshot(c.batches, 0, 1); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// history makes up records that a controller could write.
type history struct {
	rng    *rand.Rand
	ids    uint32
	topics []model.TopicID
}

func newHistory(rng *rand.Rand) *history { return &history{rng: rng} }

func (h *history) id() model.UUID {
	h.ids++
	return model.UUID{7, 12: byte(h.ids >> 24), 13: byte(h.ids >> 16), 14: byte(h.ids >> 8), 15: byte(h.ids)}
}

func (h *history) replicas() []model.BrokerID {
	var out []model.BrokerID
	for _, v := range h.rng.Perm(5)[:1+h.rng.IntN(4)] {
		out = append(out, model.BrokerID(v))
	}
	return out
}

func (h *history) dirs(n int) (out []model.DirectoryID) {
	for range n {
		out = append(out, h.id())
	}
	return out
}

// next makes one record that fits the state i.
func (h *history) next(i *Image) Record { // flat switch
	if i.MetadataVersion() == 0 {
		return &FeatureLevelRecord{Name: MetadataVersionFeature, Level: 30}
	}
	user := strconv.Itoa(h.rng.IntN(3))
	switch h.rng.IntN(16) {
	case 0:
		return h.register()
	case 1:
		if b := i.Brokers[model.BrokerID(h.rng.IntN(5))]; b != nil {
			return &BrokerRegistrationChangeRecord{BrokerID: b.ID, BrokerEpoch: b.Epoch, Fenced: FenceChange(h.rng.IntN(3) - 1),
				InControlledShutdown: int8(h.rng.IntN(2)), CordonedDirs: h.dirs(h.rng.IntN(2))}
		}
	case 2:
		if b := i.Brokers[model.BrokerID(h.rng.IntN(5))]; b != nil {
			return &UnregisterBrokerRecord{BrokerID: b.ID, BrokerEpoch: b.Epoch}
		}
	case 3:
		id := h.id()
		h.topics = append(h.topics, id)
		return &TopicRecord{Name: "topic-" + strconv.Itoa(int(h.ids)), TopicID: id}
	case 4, 5, 6, 7, 8:
		if r := h.partition(i); r != nil {
			return r
		}
	case 9:
		if len(h.topics) > 3 {
			id := h.topics[0]
			h.topics = h.topics[1:]
			return &RemoveTopicRecord{TopicID: id}
		}
	case 10:
		r := &ConfigRecord{Type: BrokerResource, Resource: user, Name: strconv.Itoa(h.rng.IntN(2))}
		if h.rng.IntN(3) > 0 {
			r.Value = new("v")
		}
		return r
	case 11:
		return &ClientQuotaRecord{Entity: []QuotaEntityPart{{"user", &user}, {"client-id", nil}}, Name: "q",
			Value: h.rng.Float64(), Remove: h.rng.IntN(2) == 0}
	case 12:
		return &UserScramCredentialRecord{Name: user, Mechanism: 1, Salt: []byte{1}, Iterations: 4096}
	case 13:
		return &RemoveUserScramCredentialRecord{Name: user, Mechanism: 1}
	case 14:
		return &FeatureLevelRecord{Name: GroupVersionFeature, Level: int16(h.rng.IntN(2))}
	case 15:
		return &ProducerIDsRecord{NextProducerID: int64(h.ids) * 1000}
	}
	return &NoOpRecord{}
}

func (h *history) register() Record {
	r := &RegisterBrokerRecord{BrokerID: model.BrokerID(h.rng.IntN(5)), BrokerEpoch: model.BrokerEpoch(h.rng.IntN(1000)),
		Incarnation: h.id(), Fenced: h.rng.IntN(2) == 0, Dirs: h.dirs(1),
		Endpoints: []Endpoint{{Name: "PLAINTEXT", Host: "h", Port: 9092}},
		Features:  []FeatureRange{{"metadata.version", 7, 30}}}
	if h.rng.IntN(2) == 0 {
		r.Rack = new("")
	}
	return r
}

func (h *history) partition(i *Image) Record {
	if len(h.topics) == 0 {
		return nil
	}
	t := i.Topics.ByID[h.topics[h.rng.IntN(len(h.topics))]]
	if len(t.Partitions) < 3 {
		rs := h.replicas()
		r := &PartitionRecord{PartitionID: int32(len(t.Partitions)), TopicID: t.ID, Replicas: rs, ISR: rs, Leader: rs[0]}
		if h.rng.IntN(2) == 0 {
			r.Dirs = h.dirs(len(rs))
		}
		return r
	}
	r := &PartitionChangeRecord{PartitionID: int32(h.rng.IntN(3)), TopicID: t.ID}
	if h.rng.IntN(2) == 0 {
		r.Replicas = h.replicas()
	}
	if h.rng.IntN(2) == 0 {
		r.ISR, r.ELR = h.replicas(), h.replicas()[:0]
	}
	if h.rng.IntN(2) == 0 {
		r.Leader, r.LastKnownELR = new(model.BrokerID(h.rng.IntN(6)-1)), h.replicas()
	}
	return r
}
