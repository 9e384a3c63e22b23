package observer

import (
	"fmt"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/record"
)

// Store is the observer's copy of the metadata log. The observer's goroutine
// alone uses it.
type Store interface {
	// Position is the log end and the epoch of the record before it, 0 if none.
	Position() (model.Offset, model.LeaderEpoch)
	// EndOffsetFor is the largest epoch not above e and where it ends, or
	// NoLeaderEpoch and NoOffset.
	EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset)
	// Append adds whole batches that continue the log.
	Append(batches []byte) error
	// TruncateTo drops every batch that doesn't end at or below to.
	TruncateTo(to model.Offset) error
	// Read calls fn for each batch in [from, to) in order.
	Read(from, to model.Offset, fn func(record.Batch) error) error
	// Install replaces the whole log by a snapshot.
	Install(id SnapshotID, file []byte) error
	// Applied tells that every record up to img.Offset was applied: the store may
	// forget them, or keep a snapshot instead.
	Applied(img *metadata.Image) error
	// Elected keeps the leader and epoch over a restart.
	Elected(leader model.BrokerID, epoch model.LeaderEpoch) error
	Close() error
}

// Saved is what a store has kept from an earlier life.
type Saved struct {
	Leader   model.BrokerID
	Epoch    model.LeaderEpoch
	Snapshot []byte // newest complete snapshot, nil if none
	ID       SnapshotID
}

// memStore holds only batches that are not applied yet: the source keeps the log.
type memStore struct {
	batches []record.Batch
	end     model.Offset
	last    model.LeaderEpoch
	epochs  []EpochOffset // start of each epoch seen
}

// NewMemoryStore returns a store for a node whose source is its own log.
func NewMemoryStore() Store { return &memStore{} }

func (m *memStore) Position() (model.Offset, model.LeaderEpoch) { return m.end, m.last }

func (m *memStore) EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset) {
	end := m.end
	for i := len(m.epochs) - 1; i >= 0; i-- {
		if m.epochs[i].Epoch <= e {
			return m.epochs[i].Epoch, end
		}
		end = m.epochs[i].End
	}
	return model.NoLeaderEpoch, model.NoOffset
}

func (m *memStore) Append(p []byte) error {
	p = append([]byte(nil), p...) // the caller's buffer belongs to a response
	for len(p) > 0 {
		b, rest, err := record.Next(p)
		if err != nil {
			return err
		}
		if b.BaseOffset() != m.end {
			return fmt.Errorf("metadata batch at %d, log end is %d", b.BaseOffset(), m.end)
		}
		if e := b.LeaderEpoch(); len(m.epochs) == 0 || e > m.last {
			m.epochs = append(m.epochs, EpochOffset{Epoch: e, End: b.BaseOffset()})
		}
		m.batches = append(m.batches, b)
		m.end, m.last = b.NextOffset(), b.LeaderEpoch()
		p = rest
	}
	return nil
}

func (m *memStore) TruncateTo(to model.Offset) error {
	n := len(m.batches)
	for n > 0 && m.batches[n-1].LastOffset() >= to {
		n--
	}
	if n < len(m.batches) {
		m.end = m.batches[n].BaseOffset()
	}
	m.batches = m.batches[:n]
	for k := len(m.epochs); k > 0 && m.epochs[k-1].End >= m.end; k-- {
		m.epochs = m.epochs[:k-1]
	}
	m.last = 0
	if k := len(m.epochs); k > 0 {
		m.last = m.epochs[k-1].Epoch
	}
	return nil
}

func (m *memStore) Read(from, to model.Offset, fn func(record.Batch) error) error {
	for _, b := range m.batches {
		if b.BaseOffset() < from || b.LastOffset() >= to {
			continue
		}
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}

func (m *memStore) Install(id SnapshotID, _ []byte) error {
	*m = memStore{end: id.End, last: id.Epoch, epochs: []EpochOffset{{Epoch: id.Epoch, End: id.End}}}
	return nil
}

func (m *memStore) Applied(img *metadata.Image) error {
	n := 0
	for n < len(m.batches) && m.batches[n].LastOffset() <= img.Offset {
		n++
	}
	m.batches = append([]record.Batch(nil), m.batches[n:]...)
	return nil
}

func (*memStore) Elected(model.BrokerID, model.LeaderEpoch) error { return nil }
func (*memStore) Close() error                                    { return nil }
