package peer

import (
	"context"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch (key 1) as a follower sends it to a partition leader, with an
// incremental session (KIP-227).

// ReplicaFetchPartition is one follower's position.
type ReplicaFetchPartition struct {
	Topic        string
	Of           model.TopicIDPartition
	CurrentEpoch model.LeaderEpoch
	Offset       model.Offset
	LastEpoch    model.LeaderEpoch // epoch of the record before Offset; NoLeaderEpoch if none
	LogStart     model.Offset
	MaxBytes     int32
}

// ForgottenPartition leaves a session.
type ForgottenPartition struct {
	Topic string
	Of    model.TopicIDPartition
}

// ReplicaFetch is one request. Session 0 with epoch 0 asks for a new session,
// with epoch -1 for none.
type ReplicaFetch struct {
	Replica      model.BrokerID
	Epoch        model.BrokerEpoch
	MaxWait      time.Duration
	MinBytes     int32
	MaxBytes     int32
	SessionID    int32
	SessionEpoch int32
	Partitions   []ReplicaFetchPartition // partitions of one topic are adjacent
	Forget       []ForgottenPartition
	MaxVersion   int16            // highest Fetch version that the finalised metadata.version allows
	Report       wire.FetchReport // of the follower's own side, sent if Told
}

// FetchedPartition is one partition of an answer. Topic is "" when the version
// in use names topics by id, and Of.TopicID is zero when it does not.
type FetchedPartition struct {
	Topic         string
	Of            model.TopicIDPartition
	Code          Code
	HighWatermark model.Offset
	LogStart      model.Offset
	Diverging     *EpochOffset
	Records       []byte // valid until the result is used again
}

// ReplicaFetchResult is one answer; Partitions counts only with CodeNone. Its
// memory, record bytes included, is used again by the next call that gets it.
type ReplicaFetchResult struct {
	Code       Code
	SessionID  int32
	Throttle   time.Duration
	Partitions []FetchedPartition

	request  []byte
	response []byte
	view     wire.FetchResponse
}

// FetchVersion is the highest Fetch version that replicas may use at a
// finalised metadata.version level.
func FetchVersion(level int16) int16 { // flat switch
	switch {
	case level >= 27: // 4.1-IV1, KIP-1166
		return 18
	case level >= 21: // 3.9-IV0, KIP-853
		return 17
	case level >= 19: // 3.7-IV4, KIP-951
		return 16
	case level >= 10: // 3.5-IV1, KIP-903
		return 15
	case level >= 9: // 3.5-IV0, KIP-405
		return 14
	case level >= 2: // 3.1-IV0, KIP-516
		return 13
	default:
		return 12
	}
}

// bufferKept is the largest response buffer that a result holds on to.
const bufferKept = 16 << 20

// ReplicaFetch sends one follower fetch and fills out. Record bytes alias the
// response as it was read from the socket: nothing is copied.
func (c *Conn) ReplicaFetch(ctx context.Context, f ReplicaFetch, out *ReplicaFetchResult) error {
	version, err := c.Version(wire.KeyFetch)
	if err != nil {
		return err
	}
	version = min(version, f.MaxVersion)
	req := replicaFetchRequest(f)
	req.SetVersion(version)
	out.request = req.AppendTo(out.request[:0])
	body, err := c.exchange(ctx, wire.KeyFetch, version, out.request, &out.response)
	if err != nil {
		return err
	}
	if cap(out.response) > bufferKept {
		out.response = nil
	}
	if err := out.view.Decode(version, body); err != nil {
		c.fail(err)
		return err
	}
	out.fill()
	return nil
}

func replicaFetchRequest(f ReplicaFetch) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = int32(f.Replica)
	req.ReplicaState.ID, req.ReplicaState.Epoch = int32(f.Replica), int64(f.Epoch)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(f.MaxWait.Milliseconds()), f.MinBytes, f.MaxBytes
	req.SessionID, req.SessionEpoch = f.SessionID, f.SessionEpoch
	if f.Report.Told {
		req.UnknownTags.Set(wire.TagFetchReport, f.Report.Append(nil))
	}
	for i := range f.Partitions {
		p := &f.Partitions[i]
		if n := len(req.Topics); n == 0 || req.Topics[n-1].TopicID != p.Of.TopicID || req.Topics[n-1].Topic != p.Topic {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = p.Topic, p.Of.TopicID
			req.Topics = append(req.Topics, t)
		}
		kp := kmsg.NewFetchRequestTopicPartition()
		kp.Partition, kp.CurrentLeaderEpoch = p.Of.Partition, int32(p.CurrentEpoch)
		kp.FetchOffset, kp.LastFetchedEpoch = int64(p.Offset), int32(p.LastEpoch)
		kp.LogStartOffset, kp.PartitionMaxBytes = int64(p.LogStart), p.MaxBytes
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, kp)
	}
	for i := range f.Forget {
		g := &f.Forget[i]
		if n := len(req.ForgottenTopics); n == 0 || req.ForgottenTopics[n-1].TopicID != g.Of.TopicID {
			t := kmsg.NewFetchRequestForgottenTopic()
			t.Topic, t.TopicID = g.Topic, g.Of.TopicID
			req.ForgottenTopics = append(req.ForgottenTopics, t)
		}
		t := &req.ForgottenTopics[len(req.ForgottenTopics)-1]
		t.Partitions = append(t.Partitions, g.Of.Partition)
	}
	return req
}

func (out *ReplicaFetchResult) fill() {
	v := &out.view
	out.Code, out.SessionID = Code(v.Error), v.SessionID
	out.Throttle = time.Duration(v.ThrottleMillis) * time.Millisecond
	out.Partitions = out.Partitions[:0]
	for i := range v.Topics {
		t := &v.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			fp := FetchedPartition{
				Topic: string(t.Name), Of: model.TopicIDPartition{TopicID: t.ID, Partition: p.Index},
				Code: Code(p.Error), HighWatermark: p.HighWatermark, LogStart: p.LogStart, Records: p.Records,
			}
			if p.Diverging.Known {
				fp.Diverging = &EpochOffset{p.Diverging.Epoch, p.Diverging.EndOffset}
			}
			out.Partitions = append(out.Partitions, fp)
		}
	}
}
