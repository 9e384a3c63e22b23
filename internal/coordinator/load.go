package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"tidemark/internal/group"
	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
)

// load replays the log and begins to serve when all of it is committed.
func (i *instance) load() {
	began := i.c.cfg.Now()
	core := group.New(i.c.cfg.Groups)
	end, err := i.replay(core)
	if err != nil {
		i.c.cfg.Logger.Error("groups: can't load", "partition", i.index, "epoch", int32(i.epoch), "err", err)
		i.end(group.NotCoordinator)
		return
	}
	i.awaitLoaded(core, end, began)
}

func (i *instance) awaitLoaded(core *group.Core, end model.Offset, began time.Time) {
	var ready purgatory.Ready
	i.log.Await(Position{i.epoch, end - 1}, &ready, func(err error) {
		switch err {
		case nil:
			i.serve(core, end, began)
		case ErrTimedOut:
			time.AfterFunc(i.c.cfg.Retry, func() {
				if i.is(loading) {
					i.awaitLoaded(core, end, began)
				}
			})
		default:
			i.end(group.NotCoordinator)
		}
	})
	ready.Run()
}

func (i *instance) is(s state) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.mu.state == s
}

// serve begins to answer. // invariant 1
func (i *instance) serve(core *group.Core, end model.Offset, began time.Time) {
	var out outbox
	i.mu.Lock()
	if i.mu.state != loading {
		i.mu.Unlock()
		return
	}
	now := i.c.cfg.Now()
	i.mu.state, i.mu.core = active, core
	i.mu.expire = now.Add(i.c.cfg.RetentionCheck)
	i.performLocked(core.Loaded(now), now, &out)
	if len(i.mu.deleted) > 0 {
		i.performLocked(core.TopicsDeleted(i.mu.deleted), now, &out)
		i.mu.deleted = nil
	}
	i.armLocked(now)
	level := slog.LevelInfo
	if core.Groups() == 0 {
		level = slog.LevelDebug // most partitions of a small cluster
	}
	i.c.cfg.Logger.Log(context.Background(), level, "groups: loaded",
		"partition", i.index, "epoch", int32(i.epoch), "offset", int64(end),
		"groups", core.Groups(), "offsets", core.Offsets(), "skipped", core.Skipped(), "took", now.Sub(began))
	i.mu.Unlock()
	out.send()
}

// replay feeds the log to a core. Offsets committed in a transaction count from
// its marker on; those without one are not committed.
func (i *instance) replay(core *group.Core) (model.Offset, error) {
	open := map[model.ProducerID][]group.Record{}
	return i.log.Scan(func(b record.Batch) error {
		switch {
		case !i.is(loading):
			return ErrLost
		case b.Control():
			return endTxn(core, b, open)
		}
		for r, err := range b.Records(recordsMax) {
			if err != nil {
				return fmt.Errorf("batch at %d: %w", b.BaseOffset(), err)
			}
			own := group.Record{Key: r.Key, Value: r.Value}
			if b.Transactional() {
				own.Key, own.Value = clone(r.Key), clone(r.Value)
				open[b.ProducerID()] = append(open[b.ProducerID()], own)
				continue
			}
			if err := core.Replay(own); err != nil {
				return fmt.Errorf("record at %d: %w", r.Offset, err)
			}
		}
		return nil
	})
}

// recordsMax bounds what a batch of the log may decompress to.
const recordsMax = 64 << 20

func endTxn(core *group.Core, b record.Batch, open map[model.ProducerID][]group.Record) error {
	m, ok, err := b.EndTxn()
	if err != nil || !ok {
		return err
	}
	records := open[b.ProducerID()]
	delete(open, b.ProducerID())
	if !m.Commit {
		return nil
	}
	for _, r := range records {
		if err := core.Replay(r); err != nil {
			return fmt.Errorf("transaction that ends at %d: %w", b.BaseOffset(), err)
		}
	}
	return nil
}

func clone(p []byte) []byte {
	if p == nil {
		return nil
	}
	return append([]byte{}, p...)
}
