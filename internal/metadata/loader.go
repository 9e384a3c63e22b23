package metadata

import (
	"errors"
	"fmt"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// ErrOffsetGap means that a batch doesn't begin where the one before it ended.
var ErrOffsetGap = errors.New("metadata batch out of order")

// Update is one step of the cluster's state as a node publishes it.
type Update struct {
	Image *Image
	Delta *Delta // from the image published before to Image

	// Aligned is false if Image ends inside a batch, just before a transaction
	// that begins there. No snapshot can end at such an offset.
	Aligned bool
}

// Loader turns committed batches into images. It holds the records of an open
// metadata transaction back until its end (KIP-868). It belongs to one
// goroutine.
type Loader struct {
	image *Image            // last published
	delta *Delta            // not yet published; nil: nothing
	last  model.Offset      // last record seen
	epoch model.LeaderEpoch // of that record
	begin model.Offset      // Begin of the open transaction; model.NoOffset: none
	err   error             // sticks
}

// NewLoader continues after a published image.
func NewLoader(base *Image) *Loader {
	return &Loader{image: base, last: base.Offset, epoch: base.Epoch, begin: model.NoOffset}
}

// Image is the image published last.
func (l *Loader) Image() *Image { return l.image }

// Next is the offset at which the next batch must begin. It is beyond
// Image().Offset+1 while a transaction is open.
func (l *Loader) Next() model.Offset { return l.last + 1 }

// InTransaction reports whether records are held back; the transaction began at
// the offset begin.
func (l *Loader) InTransaction() (begin model.Offset, open bool) {
	return l.begin, l.begin != model.NoOffset
}

// Load replays committed batches, which must continue the log without a gap
// (ErrOffsetGap). It returns what to publish, in order: usually one update for
// all of them, none inside a transaction. An error publishes nothing of the
// call and sticks: the log or this code is broken, and the way on is a new
// loader on an image from a snapshot.
func (l *Loader) Load(batches ...record.Batch) ([]Update, error) {
	published := l.image
	var out []Update
	for _, b := range batches {
		if l.err == nil {
			l.err = l.batch(b, &out)
		}
	}
	if l.err != nil {
		l.image = published
		return nil, l.err
	}
	if _, open := l.InTransaction(); !open {
		l.publish(true, &out)
	}
	return out, nil
}

func (l *Loader) batch(b record.Batch, out *[]Update) error {
	if b.BaseOffset() != l.Next() {
		return fmt.Errorf("%w: begins at %d, want %d", ErrOffsetGap, b.BaseOffset(), l.Next())
	}
	if n := b.NextOffset() - b.BaseOffset(); n != model.Offset(b.Count()) {
		return fmt.Errorf("%w: %d records span %d offsets at %d", ErrOffsetGap, b.Count(), n, b.BaseOffset())
	}
	return visit(b, func(at model.Offset, r Record) error {
		if err := l.record(at, r, at == b.BaseOffset(), out); err != nil {
			return err
		}
		l.last, l.epoch = at, b.LeaderEpoch()
		return nil
	}, func(at model.Offset, c Control) error {
		l.pending(at)
		l.last, l.epoch = at, b.LeaderEpoch()
		return l.delta.ReplayControl(c)
	})
}

// pending makes sure that there is a delta, whose next record is at that offset.
func (l *Loader) pending(at model.Offset) *Delta {
	if l.delta == nil {
		l.delta = NewDelta(l.image)
	}
	l.delta.At(at)
	return l.delta
}

// record replays one record; firstOfBatch says whether the state before it ends
// at a batch boundary.
func (l *Loader) record(at model.Offset, r Record, firstOfBatch bool, out *[]Update) error {
	_, open := l.InTransaction()
	switch r.(type) {
	case *BeginTransactionRecord:
		if open {
			return fmt.Errorf("%w: begin at %d inside the one of %d", ErrTransaction, at, l.begin)
		}
		// What comes before is not part of the transaction and mustn't wait for it.
		l.publish(firstOfBatch, out)
		l.begin = at
	case *EndTransactionRecord:
		if !open {
			return fmt.Errorf("%w: end at %d without a begin", ErrTransaction, at)
		}
		l.begin = model.NoOffset
	case *AbortTransactionRecord:
		if !open {
			return fmt.Errorf("%w: abort at %d without a begin", ErrTransaction, at)
		}
		l.begin = model.NoOffset
		l.delta = l.delta.abandon()
	default:
		return l.pending(at).Replay(r)
	}
	l.pending(at)
	return nil
}

// abandon returns a delta without the data records of d. Control records are
// the quorum's and not part of any transaction: they stay.
func (d *Delta) abandon() *Delta {
	fresh := NewDelta(d.base)
	fresh.img.KRaftVersion, fresh.img.Voters, fresh.voters = d.img.KRaftVersion, d.img.Voters, d.voters
	return fresh
}

func (l *Loader) publish(aligned bool, out *[]Update) {
	if l.delta == nil {
		return
	}
	d := l.delta
	l.delta = nil
	l.image = d.Apply(l.last, l.epoch)
	*out = append(*out, Update{Image: l.image, Delta: d, Aligned: aligned})
}
