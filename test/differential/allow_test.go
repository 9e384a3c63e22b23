package differential

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// allowance is one deliberate difference. Its name is the first column of the
// table in docs/PROTOCOL.md, where the reason stands (TestDocumented).
type allowance struct {
	name   string
	covers func(s situation) bool
}

// Codes of Kafka's protocol, as diff shows them.
const (
	unknownServerError = "-1"
	corruptMessage     = "2"
	notLeader          = "6"
	invalidRequest     = "42"
	outOfOrder         = "45"
	oldEpoch           = "47"
	transactionalID    = "53"
	unsupportedCodec   = "76"
	invalidRecord      = "87"
	unsupportedVersion = "35"
)

// allowList is the whole of what may differ. A row says which field, with which
// values, of which request: what it doesn't say fails the test.
var allowList = []allowance{
	{"an error carries a text where Kafka's has none", func(s situation) bool {
		return strings.HasSuffix(s.path, "ErrorMessage") && s.kafka == "null" && s.ours == `"(text)"` && s.code != 0
	}},
	{"a payload that doesn't decompress is INVALID_RECORD", func(s situation) bool {
		return s.api == "Produce" && s.errorOf() && s.kafka == unknownServerError && s.ours == invalidRecord && s.some(undecodable)
	}},
	{"a codec that doesn't exist is UNSUPPORTED_COMPRESSION_TYPE", func(s situation) bool {
		return s.api == "Produce" && s.kafka == unknownServerError && s.ours == unsupportedCodec && s.some(noCodec)
	}},
	{"a broken batch fails its partition, not its neighbours", func(s situation) bool {
		return s.api == "Produce" && s.errorOf() && s.any(ruinous) && (!s.some(ruinous) || !accepts(s.ours)) &&
			slices.Contains([]string{corruptMessage, transactionalID, unknownServerError}, s.kafka)
	}},
	{"a producer id without an epoch is INVALID_RECORD", func(s situation) bool {
		return s.api == "Produce" && s.errorOf() && refuses(s.ours, invalidRecord) && s.some(func(p sent) bool {
			b, ok := p.batch()
			return ok && b.ProducerID() >= 0 && b.ProducerEpoch() < 0
		})
	}},
	{"a transactional batch without a producer id is INVALID_RECORD", func(s situation) bool {
		return s.api == "Produce" && s.errorOf() && accepts(s.kafka) && refuses(s.ours, invalidRecord) && s.some(func(p sent) bool {
			b, ok := p.batch()
			return ok && b.Transactional() && b.ProducerID() < 0
		})
	}},
	{"negative times and producer ids survive another compression", func(s situation) bool {
		return s.api == "Produce" && s.errorOf() && refuses(s.kafka, unknownServerError) && s.some(negative)
	}},
	{"a header key that isn't UTF-8 survives another compression", func(s situation) bool {
		return s.api == "Fetch" && s.path == "Topics.Partitions.RecordBatches" && s.known != nil && s.known.recompresses() &&
			s.kafka != s.ours && contents.ReplaceAllString(s.kafka, "") == contents.ReplaceAllString(s.ours, "")
	}},
	{"a partition that is named twice is served twice", func(s situation) bool {
		return (s.api == "Produce" || s.api == "DeleteRecords") && s.repeated()
	}},
	{"an empty record set is answered", func(s situation) bool {
		return s.kafka == "never answers" && s.ours != "never answers" && s.any(func(p sent) bool { return len(p.bytes) == 0 })
	}},
	{"a fetch of an earlier life of a fenced broker is NOT_LEADER_OR_FOLLOWER", func(s situation) bool {
		r, ok := s.req.(*kmsg.FetchRequest)
		return ok && r.Version >= 15 && r.ReplicaState.ID == second && r.ReplicaState.Epoch >= 0 && s.ours == notLeader &&
			(s.kafka == "0" || s.kafka == unknownServerError && negativeSize(r))
	}},
	{"an isolation level that doesn't exist reads uncommitted", func(s situation) bool {
		switch r := s.req.(type) {
		case *kmsg.FetchRequest:
			return r.IsolationLevel > 1 && (s.kafka == unknownServerError || s.ours == absent && s.code == -1)
		case *kmsg.ListOffsetsRequest:
			return r.IsolationLevel > 1 && (s.kafka == unknownServerError || s.ours == absent && s.code == -1)
		}
		return false
	}},
	{"a negative size is INVALID_REQUEST", func(s situation) bool {
		r, ok := s.req.(*kmsg.FetchRequest)
		return ok && (negativeSize(r) || s.session != nil) && s.kafka == unknownServerError && s.ours == invalidRequest
	}},
	{"topic id zero is UNKNOWN_TOPIC_ID", func(s situation) bool {
		r, ok := s.req.(*kmsg.FetchRequest)
		return ok && r.Version >= 13 && s.path == "ErrorCode" && s.kafka == unknownServerError &&
			(s.session != nil || slices.ContainsFunc(r.Topics, func(t kmsg.FetchRequestTopic) bool { return t.TopicID == topicID{} }))
	}},
	{"a topic with neither name nor id is UNKNOWN_TOPIC_ID", func(s situation) bool {
		r, ok := s.req.(*kmsg.MetadataRequest)
		return ok && r.Version >= 12 && slices.ContainsFunc(r.Topics, func(t kmsg.MetadataRequestTopic) bool {
			return t.Topic == nil && t.TopicID == topicID{}
		})
	}},
	{"a divergence that the version can't tell is left out", func(s situation) bool {
		r, ok := s.req.(*kmsg.FetchRequest)
		return ok && r.Version < 12 && s.session != nil && s.path == "ErrorCode" && s.kafka == unsupportedVersion && s.ours == "0"
	}},
	{"a record is found by its time in whichever segment it is", func(s situation) bool {
		at, ok := s.askedFor()
		several := s.known != nil && s.known.configs["segment.bytes"] != ""
		return ok && at >= 0 && (s.cut() || several) && s.kafka == "-1" && listed3(s.path)
	}},
	{"the largest timestamp is that of a record that still exists", func(s situation) bool {
		at, ok := s.askedFor()
		return ok && at == -3 && s.cut() && listed3(s.path)
	}},
	{"after a crash, epochs begin where the log does", func(s situation) bool {
		at, listed := s.askedFor()
		switch {
		case s.known == nil || !s.known.reverted:
			return false
		case listed:
			return (at == -2 || at == -4) && s.path == "Topics.Partitions.LeaderEpoch" && s.kafka == "-1"
		}
		return s.api == "OffsetForLeaderEpoch" && (s.path == "Topics.Partitions.EndOffset" || s.path == "Topics.Partitions.LeaderEpoch")
	}},
	{"after a restart, producers and their batches are known", func(s situation) bool {
		switch {
		case s.path == "" && s.kafka == "closes" && s.ours == "is silent":
			return s.any(func(p sent) bool { return p.topic != nil && p.topic.crashed })
		case s.path == "" && s.kafka == "is silent" && s.ours == "closes":
			return s.any(func(p sent) bool { return p.topic != nil && p.topic.forgot })
		case s.known == nil:
			return false
		case s.known.crashed && s.api == "Produce" && s.errorOf() && s.kafka == outOfOrder:
			return s.ours == "0" // sent again, and not the last
		case !s.known.forgot:
			return false
		case s.api == "DescribeProducers":
			return s.path == "Topics.Partitions.ActiveProducers"
		}
		return s.api == "Produce" && s.errorOf() && accepts(s.kafka) && (refuses(s.ours, outOfOrder) || s.ours == oldEpoch) ||
			s.api == "Produce" && s.code == 0 && (s.path == "Topics.Partitions.BaseOffset" || s.path == "Topics.Partitions.LogAppendTime")
	}},
	{"replica -3 reads as a consumer", func(s situation) bool {
		if r, ok := s.req.(*kmsg.ListOffsetsRequest); ok && r.ReplicaID == -3 {
			return s.code == 0 && s.partition >= 0 && s.known != nil && s.known.replicas != nil // what isn't committed
		}
		r, ok := s.req.(*kmsg.FetchRequest)
		return ok && (r.ReplicaID == -3 && r.Version < 15 || r.ReplicaState.ID == -3 && r.Version >= 15) && s.code == 0 && s.partition >= 0
	}},
	{"after a divergence the high watermark is told again", func(s situation) bool {
		return s.session != nil && s.path == "Topics.Partitions" && s.code == 0 && s.kafka == absent && s.ours == "batches " &&
			s.session.diverged[fmt.Sprint(s.topic, s.id, s.partition)]
	}},
	{"room that Kafka fills with a part of a batch goes to the next partition", func(s situation) bool {
		r, ok := s.req.(*kmsg.FetchRequest)
		return ok && roomy(r, s)
	}},
	{"CreateTopics names the node's settings as the source of min.insync.replicas", func(s situation) bool {
		return s.api == "CreateTopics" && s.path == "Topics.Configs.Source" && s.config == "min.insync.replicas" && s.kafka == "3"
	}},
}

// listed3 names the fields that a found offset has.
func listed3(path string) bool {
	return slices.Contains([]string{"Topics.Partitions.Offset", "Topics.Partitions.Timestamp", "Topics.Partitions.LeaderEpoch"}, path)
}

// contents are the checksums of whole records in the description of batches.
var contents = regexp.MustCompile(`, all [0-9a-f]{8}\]`)

// ruinous payloads make Kafka fail all of a request.
func ruinous(p sent) bool {
	if len(p.bytes) < 17 {
		return len(p.bytes) >= 12 && int32(binary.BigEndian.Uint32(p.bytes[8:])) < 14
	}
	_, _, err := record.Next(p.bytes)
	return err != nil || noCodec(p) || record.ClaimsTransaction(p.bytes)
}

// negative reports a payload that the leader compresses anew, and that has a
// time before 1970 or a producer id, epoch or sequence that Kafka's writer of
// batches refuses.
func negative(p sent) bool {
	b, ok := p.batch()
	if !ok || !p.recompressed(b) {
		return false
	}
	for r := range b.Records(64 << 20) {
		if r.Timestamp < 0 {
			return true
		}
	}
	return b.BaseTimestamp() < 0 || b.ProducerID() < -1 && (b.ProducerEpoch() == -1 || b.BaseSequence() < 0)
}

func negativeSize(r *kmsg.FetchRequest) bool {
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.PartitionMaxBytes < 0 {
				return true
			}
		}
	}
	return r.MaxBytes < 0
}

// roomy reports whether the difference is in how much fits into a limited
// answer: the batches of one side continue those of the other.
func roomy(r *kmsg.FetchRequest, s situation) bool {
	kafka, ours := strings.TrimPrefix(s.kafka, "batches "), strings.TrimPrefix(s.ours, "batches ")
	switch {
	case s.code != 0 || !limited(r, s.session):
		return false
	case s.path == "Topics.Partitions.AbortedTransactions": // null if a batch is too large, empty if there is no room at all
		return s.kafka == "0 elements []" && s.ours == "null" || s.kafka == "null" && s.ours == "0 elements []"
	case s.path != "Topics.Partitions.RecordBatches" && s.path != "Topics.Partitions":
		return false
	case kafka == absent:
		kafka = ""
	case ours == absent:
		ours = ""
	}
	if s.session == nil { // whatever Kafka sends fits here, too
		return kafka != ours && strings.HasPrefix(ours, kafka)
	}
	// Sessions serve their partitions in different orders.
	return kafka != ours && (strings.HasPrefix(ours, kafka) || strings.HasPrefix(kafka, ours))
}

// limited reports whether the answer to r may be too small for all there is.
func limited(r *kmsg.FetchRequest, s *fetchSession) bool {
	if r.MaxBytes < 1<<30 || s != nil && s.limited {
		return true
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.PartitionMaxBytes < 1<<30 {
				return true
			}
		}
	}
	return false
}
