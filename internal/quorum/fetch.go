package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// Reasons why a fetch of the metadata log gives no records. ErrNotLeader and
// ErrClosed too.
var (
	ErrInvalidRequest     = errors.New("quorum: invalid request")
	ErrFencedEpoch        = errors.New("quorum: leader epoch is older than the current one")
	ErrUnknownEpoch       = errors.New("quorum: leader epoch is newer than the current one")
	ErrWrongCluster       = errors.New("quorum: cluster id differs")
	ErrSnapshotNotFound   = errors.New("quorum: snapshot not found")
	ErrPositionOutOfRange = errors.New("quorum: position outside of the snapshot")
)

const fetchMaxBytes = 8 << 20

// MetadataFetch is a position in the metadata log (KIP-595).
type MetadataFetch struct {
	ClusterID    string // "" isn't checked
	Replica      model.BrokerID
	Dir          model.DirectoryID
	Offset       model.Offset
	LastEpoch    model.LeaderEpoch // of the record below Offset; 0 if there is none
	CurrentEpoch model.LeaderEpoch
	MaxWait      time.Duration
	MaxBytes     int // at most 8 MiB are returned, but at least one batch

	// Local reads what is applied here, whoever leads; CurrentEpoch is ignored.
	// For the observer and the controller of this process.
	Local bool
}

// EpochEnd is an epoch and the offset at which it ends.
type EpochEnd struct {
	Epoch model.LeaderEpoch
	End   model.Offset
}

// MetadataFetchResult answers a MetadataFetch. Leader and Epoch are always set,
// from one view; Endpoint is where the leader is, if it is known.
type MetadataFetchResult struct {
	Err           error // nil, or one of this package's reasons
	Leader        model.BrokerID
	Epoch         model.LeaderEpoch
	Endpoint      metadata.Endpoint
	Records       []byte // whole batches; nil on a time-out
	HighWatermark model.Offset
	LogStart      model.Offset
	Diverging     *EpochEnd   // truncate, then fetch again
	Snapshot      *SnapshotID // fetch this snapshot first
}

// Fetch returns records from a position, or waits up to MaxWait for some. Only
// committed records are ever returned: the high watermark is the log's end.
func (n *Node) Fetch(ctx context.Context, f MetadataFetch) MetadataFetchResult {
	deadline := time.NewTimer(max(0, f.MaxWait))
	defer deadline.Stop()
	expired := f.MaxWait <= 0
	for {
		p, changed := n.board.look()
		res, wait := n.tryFetch(&p, f)
		if !wait || expired {
			return res
		}
		select {
		case <-changed:
		case <-deadline.C:
			expired = true
		case <-ctx.Done():
			return res
		}
	}
}

// tryFetch answers from one picture; wait means that a later one may be better.
func (n *Node) tryFetch(p *posted, f MetadataFetch) (res MetadataFetchResult, wait bool) {
	res = n.resultFor(p)
	if res.Err = n.checkFetch(p, f); res.Err != nil {
		return res, false
	}
	if p.leading && !p.ready() && !f.Local {
		// invariant 3: nobody may act on this leader yet.
		res.Leader, res.Endpoint, res.Err = model.NoBroker, metadata.Endpoint{}, ErrNotLeader
		return res, true
	}
	res.HighWatermark, res.LogStart = p.end, p.start
	if f.Local && p.end < n.ml.known {
		res.HighWatermark = model.NoOffset // invariant 10
	}
	if id, ok := n.needsSnapshot(p, f); ok {
		res.Snapshot = &id
		return res, false
	}
	if d := n.ml.epochEnd(f.LastEpoch); d.Epoch != f.LastEpoch || d.End < f.Offset {
		res.Diverging = &d
		return res, false
	}
	if !f.Local {
		n.watch.fetched(f, p.end, time.Now())
	}
	if f.Offset >= p.end {
		return res, true
	}
	maxBytes := f.MaxBytes
	if maxBytes <= 0 || maxBytes > fetchMaxBytes {
		maxBytes = fetchMaxBytes
	}
	var err error
	if res.Records, err = n.ml.read(f.Offset, p.end, maxBytes); err != nil {
		// The log was replaced or its start moved under this read: look again.
		res.Err = fmt.Errorf("%w: %w", ErrNotLeader, err)
		return res, n.Err() == nil
	}
	return res, false
}

func (n *Node) resultFor(p *posted) MetadataFetchResult {
	res := MetadataFetchResult{Leader: p.leader, Epoch: p.epoch, HighWatermark: model.NoOffset, LogStart: model.NoOffset}
	if p.leader >= 0 {
		if _, m, ok := p.members.byNode(p.leader, p.conf.Voters); ok {
			res.Endpoint = n.address(m).Endpoint
		}
	}
	return res
}

// checkFetch holds the rules in the order in which Kafka checks them.
func (n *Node) checkFetch(p *posted, f MetadataFetch) error {
	if f.ClusterID != "" && f.ClusterID != n.cfg.ClusterID {
		return fmt.Errorf("%q, this is %q: %w", f.ClusterID, n.cfg.ClusterID, ErrWrongCluster)
	}
	if f.Offset < 0 || f.LastEpoch < 0 || (!f.Local && f.LastEpoch > f.CurrentEpoch) {
		return fmt.Errorf("offset %d, last epoch %d, epoch %d: %w", f.Offset, f.LastEpoch, f.CurrentEpoch, ErrInvalidRequest)
	}
	if p.closed || p.failed != nil {
		return ErrClosed
	}
	if f.Local {
		return nil
	}
	return checkEpoch(p, f.CurrentEpoch)
}

func checkEpoch(p *posted, epoch model.LeaderEpoch) error {
	switch {
	case epoch < p.epoch:
		return fmt.Errorf("epoch %d, now %d: %w", epoch, p.epoch, ErrFencedEpoch)
	case epoch > p.epoch:
		return fmt.Errorf("epoch %d, now %d: %w", epoch, p.epoch, ErrUnknownEpoch)
	case !p.leading:
		return ErrNotLeader
	}
	return nil
}

func (n *Node) needsSnapshot(p *posted, f MetadataFetch) (SnapshotID, bool) {
	latest, ok := n.ml.latest(p.end)
	if !ok {
		return latest, false
	}
	if f.Offset == 0 {
		return latest, true
	}
	first, _ := n.ml.earliest()
	behind := f.Offset < p.start || (f.Offset == p.start && first.EndOffset == p.start && f.LastEpoch != first.Epoch)
	// With the log whole, an epoch below the first snapshot's is still known.
	return latest, behind || (p.start > 0 && f.LastEpoch < first.Epoch)
}

// SnapshotFetch asks for part of a snapshot file (KIP-630).
type SnapshotFetch struct {
	ClusterID    string
	CurrentEpoch model.LeaderEpoch
	ID           SnapshotID
	Position     int64
	MaxBytes     int
	Local        bool // as in MetadataFetch
}

// SnapshotFetchResult is one part; the file is complete at Size.
type SnapshotFetchResult struct {
	Err      error
	Leader   model.BrokerID
	Epoch    model.LeaderEpoch
	Endpoint metadata.Endpoint
	Chunk    []byte
	Size     int64
}

// FetchSnapshot returns bytes of a snapshot from a position. The bootstrap
// checkpoint 0-0 isn't served.
func (n *Node) FetchSnapshot(f SnapshotFetch) SnapshotFetchResult {
	p, _ := n.board.look()
	r := n.resultFor(&p)
	res := SnapshotFetchResult{Leader: r.Leader, Epoch: r.Epoch, Endpoint: r.Endpoint}
	if res.Err = n.checkFetch(&p, MetadataFetch{ClusterID: f.ClusterID, CurrentEpoch: f.CurrentEpoch, Local: f.Local}); res.Err != nil {
		return res
	}
	if !f.Local && !p.ready() {
		res.Leader, res.Endpoint, res.Err = model.NoBroker, metadata.Endpoint{}, ErrNotLeader
		return res
	}
	maxBytes := f.MaxBytes
	if maxBytes <= 0 || maxBytes > fetchMaxBytes {
		maxBytes = fetchMaxBytes
	}
	res.Chunk, res.Size, res.Err = n.ml.readChunk(f.ID, f.Position, maxBytes)
	return res
}
