package broker

import (
	"errors"
	"fmt"
	"io"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/journal"
	"tidemark/internal/lostfound"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/replica"
)

// keepTime bounds how long a cut waits for the copy of what it removes.
const keepTime = 3 * time.Second

var errLate = errors.New("the copy took too long")

// timed is a writer that gives up after a while.
type timed struct {
	w     io.Writer
	until time.Time
}

func (t timed) Write(p []byte) (int, error) {
	if time.Now().After(t.until) {
		return 0, errLate
	}
	return t.w.Write(p)
}

// Removing copies what is about to be cut to lost and found (partition.Keeper).
// Of a damaged log that is the damaged segment: the rest is fetched again.
// Whatever goes wrong here, the cut goes on.
func (b *Broker) Removing(p *partition.Partition, off model.Offset, why replica.Reason) {
	store := b.cfg.LostFound
	if store == nil || store.Limit() == 0 {
		return
	}
	size := p.Log().SizeBetween(off, p.Log().End())
	if why == replica.ReasonDamaged {
		for _, s := range p.Log().Segments() {
			if s.Base <= off && off < s.Next {
				size = s.Bytes
			}
		}
	}
	hw := p.HighWatermark()
	i := lostfound.Item{
		At: b.cfg.Now(), Topic: p.TP().Topic, Partition: p.TP().Partition, TopicID: p.TopicID(), From: off, To: p.Log().End(),
		Cut: off, HighWatermark: hw, Reason: string(why), Why: whyKept(p, off, hw, why),
	}
	for _, e := range p.Log().Epochs() {
		i.Epochs = append(i.Epochs, lostfound.Epoch{Epoch: e.Epoch, Start: e.Start})
	}
	limit := store.Limit()
	if why == replica.ReasonDamaged {
		limit = min(limit, size)
	}
	i, err := store.Keep(i, size, func(w io.Writer, i *lostfound.Item) error {
		info, err := p.Log().Copy(off, limit, timed{w, time.Now().Add(keepTime)})
		i.From, i.Whole = info.First, info.Whole
		if errors.Is(err, errLate) {
			return nil
		}
		return err
	})
	if err != nil {
		b.cfg.Log.Warn("removed records could not be kept", "partition", p.TP().String(), "offset", int64(off), "error", err)
		return
	}
	e := b.event(journal.Note, p.TP(), "kept-in-lost-found", i.ID)
	e.Offset, e.LogEnd = off, i.To
	b.cfg.Events.Emit(e)
}

func whyKept(p *partition.Partition, off, hw model.Offset, why replica.Reason) string {
	switch why {
	case replica.ReasonDamaged:
		return fmt.Sprintf("damaged on the disk: %v; everything from %d on is fetched from the leader again", p.Damage(), off)
	case replica.ReasonLeaderBehind:
		return fmt.Sprintf("the leader's log ends at %d and shares no epoch with this one; high watermark %d", off, hw)
	}
	return fmt.Sprintf("the leader's log has other records from %d on; high watermark %d", off, hw)
}

// recovering keeps what the recovery of a log cuts off.
func (b *Broker) recovering(tp model.TopicPartition, id model.TopicID, hw model.Offset, r commitlog.Removal) {
	store := b.cfg.LostFound
	if store == nil || store.Limit() == 0 {
		return
	}
	limit := min(store.Limit(), r.Bytes)
	i := lostfound.Item{
		At: b.cfg.Now(), Topic: tp.Topic, Partition: tp.Partition, TopicID: id, From: r.At, To: r.At, Cut: r.At,
		HighWatermark: hw, Reason: keptByRecovery, Whole: limit == r.Bytes,
		Why: fmt.Sprintf("cut off when the log was opened, %d bytes that need not be batches: %v", r.Bytes, r.Why),
	}
	i, err := store.Keep(i, limit, func(w io.Writer, _ *lostfound.Item) error { return r.Copy(w, limit) })
	if err != nil {
		b.cfg.Log.Warn("what recovery cuts could not be kept", "partition", tp.String(), "offset", int64(r.At), "error", err)
		return
	}
	e := b.event(journal.Note, tp, "kept-in-lost-found", i.ID)
	e.Offset, e.LogEnd = r.At, r.At
	b.cfg.Events.Emit(e)
}

// keptByRecovery is the reason of what recovery has cut.
const keptByRecovery = "recovery"
