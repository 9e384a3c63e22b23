package differential

import (
	"slices"
	"strings"

	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// situation is what a row of the allow-list sees of a difference.
type situation struct {
	diff
	req    kmsg.Request
	known  *topic // the element's topic; nil if there is none, or if the whole answer differs
	sent   []sent // of a produce request: the payloads for the element's partition
	others []sent // and all of them

	session *fetchSession // of an incremental fetch
}

// sent is one payload of a produce request, with the topic that it is for.
type sent struct {
	topic *topic // nil: none
	name  string
	id    topicID
	part  int32
	bytes []byte
}

// situate describes a difference for the allow-list.
func (r *runner) situate(d diff, req kmsg.Request) situation {
	s := situation{diff: d, req: req, known: r.find(d.topic, d.id)}
	if f, ok := req.(*kmsg.FetchRequest); ok && f.SessionEpoch > 0 && f.SessionID > 0 && int(f.SessionID) <= len(r.g.sessions) {
		s.session = &r.g.sessions[f.SessionID-1]
	}
	produce, ok := req.(*kmsg.ProduceRequest)
	if !ok {
		return s
	}
	for _, t := range produce.Topics {
		for _, p := range t.Partitions {
			one := sent{name: t.Topic, id: t.TopicID, part: p.Partition, bytes: p.Records}
			if produce.Version >= 13 {
				one.name, one.topic = "", r.find("", t.TopicID)
			} else {
				one.id, one.topic = topicID{}, r.find(t.Topic, topicID{})
			}
			s.others = append(s.others, one)
			if d.partition == p.Partition && d.topic == one.name && d.id == one.id || d.path == "" {
				s.sent = append(s.sent, one)
			}
		}
	}
	return s
}

// askedFor is the time in a ListOffsets request of the element's partition.
func (s situation) askedFor() (int64, bool) {
	r, ok := s.req.(*kmsg.ListOffsetsRequest)
	if !ok {
		return 0, false
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if t.Topic == s.topic && p.Partition == s.partition {
				return p.Timestamp, true
			}
		}
	}
	return 0, false
}

// cut reports whether the element's log doesn't begin at 0: DeleteRecords moved
// its start.
func (s situation) cut() bool {
	return s.known != nil && s.partition >= 0 && int(s.partition) < len(s.known.starts) && s.known.starts[s.partition] > 0
}

// find returns the topic of that name or symbol, nil if there is none.
func (r *runner) find(name string, id topicID) *topic {
	for _, t := range r.g.topics {
		if !t.gone && (name != "" && t.name == name || id != (topicID{}) && t.symbol == id) {
			return t
		}
	}
	return nil
}

// some reports whether a payload of the element's partition is such. Of a whole
// answer, it is any payload: with acks=0 a partition's error closes.
func (s situation) some(such func(sent) bool) bool { return slices.ContainsFunc(s.sent, such) }

// any reports whether any payload of the request is such.
func (s situation) any(such func(sent) bool) bool { return slices.ContainsFunc(s.others, such) }

// refuses reports whether a partition has the error, or the connection is
// closed in its place.
func refuses(said, code string) bool { return said == code || said == "closes" }

// accepts is the opposite.
func accepts(said string) bool { return said == "0" || said == "is silent" }

// errorOf reports whether the difference is in a partition's error, or in what
// became of the connection.
func (s situation) errorOf() bool {
	return s.path == "" || strings.HasSuffix(s.path, "Partitions.ErrorCode")
}

// batch returns the payload if it begins with one whole batch.
func (p sent) batch() (record.Batch, bool) {
	b, _, err := record.Next(p.bytes)
	return b, err == nil
}

// recompressed reports whether the leader compresses the payload anew.
func (p sent) recompressed(b record.Batch) bool {
	if p.topic == nil {
		return false
	}
	switch want := p.topic.configs["compression.type"]; want {
	case "", "producer":
		return false
	case "uncompressed":
		return b.Codec() != record.None
	default:
		return want != b.Codec().String()
	}
}

// undecodable reports a compressed payload that isn't one.
func undecodable(p sent) bool {
	b, ok := p.batch()
	if !ok || b.Codec() == record.None || b.Codec() > record.Zstd {
		return false
	}
	for _, err := range b.Records(64 << 20) {
		if err != nil && strings.Contains(err.Error(), "decompress") {
			return true
		}
	}
	return false
}

// noCodec reports a codec that doesn't exist.
func noCodec(p sent) bool {
	return len(p.bytes) >= record.HeaderSize && record.Batch(p.bytes).Codec() > record.Zstd
}

// repeated reports whether the request names the difference's partition more
// than once.
func (s situation) repeated() bool {
	if s.path == "" {
		return repeats(s.req)
	}
	n := 0
	switch r := s.req.(type) {
	case *kmsg.ProduceRequest:
		n = len(s.sent)
	case *kmsg.DeleteRecordsRequest:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if t.Topic == s.topic && p.Partition == s.partition {
					n++
				}
			}
		}
	}
	return n > 1
}

// repeats reports whether a produce or delete-records request names any
// partition twice: the logs may differ then.
func repeats(req kmsg.Request) bool {
	type place struct {
		topic     string
		id        topicID
		partition int32
	}
	seen := map[place]bool{}
	again := false
	see := func(p place) { again, seen[p] = again || seen[p], true }
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if r.Version >= 13 {
					see(place{"", t.TopicID, p.Partition})
				} else {
					see(place{t.Topic, topicID{}, p.Partition})
				}
			}
		}
	case *kmsg.DeleteRecordsRequest:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				see(place{t.Topic, topicID{}, p.Partition})
			}
		}
	}
	return again
}
