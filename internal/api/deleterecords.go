package api

import (
	"time"

	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRecordsAPI answers DeleteRecords (key 21): the log start moves up at
// the leader, and the answer waits until every live replica has followed.
// Offset -1 is the high watermark.
type deleteRecordsAPI struct{ *dataAPI }

// deleting is one partition that waits.
type deleting struct {
	p    *partition.Partition
	d    partition.Deleted
	resp *kmsg.DeleteRecordsResponseTopicPartition
}

func (a *deleteRecordsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DeleteRecordsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	img := a.Partitions.Image()
	drain := drainOf(c.Req.Conn)
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	var waits []deleting
	for i, t := range req.Topics {
		rt := &resp.Topics[i]
		rt.Default()
		rt.Topic = t.Topic
		rt.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		for k, q := range t.Partitions {
			rp := &rt.Partitions[k]
			rp.Default()
			rp.Partition, rp.LowWatermark = q.Partition, -1
			_, p, err := a.named(img, []byte(t.Topic), q.Partition)
			if err == nil && isInternal(t.Topic) {
				err = errInternalTopic
			}
			var d partition.Deleted
			if err == nil {
				d, err = p.DeleteRecords(model.Offset(q.Offset))
				drain.touch(p)
			}
			if rp.ErrorCode = ErrorCode(err); err == nil {
				waits = append(waits, deleting{p, d, rp})
			}
		}
	}
	r := a.Deletes.NewRequest(len(waits), c.Now.Add(time.Duration(req.TimeoutMillis)*time.Millisecond),
		func(r *purgatory.Request) {
			for i, w := range waits {
				w.complete(r.Outcome(i))
			}
			c.Reply(resp)
		})
	for i, w := range waits {
		w.p.AwaitDeleted(w.d, r, i, &drain.ready)
	}
	_ = r.Park(&drain.ready) // ErrFull: answered as at the deadline
}

func (w deleting) complete(o purgatory.Outcome) {
	switch o {
	case purgatory.Reached:
		w.resp.LowWatermark = int64(w.p.LowWatermark())
	case purgatory.Lost:
		w.resp.ErrorCode = ErrorCode(partition.ErrNotLeader)
	default:
		w.resp.ErrorCode = ErrorCode(errTimedOut)
	}
}
