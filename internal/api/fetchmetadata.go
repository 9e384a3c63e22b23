package api

import (
	"context"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/quorum"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// MetadataLog is the log that observers follow; *quorum.Node is one.
type MetadataLog interface {
	// Fetch waits for records up to the request's time.
	Fetch(ctx context.Context, f quorum.MetadataFetch) quorum.MetadataFetchResult
	// FetchSnapshot reads part of a snapshot file.
	FetchSnapshot(f quorum.SnapshotFetch) quorum.SnapshotFetchResult
}

// fetchMetadataAPI answers Fetch (key 1) on a controller's listener: one
// partition, __cluster_metadata-0, without a session (KIP-595). Every answer
// about the partition names leader and epoch, from v17 on with the leader's
// endpoint. A leader without a known endpoint is not named: Kafka's brokers
// stop when they can't resolve one. PartitionMaxBytes is ignored: they send 0.
type fetchMetadataAPI struct{ log MetadataLog }

// RegisterFetchMetadata adds Fetch to a controller's listener.
func RegisterFetchMetadata(h *Handlers, log MetadataLog) {
	a := &fetchMetadataAPI{log: log}
	h.Register(wire.KeyFetch, Async(a.handle))
}

func (a *fetchMetadataAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.FetchRequest)
	resp := kmsg.NewPtrFetchResponse()
	if !isMetadataFetch(req) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		c.Reply(resp)
		return
	}
	ctx, cancel := connContext(c)
	defer cancel()
	res := a.log.Fetch(ctx, metadataFetch(req))
	code := ErrorCode(res.Err)
	if code == kerr.InconsistentClusterID.Code {
		resp.ErrorCode = code
		c.Reply(resp)
		return
	}
	leader, known := namedLeader(res.Leader, res.Endpoint)
	p := kmsg.NewFetchResponseTopicPartition()
	p.ErrorCode = code
	p.HighWatermark, p.LogStartOffset, p.LastStableOffset = int64(res.HighWatermark), int64(res.LogStart), -1
	p.PreferredReadReplica = -1
	p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(leader), int32(res.Epoch)
	p.RecordBatches = res.Records
	if p.RecordBatches == nil {
		p.RecordBatches = []byte{}
	}
	if d := res.Diverging; d != nil {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = int32(d.Epoch), int64(d.End)
	}
	if s := res.Snapshot; s != nil {
		p.SnapshotID.EndOffset, p.SnapshotID.Epoch = int64(s.EndOffset), int32(s.Epoch)
	}
	t := kmsg.NewFetchResponseTopic()
	t.Topic, t.TopicID = model.MetadataTopic, model.MetadataTopicID
	t.Partitions = append(t.Partitions, p)
	resp.Topics = append(resp.Topics, t)
	if known && c.Header.Version >= 17 {
		b := kmsg.NewFetchResponseBroker()
		b.NodeID, b.Host, b.Port = int32(leader), res.Endpoint.Host, int32(res.Endpoint.Port)
		resp.Brokers = append(resp.Brokers, b)
	}
	c.Reply(resp)
}

func isMetadataFetch(req *kmsg.FetchRequest) bool {
	if len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 || req.Topics[0].Partitions[0].Partition != 0 {
		return false
	}
	if req.Version >= 13 {
		return req.Topics[0].TopicID == model.MetadataTopicID
	}
	return req.Version >= 12 && req.Topics[0].Topic == model.MetadataTopic
}

func metadataFetch(req *kmsg.FetchRequest) quorum.MetadataFetch {
	p := &req.Topics[0].Partitions[0]
	f := quorum.MetadataFetch{
		Replica: model.BrokerID(req.ReplicaID), Dir: p.ReplicaDirectoryID,
		Offset: model.Offset(p.FetchOffset), LastEpoch: model.LeaderEpoch(p.LastFetchedEpoch),
		CurrentEpoch: model.LeaderEpoch(p.CurrentLeaderEpoch),
		MaxWait:      time.Duration(req.MaxWaitMillis) * time.Millisecond, MaxBytes: int(req.MaxBytes),
	}
	if req.Version >= 15 {
		f.Replica = model.BrokerID(req.ReplicaState.ID)
	}
	if req.ClusterID != nil {
		f.ClusterID = *req.ClusterID
	}
	if req.MaxWaitMillis < 0 {
		f.Offset = model.NoOffset // refused as the invalid request that it is
	}
	return f
}

// namedLeader is the leader to name: none without a place to find it.
func namedLeader(id model.BrokerID, e metadata.Endpoint) (model.BrokerID, bool) {
	if id < 0 || e.Host == "" {
		return model.NoBroker, false
	}
	return id, true
}

// connContext ends with the connection.
func connContext(c *Call) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	done := c.Req.Conn.Done()
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
