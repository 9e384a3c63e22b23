package partition

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

func benchPartition(b *testing.B) *Partition {
	b.Helper()
	h := &host{}
	p, err := Open(Options{
		TP: tp, Self: 1, Brokers: h,
		Settings:   Settings{MaxBatchBytes: 2 << 20, MinISR: 1, LagTimeMax: 1e9, TimestampBeforeMax: 1 << 62, TimestampAfterMax: 1 << 62},
		LogOptions: commitlog.Options{FS: vfs.OS, Dir: b.TempDir(), Config: commitlog.DefaultConfig()},
	})
	if err != nil {
		b.Fatal(err)
	}
	err = p.BecomeLeader(State{Leader: 1, Replicas: []model.BrokerID{1, 2, 3}, ISR: []model.BrokerID{1, 2, 3}})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// Append on the leader, and both followers' fetches that commit it.
func BenchmarkAppendAndCommit(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			p := benchPartition(b)
			var rb record.Builder
			rb.Add(1, nil, bytes.Repeat([]byte{7}, size))
			payload := rb.Build()
			frame := slices.Clone(payload)
			var ready purgatory.Ready
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				copy(frame, payload[:record.HeaderSize])
				a, err := p.AppendAsLeader(frame, Append{AcksAll: true, Epoch: model.NoLeaderEpoch})
				if err != nil {
					b.Fatal(err)
				}
				for id := model.BrokerID(2); id <= 3; id++ {
					f, err := p.Fetch(Fetch{
						Replica: id, ReplicaEpoch: 1, Acknowledge: true, Offset: a.Last + 1,
						CurrentEpoch: 0, LastFetchedEpoch: 0, MaxBytes: 1 << 20, MinOne: true,
					})
					if err != nil {
						b.Fatal(err)
					}
					f.Slice.Release()
				}
				p.Perform(&ready)
				if p.HighWatermark() != a.Last+1 {
					b.Fatal("not committed")
				}
			}
		})
	}
}

// A follower's fetch that finds data: what the leader does for it.
func BenchmarkFetch(b *testing.B) {
	p := benchPartition(b)
	var rb record.Builder
	rb.Add(1, nil, make([]byte, 16<<10))
	payload := rb.Build()
	for range 100 {
		if _, err := p.AppendAsLeader(slices.Clone(payload), Append{Epoch: -1}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		f, err := p.Fetch(Fetch{
			Replica: 2, ReplicaEpoch: 1, Acknowledge: true, Offset: 98, CurrentEpoch: 0, LastFetchedEpoch: 0,
			MaxBytes: 1 << 20, MinOne: true,
		})
		if err != nil || f.Slice.Len() == 0 {
			b.Fatal(err)
		}
		f.Slice.Release()
	}
}
