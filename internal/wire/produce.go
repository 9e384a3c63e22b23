package wire

import (
	"fmt"

	"tidemark/internal/model"
)

// ProduceRequest is a view of a produce request, versions 3 to 13. All byte
// slices alias the body. // invariant 4
type ProduceRequest struct {
	// TransactionID is nil if the producer isn't transactional.
	TransactionID []byte
	// Acks is 0, 1 or -1; other values are the handler's to refuse.
	Acks int16
	// TimeoutMillis bounds the wait for replicas.
	TimeoutMillis int32
	Topics        []ProduceTopic

	parts []ProducePartition // backs Topics[i].Partitions
}

// ProduceTopic is one topic of a produce request: by Name up to v12, by ID
// from v13 on.
type ProduceTopic struct {
	Name       []byte
	ID         model.TopicID
	Partitions []ProducePartition

	first, count int
}

// ProducePartition is the record data for one partition; nil Records is null.
type ProducePartition struct {
	Index   int32
	Records []byte
}

// keepMax bounds the elements that a reused request keeps allocated.
const keepMax = 4096

// Decode fills p from body; it reuses p's memory, so a value per connection
// decodes without allocation. ErrMalformed or ErrUnsupportedVersion.
func (p *ProduceRequest) Decode(version int16, body []byte) error {
	if err := checkVersion(KeyProduce, version); err != nil {
		return err
	}
	p.reset()
	flexible := version >= 9
	r := reader{p: body, strict: true}
	if id, null := r.str(flexible); !null {
		p.TransactionID = id
	}
	p.Acks = r.int16()
	p.TimeoutMillis = r.int32()
	topicSize := 6 // of a topic without name and partitions
	if flexible {
		topicSize = 3
	}
	for n := r.count(flexible, topicSize); n > 0 && !r.bad; n-- {
		t := ProduceTopic{first: len(p.parts)}
		if version >= 13 {
			t.ID = r.uuid()
		} else {
			t.Name = r.name(flexible)
		}
		for k := r.count(flexible, 6); k > 0 && !r.bad; k-- {
			part := ProducePartition{Index: r.int32(), Records: r.bytes(flexible)}
			if flexible {
				r.skipTags()
			}
			p.parts = append(p.parts, part)
		}
		if flexible {
			r.skipTags()
		}
		t.count = len(p.parts) - t.first
		p.Topics = append(p.Topics, t)
	}
	if flexible {
		r.skipTags()
	}
	if err := r.finish(KeyProduce, version, body); err != nil {
		return err
	}
	for i := range p.Topics {
		t := &p.Topics[i]
		t.Partitions = p.parts[t.first : t.first+t.count : t.first+t.count]
	}
	return nil
}

func (p *ProduceRequest) reset() {
	topics, parts := p.Topics[:0], p.parts[:0]
	if cap(topics) > keepMax {
		topics = nil
	}
	if cap(parts) > keepMax {
		parts = nil
	}
	*p = ProduceRequest{Topics: topics, parts: parts}
}

// name reads a string that must not be null.
func (r *reader) name(flexible bool) []byte {
	s, null := r.str(flexible)
	if null {
		r.fail()
	}
	return s
}

// finish returns the error of a whole message, if any.
func (r *reader) finish(key, version int16, body []byte) error {
	if r.bad {
		return fmt.Errorf("%s v%d, %d bytes: a length exceeds what follows: %w",
			APIName(key), version, len(body), ErrMalformed)
	}
	return nil
}

// ProduceResponse is the answer to a produce request.
type ProduceResponse struct {
	Topics         []ProduceTopicResult
	ThrottleMillis int32
	// Nodes are the endpoints of hinted leaders; sent from v10 on.
	Nodes []NodeEndpoint
}

// ProduceTopicResult is one topic of the answer, by Name up to v12, by ID from
// v13 on.
type ProduceTopicResult struct {
	Name       string
	ID         model.TopicID
	Partitions []ProducePartitionResult
}

// ProducePartitionResult is the outcome for one partition.
type ProducePartitionResult struct {
	Index int32
	// Error is a Kafka error code, 0 for none.
	Error int16
	// BaseOffset is the offset of the first record, NoOffset on error.
	BaseOffset model.Offset
	// LogAppendTime is in ms since 1970, -1 with CreateTime.
	LogAppendTime int64
	LogStart      model.Offset
	// RecordErrors names the records that made the batch invalid; from v8 on.
	RecordErrors []RecordError
	// Message explains Error; empty is null. From v8 on.
	Message string
	// Leader is sent from v10 on.
	Leader LeaderHint
}

// RecordError blames one record of a refused batch; an empty Message is null.
type RecordError struct {
	Index   int32
	Message string
}

// AppendProduceResponse appends header and body of the response to h, without
// the length.
func AppendProduceResponse(dst []byte, h Header, p *ProduceResponse) []byte {
	v, flexible := h.Version, h.Version >= 9
	dst = AppendResponseHeader(dst, h)
	dst = appendCount(dst, len(p.Topics), flexible)
	for i := range p.Topics {
		t := &p.Topics[i]
		if v >= 13 {
			dst = append(dst, t.ID[:]...)
		} else {
			dst = appendString(dst, t.Name, flexible)
		}
		dst = appendCount(dst, len(t.Partitions), flexible)
		for k := range t.Partitions {
			dst = appendProducePartition(dst, v, &t.Partitions[k])
		}
		dst = appendTags(dst, flexible)
	}
	dst = appendInt32(dst, p.ThrottleMillis)
	switch {
	case v >= 10:
		dst = appendNodesTag(dst, p.Nodes)
	case flexible:
		dst = append(dst, 0)
	}
	return dst
}

func appendProducePartition(dst []byte, v int16, p *ProducePartitionResult) []byte {
	flexible := v >= 9
	dst = appendInt32(dst, p.Index)
	dst = appendInt16(dst, p.Error)
	dst = appendInt64(dst, p.BaseOffset)
	dst = appendInt64(dst, p.LogAppendTime)
	if v >= 5 {
		dst = appendInt64(dst, p.LogStart)
	}
	if v >= 8 {
		dst = appendCount(dst, len(p.RecordErrors), flexible)
		for _, e := range p.RecordErrors {
			dst = appendInt32(dst, e.Index)
			dst = appendNullable(dst, e.Message, flexible)
			dst = appendTags(dst, flexible)
		}
		dst = appendNullable(dst, p.Message, flexible)
	}
	if v >= 10 && p.Leader.Known {
		return appendLeaderTag(append(dst, 1), 0, p.Leader)
	}
	return appendTags(dst, flexible)
}
