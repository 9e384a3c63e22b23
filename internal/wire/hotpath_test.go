package wire

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// versions calls fn for every served version of key.
func versions(key int16, fn func(v int16)) {
	a, _ := Lookup(key)
	for v := a.Min; v <= a.Max; v++ {
		fn(v)
	}
}

func TestProduceRequestAgreesWithKmsg(t *testing.T) {
	var p ProduceRequest // one value for all: memory is reused
	versions(KeyProduce, func(v int16) {
		for n := range 4 {
			req := kmsg.NewProduceRequest()
			seed := int64(v)
			fill(reflect.ValueOf(&req).Elem(), n, &seed)
			req.SetVersion(v)
			if n == 2 {
				req.TransactionID = nil
				req.Topics[0].Partitions[1].Records = nil
			}
			body := req.AppendTo(nil)
			if err := p.Decode(v, body); err != nil {
				t.Fatalf("v%d n=%d: %v", v, n, err)
			}
			again := kmsg.NewProduceRequest()
			again.SetVersion(v)
			again.Acks, again.TimeoutMillis = p.Acks, p.TimeoutMillis
			if p.TransactionID != nil {
				again.TransactionID = kmsg.StringPtr(string(p.TransactionID))
			}
			for _, topic := range p.Topics {
				out := kmsg.NewProduceRequestTopic()
				out.Topic, out.TopicID = string(topic.Name), topic.ID
				for _, part := range topic.Partitions {
					q := kmsg.NewProduceRequestTopicPartition()
					q.Partition, q.Records = part.Index, part.Records
					out.Partitions = append(out.Partitions, q)
				}
				again.Topics = append(again.Topics, out)
			}
			if !bytes.Equal(again.AppendTo(nil), body) {
				t.Errorf("v%d n=%d: %+v", v, n, p)
			}
			everyCutFails(t, body, func(b []byte) error { return p.Decode(v, b) })
		}
	})
}

// everyCutFails checks that no prefix of body and no longer body is accepted.
func everyCutFails(t *testing.T, body []byte, decode func([]byte) error) {
	t.Helper()
	for i := range body {
		if err := decode(body[:i]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut at %d of %d: %v", i, len(body), err)
		}
	}
	if err := decode(append(bytes.Clone(body), 0)); err != nil {
		t.Fatalf("a byte more: %v", err) // is ignored, as in Kafka
	}
}

func TestProduceResponseAgreesWithKmsg(t *testing.T) {
	r := ProduceResponse{
		ThrottleMillis: 7,
		Nodes:          []NodeEndpoint{{ID: 3, Host: "host", Port: 9092, Rack: "r"}, {ID: 4, Host: "other", Port: 1}},
		Topics: []ProduceTopicResult{
			{Name: "a", ID: model.TopicID{1}, Partitions: []ProducePartitionResult{
				{Index: 1, BaseOffset: 1 << 40, LogAppendTime: -1, LogStart: 5},
				{Index: 2, Error: 6, BaseOffset: -1, LogAppendTime: -1, LogStart: -1, Message: "moved",
					Leader: LeaderHint{Known: true, ID: 3, Epoch: 9}},
			}},
			{Name: "b", ID: model.TopicID{2}, Partitions: []ProducePartitionResult{
				{Index: 0, Error: 87, BaseOffset: -1, LogAppendTime: -1, LogStart: -1,
					RecordErrors: []RecordError{{Index: 1, Message: "bad"}, {Index: 2}}},
			}},
		},
	}
	versions(KeyProduce, func(v int16) {
		h := Header{Key: KeyProduce, Version: v, CorrelationID: 77}
		got := AppendProduceResponse(nil, h, &r)
		want := kmsg.NewPtrProduceResponse()
		want.ThrottleMillis = 7
		for _, topic := range r.Topics {
			wt := kmsg.NewProduceResponseTopic()
			wt.Topic, wt.TopicID = topic.Name, topic.ID
			for _, p := range topic.Partitions {
				wp := kmsg.NewProduceResponseTopicPartition()
				wp.Partition, wp.ErrorCode, wp.BaseOffset = p.Index, p.Error, int64(p.BaseOffset)
				wp.LogAppendTime, wp.LogStartOffset = p.LogAppendTime, int64(p.LogStart)
				if p.Message != "" {
					wp.ErrorMessage = &p.Message
				}
				for _, e := range p.RecordErrors {
					we := kmsg.NewProduceResponseTopicPartitionErrorRecord()
					we.RelativeOffset = e.Index
					if e.Message != "" {
						we.ErrorMessage = &e.Message
					}
					wp.ErrorRecords = append(wp.ErrorRecords, we)
				}
				if p.Leader.Known && v >= 10 {
					wp.CurrentLeader.LeaderID, wp.CurrentLeader.LeaderEpoch = int32(p.Leader.ID), int32(p.Leader.Epoch)
				}
				wt.Partitions = append(wt.Partitions, wp)
			}
			want.Topics = append(want.Topics, wt)
		}
		if v >= 10 {
			for _, n := range r.Nodes {
				b := kmsg.NewProduceResponseBroker()
				b.NodeID, b.Host, b.Port = int32(n.ID), n.Host, n.Port
				if n.Rack != "" {
					b.Rack = &n.Rack
				}
				want.Brokers = append(want.Brokers, b)
			}
		}
		if wantBytes := EncodeResponse(h, want); !bytes.Equal(got, wantBytes) {
			t.Errorf("v%d:\n%x\n%x", v, got, wantBytes)
		}
	})
}

func TestFetchRequestAgreesWithKmsg(t *testing.T) {
	var f FetchRequest
	versions(KeyFetch, func(v int16) {
		for n := range 4 {
			req := kmsg.NewFetchRequest()
			seed := int64(v)
			fill(reflect.ValueOf(&req).Elem(), n, &seed)
			req.SetVersion(v)
			for i := range req.Topics {
				for k := range req.Topics[i].Partitions { // kmsg writes tags of later versions, too
					p := &req.Topics[i].Partitions[k]
					if v < 17 {
						p.ReplicaDirectoryID = [16]byte{}
					}
					if v < 18 || k == 1 {
						p.HighWatermark = math.MaxInt64
					}
				}
			}
			if v < 15 || n == 1 {
				req.ReplicaState = kmsg.NewFetchRequestReplicaState()
			}
			if n == 2 {
				req.ClusterID = nil
			}
			body := req.AppendTo(nil)
			if err := f.Decode(v, body); err != nil {
				t.Fatalf("v%d n=%d: %v", v, n, err)
			}
			if got := f.AppendBody(nil, v); !bytes.Equal(got, body) {
				t.Errorf("v%d n=%d:\n%x\n%x", v, n, got, body)
			}
			if v < 15 && f.Replica != model.BrokerID(req.ReplicaID) || v >= 15 && f.Replica != model.BrokerID(req.ReplicaState.ID) {
				t.Errorf("v%d: replica %d", v, f.Replica)
			}
			if v < 7 && f.SessionEpoch != -1 {
				t.Errorf("v%d: session epoch %d", v, f.SessionEpoch)
			}
			everyCutFails(t, body, func(b []byte) error { return f.Decode(v, b) })
		}
	})
}

// memSlice is a range in memory.
type memSlice struct {
	p        []byte
	released int
}

func (s *memSlice) Len() int                       { return len(s.p) }
func (s *memSlice) ReadInto(p []byte) (int, error) { return copy(p, s.p), nil }
func (s *memSlice) Release()                       { s.released++ }

func TestFetchResponseAgreesWithKmsg(t *testing.T) {
	records := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, n) }
	var decoded FetchResponse
	for n := range 12 { // 12 partitions with slices: beyond the inline cuts
		versions(KeyFetch, func(v int16) {
			h := Header{Key: KeyFetch, Version: v, CorrelationID: 5}
			var f FetchResponse
			want := kmsg.NewPtrFetchResponse()
			f.ThrottleMillis, want.ThrottleMillis = 3, 3
			if v >= 7 {
				f.Error, f.SessionID, want.ErrorCode, want.SessionID = 70, 99, 70, 99
			}
			var empty *memSlice
			for i := range n {
				if i%5 == 0 {
					f.Topics = append(f.Topics, FetchTopicResult{Name: []byte{'a' + byte(i)}, ID: model.TopicID{byte(i)}})
					wt := kmsg.NewFetchResponseTopic()
					wt.Topic, wt.TopicID = string(f.Topics[len(f.Topics)-1].Name), [16]byte{byte(i)}
					want.Topics = append(want.Topics, wt)
				}
				p := FetchPartitionResult{Index: int32(i), Error: int16(i % 2), HighWatermark: 10, LastStable: 9, LogStart: 8, PreferredReplica: 2}
				wp := kmsg.NewFetchResponseTopicPartition()
				wp.Partition, wp.ErrorCode, wp.HighWatermark, wp.LastStableOffset, wp.LogStartOffset = int32(i), int16(i%2), 10, 9, 8
				wp.PreferredReadReplica = 2
				wp.RecordBatches = records(i * 50)
				switch i % 3 {
				case 0:
					s := &memSlice{p: records(i * 50)}
					if i == 0 {
						empty = s
					}
					p.Slice = s
				case 1:
					p.Slice = &memSlice{p: records(i * 50)}
					p.Aborted = []AbortedTxn{{ProducerID: 4, FirstOffset: 5}}
					wt := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
					wt.ProducerID, wt.FirstOffset = 4, 5
					wp.AbortedTransactions = append(wp.AbortedTransactions, wt)
				case 2:
					p.Records = records(i * 50)
					p.Aborted = []AbortedTxn{}
					wp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
					if v >= 12 {
						p.Diverging = EpochEnd{true, 3, 44}
						p.Leader = LeaderHint{true, 5, 6}
						p.Snapshot = SnapshotID{true, 7, 8}
						wp.DivergingEpoch.Epoch, wp.DivergingEpoch.EndOffset = 3, 44
						wp.CurrentLeader.LeaderID, wp.CurrentLeader.LeaderEpoch = 5, 6
						wp.SnapshotID.EndOffset, wp.SnapshotID.Epoch = 7, 8
					}
				}
				last := len(f.Topics) - 1
				f.Topics[last].Partitions = append(f.Topics[last].Partitions, p)
				want.Topics[last].Partitions = append(want.Topics[last].Partitions, wp)
			}
			if v >= 16 {
				f.Nodes = []NodeEndpoint{{ID: 5, Host: "h", Port: 1, Rack: "r"}}
				b := kmsg.NewFetchResponseBroker()
				b.NodeID, b.Host, b.Port, b.Rack = 5, "h", 1, kmsg.StringPtr("r")
				want.Brokers = append(want.Brokers, b)
			}
			parts := FetchResponseParts([]Part{{Bytes: []byte("before")}}, []byte("xyz"), h, &f)
			var got []byte
			for _, p := range parts[1:] {
				if p.Slice != nil {
					got = append(got, p.Slice.(*memSlice).p...)
				} else {
					got = append(got, p.Bytes...)
				}
			}
			wantBytes := EncodeResponse(h, want)
			if !bytes.Equal(got, wantBytes) {
				t.Fatalf("v%d n=%d:\n%x\n%x", v, n, got, wantBytes)
			}
			if empty != nil && empty.released != 1 {
				t.Errorf("empty slice released %d times", empty.released)
			}
			_, body, err := ParseResponseHeader(KeyFetch, v, wantBytes)
			if err != nil {
				t.Fatal(err)
			}
			if err := decoded.Decode(v, body); err != nil {
				t.Fatalf("v%d n=%d: %v", v, n, err)
			}
			parts = FetchResponseParts(nil, nil, h, &decoded)
			if !bytes.Equal(parts[0].Bytes, wantBytes) {
				t.Fatalf("v%d n=%d: second trip\n%x\n%x", v, n, parts[0].Bytes, wantBytes)
			}
			if n < 4 {
				everyCutFails(t, body, func(b []byte) error { return decoded.Decode(v, b) })
			}
		})
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	produce := kmsg.NewProduceRequest()
	produce.SetVersion(13)
	topic := kmsg.NewProduceRequestTopic()
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = make([]byte, 1000)
	topic.Partitions = append(topic.Partitions, part, part)
	produce.Topics = append(produce.Topics, topic)
	body := produce.AppendTo(nil)
	h := Header{Key: KeyProduce, Version: 13, ClientID: kmsg.StringPtr("client")}
	frame := append(AppendRequestHeader(nil, h), body...)

	fetch := kmsg.NewFetchRequest()
	fetch.SetVersion(18)
	ft := kmsg.NewFetchRequestTopic()
	ft.Partitions = append(ft.Partitions, kmsg.NewFetchRequestTopicPartition())
	fetch.Topics = append(fetch.Topics, ft)
	fetchBody := fetch.AppendTo(nil)

	var p ProduceRequest
	var f FetchRequest
	buf := make([]byte, 0, 4096)
	parts := make([]Part, 0, 16)
	result := ProduceResponse{Topics: []ProduceTopicResult{{Partitions: []ProducePartitionResult{{}}}}}
	fetched := FetchResponse{Topics: []FetchTopicResult{{Partitions: []FetchPartitionResult{{Slice: &memSlice{p: make([]byte, 100)}}}}}}
	n := testing.AllocsPerRun(100, func() {
		if _, _, err := ParseHeaderInterned(frame, h.ClientID); err != nil {
			t.Fatal(err)
		}
		if p.Decode(13, body) != nil || f.Decode(18, fetchBody) != nil {
			t.Fatal("decode failed")
		}
		buf = AppendProduceResponse(buf[:0], h, &result)
		parts = FetchResponseParts(parts[:0], buf[:0], Header{Key: KeyFetch, Version: 18}, &fetched)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, a := range append(APIs(), API{Key: KeyPrivate}) {
		for v := a.Min; v <= a.Max; v++ {
			for _, client := range []*string{nil, kmsg.StringPtr(""), kmsg.StringPtr("me")} {
				h := Header{Key: a.Key, Version: v, CorrelationID: -5, ClientID: client}
				frame := append(AppendRequestHeader(nil, h), "body"...)
				got, body, err := ParseHeader(frame)
				if err != nil || string(body) != "body" || !reflect.DeepEqual(got, h) {
					t.Fatalf("%+v: %+v %q %v", h, got, body, err)
				}
				for i := range len(frame) - len("body") {
					if _, _, err := ParseHeader(frame[:i]); !errors.Is(err, ErrMalformed) {
						t.Fatalf("%+v cut at %d: %v", h, i, err)
					}
				}
				resp := append(AppendResponseHeader(nil, h), "body"...)
				id, body, err := ParseResponseHeader(a.Key, v, resp)
				if err != nil || id != -5 || string(body) != "body" {
					t.Fatalf("%+v: %d %q %v", h, id, body, err)
				}
			}
		}
	}
	if ResponseHeaderFlexible(KeyApiVersions, 4) {
		t.Error("the header of an ApiVersions response has tagged fields")
	}
}

func FuzzHotPath(f *testing.F) {
	versions(KeyFetch, func(v int16) { f.Add(v, []byte{0, 0, 0, 0, 0, 0, 0, 1}) })
	f.Fuzz(func(t *testing.T, v int16, body []byte) {
		var p ProduceRequest
		var q FetchRequest
		var r FetchResponse
		_ = p.Decode(v, body)
		if q.Decode(v, body) == nil {
			var again FetchRequest
			if err := again.Decode(v, q.AppendBody(nil, v)); err != nil {
				t.Fatalf("v%d: own encoding refused: %v", v, err)
			}
		}
		_ = r.Decode(v, body)
		_, _, _ = ParseHeader(body)
	})
}
