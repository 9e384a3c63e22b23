package observer

import (
	"fmt"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/record"
	"tidemark/internal/replica"
)

// snapshotMax bounds the snapshot that an observer takes into memory.
const snapshotMax = 1 << 30

// loadError is a committed record that can't be applied.
type loadError struct{ err error }

func (e *loadError) Error() string { return "metadata can't be applied: " + e.err.Error() }
func (e *loadError) Unwrap() error { return e.err }

// step is one fetch and what follows from it. again tells that the next may
// follow at once.
func (o *Observer) step() (again bool, err error) {
	end, last := o.cfg.Store.Position()
	known := o.Leader()
	res, err := o.cfg.Source.Fetch(o.ctx, MetadataFetch{
		ClusterID: o.cfg.ClusterID, Replica: o.cfg.Node, Directory: o.cfg.Directory,
		CurrentEpoch: known.Epoch, Offset: end, LastEpoch: last, HighWatermark: o.HighWatermark(),
		MaxWait: o.cfg.MaxWait, MaxBytes: o.cfg.MaxBytes,
	})
	if err != nil {
		return false, err
	}
	news, err := o.adopt(res.Leader)
	if err != nil {
		return false, err
	}
	switch res.Code {
	case peer.CodeNone:
	case peer.CodeFencedLeaderEpoch, peer.CodeNotLeader, peer.CodeUnknownLeaderEpoch:
		if news || (res.Leader.ID >= 0 && res.Leader.Epoch == o.Leader().Epoch && known.ID < 0) {
			return true, nil
		}
		return false, &peer.CodeError{API: "metadata fetch", Code: res.Code}
	default:
		return false, &peer.CodeError{API: "metadata fetch", Code: res.Code}
	}
	if res.Leader.Epoch >= 0 && res.Leader.Epoch < o.Leader().Epoch {
		return false, fmt.Errorf("answer of metadata epoch %d, known is %d", res.Leader.Epoch, o.Leader().Epoch)
	}
	switch {
	case res.Diverging != nil:
		return true, o.truncate(*res.Diverging)
	case res.Snapshot != nil:
		return true, o.fetchSnapshot(*res.Snapshot)
	}
	return true, o.take(res)
}

// take appends the records of an answer and publishes what is committed.
func (o *Observer) take(res MetadataFetchResult) error {
	end, _ := o.cfg.Store.Position()
	p, err := checkBatches(res.Records, end, o.Leader().Epoch)
	if err != nil {
		return err
	}
	if len(p) > 0 {
		if err := o.cfg.Store.Append(p); err != nil {
			return err
		}
		end, _ = o.cfg.Store.Position()
	}
	if hw := min(res.HighWatermark, end); hw > o.HighWatermark() { // invariant 3
		o.hw.Store(int64(hw))
	}
	// The first image waits until the log is read up to what the leader said
	// (invariant 2): hw alone would be satisfied by any prefix.
	return o.load(res.HighWatermark >= 0 && end >= res.HighWatermark)
}

// checkBatches returns the whole batches of p, and refuses what doesn't
// continue the log at end, is damaged, or is of an epoch above the leader's.
func checkBatches(p []byte, end model.Offset, epoch model.LeaderEpoch) ([]byte, error) {
	rest := p
	for len(rest) > 0 {
		b, next, err := record.Next(rest)
		if err == nil {
			err = b.CheckCRC()
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("metadata batch at %d: %w", end, err)
		case b.BaseOffset() != end:
			return nil, fmt.Errorf("metadata batch at %d, log end is %d", b.BaseOffset(), end)
		case b.LeaderEpoch() > epoch:
			return nil, fmt.Errorf("metadata batch at %d has epoch %d, the leader's is %d", end, b.LeaderEpoch(), epoch)
		}
		end, rest = b.NextOffset(), next
	}
	return p, nil
}

// load replays what is below the high watermark and publishes it (invariant 1).
func (o *Observer) load(caughtUp bool) error {
	end, _ := o.cfg.Store.Position()
	to := min(o.HighWatermark(), end)
	var updates []metadata.Update
	if from := o.loader.Next(); from < to {
		var batches []record.Batch
		err := o.cfg.Store.Read(from, to, func(b record.Batch) error {
			batches = append(batches, append(record.Batch(nil), b...))
			o.records.Add(int64(b.Count()))
			o.stamp.Store(b.MaxTimestamp())
			return nil
		})
		if err != nil {
			return err
		}
		updates, err = o.loader.Load(batches...)
		if err != nil {
			return &loadError{err}
		}
	}
	o.voters.Store(&o.loader.Image().Voters)
	switch {
	case o.published && !o.replaced:
		for _, u := range updates {
			o.publish(u.Image, u.Delta)
		}
	case o.published || (caughtUp && hasData(o.loader.Image())):
		o.publish(o.loader.Image(), nil)
		o.replaced = false
	}
	if _, open := o.loader.InTransaction(); open || len(updates) == 0 {
		return nil
	}
	return o.cfg.Store.Applied(o.loader.Image())
}

// hasData tells whether any data record was seen: control records alone are
// not yet a cluster.
func hasData(img *metadata.Image) bool {
	return len(img.Features) > 0 || len(img.Brokers) > 0 || len(img.Topics.ByID) > 0 || len(img.Configs) > 0
}

func (o *Observer) publish(img *metadata.Image, d *metadata.Delta) {
	o.image.Store(img)
	o.subs.Lock()
	list := o.subs.list
	o.subs.Unlock()
	for _, s := range list {
		s(img, d)
	}
	o.applied.Store(int64(img.Offset))
	if !o.published {
		o.published = true
		close(o.first)
	}
}

// truncate cuts the log where it leaves the leader's.
func (o *Observer) truncate(d EpochOffset) error {
	end, _ := o.cfg.Store.Position()
	to := min(d.End, end)
	if d.Epoch > 0 {
		to = replica.DecideTruncation(replica.EpochEnd{Epoch: d.Epoch, End: d.End}, end, end, o.cfg.Store).To
	}
	if to < o.HighWatermark() || to < o.loader.Next() { // invariant 3
		return fmt.Errorf("told to cut the metadata log at %d, below its high watermark %d", to, o.HighWatermark())
	}
	return o.cfg.Store.TruncateTo(to)
}

// fetchSnapshot reads a snapshot and begins anew from it.
func (o *Observer) fetchSnapshot(id SnapshotID) error {
	if end, last := o.cfg.Store.Position(); id.Epoch < last || (id.Epoch == last && id.End <= end) {
		return fmt.Errorf("offered snapshot %d-%d is not newer than the log, %d-%d", id.End, id.Epoch, end, last)
	}
	var file []byte
	for {
		c, err := o.cfg.Source.FetchSnapshot(o.ctx, SnapshotFetch{
			ClusterID: o.cfg.ClusterID, Replica: o.cfg.Node, Directory: o.cfg.Directory, CurrentEpoch: o.Leader().Epoch,
			Snapshot: id, Position: int64(len(file)), MaxBytes: o.cfg.MaxBytes,
		})
		if err != nil {
			return err
		}
		if c.Code != peer.CodeNone {
			if _, err := o.adopt(c.Leader); err != nil {
				return err
			}
			return &peer.CodeError{API: "fetch snapshot", Code: c.Code}
		}
		if c.Snapshot != id || c.Position != int64(len(file)) || c.Size > snapshotMax ||
			(len(c.Bytes) == 0 && c.Position < c.Size) {
			return fmt.Errorf("snapshot chunk doesn't fit: %d-%d at %d, %d of %d bytes",
				c.Snapshot.End, c.Snapshot.Epoch, c.Position, len(c.Bytes), c.Size)
		}
		if file = append(file, c.Bytes...); int64(len(file)) >= c.Size {
			break
		}
	}
	return o.install(id, file)
}

func (o *Observer) install(id SnapshotID, file []byte) error {
	img, err := readSnapshot(id, file)
	if err != nil {
		return err
	}
	if err := o.cfg.Store.Install(id, file); err != nil {
		return err
	}
	o.loader = metadata.NewLoader(img)
	o.replaced = true
	o.hw.Store(int64(max(o.HighWatermark(), id.End)))
	o.voters.Store(&img.Voters)
	return nil
}

// readSnapshot decodes the bytes of a checkpoint file.
func readSnapshot(id SnapshotID, file []byte) (*metadata.Image, error) {
	var batches []record.Batch
	for len(file) > 0 {
		b, rest, err := record.Next(file)
		if err != nil {
			return nil, fmt.Errorf("metadata snapshot %d-%d: %w", id.End, id.Epoch, err)
		}
		batches, file = append(batches, b), rest
	}
	img, err := metadata.ReadSnapshot(batches, id.End-1, id.Epoch)
	if err != nil {
		return nil, fmt.Errorf("metadata snapshot %d-%d: %w", id.End, id.Epoch, err)
	}
	return img, nil
}
