package differential

import (
	"strings"

	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// allowance is one deliberate difference; docs/PROTOCOL.md lists them, too.
type allowance struct {
	reason string
	covers func(d diff, req kmsg.Request) bool
}

// Codes of Kafka's protocol, as diff shows them.
const (
	unknownServerError = "-1"
	corruptMessage     = "2"
	transactionalID    = "53"
	unsupportedCodec   = "76"
	invalidRecord      = "87"
)

var allowList = []allowance{
	{
		reason: "an error carries a text where Kafka's has none",
		covers: func(d diff, _ kmsg.Request) bool {
			return strings.HasSuffix(d.path, "ErrorMessage") && d.kafka == "null"
		},
	},
	{
		reason: "a payload that doesn't decompress is INVALID_RECORD; Kafka fails unexpectedly",
		covers: func(d diff, _ kmsg.Request) bool {
			return d.api == "Produce" && d.kafka == unknownServerError && d.ours == invalidRecord
		},
	},
	{
		reason: "an isolation level that doesn't exist reads uncommitted; Kafka fails unexpectedly",
		covers: func(d diff, req kmsg.Request) bool {
			switch r := req.(type) {
			case *kmsg.FetchRequest:
				return r.IsolationLevel > 1
			case *kmsg.ListOffsetsRequest:
				return r.IsolationLevel > 1
			}
			return false
		},
	},
	{
		reason: "where there are no aborted transactions, null or an empty list",
		covers: func(d diff, _ kmsg.Request) bool {
			return strings.HasSuffix(d.path, "AbortedTransactions") && (d.kafka == "null" || strings.HasPrefix(d.kafka, "0 elements")) &&
				(d.ours == "null" || strings.HasPrefix(d.ours, "0 elements"))
		},
	},
	{
		reason: "a codec that doesn't exist is UNSUPPORTED_COMPRESSION_TYPE; Kafka fails unexpectedly, with all partitions",
		covers: func(d diff, req kmsg.Request) bool {
			return d.kafka == unknownServerError && payloads(req, func(b record.Batch) bool { return b.Codec() > record.Zstd })
		},
	},
	{
		reason: "a broken or transactional payload fails its partition; Kafka fails all of the request, whatever else is wrong",
		covers: func(d diff, req kmsg.Request) bool {
			return d.path == "Topics.Partitions.ErrorCode" && (d.kafka == corruptMessage || d.kafka == transactionalID || d.kafka == unknownServerError) && payloads(req, func(b record.Batch) bool {
				_, _, err := record.Next(b)
				return err != nil || b.Transactional()
			})
		},
	},
	{
		reason: "bytes behind the end of a compressed stream are INVALID_RECORD; Kafka doesn't look",
		covers: func(d diff, req kmsg.Request) bool {
			return d.ours == invalidRecord && payloads(req, func(b record.Batch) bool { return b.Codec() != record.None })
		},
	},
	{
		reason: "a producer id with a negative epoch is INVALID_RECORD",
		covers: func(d diff, req kmsg.Request) bool {
			return d.ours == invalidRecord && payloads(req, func(b record.Batch) bool { return b.ProducerID() >= 0 && b.ProducerEpoch() < 0 })
		},
	},
	{
		reason: "a topic that was replaced while a session knows its id is UNKNOWN_TOPIC_ID or INCONSISTENT_TOPIC_ID",
		covers: func(d diff, req kmsg.Request) bool {
			return d.api == "Fetch" && d.version >= 13 && (d.kafka == "103" || d.kafka == "3") && d.ours == "100"
		},
	},
	{
		reason: "a session keeps the replica that began it; Kafka takes each request's",
		covers: func(d diff, req kmsg.Request) bool {
			r, ok := req.(*kmsg.FetchRequest)
			return ok && r.SessionID != 0 && r.SessionEpoch > 0 && r.ReplicaID != -1
		},
	},
	{
		reason: "a negative size is 0; Kafka fails unexpectedly",
		covers: func(d diff, req kmsg.Request) bool {
			r, ok := req.(*kmsg.FetchRequest)
			return ok && negativeSize(r) && (d.kafka == unknownServerError || d.code != 0)
		},
	},
	{
		reason: "wrong acks and a payload that isn't one batch: either error",
		covers: func(d diff, req kmsg.Request) bool {
			r, ok := req.(*kmsg.ProduceRequest)
			return ok && (r.Acks < -1 || r.Acks > 1) && (d.kafka == invalidRecord || d.kafka == unsupportedCodec)
		},
	},
	{
		reason: "an emptied session lives on; Kafka ends it",
		covers: func(d diff, req kmsg.Request) bool {
			r, ok := req.(*kmsg.FetchRequest)
			return ok && d.path == "SessionID" && d.kafka == "0" && len(r.ForgottenTopics) > 0
		},
	},
	{
		reason: "which partitions get the room when an answer is too small for all; Kafka counts parts of batches",
		covers: func(d diff, req kmsg.Request) bool {
			r, ok := req.(*kmsg.FetchRequest)
			return ok && limited(r) && (d.path == "Topics" || strings.HasSuffix(d.path, "Partitions") || strings.HasSuffix(d.path, "RecordBatches"))
		},
	},
	{
		reason: "a broker that asks itself is told where it is; Kafka isn't",
		covers: func(d diff, req kmsg.Request) bool {
			r, ok := req.(*kmsg.FetchRequest)
			return ok && d.path == "Brokers" && r.ReplicaID != -1
		},
	},
	{
		reason: "min.insync.replicas of new topics comes from the node's settings; Kafka copies it into the cluster's",
		covers: func(d diff, _ kmsg.Request) bool {
			return d.api == "CreateTopics" && strings.HasSuffix(d.path, "Configs.Source") && d.kafka == "3"
		},
	},
	{
		reason: "topic id zero among others is UNKNOWN_TOPIC_ID; Kafka fails unexpectedly",
		covers: func(d diff, req kmsg.Request) bool {
			r, ok := req.(*kmsg.FetchRequest)
			return ok && r.Version >= 13 && d.path == "ErrorCode" && d.kafka == unknownServerError
		},
	},
	{
		reason: "negative times and producer ids survive another compression; Kafka fails unexpectedly",
		covers: func(d diff, req kmsg.Request) bool {
			return (d.kafka == unknownServerError || d.kafka == "closes") && payloads(req, func(b record.Batch) bool {
				return b.BaseTimestamp() < 0 || b.MaxTimestamp() < 0 || b.ProducerID() < -1 || b.ProducerEpoch() < -1 || b.BaseSequence() < -1
			})
		},
	},
	{
		reason: "the empty name of a topic that isn't deleted is null",
		covers: func(d diff, _ kmsg.Request) bool {
			return d.api == "DeleteTopics" && strings.HasSuffix(d.path, "Topic") && d.kafka == `""` && d.ours == "null"
		},
	},
	{
		reason: "a partition that is named twice is served twice; Kafka drops all but the last, unanswered",
		covers: func(d diff, req kmsg.Request) bool { return twice(req) },
	},
}

// twice reports whether a produce or delete-records request names a partition
// twice. No client does.
func twice(req kmsg.Request) bool {
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

// payloads reports whether any payload of a produce request is such.
func payloads(req kmsg.Request, such func(record.Batch) bool) bool {
	r, ok := req.(*kmsg.ProduceRequest)
	if !ok {
		return false
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if len(p.Records) >= record.HeaderSize && such(p.Records) {
				return true
			}
		}
	}
	return false
}

// limited reports whether the answer's size may matter: of a session's
// partitions the request doesn't say.
func limited(r *kmsg.FetchRequest) bool {
	if r.MaxBytes < 1<<30 || r.SessionEpoch > 0 {
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
