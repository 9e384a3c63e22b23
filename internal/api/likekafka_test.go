package api

import (
	"context"
	"slices"
	"testing"

	"tidemark/internal/controller"
	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Answers that the differential test against Apache Kafka found to differ, and
// that are now the same.

// TestAnEmptiedSessionEnds: a session without partitions is none.
func TestAnEmptiedSessionEnds(t *testing.T) {
	n := newDataNode(t, 1)
	c := n.dial()
	s := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 0), 13)
	req := fetchReq(-1, s.SessionID, 1)
	req.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: ordersID, Partitions: []int32{0}}}
	if r := call[*kmsg.FetchResponse](t, c, req, 13); r.ErrorCode != 0 || r.SessionID != 0 || len(r.Topics) != 0 {
		t.Fatalf("%+v", r)
	}
	if r := call[*kmsg.FetchResponse](t, c, fetchReq(-1, s.SessionID, 2), 13); r.ErrorCode != kerr.FetchSessionIDNotFound.Code {
		t.Fatalf("after that: %+v", r)
	}
	s = call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 0), 13)
	req = fetchReq(-1, s.SessionID, 1, 0) // named and forgotten: answered once
	req.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: ordersID, Partitions: []int32{0}}}
	if r := call[*kmsg.FetchResponse](t, c, req, 13); r.ErrorCode != 0 || r.SessionID != 0 || len(r.Topics) != 1 {
		t.Fatalf("named and forgotten: %+v", r)
	}
}

// TestASessionIsOfWhoAsks: the replica of each request counts, as in Kafka.
func TestASessionIsOfWhoAsks(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	produce(t, c, 1, 0, oneBatch("a")) // 2 hasn't got it: not committed
	s := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 0), 17)
	if got := len(s.Topics[0].Partitions[0].RecordBatches); got != 0 {
		t.Fatalf("a consumer reads %d bytes beyond the high watermark", got)
	}
	r := call[*kmsg.FetchResponse](t, c, fetchReq(2, s.SessionID, 1), 17)
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions[0].RecordBatches) == 0 || r.SessionID != s.SessionID {
		t.Fatalf("the follower reads %+v", r)
	}
	if r = call[*kmsg.FetchResponse](t, c, fetchReq(-1, s.SessionID, 2), 17); r.ErrorCode != 0 {
		t.Fatalf("the consumer again: %+v", r)
	}
	for _, topic := range r.Topics {
		if len(topic.Partitions[0].RecordBatches) > 0 {
			t.Fatalf("the consumer again reads %+v", topic)
		}
	}
}

// TestAFollowerIsNotToldAddresses: it knows its leaders from the metadata.
func TestAFollowerIsNotToldAddresses(t *testing.T) {
	n := newDataNode(t, 1, 2)
	n.become(orders0, 2, 1)
	c := n.dial()
	for replica, nodes := range map[int32]int{-1: 1, 3: 0} {
		r := call[*kmsg.FetchResponse](t, c, fetchReq(replica, 0, -1, 0), 16)
		p := r.Topics[0].Partitions[0]
		if len(r.Brokers) > nodes || p.RecordBatches == nil || replica >= 0 && p.ErrorCode == 0 {
			t.Errorf("replica %d: %d brokers, %+v", replica, len(r.Brokers), p)
		}
	}
}

// TestAbortedTransactionsNullOrEmpty.
func TestAbortedTransactionsNullOrEmpty(t *testing.T) {
	n := newDataNode(t, 1)
	c := n.dial()
	produce(t, c, 1, 0, oneBatch("a"))
	fetch := func(isolation int8, at int64, partitionMax, maxBytes int32, index int32) kmsg.FetchResponseTopicPartition {
		req := fetchReq(-1, 0, -1, at)
		req.IsolationLevel, req.MaxBytes = isolation, maxBytes
		req.Topics[0].Partitions[0].PartitionMaxBytes, req.Topics[0].Partitions[0].Partition = partitionMax, index
		return one(t, c, req, 13)
	}
	for name, tc := range map[string]struct {
		got  kmsg.FetchResponseTopicPartition
		null bool
	}{
		"read uncommitted":         {fetch(0, 0, 1000, 1000, 0), true},
		"read committed":           {fetch(1, 0, 1000, 1000, 0), false},
		"out of range":             {fetch(1, 9, 1000, 1000, 0), true},
		"no such partition":        {fetch(0, 0, 1000, 1000, 99), false},
		"at the end of the log":    {fetch(1, 1, 1000, 1000, 0), false},
		"less room than one batch": {fetch(1, 0, 1, 1000, 0), false}, // the first comes whole
	} {
		if (tc.got.AbortedTransactions == nil) != tc.null {
			t.Errorf("%s: %v", name, tc.got.AbortedTransactions)
		}
	}
}

// deleter is told which topics to delete, and deletes them.
type deleter struct{ asked []controller.TopicRef }

func (d *deleter) Submit(_ context.Context, req any) (any, error) {
	r := req.(*controller.DeleteTopics)
	d.asked = append(d.asked, r.Topics...)
	return &controller.DeleteTopicsResponse{}, nil
}

// TestDeleteTopicsNamedOddly: by name and id at once is refused as often as it
// is said, the same one twice is refused once, and no name has an empty name.
func TestDeleteTopicsNamedOddly(t *testing.T) {
	both := kmsg.DeleteTopicsRequestTopic{Topic: kmsg.StringPtr("a"), TopicID: [16]byte{1}}
	again := kmsg.DeleteTopicsRequestTopic{Topic: kmsg.StringPtr("b")}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	req.Topics = []kmsg.DeleteTopicsRequestTopic{both, both, again, again, {Topic: kmsg.StringPtr("c")}}
	d := &deleter{}
	resp, err := serveDeleteTopics(t.Context(), d, req)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, topic := range resp.(*kmsg.DeleteTopicsResponse).Topics {
		if topic.ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("%+v", topic)
		}
		got = append(got, *topic.Topic)
	}
	if !slices.Equal(got, []string{"a", "a", "b"}) || len(d.asked) != 1 || d.asked[0].Name != "c" {
		t.Errorf("refused %v, deleted %v", got, d.asked)
	}
	if topic := undeleted(6, controller.TopicRef{}, 3, ""); topic.Topic == nil || *topic.Topic != "" {
		t.Errorf("no name and no id: %+v", topic)
	}
}

// TestWrongAcksAndWhatIsNoBatch: the shape of a payload comes first, its
// contents don't.
func TestWrongAcksAndWhatIsNoBatch(t *testing.T) {
	n := newDataNode(t, 1)
	c := n.dial()
	spoilt := oneBatch("a")
	spoilt[len(spoilt)-1] ^= 0xff
	transactional := oneBatch("a")
	transactional[16], transactional[22] = 0, 0x10 // of the oldest format, where this bit isn't that
	for name, tc := range map[string]struct {
		records []byte
		want    *kerr.Error
	}{
		"good":         {oneBatch("a"), kerr.InvalidRequiredAcks},
		"bad checksum": {spoilt, kerr.InvalidRequiredAcks},
		"two batches":  {append(oneBatch("a"), oneBatch("b")...), kerr.InvalidRecord},
		"a part":       {oneBatch("a")[:record.HeaderSize], kerr.InvalidRecord},
		"old format":   {transactional, kerr.InvalidRecord},
	} {
		if p := produce(t, c, 5, 0, tc.records); p.ErrorCode != tc.want.Code {
			t.Errorf("%s: %v", name, kerr.ErrorForCode(p.ErrorCode))
		}
	}
}
