package api

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/producer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/server"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
)

// zstdVersion is the first version of Produce that may carry zstd (KIP-110).
const zstdVersion = 7

// adminClientID is the client.id that may write to internal topics.
const adminClientID = "__admin_client"

// produceAPI answers Produce (key 0).
//
//	acks 0    no answer; an error closes the connection, so that the client
//	          asks for metadata
//	acks 1    answered when the leader has it
//	acks -1   refused below min.insync.replicas; answered when the high
//	          watermark has passed it, or with REQUEST_TIMED_OUT
//	v10       where the leader is, on NOT_LEADER_OR_FOLLOWER (KIP-951)
//	v13       topics by id
//
// There is no atomicity over partitions. The order of checks is Kafka's.
type produceAPI struct{ *dataAPI }

// produced is one produce request after its appends: the answer, and what it
// still waits for.
type produced struct {
	a     *produceAPI
	req   *server.Request
	hints hints
	resp  wire.ProduceResponse
	waits []awaited
	fail  error // the first error of a partition

	deadline time.Time // of waits
}

// awaited is one appended partition of an acks=all request.
type awaited struct {
	p        *partition.Partition
	appended partition.Appended
	topic    int // where its answer is in produced.resp
	part     int
}

func (a *produceAPI) handle(c *Call) {
	d := drainOf(c.Req.Conn)
	req := &d.produce
	if err := req.Decode(c.Header.Version, c.Body); err != nil {
		c.Close(err)
		return
	}
	op := spentProduces.Get().(*produced)
	op.a, op.req = a, c.Req
	op.hints = hints{img: a.Partitions.Image(), listener: c.Listener}
	op.appendAll(c, d, req)
	switch {
	case req.Acks == 0 && op.fail != nil:
		c.Close(fmt.Errorf("produce with acks=0: %w", op.fail))
		op.spent()
	case req.Acks == 0:
		c.NoReply()
		op.spent()
	case req.Acks == 1 || len(op.waits) == 0:
		op.reply()
	default:
		op.deadline = c.Now.Add(time.Duration(req.TimeoutMillis) * time.Millisecond)
		d.produced = append(d.produced, op)
	}
}

// spentProduces keeps the memory of answered requests.
var spentProduces = sync.Pool{New: func() any { return new(produced) }}

// produceKeep is the most partitions of one topic, and topics, whose memory is kept.
const produceKeep = 64

// spent gives the memory back; nobody uses op any more.
func (op *produced) spent() {
	topics := op.resp.Topics
	if len(topics) > produceKeep {
		return
	}
	for i := range topics {
		if cap(topics[i].Partitions) > produceKeep {
			topics[i].Partitions = nil
		}
		clear(topics[i].Partitions)
	}
	clear(op.waits)
	*op = produced{waits: op.waits[:0]}
	op.resp.Topics = topics[:0]
	spentProduces.Put(op)
}

// sized returns s with n elements, whatever they hold.
func sized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

func (op *produced) appendAll(c *Call, d *drain, req *wire.ProduceRequest) {
	clientID := ""
	if c.Header.ClientID != nil {
		clientID = *c.Header.ClientID
	}
	op.resp.Topics = sized(op.resp.Topics, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		res := &op.resp.Topics[i]
		*res = wire.ProduceTopicResult{ID: t.ID, Partitions: sized(res.Partitions, len(t.Partitions))}
		if c.Header.Version < 13 {
			if known := op.hints.img.Topics.ByName[string(t.Name)]; known != nil {
				res.Name = known.Name // no copy of the name in the usual case
			} else {
				res.Name = string(t.Name)
			}
		}
		for k := range t.Partitions {
			in := partIn{
				topic: t, index: t.Partitions[k].Index, records: t.Partitions[k].Records,
				clientID: clientID, txnID: req.TransactionID != nil,
			}
			topic, p, appended, err := op.appendOne(c.Header.Version, req.Acks, in)
			if p != nil {
				d.touch(p)
			}
			out := &res.Partitions[k]
			*out = wire.ProducePartitionResult{
				Index: in.index, BaseOffset: appended.Base, LogAppendTime: appended.AppendTime, LogStart: appended.LogStart,
			}
			switch {
			case err != nil:
				op.failed(out, topic, err)
			case req.Acks == -1:
				op.waits = append(op.waits, awaited{p: p, appended: appended, topic: i, part: k})
			}
		}
	}
}

// partIn is one partition of a request.
type partIn struct {
	topic    *wire.ProduceTopic
	index    int32
	records  []byte
	clientID string
	txnID    bool // the request names a transactional id
}

func (op *produced) appendOne(version, acks int16, in partIn) (
	*metadata.Topic, *partition.Partition, partition.Appended, error,
) {
	none := partition.Appended{Base: model.NoOffset, AppendTime: -1, LogStart: model.NoOffset}
	if !in.txnID && record.ClaimsTransaction(in.records) {
		return nil, nil, none, errNoTxnID
	}
	var t *metadata.Topic
	var p *partition.Partition
	var err error
	if version >= 13 {
		t, p, err = op.a.identified(op.hints.img, in.topic.ID, in.index)
	} else {
		t, p, err = op.a.named(op.hints.img, in.topic.Name, in.index)
	}
	switch {
	case errors.Is(err, partition.ErrUnknownPartition) || errors.Is(err, partition.ErrUnknownTopicID):
	case err == nil || errors.Is(err, partition.ErrNotHosted):
		if refused := refusedUnseen(t, acks, in); refused != nil {
			err = refused
			if broken := record.CheckFrame(in.records, version >= zstdVersion); broken != nil {
				err = broken
			}
		}
	}
	if err != nil {
		return t, nil, none, err
	}
	appended, err := p.AppendAsLeader(in.records, partition.Append{
		AcksAll: acks == -1, Origin: producer.Client, ZstdAllowed: version >= zstdVersion, Epoch: model.NoLeaderEpoch,
	})
	return t, p, appended, err
}

// refusedUnseen tells why a partition is refused whatever the records are.
func refusedUnseen(t *metadata.Topic, acks int16, in partIn) error {
	switch {
	case in.txnID && record.ClaimsTransaction(in.records) && record.Batch(in.records).ProducerID() >= 0:
		return errNoTxnCoordinator
	case acks < -1 || acks > 1:
		return errBadAcks
	case isInternal(t.Name) && in.clientID != adminClientID:
		return errInternalTopic
	}
	return nil
}

// failed fills in the answer for a partition that was refused. Only errors
// about the records themselves, and unexpected ones, carry the log start.
func (op *produced) failed(out *wire.ProducePartitionResult, t *metadata.Topic, err error) {
	if op.fail == nil {
		op.fail = err
	}
	out.Error = ErrorCode(err)
	out.BaseOffset, out.LogAppendTime = model.NoOffset, -1
	var invalid *record.InvalidError
	switch {
	case err == errNoTxnCoordinator:
		out.Message, out.LogStart = err.Error(), model.NoOffset
	case errors.As(err, &invalid):
		if out.Message = invalid.Reason; invalid.Framing {
			out.LogStart = model.NoOffset
		}
		for _, r := range invalid.Records {
			out.RecordErrors = append(out.RecordErrors, wire.RecordError{Index: r.Index, Message: r.Message})
		}
	case out.Error == kerr.InvalidRecord.Code || out.Error == kerr.InvalidTimestamp.Code:
		out.Message = err.Error()
	case out.Error == kerr.CorruptMessage.Code:
		out.Message, out.LogStart = err.Error(), model.NoOffset
	case !refusedByLog(out.Error):
		out.LogStart = model.NoOffset
	}
	if out.Error == kerr.NotLeaderForPartition.Code {
		out.Leader = op.hints.leader(t, out.Index)
	}
}

// refusedByLog tells the errors that the partition itself found: they carry its
// log's start, as Kafka's do.
func refusedByLog(code int16) bool { // flat switch
	switch code {
	case kerr.UnknownServerError.Code, kerr.NotEnoughReplicas.Code, kerr.OutOfOrderSequenceNumber.Code,
		kerr.InvalidProducerEpoch.Code, kerr.InvalidTxnState.Code:
		return true
	}
	return false
}

// park waits for the high watermarks. It runs when the drain has performed what
// the appends caused: what is committed by then does not wait.
func (op *produced) park(ready *purgatory.Ready) {
	r := op.a.Produces.NewRequest(len(op.waits), op.deadline, op.complete)
	for i := range op.waits {
		w := &op.waits[i]
		w.p.AwaitCommitted(w.appended, r, i, ready)
	}
	// ErrFull: Park has answered with time-outs, as at the deadline.
	_ = r.Park(ready)
}

// complete runs in the goroutine that committed the last partition, or in that
// of the timer.
func (op *produced) complete(r *purgatory.Request) {
	for i := range op.waits {
		w := &op.waits[i]
		why, err := w.outcome(r.Outcome(i))
		if err == nil {
			continue
		}
		// The record is in the log: the answer keeps its offset, as Kafka's does.
		out := &op.resp.Topics[w.topic].Partitions[w.part]
		out.Message = why
		if out.Error = ErrorCode(err); out.Error == kerr.NotLeaderForPartition.Code {
			op.hints.img = op.a.Partitions.Image()
			out.Leader = op.hints.leader(op.hints.img.Topics.ByName[w.p.TP().Topic], out.Index)
		}
	}
	op.reply()
}

// outcome is how the wait ended and, for a time-out, who was missing.
func (w *awaited) outcome(o purgatory.Outcome) (why string, err error) {
	switch o {
	case purgatory.Waiting:
		return w.p.AckTimedOut(w.appended), errTimedOut
	case purgatory.Lost:
		if err := w.p.Committed(); errors.Is(err, partition.ErrStorage) {
			return "", err
		}
		return "", partition.ErrNotLeader
	}
	err = w.p.Committed()
	if errors.Is(err, partition.ErrNotEnoughReplicas) {
		return err.Error(), errAfterAppend
	}
	return "", nil // committed, whoever leads now
}

func (op *produced) reply() {
	op.resp.Nodes = op.hints.nodes
	for i := range op.resp.Topics {
		for k := range op.resp.Topics[i].Partitions {
			op.req.Error(op.resp.Topics[i].Partitions[k].Error, 1)
		}
	}
	b := scratch.Get().(*[]byte)
	*b = wire.AppendProduceResponse((*b)[:0], op.req.Header, &op.resp)
	op.req.Respond(wire.Part{Bytes: *b})
	if cap(*b) <= replyKeep {
		scratch.Put(b)
	}
	op.spent()
}
