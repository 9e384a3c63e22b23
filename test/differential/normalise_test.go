package differential

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// knownAttributes are the bits that mean something in a data batch; Kafka clears
// the others only when it has another reason to write the header.
const knownAttributes = 0x3f

// batches describes a fetched record set: one line a batch. Times that the
// leaders stamped differ, and so does their CRC; compressed batches are compared
// by what they hold.
func batches(p []byte) string {
	var out strings.Builder
	for len(p) > 0 {
		b, rest, err := record.Next(p)
		if err != nil {
			break // Kafka cuts by bytes; clients ignore what isn't whole
		}
		p = rest
		if err := b.CheckCRC(); err != nil {
			fmt.Fprintf(&out, "(%v) ", err)
		}
		var content, readable bytes.Buffer
		for r, err := range b.Records(64 << 20) {
			ts := r.Timestamp
			if b.LogAppendTime() {
				ts = 0
			}
			fmt.Fprintf(&content, "%d %d %q(%t) %q(%t) %q %v;", r.Offset, ts, r.Key, r.Key == nil, r.Value, r.Value == nil, r.Headers, err)
			for i := range r.Headers {
				r.Headers[i].Key = strings.ReplaceAll(strings.ToValidUTF8(r.Headers[i].Key, ""), "\uFFFD", "")
			}
			fmt.Fprintf(&readable, "%q", r.Headers)
		}
		first, last := b.BaseTimestamp(), b.MaxTimestamp()
		if b.LogAppendTime() {
			first, last = 0, 0
		}
		fmt.Fprintf(&out, "[%d-%d epoch=%d attributes=%#x times=%d-%d producer=%d/%d/%d records=%d headers %08x, all %08x] ",
			b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.Attributes()&knownAttributes, first, last,
			b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.Count(), crc32.ChecksumIEEE(readable.Bytes()), crc32.ChecksumIEEE(content.Bytes()))
	}
	return out.String()
}

// normalise removes what two clusters can't agree on: addresses, generated ids,
// clocks, the wording of messages, and the order of lists that are sets.
func normalise(resp kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.ProduceResponse:
		for i := range r.Brokers {
			r.Brokers[i].Host, r.Brokers[i].Port = "host", 1
		}
		r.Topics = gather(r.Topics, func(t *kmsg.ProduceResponseTopic) (string, *[]kmsg.ProduceResponseTopicPartition) {
			return t.Topic + string(t.TopicID[:]), &t.Partitions
		}, func(p kmsg.ProduceResponseTopicPartition) int32 { return p.Partition })
		for i := range r.Topics {
			for k := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[k]
				p.LogAppendTime = min(p.LogAppendTime, 1)
				p.ErrorMessage = text(p.ErrorMessage)
				for j := range p.ErrorRecords {
					p.ErrorRecords[j].ErrorMessage = text(p.ErrorRecords[j].ErrorMessage)
				}
			}
		}
	case *kmsg.FetchResponse:
		r.Topics = gather(r.Topics, func(t *kmsg.FetchResponseTopic) (string, *[]kmsg.FetchResponseTopicPartition) {
			return t.Topic + string(t.TopicID[:]), &t.Partitions
		}, func(p kmsg.FetchResponseTopicPartition) int32 { return p.Partition })
		r.SessionID = min(max(r.SessionID, -r.SessionID), 1)
		for i := range r.Brokers {
			r.Brokers[i].Host, r.Brokers[i].Port = "host", 1
		}
	case *kmsg.DescribeProducersResponse:
		for i := range r.Topics {
			for k := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[k]
				p.ErrorMessage = text(p.ErrorMessage)
				for j := range p.ActiveProducers { // a leader's clock, in some topics
					p.ActiveProducers[j].LastTimestamp = min(p.ActiveProducers[j].LastTimestamp, 1)
				}
				slices.SortFunc(p.ActiveProducers, func(a, b kmsg.DescribeProducersResponseTopicPartitionActiveProducer) int {
					return cmp.Compare(a.ProducerID, b.ProducerID)
				})
			}
		}
	case *kmsg.ApiVersionsResponse:
		normaliseVersions(r)
	case *kmsg.MetadataResponse:
		normaliseMetadata(r)
	case *kmsg.DeleteRecordsResponse:
		r.Topics = gather(r.Topics, func(t *kmsg.DeleteRecordsResponseTopic) (string, *[]kmsg.DeleteRecordsResponseTopicPartition) {
			return t.Topic, &t.Partitions
		}, func(p kmsg.DeleteRecordsResponseTopicPartition) int32 { return p.Partition })
	case *kmsg.ListOffsetsResponse:
		r.Topics = gather(r.Topics, func(t *kmsg.ListOffsetsResponseTopic) (string, *[]kmsg.ListOffsetsResponseTopicPartition) {
			return t.Topic, &t.Partitions
		}, func(p kmsg.ListOffsetsResponseTopicPartition) int32 { return p.Partition })
	case *kmsg.OffsetForLeaderEpochResponse:
		r.Topics = gather(r.Topics, func(t *kmsg.OffsetForLeaderEpochResponseTopic) (string, *[]kmsg.OffsetForLeaderEpochResponseTopicPartition) {
			return t.Topic, &t.Partitions
		}, func(p kmsg.OffsetForLeaderEpochResponseTopicPartition) int32 { return p.Partition })
	case *kmsg.CreateTopicsResponse:
		slices.SortFunc(r.Topics, func(a, b kmsg.CreateTopicsResponseTopic) int { return strings.Compare(a.Topic, b.Topic) })
		for i := range r.Topics {
			t := &r.Topics[i]
			t.ErrorMessage, t.TopicID = text(t.ErrorMessage), present(t.TopicID)
			slices.SortFunc(t.Configs, func(a, b kmsg.CreateTopicsResponseTopicConfig) int { return strings.Compare(a.Name, b.Name) })
		}
	case *kmsg.DeleteTopicsResponse:
		for i := range r.Topics {
			r.Topics[i].ErrorMessage = text(r.Topics[i].ErrorMessage)
		}
		slices.SortFunc(r.Topics, func(a, b kmsg.DeleteTopicsResponseTopic) int {
			return strings.Compare(fmt.Sprint(deref(a.Topic), a.TopicID, a.ErrorCode), fmt.Sprint(deref(b.Topic), b.TopicID, b.ErrorCode))
		})
	}
}

// normaliseVersions leaves the error and the versions of the trace's APIs:
// which others there are is docs/PROTOCOL.md's matter.
func normaliseVersions(r *kmsg.ApiVersionsResponse) {
	r.ApiKeys = slices.DeleteFunc(r.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return !slices.Contains(append(keys, 18), k.ApiKey) })
	slices.SortFunc(r.ApiKeys, func(a, b kmsg.ApiVersionsResponseApiKey) int { return int(a.ApiKey - b.ApiKey) })
	r.SupportedFeatures, r.FinalizedFeatures, r.FinalizedFeaturesEpoch = nil, nil, 0
}

func normaliseMetadata(r *kmsg.MetadataResponse) {
	cluster := "cluster"
	if r.ClusterID != nil {
		r.ClusterID = &cluster
	}
	for i := range r.Brokers {
		r.Brokers[i].Host, r.Brokers[i].Port = "host", 1
	}
	slices.SortFunc(r.Topics, func(a, b kmsg.MetadataResponseTopic) int {
		return strings.Compare(fmt.Sprint(deref(a.Topic), a.TopicID), fmt.Sprint(deref(b.Topic), b.TopicID))
	})
	for i := range r.Topics {
		ps := r.Topics[i].Partitions
		slices.SortFunc(ps, func(a, b kmsg.MetadataResponseTopicPartition) int { return int(a.Partition - b.Partition) })
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// text keeps only whether there is a message.
func text(s *string) *string {
	if s == nil {
		return nil
	}
	said := "(text)"
	return &said
}

// present keeps only whether there is an id.
func present(id topicID) topicID {
	if id == (topicID{}) {
		return id
	}
	return topicID{1}
}

// gather sorts topics and their partitions, and puts those of one topic
// together: Kafka answers some requests in the order of a hash table. A topic
// without partitions is nothing.
func gather[T, P any](topics []T, parts func(*T) (string, *[]P), index func(P) int32) []T {
	name := func(t *T) string { n, _ := parts(t); return n }
	slices.SortStableFunc(topics, func(a, b T) int { return strings.Compare(name(&a), name(&b)) })
	var out []T
	for i := range topics {
		n, ps := parts(&topics[i])
		if len(*ps) == 0 {
			continue
		}
		if len(out) > 0 && name(&out[len(out)-1]) == n {
			_, into := parts(&out[len(out)-1])
			*into = append(*into, *ps...)
			continue
		}
		out = append(out, topics[i])
	}
	for i := range out {
		_, ps := parts(&out[i])
		slices.SortStableFunc(*ps, func(a, b P) int { return cmp.Compare(index(a), index(b)) })
	}
	return out
}
