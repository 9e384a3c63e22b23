package differential

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"strings"

	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// diff is one field in which two answers differ. Path has no indexes: all
// partitions of an answer are of one kind.
type diff struct {
	api         string
	version     int16
	path, where string
	kafka, ours string
	topic       string // of the element, if it has a name or a known id
	code        int16  // of the innermost element that has one: the same on both sides
}

func (d diff) String() string {
	return fmt.Sprintf("%s v%d %s (error %d): Apache Kafka %s, Tidemark %s", d.api, d.version, d.where, d.code, d.kafka, d.ours)
}

// signature groups differences that have one cause.
func (d diff) signature() string {
	return fmt.Sprintf("%s %s: %s / %s", d.api, d.path, d.kafka, d.ours)
}

// comparison collects the differences of one pair of answers.
type comparison struct {
	req   kmsg.Request
	topic string
	code  int16
	diffs []diff
}

func compare(req kmsg.Request, kafka, ours answer) []diff {
	c := &comparison{req: req}
	outcome := func(a answer) string {
		return map[bool]string{true: "closes", false: map[bool]string{true: "is silent", false: "answers"}[a.silent]}[a.closed]
	}
	if a, b := outcome(kafka), outcome(ours); a != b {
		c.add("", "", a, b)
	} else if kafka.resp != nil {
		normalise(kafka.resp)
		normalise(ours.resp)
		c.walk("", "", reflect.ValueOf(kafka.resp), reflect.ValueOf(ours.resp))
	}
	return c.diffs
}

func (c *comparison) add(path, where, kafka, ours string) {
	api := kmsg.Key(c.req.Key()).Name()
	c.diffs = append(c.diffs, diff{api, c.req.GetVersion(), path, where, kafka, ours, c.topic, c.code})
}

// walk compares two values of one type.
func (c *comparison) walk(path, where string, a, b reflect.Value) {
	switch a.Kind() { // flat switch
	case reflect.Pointer:
		if a.IsNil() != b.IsNil() {
			c.add(path, where, show(a), show(b))
		} else if !a.IsNil() {
			c.walk(path, where, a.Elem(), b.Elem())
		}
	case reflect.Struct:
		c.structs(path, where, a, b)
	case reflect.Slice:
		if a.Type().Elem().Kind() == reflect.Uint8 {
			if x, y := batches(a.Bytes()), batches(b.Bytes()); x != y || a.IsNil() != b.IsNil() {
				c.add(path, where, x, y)
			}
			return
		}
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			c.add(path, where, show(a), show(b))
			return
		}
		for i := range a.Len() {
			c.walk(path, fmt.Sprintf("%s[%d]", where, i), a.Index(i), b.Index(i))
		}
	default:
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			c.add(path, where, show(a), show(b))
		}
	}
}

func (c *comparison) structs(path, where string, a, b reflect.Value) {
	if f := a.FieldByName("Topic"); f.IsValid() {
		outer := c.topic
		c.topic = strings.Trim(show(f), `"`)
		defer func() { c.topic = outer }()
	}
	if code := a.FieldByName("ErrorCode"); code.IsValid() && code.Int() != b.FieldByName("ErrorCode").Int() {
		// What else differs follows from it.
		c.add(join(path, "ErrorCode"), join(where, "ErrorCode"), show(code), show(b.FieldByName("ErrorCode")))
		return
	}
	if code := a.FieldByName("ErrorCode"); code.IsValid() {
		outer := c.code
		c.code = int16(code.Int())
		defer func() { c.code = outer }()
	}
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if f.Name == "Version" || f.Name == "ThrottleMillis" || f.Name == "UnknownTags" || !f.IsExported() {
			continue
		}
		c.walk(join(path, f.Name), join(where, f.Name), a.Field(i), b.Field(i))
	}
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

func show(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return "null"
	case v.Kind() == reflect.Pointer:
		return show(v.Elem())
	case v.Kind() == reflect.Slice && v.IsNil():
		return "null"
	case v.Kind() == reflect.String:
		return fmt.Sprintf("%q", v.String())
	case v.Kind() == reflect.Slice:
		return fmt.Sprintf("%d elements %+v", v.Len(), v.Interface())
	}
	return fmt.Sprint(v.Interface())
}

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
		var content bytes.Buffer
		for r, err := range b.Records(64 << 20) {
			ts := r.Timestamp
			if b.LogAppendTime() {
				ts = 0
			}
			fmt.Fprintf(&content, "%d %d %q(%t) %q(%t) %q %v;", r.Offset, ts, r.Key, r.Key == nil, r.Value, r.Value == nil, r.Headers, err)
		}
		first, last := b.BaseTimestamp(), b.MaxTimestamp()
		if b.LogAppendTime() {
			first, last = 0, 0
		}
		fmt.Fprintf(&out, "[%d-%d epoch=%d attributes=%#x times=%d-%d producer=%d/%d/%d records=%d %08x] ",
			b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.Attributes()&knownAttributes, first, last,
			b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.Count(), crc32.ChecksumIEEE(content.Bytes()))
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
