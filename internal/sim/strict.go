package sim

import (
	"tidemark/internal/model"
	"tidemark/internal/record"
)

// strictObserver is the most unforgiving reader of the metadata log: whatever
// makes an Apache Kafka broker halt is a violation here.
type strictObserver struct {
	fail func(format string, args ...any)
	self int

	// Persisted by a broker in quorum-state: survives a restart.
	epoch  model.LeaderEpoch
	leader int // 0: unknown

	// Of this process life.
	hw    model.Offset
	end   model.Offset
	last  model.LeaderEpoch // of the last batch
	known bool              // hw was reported
}

// view takes the leader and epoch that an answer names.
func (o *strictObserver) view(epoch model.LeaderEpoch, leader int) {
	switch {
	case leader == o.self && leader != 0:
		o.fail("observer %d: named as leader itself", o.self)
	case epoch < o.epoch:
		// ignored, as Kafka does
	case epoch > o.epoch:
		o.epoch, o.leader = epoch, leader
	case o.leader != 0 && leader != 0 && o.leader != leader:
		o.fail("observer %d: leaders %d and %d in epoch %d", o.self, o.leader, leader, epoch)
	case leader != 0:
		o.leader = leader
	}
}

// highWatermark takes what an answer reports; NoOffset is no report.
func (o *strictObserver) highWatermark(hw model.Offset) {
	if hw == model.NoOffset {
		return
	}
	if o.known && hw < o.hw {
		o.fail("observer %d: high watermark went back from %d to %d", o.self, o.hw, hw)
	}
	if o.known && o.end > hw {
		o.fail("observer %d: high watermark %d is below the own log end %d", o.self, hw, o.end)
	}
	o.hw, o.known = hw, true
}

// batch takes one fetched batch.
func (o *strictObserver) batch(b record.Batch, current model.LeaderEpoch) {
	switch {
	case b.CheckCRC() != nil || b.Magic() != 2 || b.Count() == 0:
		o.fail("observer %d: bad batch at %d", o.self, b.BaseOffset())
	case b.BaseOffset() != o.end:
		o.fail("observer %d: batch at %d, log ends at %d", o.self, b.BaseOffset(), o.end)
	case b.LeaderEpoch() < o.last:
		o.fail("observer %d: epoch goes back from %d to %d at %d", o.self, o.last, b.LeaderEpoch(), b.BaseOffset())
	case b.LeaderEpoch() > current:
		o.fail("observer %d: batch of epoch %d, leader's is %d", o.self, b.LeaderEpoch(), current)
	}
	for r, err := range b.Records(1 << 20) {
		if err != nil || r.Value == nil || !b.Control() && r.Key != nil || len(r.Headers) > 0 || r.Timestamp != b.BaseTimestamp() {
			o.fail("observer %d: bad record at %d: %v", o.self, r.Offset, err)
		}
	}
	o.end, o.last = b.NextOffset(), b.LeaderEpoch()
}

// snapshot takes the id and the first batch of a snapshot.
func (o *strictObserver) snapshot(end model.Offset, epoch model.LeaderEpoch, first record.Batch) {
	switch {
	case end <= o.end || epoch < o.last:
		o.fail("observer %d: snapshot (%d, %d) is not newer than the log (%d, %d)", o.self, end, epoch, o.end, o.last)
	case !first.Control():
		o.fail("observer %d: snapshot (%d, %d) begins without a header", o.self, end, epoch)
	}
	o.end, o.last = end, epoch
	o.hw, o.known = max(o.hw, end), true
}
