package api

import (
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/replica"
	"tidemark/internal/wire"
)

// reportOf translates what a follower tells of itself with a fetch.
func reportOf(r *wire.FetchReport) replica.Report {
	return replica.Report{
		Told: r.Told, Append: time.Duration(r.AppendMicros) * time.Microsecond,
		AppendP99: time.Duration(r.AppendP99Micros) * time.Microsecond,
		Throttled: int(r.ThrottledPercent), Partitions: int(r.Partitions), Behind: int(r.Behind),
	}
}

// troubles hands on what a follower says of partitions with which it gets
// nowhere. It comes after the acknowledgements, which end earlier troubles.
func (op *fetchOp) troubles(r *wire.FetchReport) {
	if !op.s.Follower() {
		return
	}
	for _, t := range r.Troubles {
		if _, p, err := op.a.identified(op.hints.img, t.ID, t.Partition); err == nil {
			p.Troubled(op.s.Replica, replica.Trouble{Code: replica.TroubleCode(t.Code), Text: t.Text})
		}
	}
}

// timedSlice tells the partition how long the disk took for what a follower is sent.
type timedSlice struct {
	commitlog.Slice
	p        *partition.Partition
	follower model.BrokerID
}

// ReadInto reads, and takes the time.
func (s timedSlice) ReadInto(dst []byte) (int, error) {
	start := time.Now()
	n, err := s.Slice.ReadInto(dst)
	s.Took(time.Since(start))
	return n, err
}

// Took is told by the server how long a part that goes out without passing
// through memory held up the sending.
func (s timedSlice) Took(d time.Duration) { s.p.ReadTook(s.follower, d) }
