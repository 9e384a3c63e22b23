package metadata

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

const kafkaDir = "testdata/kafka-4.3.1"

// uid returns the ids that the golden records use.
func uid(n byte) model.UUID { return model.UUID{1, 2, 3, 4, 5, 6, 7, 8, 15: n} }

func ids(v ...model.BrokerID) []model.BrokerID { return append([]model.BrokerID{}, v...) }

// golden maps the names in records.txt to the record in its highest version.
var golden = map[string]Record{
	"RegisterBroker": &RegisterBrokerRecord{
		BrokerID: 3, Incarnation: uid(1), BrokerEpoch: 77, Rack: new("r1"), Fenced: true, InControlledShutdown: true,
		Endpoints: []Endpoint{{Name: "PLAINTEXT", Host: "h1", Port: 9092},
			{Name: "SSL", Host: "h2", Port: 65535, Security: 1}},
		Features:     []FeatureRange{{"group.version", 0, 1}, {"metadata.version", 7, 30}},
		Dirs:         []model.DirectoryID{uid(200), uid(201)},
		CordonedDirs: []model.DirectoryID{uid(201)},
	},
	"RegisterBroker/plain": &RegisterBrokerRecord{BrokerID: 1, Incarnation: uid(1), BrokerEpoch: 5},
	"UnregisterBroker":     &UnregisterBrokerRecord{BrokerID: 3, BrokerEpoch: 77},
	"Topic":                &TopicRecord{Name: "t", TopicID: uid(5)},
	"Partition":            goldenPartition(),
	"Partition/plain": &PartitionRecord{TopicID: uid(5), Replicas: ids(1), ISR: ids(1), Leader: 1,
		Dirs: []model.UUID{uid(200)}},
	"Config":                &ConfigRecord{Type: TopicResource, Resource: "t", Name: "retention.ms", Value: new("-1")},
	"Config/delete":         &ConfigRecord{Type: BrokerResource, Name: "log.cleaner.threads"},
	"PartitionChange":       goldenChange(),
	"PartitionChange/plain": &PartitionChangeRecord{TopicID: uid(5), ISR: ids(1)},
	"PartitionChange/leader0": &PartitionChangeRecord{TopicID: uid(5), Leader: new(model.BrokerID(0)),
		Recovery: new(Recovering)},
	"FenceBroker":   &FenceBrokerRecord{BrokerID: 3, BrokerEpoch: 77},
	"UnfenceBroker": &UnfenceBrokerRecord{BrokerID: 3, BrokerEpoch: 77},
	"RemoveTopic":   &RemoveTopicRecord{TopicID: uid(5)},
	"DelegationToken": &DelegationTokenRecord{Owner: "User:o", Requester: "User:r", Renewers: []string{"User:a", "User:b"},
		IssueTimestamp: 1, MaxTimestamp: 2, ExpirationTimestamp: 3, TokenID: "tok"},
	"UserScramCredential": &UserScramCredentialRecord{Name: "alice", Mechanism: 1, Salt: []byte{1, 2},
		StoredKey: []byte{3},
		ServerKey: []byte{4}, Iterations: 8192},
	"FeatureLevel": &FeatureLevelRecord{Name: "metadata.version", Level: 25},
	"ClientQuota": &ClientQuotaRecord{Entity: []QuotaEntityPart{{"user", new("alice")}, {"client-id", nil}},
		Name: "producer_byte_rate", Value: 1024.5},
	"ProducerIds": &ProducerIDsRecord{BrokerID: 3, BrokerEpoch: 77, NextProducerID: 2000},
	"BrokerRegistrationChange": &BrokerRegistrationChangeRecord{BrokerID: 3, BrokerEpoch: 77, Fenced: Unfence,
		InControlledShutdown: 1, Dirs: []model.UUID{uid(200)}, CordonedDirs: []model.UUID{}},
	"BrokerRegistrationChange/cordon": &BrokerRegistrationChangeRecord{BrokerID: 3, BrokerEpoch: 77,
		CordonedDirs: []model.UUID{uid(200)}},
	"AccessControlEntry": &AccessControlEntryRecord{ID: uid(7), ResourceType: 2, ResourceName: "t", PatternType: 3,
		Principal: "User:alice", Host: "*", Operation: 3, Permission: 3},
	"RemoveAccessControlEntry":  &RemoveAccessControlEntryRecord{ID: uid(7)},
	"NoOp":                      &NoOpRecord{},
	"ZkMigrationState":          &ZkMigrationStateRecord{State: 3},
	"RemoveUserScramCredential": &RemoveUserScramCredentialRecord{Name: "alice", Mechanism: 2},
	"BeginTransaction":          &BeginTransactionRecord{Name: new("boot")},
	"BeginTransaction/plain":    &BeginTransactionRecord{},
	"EndTransaction":            &EndTransactionRecord{},
	"AbortTransaction":          &AbortTransactionRecord{Reason: new("why")},
	"RemoveDelegationToken":     &RemoveDelegationTokenRecord{TokenID: "tok"},
	"RegisterController": &RegisterControllerRecord{ControllerID: 100, Incarnation: uid(9),
		Endpoints: []Endpoint{{Name: "CONTROLLER", Host: "c1", Port: 9093}},
		Features:  []FeatureRange{{"kraft.version", 0, 1}}},
	"ClearElr": &ClearELRRecord{Topic: "t"},
}

func goldenPartition() *PartitionRecord {
	return &PartitionRecord{
		PartitionID: 2, TopicID: uid(5), Replicas: ids(3, 1, 2), ISR: ids(3, 1), Removing: ids(1), Adding: ids(2),
		Leader: 3, Recovery: Recovering, LeaderEpoch: 8, PartitionEpoch: 300,
		Dirs: []model.UUID{uid(201), model.MigratingDir, model.UnassignedDir}, ELR: ids(2), LastKnownELR: ids(1, 2),
	}
}

func goldenChange() *PartitionChangeRecord {
	return &PartitionChangeRecord{
		PartitionID: 2, TopicID: uid(5), ISR: ids(3, 2), Leader: new(model.NoBroker), Replicas: ids(3, 2, 4),
		Removing: ids(), Adding: ids(4), Recovery: new(Recovered),
		Dirs: []model.UUID{uid(201), uid(202), uid(203)}, ELR: ids(), LastKnownELR: ids(4),
	}
}

// strip removes what older versions of a record don't have.
func strip(r Record, version int) Record {
	switch r := r.(type) {
	case *RegisterBrokerRecord:
		c := *r
		if version < 1 {
			c.InControlledShutdown = false
		}
		if version < 3 {
			c.Dirs = nil
		}
		if version < 4 {
			c.CordonedDirs = nil
		}
		return &c
	case *PartitionRecord:
		c := *r
		if version < 1 {
			c.Dirs = nil
		}
		if version < 2 {
			c.ELR, c.LastKnownELR = nil, nil
		}
		return &c
	case *PartitionChangeRecord:
		c := *r
		if version < 1 {
			c.Dirs = nil
		}
		if version < 2 {
			c.ELR, c.LastKnownELR = nil, nil
		}
		return &c
	case *BrokerRegistrationChangeRecord:
		c := *r
		if version < 1 {
			c.InControlledShutdown = 0
		}
		if version < 2 {
			c.Dirs = nil
		}
		if version < 3 {
			c.CordonedDirs = nil
		}
		return &c
	}
	return r
}

type goldenLine struct {
	name    string
	version int
	data    []byte
}

func goldenLines(t testing.TB) []goldenLine {
	f, err := os.Open(filepath.Join(kafkaDir, "records.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []goldenLine
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		v, err := strconv.Atoi(w[1])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, goldenLine{w[0], v, unhex(t, w[2])})
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every record in every version is written and read as Kafka's classes do.
func TestGoldenRecords(t *testing.T) {
	seen := map[int16]int{}
	for _, g := range goldenLines(t) {
		if strings.HasPrefix(g.name, "control-") || g.name == "NoOp/tagged" {
			continue
		}
		full := golden[g.name]
		if full == nil {
			t.Fatalf("%s: no record to compare with", g.name)
		}
		level := full.levels()[g.version]
		if got := Encode(full, level); !bytes.Equal(got, g.data) {
			t.Errorf("%s v%d at level %d:\n got %x\nwant %x", g.name, g.version, level, got, g.data)
		}
		got, err := Decode(g.data)
		if err != nil {
			t.Errorf("%s v%d: %v", g.name, g.version, err)
			continue
		}
		if want := strip(full, g.version); !reflect.DeepEqual(got, want) {
			t.Errorf("%s v%d:\n got %+v\nwant %+v", g.name, g.version, got, want)
		}
		seen[full.Key()] = max(seen[full.Key()], g.version+1)
	}
	for key := range int16(64) {
		r := newRecord(key)
		if r != nil && seen[key] != len(r.levels()) && key != 29 { // 4.3.1 has no key 29
			t.Errorf("key %d: %d of %d versions are compared with Kafka's", key, seen[key], len(r.levels()))
		}
	}
}

// A tagged field that Kafka of today doesn't know is skipped, as Kafka does.
func TestGoldenUnknownTag(t *testing.T) {
	for _, g := range goldenLines(t) {
		if g.name != "NoOp/tagged" {
			continue
		}
		if r, err := Decode(g.data); err != nil || r.Key() != 20 {
			t.Fatalf("got %v, %v", r, err)
		}
		return
	}
	t.Fatal("no such line")
}

func TestGoldenControls(t *testing.T) {
	want := map[string]Control{
		"control-2/0": &LeaderChange{LeaderID: 1, Voters: []LeaderVoter{{ID: 1}, {ID: 2}}, Granting: []LeaderVoter{{ID: 1}}},
		"control-2/1": &LeaderChange{LeaderID: 1, Voters: []LeaderVoter{{ID: 1, Dir: uid(200)}}},
		"control-3/0": &SnapshotHeader{LastContainedLogTimestamp: 123456789},
		"control-4/0": &SnapshotFooter{},
		"control-5/0": &KRaftVersion{Level: 1},
		"control-6/0": &KRaftVoters{Voters: []Voter{{ID: 1, Dir: uid(200), KRaftVersion: VersionRange{0, 1},
			Endpoints: []Endpoint{{Name: "CONTROLLER", Host: "c1", Port: 9093}}}}},
	}
	for _, g := range goldenLines(t) {
		if !strings.HasPrefix(g.name, "control-") {
			continue
		}
		c := want[g.name+"/"+strconv.Itoa(g.version)]
		delete(want, g.name+"/"+strconv.Itoa(g.version))
		key, value := EncodeControl(c)
		if g.version == 0 && !bytes.Equal(value, g.data) {
			t.Errorf("%s: got %x, want %x", g.name, value, g.data)
		}
		if wantKey := record.ControlKey(c.Type()); !bytes.Equal(key, wantKey) {
			t.Errorf("%s: key %x, want %x", g.name, key, wantKey)
		}
		if got, err := DecodeControl(key, g.data); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s v%d: got %+v, %v, want %+v", g.name, g.version, got, err, c)
		}
	}
	if len(want) > 0 {
		t.Errorf("not compared: %v", want)
	}
}

// Kafka's image and ours go through the same records and write the same
// snapshot, record by record, after every step.
func TestGoldenImage(t *testing.T) {
	f, err := os.Open(filepath.Join(kafkaDir, "image.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image, step := Empty(), 1
	d := NewDelta(image)
	var want []string
	for s := bufio.NewScanner(f); s.Scan(); {
		verb, arg, _ := strings.Cut(s.Text(), " ")
		switch verb {
		case "replay":
			r, err := Decode(unhex(t, arg))
			if err == nil {
				err = d.Replay(r)
			}
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		case "image":
			want = append(want, arg)
		case "end":
			image = d.Apply(model.Offset(step), 1)
			compareSnapshot(t, step, image, want)
			d, want, step = NewDelta(image), nil, step+1
		}
	}
	if step < 6 {
		t.Errorf("only %d steps", step)
	}
}

// compareSnapshot ignores the order inside one kind of record, which Kafka
// leaves to hash maps; the order of the kinds must be the same.
func compareSnapshot(t *testing.T, step int, image *Image, want []string) {
	level := image.MetadataVersion()
	var ours, theirs []string
	var ourKeys, theirKeys []int16
	for _, r := range SnapshotRecords(image) {
		ours = append(ours, hex.EncodeToString(Encode(r, level)))
		ourKeys = append(ourKeys, kind(r))
	}
	for _, line := range want {
		r, err := Decode(unhex(t, line))
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := r.(*RegisterBrokerRecord); ok {
			slices.SortFunc(b.Endpoints, func(a, b Endpoint) int { return strings.Compare(a.Name, b.Name) })
			line = hex.EncodeToString(Encode(r, level))
		}
		theirs = append(theirs, line)
		theirKeys = append(theirKeys, kind(r))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	if !slices.Equal(ours, theirs) {
		t.Errorf("step %d:\nours   %s\ntheirs %s", step, strings.Join(ours, "\n       "), strings.Join(theirs, "\n       "))
	}
	if a, b := slices.Compact(ourKeys), slices.Compact(theirKeys); !slices.Equal(a, b) {
		t.Errorf("step %d: kinds in order %v, Kafka's %v", step, a, b)
	}
}

// kind takes a topic and its partitions for one.
func kind(r Record) int16 {
	if r.Key() == 3 {
		return 2
	}
	return r.Key()
}
