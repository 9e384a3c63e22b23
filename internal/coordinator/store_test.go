package coordinator

import (
	"fmt"
	"testing"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/group"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
	"tidemark/internal/replica"
	"tidemark/internal/vfs"
)

type oneLife struct{}

func (oneLife) BrokerStatus(model.BrokerID) replica.BrokerStatus {
	return replica.BrokerStatus{Epoch: 1}
}

// TestRealPartition runs the coordinator over a real replica: acknowledged are
// commits that the follower has; a change of leader loses the others.
func TestRealPartition(t *testing.T) {
	p, err := partition.Open(partition.Options{
		TP: model.TopicPartition{Topic: group.OffsetsTopic}, Self: 1, Brokers: oneLife{},
		Settings:   partition.Settings{MaxBatchBytes: 1 << 20, SegmentBytes: 1 << 20, Compacted: true, MinISR: 1, LagTimeMax: time.Minute, TimestampAfterMax: 1 << 40, TimestampBeforeMax: 1 << 60},
		LogOptions: commitlog.Options{FS: vfs.NewMem(), Dir: "o", Config: commitlog.Config{SegmentBytes: 1 << 20, IndexInterval: 4096, IndexMaxBytes: 1 << 20}},
	})
	if err != nil {
		t.Fatal(err)
	}
	img := metadata.Empty()
	img.Topics.ByName[group.OffsetsTopic] = &metadata.Topic{Name: group.OffsetsTopic, Partitions: []*metadata.Partition{{}}}
	c := New(Config{Image: func() *metadata.Image { return img }})
	defer c.Close()
	perform := func() {
		var ready purgatory.Ready
		p.Perform(&ready)
		ready.Run()
	}
	lead := func(epoch model.LeaderEpoch) {
		t.Helper()
		s := partition.State{
			Leader: 1, LeaderEpoch: epoch, PartitionEpoch: model.PartitionEpoch(epoch),
			Replicas: []model.BrokerID{1, 2}, ISR: []model.BrokerID{1, 2},
		}
		if err := p.BecomeLeader(s); err != nil {
			t.Fatal(err)
		}
		perform()
		c.Elected(p, epoch)
	}
	followerHas := func(end model.Offset, epoch model.LeaderEpoch) {
		t.Helper()
		last := model.NoLeaderEpoch
		if end > 0 {
			last = p.Log().EpochAt(end - 1)
		}
		f, err := p.Fetch(partition.Fetch{
			Replica: 2, ReplicaEpoch: 1, Acknowledge: true, Offset: end, CurrentEpoch: epoch, LastFetchedEpoch: last, MaxBytes: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		f.Slice.Release()
		perform()
	}
	commit := func(off model.Offset) chan string {
		out := make(chan string, 1)
		c.Commit(group.Commit{Group: "g", Generation: -1, Retention: -1, Offsets: []group.CommitOffset{{Partition: tp, Offset: off}}},
			func(r group.Committed) { out <- fmt.Sprint(r.Code, r.Partitions) })
		return out
	}
	get := func(answer chan string, want string) {
		t.Helper()
		select {
		case got := <-answer:
			if got != want {
				t.Fatalf("answer %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no answer")
		}
	}
	loaded := func() {
		t.Helper()
		for deadline := time.After(10 * time.Second); ; {
			if c.Stats().Loading == 0 {
				return
			}
			select {
			case <-deadline:
				t.Fatal("not loaded")
			case <-time.After(time.Millisecond):
			}
		}
	}
	lead(1)
	loaded()
	a := commit(10)
	followerHas(1, 1)
	get(a, "OK [OK]")
	b := commit(20)
	select {
	case got := <-b:
		t.Fatalf("answered %q before the follower has it", got)
	default:
	}
	if _, err := p.BecomeFollower(partition.State{Leader: 2, LeaderEpoch: 2, PartitionEpoch: 2,
		Replicas: []model.BrokerID{1, 2}, ISR: []model.BrokerID{1, 2}}); err != nil {
		t.Fatal(err)
	}
	perform()
	c.Resigned(p.TP(), 1)
	get(b, "NOT_COORDINATOR []")
	if err := p.TruncateTo(2, 1); err != nil {
		t.Fatal(err)
	}
	lead(3)
	followerHas(1, 3)
	loaded()
	offs, code := c.Offsets("g", nil)
	if code != group.OK || len(offs) != 1 || offs[0].Offset.Offset != 10 {
		t.Fatalf("%v %s, want the acknowledged 10", offs, code)
	}
}
