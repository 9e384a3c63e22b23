package producer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// replica is one broker's copy of the partition in a story.
type replica struct {
	leader
	hw       model.Offset
	snapshot []byte
	snapAt   model.Offset
}

type story struct {
	replicas map[int]*replica
}

// TestStories runs the interaction files: every command is told which broker
// it happens on (b=). An example of each stands in the switch.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := story{replicas: map[int]*replica{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.run(t, d)
		})
	})
}

// flat switch
func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	r := s.on(t, d, "b")
	switch d.Cmd {
	case "produce": // produce b=1 pid=7 [epoch=0] seq=0 [n=1] [ts=0] [txn]
		return s.produce(t, d, r)
	case "marker": // marker b=1 pid=7 [epoch=0] [commit] [coordinator=0] [ts=0]
		return s.marker(t, d, r)
	case "replicate": // replicate b=2 from=1 [max=100]
		return s.replicate(t, d, r)
	case "hw": // hw b=1 to=4
		r.hw = offset(t, d, "to", 0)
		return fmt.Sprintf("hw=%d lso=%d", r.hw, r.LastStable(r.hw))
	case "truncate": // truncate b=2 to=3
		return s.truncate(t, d, r)
	case "snapshot": // snapshot b=1
		r.snapshot, r.snapAt = r.Snapshot(), r.end
		return fmt.Sprintf("%020d.snapshot, %d bytes", r.snapAt, len(r.snapshot))
	case "restart": // restart b=1 (restores the snapshot, replays the log after it)
		return s.reload(t, r)
	case "expire": // expire b=1 now=100 ttl=10
		return fmt.Sprintf("%d expired", r.Expire(int64(offset(t, d, "now", 0)), int64(offset(t, d, "ttl", 0))))
	case "state": // state b=1
		return r.String()
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

func (s *story) on(t *testing.T, d *datadriven.TestData, key string) *replica {
	id := int(offset(t, d, key, 1))
	if s.replicas[id] == nil {
		s.replicas[id] = &replica{leader: *newLeader()}
	}
	return s.replicas[id]
}

func offset(t *testing.T, d *datadriven.TestData, key string, or int64) model.Offset {
	if d.HasArg(key) {
		d.ScanArgs(t, key, &or)
	}
	return model.Offset(or)
}

func (s *story) produce(t *testing.T, d *datadriven.TestData, r *replica) string {
	b := send{
		pid: model.ProducerID(offset(t, d, "pid", 0)), epoch: model.ProducerEpoch(offset(t, d, "epoch", 0)),
		seq: int32(offset(t, d, "seq", 0)), n: int(offset(t, d, "n", 1)),
		ts: int64(offset(t, d, "ts", 0)), txn: d.HasArg("txn"),
	}
	v, err := r.offer(b)
	switch {
	case err != nil:
		return "error: " + err.Error()
	case v.Duplicate:
		return fmt.Sprintf("duplicate of [%d, %d], log end stays %d", v.Base, v.Last, r.end)
	}
	return fmt.Sprintf("appended at [%d, %d]", v.Base, v.Last)
}

func (s *story) marker(t *testing.T, d *datadriven.TestData, r *replica) string {
	b := record.Marker(model.ProducerID(offset(t, d, "pid", 0)), model.ProducerEpoch(offset(t, d, "epoch", 0)),
		record.EndTxn{Commit: d.HasArg("commit"), CoordinatorEpoch: int32(offset(t, d, "coordinator", 0)),
			Timestamp: int64(offset(t, d, "ts", 0))})
	if _, err := r.Check(b, Coordinator); err != nil {
		return "error: " + err.Error()
	}
	b.Stamp(r.end, 0)
	r.end++
	r.log = append(r.log, b)
	out := fmt.Sprintf("appended at %d", b.BaseOffset())
	if a, ok := r.Appended(b); ok {
		out += fmt.Sprintf("\naborted: producer %d [%d, %d], lso %d", a.ProducerID, a.First, a.Last, a.LSO)
	}
	return out
}

func (s *story) replicate(t *testing.T, d *datadriven.TestData, r *replica) string {
	from := s.on(t, d, "from")
	left := int(offset(t, d, "max", 1<<30))
	var out []string
	for _, b := range from.log {
		if b.BaseOffset() < r.end || left == 0 {
			continue
		}
		left--
		v, err := r.Check(b, Replication)
		if err != nil {
			t.Fatalf("a follower refused: %v", err)
		}
		if v.Warning != nil {
			out = append(out, "warning: "+v.Warning.Error())
		}
		r.Appended(b)
		r.log, r.end = append(r.log, b), b.NextOffset()
	}
	return strings.Join(append(out, fmt.Sprintf("log end %d", r.end)), "\n")
}

func (s *story) truncate(t *testing.T, d *datadriven.TestData, r *replica) string {
	off := offset(t, d, "to", 0)
	for len(r.log) > 0 && r.log[len(r.log)-1].BaseOffset() >= off {
		r.log = r.log[:len(r.log)-1]
	}
	r.end = off
	if r.TruncateTo(off) {
		return "taken back in place"
	}
	if r.snapAt > off {
		r.snapshot, r.snapAt = nil, 0
	}
	return "reload needed: " + s.reload(t, r)
}

func (s *story) reload(t *testing.T, r *replica) string {
	r.Table = New()
	if r.snapshot != nil {
		tab, err := Restore(r.snapshot)
		if err != nil {
			t.Fatal(err)
		}
		r.Table = tab
	}
	n := 0
	for _, b := range r.log {
		if b.BaseOffset() >= r.snapAt {
			r.Appended(b)
			n++
		}
	}
	return fmt.Sprintf("snapshot at %d, %d batches replayed", r.snapAt, n)
}

// String lists what the replica knows.
func (r *replica) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "end=%d hw=%d lso=%d\n", r.end, r.hw, r.LastStable(r.hw))
	for _, p := range r.States() {
		fmt.Fprintf(&out, "  producer %d: epoch=%d last=%d cached=%d", p.ID, p.Epoch, p.LastSequence, p.Cached)
		if p.TxnStart != model.NoOffset {
			fmt.Fprintf(&out, " open since %d", p.TxnStart)
		}
		if p.CoordinatorEpoch >= 0 {
			fmt.Fprintf(&out, " coordinator=%d", p.CoordinatorEpoch)
		}
		out.WriteByte('\n')
	}
	return out.String()
}
