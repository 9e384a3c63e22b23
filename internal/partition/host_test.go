package partition

import (
	"testing"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/journal"
	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/vfs"
)

var tp = model.TopicPartition{Topic: "orders", Partition: 3}

// host is a broker around one partition: it records what it is asked to do.
type host struct {
	start     model.Offset // of the log when it is opened
	t         *testing.T
	p         *Partition
	fs        *vfs.Mem
	now       time.Time
	proposals []*replica.ISRChange
	events    []journal.Event
	failed    error
	lowered   int
	ready     purgatory.Ready
	fail      func(vfs.Op) error
}

func (h *host) BrokerStatus(model.BrokerID) replica.BrokerStatus {
	return replica.BrokerStatus{Epoch: 1, Eligible: true}
}
func (h *host) Propose(_ *Partition, c *replica.ISRChange) { h.proposals = append(h.proposals, c) }
func (h *host) Emit(e journal.Event)                       { h.events = append(h.events, e) }
func (h *host) Rolled(*Partition, model.Offset)            {}
func (h *host) FlushedLowered(*Partition)                  { h.lowered++ }
func (h *host) Failed(_ *Partition, err error)             { h.failed = err }

func (h *host) open(clean bool, hw model.Offset) {
	h.t.Helper()
	cfg := commitlog.DefaultConfig()
	fs := vfs.NewFaulty(h.fs, func(op vfs.Op) error {
		if h.fail != nil {
			return h.fail(op)
		}
		return nil
	})
	p, err := Open(Options{
		TP: tp, Self: 1, HighWatermark: hw,
		Settings: Settings{
			MaxBatchBytes: 1 << 20, SegmentBytes: 1 << 30, Deletes: true, MinISR: 2, LagTimeMax: 10 * time.Second,
			TimestampBeforeMax: 1 << 62, TimestampAfterMax: 1 << 62,
		},
		LogOptions: commitlog.Options{FS: fs, Dir: "d/orders-3", Config: cfg, Clean: clean, LogStart: h.start, Now: h.clock},
		Now:        h.clock, Brokers: h, Sender: h, Journal: h, Storage: h,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.p = p
}

func (h *host) clock() time.Time { return h.now }

func newHost(t *testing.T) *host {
	h := &host{t: t, fs: vfs.NewMem(), now: time.Unix(100_000, 0)}
	if err := h.fs.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	h.open(false, 0)
	return h
}

func (h *host) perform() {
	h.p.Perform(&h.ready)
	h.ready.Run()
}

func (h *host) lead(epoch model.LeaderEpoch, isr ...model.BrokerID) {
	h.t.Helper()
	err := h.p.BecomeLeader(State{
		Leader: 1, LeaderEpoch: epoch, PartitionEpoch: model.PartitionEpoch(epoch),
		Replicas: []model.BrokerID{1, 2, 3}, ISR: isr,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.perform()
}

func (h *host) follow(epoch model.LeaderEpoch) {
	h.t.Helper()
	_, err := h.p.BecomeFollower(State{
		Leader: 2, LeaderEpoch: epoch, PartitionEpoch: model.PartitionEpoch(epoch),
		Replicas: []model.BrokerID{1, 2, 3}, ISR: []model.BrokerID{2},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.perform()
}

func batch(values ...string) record.Batch {
	var b record.Builder
	for _, v := range values {
		b.Add(1, []byte("k"), []byte(v))
	}
	return b.Build()
}

func (h *host) append(a Append, values ...string) Appended {
	h.t.Helper()
	a.Epoch = model.NoLeaderEpoch
	res, err := h.p.AppendAsLeader(batch(values...), a)
	if err != nil {
		h.t.Fatal(err)
	}
	return res
}

func (h *host) fetch(id model.BrokerID, at model.Offset) (Fetched, error) {
	f, err := h.p.Fetch(Fetch{
		Replica: id, ReplicaEpoch: 1, Acknowledge: true, Offset: at, CurrentEpoch: model.NoLeaderEpoch,
		LastFetchedEpoch: model.NoLeaderEpoch, MaxBytes: 1 << 20, MinOne: true,
	})
	h.perform()
	return f, err
}

func (h *host) acked(id model.BrokerID, at model.Offset) {
	h.t.Helper()
	f, err := h.fetch(id, at)
	if err != nil {
		h.t.Fatal(err)
	}
	f.Slice.Release()
}

func (h *host) wantHW(want model.Offset) {
	h.t.Helper()
	if hw := h.p.HighWatermark(); hw != want {
		h.t.Fatalf("high watermark %d, want %d", hw, want)
	}
}

func bytesOf(t *testing.T, s commitlog.Slice) []byte {
	t.Helper()
	b := make([]byte, s.Len())
	if _, err := s.ReadInto(b); err != nil {
		t.Fatal(err)
	}
	s.Release()
	return b
}

// await parks an acks=all request for one append.
func (h *host) await(a Appended, p *purgatory.Purgatory) *purgatory.Outcome {
	h.t.Helper()
	out := new(purgatory.Outcome)
	r := p.NewRequest(1, time.Now().Add(time.Hour), func(r *purgatory.Request) { *out = r.Outcome(0) })
	h.p.AwaitCommitted(a, r, 0, &h.ready)
	if err := r.Park(&h.ready); err != nil {
		h.t.Fatal(err)
	}
	h.ready.Run()
	return out
}

// answerTo is the controller's agreement to a proposal.
func answerTo(c *replica.ISRChange, pe model.PartitionEpoch) replica.ISRAnswer {
	return replica.ISRAnswer{Proposal: c.Proposal, LeaderEpoch: c.LeaderEpoch, PartitionEpoch: pe, ISR: c.IDs()}
}
