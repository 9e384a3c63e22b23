package api

import (
	"sync"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
	"tidemark/internal/vfs"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// valve is a replication quota that a test opens and closes.
type valve struct {
	mu     sync.Mutex
	closed bool
	sent   int
	held   chan *partition.Partition
}

func (v *valve) Exceeded() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.closed
}

func (v *valve) Record(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sent += n
}

func (v *valve) Withheld(p *partition.Partition) {
	select {
	case v.held <- p:
	default:
	}
}

func (v *valve) set(closed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = closed
}

// A follower outside the ISR waits for the quota, in a full fetch and in an
// incremental one; one in the ISR doesn't, and both count towards it.
func TestThrottledFollowerParksUntilTheQuotaAllows(t *testing.T) {
	n := newDataNode(t, 1, 2)
	v := &valve{closed: true, held: make(chan *partition.Partition, 1)}
	tp := model.TopicPartition{Topic: "orders"}
	n.hostUnder(v, vfs.NewMem(), tp, []model.BrokerID{1, 2})
	client, f2, f3 := n.dial(), n.dial(), n.dial()
	produce(t, client, 1, 0, oneBatch("a"))

	member := call[*kmsg.FetchResponse](t, f2, fetchReq(2, 0, -1, 0), 17)
	size := len(member.Topics[0].Partitions[0].RecordBatches)
	if size == 0 {
		t.Fatal("a member of the ISR got nothing")
	}
	at := fetchReq(3, 0, -1, 0)
	if p := call[*kmsg.FetchResponse](t, f3, at, 17).Topics[0].Partitions[0]; p.ErrorCode != 0 || len(p.RecordBatches) != 0 {
		t.Fatalf("throttled: %+v", p)
	}
	<-v.held
	if v.sent != size {
		t.Fatalf("%d bytes counted, sent %d", v.sent, size)
	}

	// With something else to tell, it is told without the records.
	session := call[*kmsg.FetchResponse](t, f3, fetchReq(3, 0, 0, 0), 17).SessionID
	<-v.held
	next := fetchReq(3, session, 1)
	next.MaxWaitMillis = 600_000
	answer := later[*kmsg.FetchResponse](t, f3, next, 17)
	p := <-v.held // the parked fetch looked, and is refused again
	produce(t, client, 1, 0, oneBatch("b"))
	<-v.held // more to read doesn't satisfy min.bytes
	v.set(false)
	p.Release()
	var ready purgatory.Ready
	p.Perform(&ready)
	ready.Run()
	got := wait(t, answer)
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions[0].RecordBatches) <= size {
		t.Fatalf("after the release: %+v", got)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if want := size + len(got.Topics[0].Partitions[0].RecordBatches); v.sent != want {
		t.Fatalf("%d bytes counted, sent %d", v.sent, want)
	}
}
