package api

import (
	"runtime"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestConsumerWakesWhenCommitted(t *testing.T) {
	n := newDataNode(t, 1, 2)
	consumer, client, f2 := n.dial(), n.dial(), n.dial()
	req := fetchReq(-1, 0, 0, 0, 0)
	first := call[*kmsg.FetchResponse](t, consumer, req, 13)
	if first.SessionID == 0 || len(first.Topics[0].Partitions) != 2 {
		t.Fatalf("%+v", first)
	}
	// Nothing changed: the incremental fetch parks, with no partition named.
	inc := fetchReq(-1, first.SessionID, 1)
	inc.MaxWaitMillis = 10_000
	answer := later[*kmsg.FetchResponse](t, consumer, inc, 13)
	if p := produce(t, client, 1, 1, oneBatch("a")); p.ErrorCode != 0 {
		t.Fatalf("%+v", p)
	}
	call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, -1, 0, 1), 17)
	got := wait(t, answer)
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
		t.Fatalf("%+v", got)
	}
	if p := got.Topics[0].Partitions[0]; p.Partition != 1 || p.HighWatermark != 1 || len(p.RecordBatches) == 0 {
		t.Fatalf("%+v", p)
	}
	// Sent and not taken: it comes again until the position moves.
	again := call[*kmsg.FetchResponse](t, consumer, fetchReq(-1, first.SessionID, 2), 13)
	if len(again.Topics) != 1 || len(again.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Fatalf("%+v", again)
	}
	moved := call[*kmsg.FetchResponse](t, consumer, fetchReq(-1, first.SessionID, 3, 0, 1), 13)
	if len(moved.Topics) != 0 {
		t.Fatalf("%+v", moved)
	}
	if n.opts.Fetches.Len() != 0 {
		t.Fatalf("%d fetches still parked", n.opts.Fetches.Len())
	}
}

func TestFetchSessionErrors(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	s := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 0), 13)
	for _, v := range []struct {
		id, epoch int32
		version   int16
		want      *kerr.Error
	}{
		{s.SessionID + 1, 1, 13, kerr.FetchSessionIDNotFound},
		{s.SessionID, 7, 13, kerr.InvalidFetchSessionEpoch},
		{s.SessionID, 1, 12, kerr.FetchSessionTopicIDError},
	} {
		r := call[*kmsg.FetchResponse](t, c, fetchReq(-1, v.id, v.epoch), v.version)
		if r.ErrorCode != v.want.Code || r.SessionID != 0 || len(r.Topics) != 0 {
			t.Errorf("%+v: %+v", v, r)
		}
	}
	if r := call[*kmsg.FetchResponse](t, c, fetchReq(-1, s.SessionID, -1, 0), 13); r.ErrorCode != 0 || r.SessionID != 0 {
		t.Fatalf("%+v", r)
	}
	if n.opts.Sessions.Len() != 0 {
		t.Fatal("the session was to be closed")
	}
}

// A parked fetch must not sleep over the end of a leadership.
func TestParkedFetchSeesTheLeaderChange(t *testing.T) {
	n := newDataNode(t, 1, 2)
	f2, f3 := n.dial(), n.dial()
	first := call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, 0, 0, 0), 17)
	inc := fetchReq(2, first.SessionID, 1)
	inc.MaxWaitMillis = 10_000
	parked := later[*kmsg.FetchResponse](t, f2, inc, 17)
	full := fetchReq(3, 0, -1, 0, 0)
	full.MaxWaitMillis = 10_000
	sessionless := later[*kmsg.FetchResponse](t, f3, full, 17)
	p := n.parts[model.TopicPartition{Topic: "orders"}]
	if _, err := p.BecomeFollower(partition.State{Leader: 2, LeaderEpoch: 1, PartitionEpoch: 1}); err != nil {
		t.Fatal(err)
	}
	var ready purgatory.Ready
	p.Perform(&ready)
	ready.Run()
	got := wait(t, parked).Topics[0].Partitions
	if len(got) != 1 || got[0].Partition != 0 || got[0].ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Fatalf("%+v", got)
	}
	all := wait(t, sessionless).Topics[0].Partitions
	if len(all) != 2 || all[0].ErrorCode != kerr.NotLeaderForPartition.Code || all[1].ErrorCode != 0 {
		t.Fatalf("%+v", all)
	}
}

// A high watermark that moved is told with the next answer, without data, but
// does not wake a follower (KAFKA-9731).
func TestHighWatermarkAloneIsToldInTheSession(t *testing.T) {
	n := newDataNode(t, 1, 2, 3)
	c, f2, f3 := n.dial(), n.dial(), n.dial()
	first := call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, 0, 0), 17)
	produce(t, c, 1, 0, oneBatch("a"))
	call[*kmsg.FetchResponse](t, f2, fetchReq(2, first.SessionID, 1), 17)
	taken := call[*kmsg.FetchResponse](t, f2, fetchReq(2, first.SessionID, 2, 1), 17)
	if len(taken.Topics) != 0 {
		t.Fatalf("nothing new, and yet %+v", taken.Topics)
	}
	inc := fetchReq(2, first.SessionID, 3)
	inc.MaxWaitMillis = 300
	parked := later[*kmsg.FetchResponse](t, f2, inc, 17)
	call[*kmsg.FetchResponse](t, f3, fetchReq(3, 0, -1, 1), 17) // commits
	got := wait(t, parked)
	if len(got.Topics) != 1 {
		t.Fatalf("%+v", got)
	}
	if p := got.Topics[0].Partitions[0]; p.HighWatermark != 1 || len(p.RecordBatches) != 0 {
		t.Fatalf("%+v", p)
	}
}

// With room for one partition only, both are served in turn.
func TestLimitedFetchIsFair(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c, f2 := n.dial(), n.dial()
	for range 3 {
		produce(t, c, 1, 0, oneBatch("aaaa"))
		produce(t, c, 1, 1, oneBatch("bbbb"))
	}
	req := fetchReq(2, 0, 0, 0, 0)
	req.MaxBytes = 10
	at := [2]int64{}
	got := call[*kmsg.FetchResponse](t, f2, req, 17)
	id := got.SessionID
	for epoch := int32(1); epoch <= 6; epoch++ {
		next := fetchReq(2, id, epoch)
		for _, p := range got.Topics[0].Partitions {
			if len(p.RecordBatches) == 0 {
				continue
			}
			at[p.Partition]++
			one := fetchReq(2, id, epoch, 0, 0)
			next.Topics = one.Topics
			next.Topics[0].Partitions = next.Topics[0].Partitions[p.Partition : p.Partition+1]
			next.Topics[0].Partitions[0].FetchOffset = at[p.Partition]
		}
		if d := at[0] - at[1]; d < -1 || d > 1 {
			t.Fatalf("after %d answers the positions are %v", epoch, at)
		}
		next.MaxBytes = 10
		got = call[*kmsg.FetchResponse](t, f2, next, 17)
		if len(got.Topics) == 0 {
			break
		}
	}
	if at != [2]int64{3, 3} {
		t.Fatalf("positions %v", at)
	}
}

// A client that sends its next request without waiting gets both answers.
func TestPipelinedFetchOfOneSession(t *testing.T) {
	n := newDataNode(t, 1, 2)
	c := n.dial()
	first := call[*kmsg.FetchResponse](t, c, fetchReq(-1, 0, 0, 0), 13)
	a := fetchReq(-1, first.SessionID, 1)
	a.MaxWaitMillis = 10_000
	b := fetchReq(-1, first.SessionID, 2)
	one := later[*kmsg.FetchResponse](t, c, a, 13)
	for n.opts.Fetches.Len() == 0 {
		runtime.Gosched()
	}
	two := later[*kmsg.FetchResponse](t, c, b, 13)
	if r := wait(t, one); r.ErrorCode != 0 {
		t.Fatalf("%+v", r)
	}
	if r := wait(t, two); r.ErrorCode != 0 {
		t.Fatalf("%+v", r)
	}
}
