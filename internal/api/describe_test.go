package api

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"tidemark/internal/broker"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// pages reads a cluster of topics a (2 partitions), b (3) and c (1).
func pagesHandlers() *Handlers {
	img := cluster()
	img.Topics = metadata.Topics{ByID: map[model.TopicID]*metadata.Topic{}, ByName: map[string]*metadata.Topic{}}
	for i, n := range []int{2, 3, 1} {
		t := &metadata.Topic{Name: string(rune('a' + i)), ID: model.TopicID{byte(i + 1)}}
		for range n {
			t.Partitions = append(t.Partitions, &metadata.Partition{
				Replicas: []model.BrokerID{1, 2, 3}, ISR: []model.BrokerID{1}, Leader: 1, LeaderEpoch: 4,
				ELR: []model.BrokerID{2}, LastKnownELR: []model.BrokerID{3},
			})
		}
		img.Topics.ByName[t.Name], img.Topics.ByID[t.ID] = t, t
	}
	h := New(Options{})
	RegisterDescribeTopicPartitions(h, view{img})
	RegisterApiVersions(h, nil)
	return h
}

func TestDescribeTopicPartitionsPages(t *testing.T) {
	c, _ := serve(t, pagesHandlers())
	at := func(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		return &kmsg.DescribeTopicPartitionsRequestCursor{Topic: topic, Partition: partition}
	}
	for _, test := range []struct {
		limit  int32
		cursor *kmsg.DescribeTopicPartitionsRequestCursor
		topics string
		want   string // topic:partitions or topic!error, then the next cursor
	}{
		{2000, nil, "", "a:0,1 b:0,1,2 c:0"},
		{3, nil, "", "a:0,1 b:0 -> b/1"},
		{2, nil, "", "a:0,1 -> b/0"},
		{0, nil, "", "a:0 -> a/1"},
		{-1, nil, "", "a:0 -> a/1"},
		{3, at("b", 1), "", "b:1,2 c:0"},
		{3, at("b", 3), "", "b: c:0"},
		{3, at("b", 99), "", "b: c:0"},
		{3, at("aa", 1), "", "b:0,1,2 -> c/0"},
		{9, at("d", 0), "", ""},
		{9, at("a", -1), "", ""},
		{9, nil, "c x a c no!", "a:0,1 c:0 no!!17 x!3"},
		{1, nil, "x y a", "a:0 -> a/1"},
		{1, nil, "A B c", "A!3 B!3 c:0"},
		{9, at("b", 1), "a b x", "b:1,2 x!3"},
		{9, at("m", 0), "b a", "b!42 a!42"},
	} {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = test.limit, test.cursor
		for name := range strings.FieldsSeq(test.topics) {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](t, c, req, 0)
		var got []string
		for _, topic := range resp.Topics {
			if topic.ErrorCode != 0 {
				got = append(got, fmt.Sprintf("%s!%d", *topic.Topic, topic.ErrorCode))
				continue
			}
			var parts []string
			for _, p := range topic.Partitions {
				parts = append(parts, fmt.Sprint(p.Partition))
			}
			got = append(got, *topic.Topic+":"+strings.Join(parts, ","))
		}
		if cur := resp.NextCursor; cur != nil {
			got = append(got, fmt.Sprintf("-> %s/%d", cur.Topic, cur.Partition))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("limit %d, cursor %v, topics %q: got %q, want %q", test.limit, test.cursor, test.topics,
				strings.Join(got, " "), test.want)
		}
	}
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 1
	p := ask[*kmsg.DescribeTopicPartitionsResponse](t, c, req, 0).Topics[0].Partitions[0]
	if fmt.Sprint(p.LeaderID, p.LeaderEpoch, p.Replicas, p.ISR, p.EligibleLeaderReplicas, p.LastKnownELR, p.OfflineReplicas) !=
		"1 4 [1 2 3] [1] [2] [3] [3]" {
		t.Errorf("%+v", p)
	}
}

type diskStub struct {
	n    *dataNode
	dirs []broker.LogDir
}

func (s diskStub) LogDirs() []broker.LogDir { return s.dirs }
func (s diskStub) Image() *metadata.Image   { return s.n.img }

func TestDescribeLogDirs(t *testing.T) {
	n := newDataNode(t, 1)
	if p := produce(t, n.dial(), 1, 1, oneBatch("a")); p.ErrorCode != 0 {
		t.Fatal(p)
	}
	good, bad := model.DirectoryID{1}, model.DirectoryID{2}
	n.img.Brokers[1].CordonedDirs = []model.DirectoryID{good}
	disks := diskStub{n, []broker.LogDir{
		{Dir: broker.Dir{Path: "/d1", ID: good}, Total: 1 << 40, Free: 1 << 30, Known: true, Replicas: []*partition.Partition{
			n.parts[model.TopicPartition{Topic: "orders", Partition: 0}], n.parts[model.TopicPartition{Topic: "orders", Partition: 1}],
		}},
		{Dir: broker.Dir{Path: "/d2", ID: bad}, Err: errors.New("input/output error")},
	}}
	h := New(Options{})
	RegisterDescribeLogDirs(h, 1, disks)
	RegisterApiVersions(h, nil)
	c, _ := serve(t, h)
	for version := int16(1); version <= 5; version++ {
		resp := ask[*kmsg.DescribeLogDirsResponse](t, c, kmsg.NewPtrDescribeLogDirsRequest(), version)
		d := resp.Dirs[0]
		if len(resp.Dirs) != 2 || d.Dir != "/d1" || d.ErrorCode != 0 || len(d.Topics) != 1 || len(d.Topics[0].Partitions) != 2 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		if p := d.Topics[0].Partitions[1]; p.Partition != 1 || p.Size < 61 || p.OffsetLag != 0 || p.IsFuture {
			t.Errorf("v%d: %+v", version, p)
		}
		if version >= 4 && (d.TotalBytes != 1<<40 || d.UsableBytes != 1<<30) || version < 4 && d.TotalBytes != -1 {
			t.Errorf("v%d: %d of %d bytes", version, d.UsableBytes, d.TotalBytes)
		}
		if d.IsCordoned != (version >= 5) {
			t.Errorf("v%d: cordoned %v", version, d.IsCordoned)
		}
		if off := resp.Dirs[1]; off.ErrorCode != kerr.KafkaStorageError.Code || off.TotalBytes != -1 {
			t.Errorf("v%d: %+v", version, off)
		}
		some := kmsg.NewPtrDescribeLogDirsRequest()
		some.Topics = []kmsg.DescribeLogDirsRequestTopic{}
		if d := ask[*kmsg.DescribeLogDirsResponse](t, c, some, version).Dirs[0]; len(d.Topics) != 0 {
			t.Errorf("v%d: an empty list asks for none: %+v", version, d)
		}
		some.Topics = append(some.Topics, kmsg.DescribeLogDirsRequestTopic{Topic: "orders", Partitions: []int32{1, 7}},
			kmsg.DescribeLogDirsRequestTopic{Topic: "absent", Partitions: []int32{0}})
		d = ask[*kmsg.DescribeLogDirsResponse](t, c, some, version).Dirs[0]
		if len(d.Topics) != 1 || len(d.Topics[0].Partitions) != 1 || d.Topics[0].Partitions[0].Partition != 1 {
			t.Errorf("v%d: %+v", version, d)
		}
	}
}

func TestDescribeProducers(t *testing.T) {
	n := newDataNode(t, 1)
	b := oneBatch("a", "b")
	idempotent(b, 77, 3, 5)
	if p := produce(t, n.dial(), 1, 0, b); p.ErrorCode != 0 {
		t.Fatal(p)
	}
	h := New(Options{})
	RegisterDescribeProducers(h, n)
	RegisterApiVersions(h, nil)
	c, _ := serve(t, h)
	req := kmsg.NewPtrDescribeProducersRequest()
	for _, name := range []string{"orders", "absent", "no such!"} {
		req.Topics = append(req.Topics, kmsg.DescribeProducersRequestTopic{Topic: name, Partitions: []int32{0, 2, 9}})
	}
	resp := ask[*kmsg.DescribeProducersResponse](t, c, req, 0)
	var codes []int16
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	if fmt.Sprint(codes) != "[0 6 3 3 3 3 17 17 17]" {
		t.Fatalf("%v", codes)
	}
	got := resp.Topics[0].Partitions[0].ActiveProducers
	if len(got) != 1 || got[0].ProducerID != 77 || got[0].ProducerEpoch != 3 || got[0].LastSequence != 6 ||
		got[0].CoordinatorEpoch != -1 || got[0].CurrentTxnStartOffset != -1 {
		t.Fatalf("%+v", got)
	}
}

func TestListConfigResources(t *testing.T) {
	h := New(Options{})
	img := configImage()
	img.Configs[metadata.Resource{Type: metadata.ClientMetricsResource, Name: "m"}] = map[string]string{"metrics": "a"}
	RegisterListConfigResources(h, view{img})
	RegisterApiVersions(h, nil)
	c, _ := serve(t, h)
	list := func(version int16, kinds ...int8) string {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.ResourceTypes = kinds
		resp := ask[*kmsg.ListConfigResourcesResponse](t, c, req, version)
		if resp.ErrorCode != 0 {
			return fmt.Sprint("error ", resp.ErrorCode)
		}
		var out []string
		for _, r := range resp.ConfigResources {
			if version == 0 {
				r.Type = 16
			}
			out = append(out, fmt.Sprintf("%d:%s", r.Type, r.Name))
		}
		return strings.Join(out, " ")
	}
	for _, test := range []struct {
		got, want string
	}{
		{list(0), "16:m"},
		{list(1, 4), "4:1 4:2 4:3 4:4"},
		{list(1, 8, 8), "8:1 8:2 8:3 8:4"},
		{list(1, 32, 16), "16:m 32:g"},
		{list(1, 2, 99), "error 35"},
		{list(1, 0), "error 35"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	if all := list(1); !strings.HasPrefix(all, "2:") || !strings.Contains(all, "2:tuned") || !strings.HasSuffix(all, "16:m 32:g") {
		t.Errorf("all: %q", all)
	}
}

// idempotent makes b a batch of a producer and repairs its checksum.
func idempotent(b []byte, id int64, epoch int16, sequence int32) {
	binary.BigEndian.PutUint64(b[43:], uint64(id))
	binary.BigEndian.PutUint16(b[51:], uint16(epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(sequence))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}
