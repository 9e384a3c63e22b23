package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tidemark/internal/group"
	"tidemark/internal/model"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
)

// state of an instance:
//
//	loading -> active    everything is replayed and committed // invariant 1
//	loading -> gone      the leadership ended, or the log can't be read
//	active  -> gone      the leadership ended
type state uint8

const (
	loading state = iota
	active
	gone
)

// instance is the group core of one partition in one leadership. // invariant 2
type instance struct {
	c     *Coordinator
	index int32
	epoch model.LeaderEpoch
	log   Log

	mu struct {
		sync.Mutex
		state   state
		core    *group.Core
		tickets map[group.Ticket]func(any)
		last    group.Ticket
		queue   []entry // appended, not committed, in the order of the log
		timer   *time.Timer
		armed   time.Time // when the timer fires, zero if it doesn't
		expire  time.Time // next look for expired offsets
		deleted map[string]bool
	}
}

// entry is an append that is not committed yet.
type entry struct {
	at      Position
	records []group.Record
	write   uint64
	final   bool // the last append of its write
}

// outbox gathers what is done after the lock is released. // invariant 4
type outbox struct {
	replies []func()
	ready   purgatory.Ready
}

func (o *outbox) send() {
	for _, fn := range o.replies {
		fn()
	}
	o.ready.Run()
}

// do runs fn on the core. The code is not OK if there is none to ask.
func (i *instance) do(fn func(core *group.Core, now time.Time) group.Effects) group.Code {
	var out outbox
	i.mu.Lock()
	if i.mu.state != active {
		defer i.mu.Unlock()
		return i.refusalLocked()
	}
	now := i.c.cfg.Now()
	i.performLocked(fn(i.mu.core, now), now, &out)
	i.armLocked(now)
	i.mu.Unlock()
	out.send()
	return group.OK
}

func (i *instance) refusalLocked() group.Code {
	if i.mu.state == loading {
		return group.CoordinatorLoading
	}
	return group.NotCoordinator
}

// ticketLocked notes who gets the answer to a request.
func (i *instance) ticketLocked(reply func(any)) group.Ticket {
	i.mu.last++
	i.mu.tickets[i.mu.last] = reply
	return i.mu.last
}

func (i *instance) performLocked(eff group.Effects, now time.Time, out *outbox) {
	for work := []group.Effects{eff}; len(work) > 0; work = work[1:] {
		for _, r := range work[0].Replies {
			fn := i.mu.tickets[r.Ticket]
			if fn == nil {
				continue
			}
			delete(i.mu.tickets, r.Ticket)
			out.replies = append(out.replies, func() { fn(r.Response) })
		}
		for _, w := range work[0].Writes {
			if err := i.appendLocked(w, now, out); err != nil {
				i.c.cfg.Logger.Warn("groups: append refused", "partition", i.index, "epoch", int32(i.epoch), "err", err)
				work = append(work, i.mu.core.Finished(w.ID, codeOf(err), now))
			}
		}
	}
}

// appendLocked appends the records of a write in as many batches as it takes.
func (i *instance) appendLocked(w group.Write, now time.Time, out *outbox) error {
	for first := 0; first < len(w.Records); {
		b, n := batch(w.Records[first:], now.UnixMilli(), i.c.cfg.BatchBytes)
		at, err := i.log.Append(b, i.epoch, &out.ready)
		if err != nil {
			return err
		}
		records := w.Records[first : first+n]
		first += n
		i.mu.queue = append(i.mu.queue, entry{at, records, w.ID, first == len(w.Records)})
		i.log.Await(at, &out.ready, func(err error) { i.settled(at, w.ID, err) })
	}
	return nil
}

// batch builds a batch of the first n records, at least one.
func batch(records []group.Record, ms int64, limit int) (record.Batch, int) {
	var b record.Builder
	for n, r := range records {
		if n > 0 && b.Size()+len(r.Key)+len(r.Value)+recordOverhead > limit {
			return b.Build(), n
		}
		b.Add(ms, r.Key, r.Value)
	}
	return b.Build(), len(records)
}

// recordOverhead is the most that a record has besides key and value.
const recordOverhead = 40

// settled is told how the wait for an append ended.
func (i *instance) settled(at Position, write uint64, err error) {
	var out outbox
	i.mu.Lock()
	if i.mu.state != active {
		i.mu.Unlock()
		return
	}
	now := i.c.cfg.Now()
	switch {
	case err == nil:
		i.committedLocked(at, now, &out)
	case errors.Is(err, ErrTimedOut):
		// Its requests are answered; the records may be committed all the same.
		i.performLocked(i.mu.core.Finished(write, codeOf(err), now), now, &out)
		time.AfterFunc(i.c.cfg.Retry, func() { i.awaitAgain(at, write) })
	default:
		i.endLocked(group.NotCoordinator, &out)
	}
	if i.mu.state == active {
		i.armLocked(now)
	}
	i.mu.Unlock()
	out.send()
}

// awaitAgain waits for an append whose requests have given up.
func (i *instance) awaitAgain(at Position, write uint64) {
	var ready purgatory.Ready
	i.mu.Lock()
	waits := i.mu.state == active && len(i.mu.queue) > 0 && i.mu.queue[0].at.Last <= at.Last
	i.mu.Unlock()
	if waits {
		i.log.Await(at, &ready, func(err error) { i.settled(at, write, err) })
		ready.Run()
	}
}

// committedLocked: everything up to at is committed. Notices may overtake each
// other; the queue keeps the order. // invariant 3
func (i *instance) committedLocked(at Position, now time.Time, out *outbox) {
	for len(i.mu.queue) > 0 && i.mu.queue[0].at.Last <= at.Last {
		e := i.mu.queue[0]
		i.mu.queue = i.mu.queue[1:]
		for _, r := range e.records {
			if err := i.mu.core.Apply(r); err != nil {
				panic(fmt.Sprintf("coordinator: own record is malformed: %v", err))
			}
		}
		if e.final {
			i.performLocked(i.mu.core.Finished(e.write, group.OK, now), now, out)
		}
	}
}

// end ends the instance; everything that waits is answered with code.
func (i *instance) end(code group.Code) {
	var out outbox
	i.mu.Lock()
	i.endLocked(code, &out)
	i.mu.Unlock()
	out.send()
}

func (i *instance) endLocked(code group.Code, out *outbox) {
	if i.mu.state == gone {
		return
	}
	level := slog.LevelInfo
	if i.mu.core == nil || i.mu.core.Groups() == 0 {
		level = slog.LevelDebug
	}
	i.mu.state = gone
	for _, fn := range i.mu.tickets {
		out.replies = append(out.replies, func() { fn(code) })
	}
	i.mu.tickets, i.mu.queue, i.mu.core = nil, nil, nil
	if i.mu.timer != nil {
		i.mu.timer.Stop()
	}
	i.c.cfg.Logger.Log(context.Background(), level, "groups: unloaded",
		"partition", i.index, "epoch", int32(i.epoch), "code", code.String())
}

// armLocked sets the timer for whatever is due next.
func (i *instance) armLocked(now time.Time) {
	at := i.mu.expire
	if t := i.mu.core.NextTick(); !t.IsZero() && t.Before(at) {
		at = t
	}
	if !i.mu.armed.IsZero() && !at.Before(i.mu.armed) {
		return
	}
	i.mu.armed = at
	if i.mu.timer == nil {
		i.mu.timer = time.AfterFunc(at.Sub(now), i.tick)
		return
	}
	i.mu.timer.Reset(at.Sub(now))
}

func (i *instance) tick() {
	var out outbox
	i.mu.Lock()
	if i.mu.state != active {
		i.mu.Unlock()
		return
	}
	now := i.c.cfg.Now()
	i.mu.armed = time.Time{}
	i.performLocked(i.mu.core.Tick(now), now, &out)
	if !now.Before(i.mu.expire) {
		i.mu.expire = now.Add(i.c.cfg.RetentionCheck)
		i.performLocked(i.mu.core.Expire(now), now, &out)
	}
	i.armLocked(now)
	i.mu.Unlock()
	out.send()
}
