package commitlog

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

func TestCheckpoint(t *testing.T) {
	m := newMem(t)
	name := "/d/" + HighWatermarkCheckpoint
	got, err := ReadCheckpoint(m, name)
	if err != nil || len(got) != 0 {
		t.Fatalf("missing file: %v %v", got, err)
	}
	want := map[model.TopicPartition]model.Offset{{Topic: "b", Partition: 2}: 7, {Topic: "a", Partition: 10}: 0, {Topic: "a", Partition: 9}: 1 << 40}
	must(t, WriteCheckpoint(m, name, want))
	text, err := vfs.ReadFile(m, name)
	must(t, err)
	if string(text) != "0\n3\na 9 1099511627776\na 10 0\nb 2 7\n" {
		t.Errorf("%q", text)
	}
	if got, err := ReadCheckpoint(m, name); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"", "1\n0\n", "0\n", "0\n2\na 1 2\n", "0\nx\n", "0\n1\na 1\n", "0\n1\na b 2\n", "0\n1\na 1 b\n"} {
		must(t, vfs.WriteFileAtomic(m, name, []byte(bad)))
		_, err := ReadCheckpoint(m, name)
		wantErr(t, err, ErrCorrupt)
	}
	must(t, WriteCheckpoint(m, name, nil))
	if got, err := ReadCheckpoint(m, name); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
}

func TestPartitionMetadata(t *testing.T) {
	m := newMem(t)
	_, ok, err := ReadPartitionMetadata(m, "/d")
	if ok || err != nil {
		t.Fatal(ok, err)
	}
	must(t, WritePartitionMetadata(m, "/d", model.MetadataTopicID))
	text, _ := vfs.ReadFile(m, "/d/partition.metadata")
	if string(text) != "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ" {
		t.Errorf("%q", text)
	}
	id, ok, err := ReadPartitionMetadata(m, "/d")
	if id != model.MetadataTopicID || !ok || err != nil {
		t.Errorf("%v %v %v", id, ok, err)
	}
	must(t, vfs.WriteFileAtomic(m, "/d/partition.metadata", []byte("version: 1\ntopic_id: x")))
	_, _, err = ReadPartitionMetadata(m, "/d")
	wantErr(t, err, ErrCorrupt)
}

// A crash while logs are loaded doesn't look clean (KAFKA-10471): the marker is
// gone, durably, when reading it returns.
func TestCleanShutdownIsReadOnce(t *testing.T) {
	m := newMem(t)
	must(t, WriteCleanShutdown(m, "/d", 42))
	epoch, clean, err := ReadCleanShutdown(m.CrashClone(0, 0), "/d")
	if epoch != 42 || !clean || err != nil {
		t.Fatal(epoch, clean, err)
	}
	_, _, err = ReadCleanShutdown(m, "/d")
	must(t, err)
	if _, clean, err := ReadCleanShutdown(m.CrashClone(0, 0), "/d"); clean || err != nil {
		t.Fatal(clean, err)
	}
	must(t, vfs.WriteFileAtomic(m, "/d/.kafka_cleanshutdown", nil)) // before 3.6
	if epoch, clean, err := ReadCleanShutdown(m, "/d"); epoch != model.NoBrokerEpoch || !clean || err != nil {
		t.Fatal(epoch, clean, err)
	}
}

func TestMetaProperties(t *testing.T) {
	m := newMem(t)
	if _, ok, err := ReadMetaProperties(m, "/d"); ok || err != nil {
		t.Fatal(ok, err)
	}
	want := MetaProperties{"MkU3OEVBNTcwNTJENDM2Qk", 3, model.DirectoryID{1, 2, 3}}
	must(t, WriteMetaProperties(m, "/d", want))
	if got, ok, err := ReadMetaProperties(m, "/d"); got != want || !ok || err != nil {
		t.Errorf("%+v %v %v", got, ok, err)
	}
	jvm := "#\n#Tue Jan 02 10:11:12 UTC 2024\nnode.id=1\nversion=1\nunknown=a\\:b\ncluster.id=5L6g3nShT-eMCtK--X86sw\n"
	must(t, vfs.WriteFileAtomic(m, "/d/meta.properties", []byte(jvm)))
	got, ok, err := ReadMetaProperties(m, "/d")
	if got != (MetaProperties{ClusterID: "5L6g3nShT-eMCtK--X86sw", NodeID: 1}) || !ok || err != nil {
		t.Errorf("%+v %v %v", got, ok, err)
	}
	must(t, vfs.WriteFileAtomic(m, "/d/meta.properties", []byte("version=0\nbroker.id=1\n")))
	_, _, err = ReadMetaProperties(m, "/d")
	wantErr(t, err, ErrCorrupt)
}

func TestParsePartitionDir(t *testing.T) {
	id := "0123456789abcdef0123456789abcdef"
	for _, x := range []struct {
		name string
		tp   model.TopicPartition
		kind DirKind
		ok   bool
	}{
		{"t-0", model.TopicPartition{Topic: "t"}, DirPartition, true},
		{"a-b.c-12", model.TopicPartition{Topic: "a-b.c", Partition: 12}, DirPartition, true},
		{"t-3." + id + "-delete", model.TopicPartition{Topic: "t", Partition: 3}, DirDeleted, true},
		{"t-3." + id + "-future", model.TopicPartition{Topic: "t", Partition: 3}, DirFuture, true},
		{"t-3." + id + "-stray", model.TopicPartition{Topic: "t", Partition: 3}, DirStray, true},
		{"__cluster_metadata-0", model.TopicPartition{Topic: "__cluster_metadata"}, DirPartition, true},
		{"lost+found", model.TopicPartition{}, 0, false},
		{"t-", model.TopicPartition{}, 0, false},
		{"-1", model.TopicPartition{}, 0, false},
		{"t-01", model.TopicPartition{}, 0, false},
		{"t-3.xyz-delete", model.TopicPartition{}, 0, false},
		{"t-99999999999", model.TopicPartition{}, 0, false},
	} {
		tp, kind, ok := ParsePartitionDir(x.name)
		if tp != x.tp || kind != x.kind || ok != x.ok {
			t.Errorf("%s: %v %v %v", x.name, tp, kind, ok)
		}
	}
	long := model.TopicPartition{Topic: string(make([]byte, 249)), Partition: 7}
	if n := len(PartitionDirName(long, DirDeleted, model.UUID{1})); n != 255 {
		t.Errorf("name of %d bytes", n)
	}
	tp := model.TopicPartition{Topic: "t", Partition: 7}
	if got, kind, ok := ParsePartitionDir(PartitionDirName(tp, DirFuture, model.UUID{1})); got != tp || kind != DirFuture || !ok {
		t.Errorf("%v %v %v", got, kind, ok)
	}
}

func TestProducerSnapshots(t *testing.T) {
	l := open(t, memOptions(newMem(t)))
	fill(t, l, 0, 5, 10)
	good := []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	sum(good)
	must(t, l.WriteProducerSnapshot(20, good))
	must(t, l.WriteProducerSnapshot(40, append([]byte{0, 1, 9}, good[3:]...))) // damaged
	if off, p, ok := l.LatestProducerSnapshot(50); off != 20 || !ok || string(p) != string(good) {
		t.Errorf("%d %v %v", off, p, ok)
	}
	if _, _, ok := l.LatestProducerSnapshot(19); ok {
		t.Error("a snapshot from above")
	}
	_, err := l.TruncateTo(15)
	must(t, err)
	if _, _, ok := l.LatestProducerSnapshot(50); ok {
		t.Error("a snapshot of records that were cut")
	}
	wantErr(t, l.WriteProducerSnapshot(99, good), ErrOffsetOutOfRange)
}

// sum sets the checksum of a producer snapshot.
func sum(p []byte) { binary.BigEndian.PutUint32(p[2:], crc32.Checksum(p[6:], castagnoli)) }
