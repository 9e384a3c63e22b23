package wire

import (
	"encoding/binary"

	"tidemark/internal/model"
)

// FetchResponse is the answer to a fetch request, versions 4 to 18.
type FetchResponse struct {
	ThrottleMillis int32
	// Error is a Kafka error code about the whole request; sent from v7 on.
	Error     int16
	SessionID int32 // v7
	Topics    []FetchTopicResult
	// Nodes are the endpoints of hinted leaders; sent from v16 on.
	Nodes []NodeEndpoint

	parts []FetchPartitionResult
}

// FetchTopicResult is one topic of the answer, by Name up to v12, by ID from
// v13 on.
type FetchTopicResult struct {
	Name       []byte
	ID         model.TopicID
	Partitions []FetchPartitionResult

	first, count int
}

// FetchPartitionResult is the data of one partition, or why there is none.
type FetchPartitionResult struct {
	Index int32
	// Error is a Kafka error code, 0 for none.
	Error         int16
	HighWatermark model.Offset // NoOffset on error
	LastStable    model.Offset // NoOffset on error
	LogStart      model.Offset // v5
	// Aborted lists aborted transactions in the data; nil is null.
	Aborted []AbortedTxn
	// PreferredReplica is where a consumer should read instead, or NoBroker; v11.
	PreferredReplica model.BrokerID
	// Slice is sent if it isn't nil, else Records. Never null on the wire.
	Slice   Slice
	Records []byte
	// Diverging, Leader and Snapshot are sent if Known, from v12 on.
	Diverging EpochEnd
	Leader    LeaderHint
	Snapshot  SnapshotID
}

// AbortedTxn is one aborted transaction whose records a reader must drop.
type AbortedTxn struct {
	ProducerID  model.ProducerID
	FirstOffset model.Offset
}

// EpochEnd tells a follower the end of the newest epoch that both logs share.
type EpochEnd struct {
	Known     bool
	Epoch     model.LeaderEpoch
	EndOffset model.Offset
}

// SnapshotID names a snapshot of the metadata log to fetch instead.
type SnapshotID struct {
	Known     bool
	EndOffset model.Offset
	Epoch     model.LeaderEpoch
}

// FetchResponseParts encodes header and body of the response to h. All bytes
// but the records of slices are appended to buf, of which the returned parts
// hold pieces; parts are appended to dst. Slices are not read.
func FetchResponseParts(dst []Part, buf []byte, h Header, f *FetchResponse) []Part {
	e := fetchEncoder{version: h.Version, flexible: h.Version >= 12, buf: buf, parts: dst, from: len(buf)}
	e.first = len(dst)
	e.encode(h, f)
	return e.finish()
}

// fetchEncoder cuts its buffer into parts only at the end, because the buffer
// moves while it grows.
type fetchEncoder struct {
	version  int16
	flexible bool
	buf      []byte
	from     int // where this response begins in buf
	parts    []Part
	first    int // where this response begins in parts
	cuts     [8]int
	more     []int // cuts beyond the first eight
	slices   int
}

func (e *fetchEncoder) encode(h Header, f *FetchResponse) {
	b := AppendResponseHeader(e.buf, h)
	b = appendInt32(b, f.ThrottleMillis)
	if e.version >= 7 {
		b = appendInt16(b, f.Error)
		b = appendInt32(b, f.SessionID)
	}
	b = appendCount(b, len(f.Topics), e.flexible)
	for i := range f.Topics {
		t := &f.Topics[i]
		b = appendTopic(b, e.version, 13, t.Name, t.ID, e.flexible)
		b = appendCount(b, len(t.Partitions), e.flexible)
		for k := range t.Partitions {
			b = e.partition(b, &t.Partitions[k])
		}
		b = appendTags(b, e.flexible)
	}
	switch {
	case e.version >= 16:
		b = appendNodesTag(b, f.Nodes)
	case e.flexible:
		b = append(b, 0)
	}
	e.buf = b
}

func (e *fetchEncoder) partition(b []byte, p *FetchPartitionResult) []byte {
	b = appendInt32(b, p.Index)
	b = appendInt16(b, p.Error)
	b = appendInt64(b, p.HighWatermark)
	b = appendInt64(b, p.LastStable)
	if e.version >= 5 {
		b = appendInt64(b, p.LogStart)
	}
	if p.Aborted == nil {
		b = appendNull32(b, e.flexible)
	} else {
		b = appendCount(b, len(p.Aborted), e.flexible)
		for _, a := range p.Aborted {
			b = appendInt64(b, a.ProducerID)
			b = appendInt64(b, a.FirstOffset)
			b = appendTags(b, e.flexible)
		}
	}
	if e.version >= 11 {
		b = appendInt32(b, p.PreferredReplica)
	}
	if p.Slice != nil && p.Slice.Len() > 0 {
		b = appendCount(b, p.Slice.Len(), e.flexible)
		e.cut(len(b), p.Slice)
	} else {
		if p.Slice != nil {
			p.Slice.Release()
		}
		b = appendCount(b, len(p.Records), e.flexible)
		b = append(b, p.Records...)
	}
	if e.flexible {
		b = appendFetchTags(b, p)
	}
	return b
}

func appendFetchTags(b []byte, p *FetchPartitionResult) []byte {
	b = append(b, bit(p.Diverging.Known)+bit(p.Leader.Known)+bit(p.Snapshot.Known))
	if d := p.Diverging; d.Known {
		b = append(b, 0, 13)
		b = appendInt32(b, d.Epoch)
		b = appendInt64(b, d.EndOffset)
		b = append(b, 0)
	}
	if p.Leader.Known {
		b = appendLeaderTag(b, 1, p.Leader)
	}
	if s := p.Snapshot; s.Known {
		b = append(b, 2, 13)
		b = appendInt64(b, s.EndOffset)
		b = appendInt32(b, s.Epoch)
		b = append(b, 0)
	}
	return b
}

// cut notes that s goes out after the first `at` bytes of the buffer.
func (e *fetchEncoder) cut(at int, s Slice) {
	if e.slices < len(e.cuts) {
		e.cuts[e.slices] = at
	} else {
		e.more = append(e.more, at)
	}
	e.slices++
	e.parts = append(e.parts, Part{}, Part{Slice: s})
}

func (e *fetchEncoder) finish() []Part {
	from := e.from
	for i := range e.slices {
		at := 0
		if i < len(e.cuts) {
			at = e.cuts[i]
		} else {
			at = e.more[i-len(e.cuts)]
		}
		e.parts[e.first+2*i].Bytes = e.buf[from:at:at]
		from = at
	}
	return append(e.parts, Part{Bytes: e.buf[from:]})
}

// Decode fills f from a response body, with Records aliasing it: a follower
// appends them as they came. It reuses f's memory. // invariant 4
func (f *FetchResponse) Decode(version int16, body []byte) error {
	if err := checkVersion(KeyFetch, version); err != nil {
		return err
	}
	*f = FetchResponse{Topics: f.Topics[:0], parts: f.parts[:0]}
	flexible := version >= 12
	r := reader{p: body}
	f.ThrottleMillis = r.int32()
	if version >= 7 {
		f.Error = r.int16()
		f.SessionID = r.int32()
	}
	for n := r.count(flexible, 6); n > 0 && !r.bad; n-- {
		t := FetchTopicResult{first: len(f.parts)}
		if version >= 13 {
			t.ID = r.uuid()
		} else {
			t.Name = r.name(flexible)
		}
		for k := r.count(flexible, 20); k > 0 && !r.bad; k-- {
			f.parts = append(f.parts, r.fetchResult(version, flexible))
		}
		if flexible {
			r.skipTags()
		}
		t.count = len(f.parts) - t.first
		f.Topics = append(f.Topics, t)
	}
	if flexible {
		for n := r.tagCount(); n > 0 && !r.bad; n-- {
			if key, v := r.tag(); key == 0 {
				f.Nodes = v.nodes()
				r.bad = r.bad || v.bad
			}
		}
	}
	if err := r.finish(KeyFetch, version, body); err != nil {
		return err
	}
	for i := range f.Topics {
		t := &f.Topics[i]
		t.Partitions = f.parts[t.first : t.first+t.count : t.first+t.count]
	}
	return nil
}

func (r *reader) fetchResult(version int16, flexible bool) FetchPartitionResult {
	p := FetchPartitionResult{
		Index: r.int32(), Error: r.int16(), HighWatermark: model.Offset(r.int64()),
		LastStable: model.Offset(r.int64()), LogStart: model.NoOffset, PreferredReplica: model.NoBroker,
	}
	if version >= 5 {
		p.LogStart = model.Offset(r.int64())
	}
	p.Aborted = r.aborted(flexible)
	if version >= 11 {
		p.PreferredReplica = model.BrokerID(r.int32())
	}
	p.Records = r.bytes(flexible)
	if !flexible {
		return p
	}
	for n := r.tagCount(); n > 0 && !r.bad; n-- {
		key, v := r.tag()
		switch key {
		case 0:
			p.Diverging = EpochEnd{true, model.LeaderEpoch(v.int32()), model.Offset(v.int64())}
		case 1:
			p.Leader = v.leaderHint()
		case 2:
			p.Snapshot = SnapshotID{true, model.Offset(v.int64()), model.LeaderEpoch(v.int32())}
		}
		r.bad = r.bad || v.bad
	}
	return p
}

func (r *reader) aborted(flexible bool) []AbortedTxn {
	n := 0
	if flexible {
		n = r.compactLen()
	} else {
		n = int(r.int32())
	}
	if n < 0 || r.bad {
		return nil
	}
	if n > len(r.p)/16 {
		r.fail()
		return nil
	}
	txns := make([]AbortedTxn, 0, n)
	for ; n > 0 && !r.bad; n-- {
		p := r.span(16)
		if r.bad {
			break
		}
		txns = append(txns, AbortedTxn{
			ProducerID:  model.ProducerID(binary.BigEndian.Uint64(p)),
			FirstOffset: model.Offset(binary.BigEndian.Uint64(p[8:])),
		})
		if flexible {
			r.skipTags()
		}
	}
	return txns
}
