package wire

import (
	"encoding/binary"
	"math"

	"tidemark/internal/model"
)

// FetchRequest is a fetch request, versions 4 to 18. Decoded, all byte slices
// alias the body. // invariant 4
type FetchRequest struct {
	// Replica is the follower that asks, NoBroker for a consumer. From v15 on
	// it comes with the epoch of its registration (KIP-903).
	Replica      model.BrokerID
	ReplicaEpoch model.BrokerEpoch
	// MaxWaitMillis, MinBytes and MaxBytes bound the wait and the answer.
	MaxWaitMillis, MinBytes, MaxBytes int32
	// Isolation is 0 for read_uncommitted, 1 for read_committed.
	Isolation int8
	// SessionID and SessionEpoch are those of KIP-227; 0 and -1 before v7.
	SessionID, SessionEpoch int32
	Topics                  []FetchTopic
	Forgotten               []ForgottenTopic
	// Rack is the consumer's rack, from v11 on (KIP-392).
	Rack []byte
	// ClusterID is nil if not sent. Raft observers send it.
	ClusterID []byte
	// Report is what a follower of this product tells of itself, from v12 on.
	Report FetchReport

	parts     []FetchPartition
	forgotten []int32
}

// FetchTopic is one topic of a fetch request: by Name up to v12, by ID from
// v13 on.
type FetchTopic struct {
	Name       []byte
	ID         model.TopicID
	Partitions []FetchPartition

	first, count int
}

// FetchPartition is where to read one partition. Fields that the version
// lacks have the value that means unknown.
type FetchPartition struct {
	Index            int32
	CurrentEpoch     model.LeaderEpoch // the requester's view of the leader epoch; v9
	Offset           model.Offset
	LastFetchedEpoch model.LeaderEpoch // v12
	LogStart         model.Offset      // of a follower; v5
	MaxBytes         int32
	Directory        model.DirectoryID // of a raft voter; v17
	HighWatermark    model.Offset      // known to a raft replica; v18, else math.MaxInt64
}

// ForgottenTopic lists partitions to drop from the session.
type ForgottenTopic struct {
	Name       []byte
	ID         model.TopicID
	Partitions []int32

	first, count int
}

// Decode fills f from body and reuses f's memory. ErrMalformed or
// ErrUnsupportedVersion.
func (f *FetchRequest) Decode(version int16, body []byte) error {
	if err := checkVersion(KeyFetch, version); err != nil {
		return err
	}
	f.reset()
	flexible := version >= 12
	r := reader{p: body, strict: true}
	if version <= 14 {
		f.Replica = model.BrokerID(r.int32())
	}
	f.MaxWaitMillis = r.int32()
	f.MinBytes = r.int32()
	f.MaxBytes = r.int32()
	f.Isolation = r.int8()
	if version >= 7 {
		f.SessionID = r.int32()
		f.SessionEpoch = r.int32()
	}
	f.decodeTopics(&r, version, flexible)
	if version >= 7 {
		f.decodeForgotten(&r, version, flexible)
	}
	if version >= 11 {
		f.Rack = r.name(flexible)
	}
	if flexible {
		f.decodeTags(&r)
	}
	if err := r.finish(KeyFetch, version, body); err != nil {
		return err
	}
	for i := range f.Topics {
		t := &f.Topics[i]
		t.Partitions = f.parts[t.first : t.first+t.count : t.first+t.count]
	}
	for i := range f.Forgotten {
		t := &f.Forgotten[i]
		t.Partitions = f.forgotten[t.first : t.first+t.count : t.first+t.count]
	}
	return nil
}

func (f *FetchRequest) reset() {
	topics, forgotten, parts, numbers := f.Topics[:0], f.Forgotten[:0], f.parts[:0], f.forgotten[:0]
	if cap(parts)+cap(numbers)+cap(topics)+cap(forgotten) > 2*keepMax {
		topics, forgotten, parts, numbers = nil, nil, nil, nil
	}
	*f = FetchRequest{
		Replica: model.NoBroker, ReplicaEpoch: model.NoBrokerEpoch, SessionEpoch: -1,
		Topics: topics, Forgotten: forgotten, parts: parts, forgotten: numbers,
		Report: FetchReport{Troubles: f.Report.Troubles[:0]},
	}
}

func (f *FetchRequest) decodeTopics(r *reader, version int16, flexible bool) {
	for n := r.count(flexible, 6); n > 0 && !r.bad; n-- {
		t := FetchTopic{first: len(f.parts)}
		if version >= 13 {
			t.ID = r.uuid()
		} else {
			t.Name = r.name(flexible)
		}
		for k := r.count(flexible, 16); k > 0 && !r.bad; k-- {
			f.parts = append(f.parts, r.fetchPartition(version, flexible))
		}
		if flexible {
			r.skipTags()
		}
		t.count = len(f.parts) - t.first
		f.Topics = append(f.Topics, t)
	}
}

func (r *reader) fetchPartition(version int16, flexible bool) FetchPartition {
	p := FetchPartition{
		Index: r.int32(), CurrentEpoch: model.NoLeaderEpoch, LastFetchedEpoch: model.NoLeaderEpoch,
		LogStart: model.NoOffset, HighWatermark: math.MaxInt64,
	}
	if version >= 9 {
		p.CurrentEpoch = model.LeaderEpoch(r.int32())
	}
	p.Offset = model.Offset(r.int64())
	if version >= 12 {
		p.LastFetchedEpoch = model.LeaderEpoch(r.int32())
	}
	if version >= 5 {
		p.LogStart = model.Offset(r.int64())
	}
	p.MaxBytes = r.int32()
	if !flexible {
		return p
	}
	for n := r.tagCount(); n > 0 && !r.bad; n-- {
		switch key, v := r.tag(); key {
		case 0:
			p.Directory = v.uuid()
			r.bad = r.bad || v.bad
		case 1:
			p.HighWatermark = model.Offset(v.int64())
			r.bad = r.bad || v.bad
		}
	}
	return p
}

func (f *FetchRequest) decodeForgotten(r *reader, version int16, flexible bool) {
	for n := r.count(flexible, 3); n > 0 && !r.bad; n-- {
		t := ForgottenTopic{first: len(f.forgotten)}
		if version >= 13 {
			t.ID = r.uuid()
		} else {
			t.Name = r.name(flexible)
		}
		for k := r.count(flexible, 4); k > 0 && !r.bad; k-- {
			f.forgotten = append(f.forgotten, r.int32())
		}
		if flexible {
			r.skipTags()
		}
		t.count = len(f.forgotten) - t.first
		f.Forgotten = append(f.Forgotten, t)
	}
}

func (f *FetchRequest) decodeTags(r *reader) {
	for n := r.tagCount(); n > 0 && !r.bad; n-- {
		switch key, v := r.tag(); key {
		case 0:
			if id, null := v.str(true); !null {
				f.ClusterID = id
			}
			r.bad = r.bad || v.bad
		case 1:
			f.Replica = model.BrokerID(v.int32())
			f.ReplicaEpoch = model.BrokerEpoch(v.int64())
			v.skipTags()
			r.bad = r.bad || v.bad
		case TagFetchReport:
			f.Report.decode(v)
		}
	}
}

// AppendBody appends the body of f in the given version.
func (f *FetchRequest) AppendBody(dst []byte, version int16) []byte {
	flexible := version >= 12
	if version <= 14 {
		dst = appendInt32(dst, f.Replica)
	}
	dst = appendInt32(dst, f.MaxWaitMillis)
	dst = appendInt32(dst, f.MinBytes)
	dst = appendInt32(dst, f.MaxBytes)
	dst = append(dst, byte(f.Isolation))
	if version >= 7 {
		dst = appendInt32(dst, f.SessionID)
		dst = appendInt32(dst, f.SessionEpoch)
	}
	dst = appendCount(dst, len(f.Topics), flexible)
	for i := range f.Topics {
		t := &f.Topics[i]
		dst = appendTopic(dst, version, 13, t.Name, t.ID, flexible)
		dst = appendCount(dst, len(t.Partitions), flexible)
		for k := range t.Partitions {
			dst = t.Partitions[k].append(dst, version, flexible)
		}
		dst = appendTags(dst, flexible)
	}
	if version >= 7 {
		dst = appendCount(dst, len(f.Forgotten), flexible)
		for i := range f.Forgotten {
			t := &f.Forgotten[i]
			dst = appendTopic(dst, version, 13, t.Name, t.ID, flexible)
			dst = appendCount(dst, len(t.Partitions), flexible)
			for _, p := range t.Partitions {
				dst = appendInt32(dst, p)
			}
			dst = appendTags(dst, flexible)
		}
	}
	if version >= 11 {
		dst = appendString(dst, f.Rack, flexible)
	}
	if flexible {
		dst = f.appendTags(dst, version)
	}
	return dst
}

func appendTopic(dst []byte, version, idSince int16, name []byte, id model.TopicID, flexible bool) []byte {
	if version >= idSince {
		return append(dst, id[:]...)
	}
	return appendString(dst, name, flexible)
}

func (p *FetchPartition) append(dst []byte, version int16, flexible bool) []byte {
	dst = appendInt32(dst, p.Index)
	if version >= 9 {
		dst = appendInt32(dst, p.CurrentEpoch)
	}
	dst = appendInt64(dst, p.Offset)
	if version >= 12 {
		dst = appendInt32(dst, p.LastFetchedEpoch)
	}
	if version >= 5 {
		dst = appendInt64(dst, p.LogStart)
	}
	dst = appendInt32(dst, p.MaxBytes)
	if !flexible {
		return dst
	}
	dir := version >= 17 && !p.Directory.IsZero()
	hw := version >= 18 && p.HighWatermark != math.MaxInt64
	dst = append(dst, bit(dir)+bit(hw))
	if dir {
		dst = append(append(dst, 0, 16), p.Directory[:]...)
	}
	if hw {
		dst = appendInt64(append(dst, 1, 8), p.HighWatermark)
	}
	return dst
}

func (f *FetchRequest) appendTags(dst []byte, version int16) []byte {
	state := version >= 15 && (f.Replica != model.NoBroker || f.ReplicaEpoch != model.NoBrokerEpoch)
	dst = append(dst, bit(f.ClusterID != nil)+bit(state)+bit(f.Report.Told))
	if f.ClusterID != nil {
		id := appendString(nil, f.ClusterID, true)
		dst = binary.AppendUvarint(append(dst, 0), uint64(len(id)))
		dst = append(dst, id...)
	}
	if state {
		dst = append(dst, 1, 13)
		dst = appendInt32(dst, f.Replica)
		dst = appendInt64(dst, f.ReplicaEpoch)
		dst = append(dst, 0)
	}
	if f.Report.Told {
		value := f.Report.Append(nil)
		dst = binary.AppendUvarint(dst, TagFetchReport)
		dst = binary.AppendUvarint(dst, uint64(len(value)))
		dst = append(dst, value...)
	}
	return dst
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}
