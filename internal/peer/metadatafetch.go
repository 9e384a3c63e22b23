package peer

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch (key 1) and FetchSnapshot (key 59) as an observer of the metadata log
// sends them to controllers (KIP-595, KIP-630).

// SnapshotID names one snapshot: the offset that follows its last record, and
// that record's epoch.
type SnapshotID struct {
	End   model.Offset
	Epoch model.LeaderEpoch
}

// EpochOffset is the largest epoch that the leader has not above the one asked
// for, and where it ends.
type EpochOffset struct {
	Epoch model.LeaderEpoch
	End   model.Offset
}

// MetadataFetch is a position in the metadata log and what the observer knows.
type MetadataFetch struct {
	ClusterID     string
	Replica       model.BrokerID
	Directory     model.DirectoryID
	CurrentEpoch  model.LeaderEpoch // 0 on the very first start
	Offset        model.Offset      // local log end
	LastEpoch     model.LeaderEpoch // epoch of the record before Offset; 0 if there is none
	HighWatermark model.Offset      // NoOffset if not known
	MaxWait       time.Duration
	MaxBytes      int32
}

// QuorumLeader is who an answer names as leader; ID is NoBroker if nobody is
// known. Address is "host:port", or "" if the answer has no endpoint for it.
type QuorumLeader struct {
	ID      model.BrokerID
	Epoch   model.LeaderEpoch
	Address string
}

// MetadataFetchResult is one answer. Leader is set in every answer that has a
// partition, errors too.
type MetadataFetchResult struct {
	Code          Code // top level or partition
	Leader        QuorumLeader
	Records       []byte // whole batches
	HighWatermark model.Offset
	LogStart      model.Offset
	Diverging     *EpochOffset
	Snapshot      *SnapshotID
}

// MetadataFetch asks a controller for records of the metadata log.
func (c *Conn) MetadataFetch(ctx context.Context, f MetadataFetch) (MetadataFetchResult, error) {
	req := kmsg.NewPtrFetchRequest()
	if f.ClusterID != "" {
		req.ClusterID = kmsg.StringPtr(f.ClusterID)
	}
	req.ReplicaID = int32(f.Replica)
	req.ReplicaState.ID, req.ReplicaState.Epoch = int32(f.Replica), -1
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(f.MaxWait.Milliseconds()), 0, f.MaxBytes
	req.SessionID, req.SessionEpoch = 0, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = model.MetadataTopic, model.MetadataTopicID
	p := kmsg.NewFetchRequestTopicPartition()
	p.CurrentLeaderEpoch, p.FetchOffset = int32(f.CurrentEpoch), int64(f.Offset)
	p.LastFetchedEpoch, p.LogStartOffset = int32(f.LastEpoch), -1
	p.ReplicaDirectoryID = f.Directory
	p.HighWatermark = int64(f.HighWatermark)
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := do[*kmsg.FetchResponse](ctx, c, req)
	if err != nil {
		return MetadataFetchResult{}, err
	}
	return metadataFetchResult(resp)
}

func metadataFetchResult(resp *kmsg.FetchResponse) (MetadataFetchResult, error) {
	none := QuorumLeader{ID: model.NoBroker, Epoch: model.NoLeaderEpoch}
	if resp.ErrorCode != 0 {
		return MetadataFetchResult{Code: Code(resp.ErrorCode), Leader: none}, nil
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].Partition != 0 {
		return MetadataFetchResult{}, fmt.Errorf("metadata fetch: %w: not exactly one partition", ErrMalformed)
	}
	p := &resp.Topics[0].Partitions[0]
	out := MetadataFetchResult{
		Code: Code(p.ErrorCode), Records: p.RecordBatches,
		HighWatermark: model.Offset(p.HighWatermark), LogStart: model.Offset(p.LogStartOffset),
		Leader: QuorumLeader{
			ID: model.BrokerID(p.CurrentLeader.LeaderID), Epoch: model.LeaderEpoch(p.CurrentLeader.LeaderEpoch),
		},
	}
	for _, b := range resp.Brokers {
		if model.BrokerID(b.NodeID) == out.Leader.ID {
			out.Leader.Address = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		}
	}
	if p.DivergingEpoch.EndOffset >= 0 {
		out.Diverging = &EpochOffset{model.LeaderEpoch(p.DivergingEpoch.Epoch), model.Offset(p.DivergingEpoch.EndOffset)}
	}
	if p.SnapshotID.EndOffset >= 0 {
		out.Snapshot = &SnapshotID{model.Offset(p.SnapshotID.EndOffset), model.LeaderEpoch(p.SnapshotID.Epoch)}
	}
	return out, nil
}

// SnapshotFetch asks for one slice of a snapshot file.
type SnapshotFetch struct {
	ClusterID    string
	Replica      model.BrokerID
	Directory    model.DirectoryID
	CurrentEpoch model.LeaderEpoch
	Snapshot     SnapshotID
	Position     int64
	MaxBytes     int32
}

// SnapshotChunk is one slice; the file is complete when Position+len(Bytes) is Size.
type SnapshotChunk struct {
	Code     Code
	Leader   QuorumLeader
	Snapshot SnapshotID
	Size     int64
	Position int64
	Bytes    []byte
}

// FetchSnapshot asks a controller for a slice of a snapshot.
func (c *Conn) FetchSnapshot(ctx context.Context, f SnapshotFetch) (SnapshotChunk, error) {
	req := kmsg.NewPtrFetchSnapshotRequest()
	if f.ClusterID != "" {
		req.ClusterID = kmsg.StringPtr(f.ClusterID)
	}
	req.ReplicaID, req.MaxBytes = int32(f.Replica), f.MaxBytes
	t := kmsg.NewFetchSnapshotRequestTopic()
	t.Topic = model.MetadataTopic
	p := kmsg.NewFetchSnapshotRequestTopicPartition()
	p.CurrentLeaderEpoch, p.Position = int32(f.CurrentEpoch), f.Position
	p.SnapshotID.EndOffset, p.SnapshotID.Epoch = int64(f.Snapshot.End), int32(f.Snapshot.Epoch)
	p.ReplicaDirectoryID = f.Directory
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := do[*kmsg.FetchSnapshotResponse](ctx, c, req)
	if err != nil {
		return SnapshotChunk{}, err
	}
	out := SnapshotChunk{Code: Code(resp.ErrorCode), Leader: QuorumLeader{ID: model.NoBroker, Epoch: model.NoLeaderEpoch}}
	if out.Code != CodeNone {
		return out, nil
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return out, fmt.Errorf("fetch snapshot: %w: not exactly one partition", ErrMalformed)
	}
	q := &resp.Topics[0].Partitions[0]
	out.Code = Code(q.ErrorCode)
	out.Leader.ID = model.BrokerID(q.CurrentLeader.LeaderID)
	out.Leader.Epoch = model.LeaderEpoch(q.CurrentLeader.LeaderEpoch)
	for _, n := range resp.NodeEndpoints {
		if model.BrokerID(n.NodeID) == out.Leader.ID {
			out.Leader.Address = net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
		}
	}
	out.Snapshot = SnapshotID{model.Offset(q.SnapshotID.EndOffset), model.LeaderEpoch(q.SnapshotID.Epoch)}
	out.Size, out.Position, out.Bytes = q.Size, q.Position, q.Bytes
	return out, nil
}
