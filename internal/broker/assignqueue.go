package broker

import (
	"slices"
	"sync"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// assignMax is how many assignments go into one request.
const assignMax = 2250

// assignQueue tells the controller which directory holds which replica
// (KIP-858). The newest assignment of a replica is sent until it is answered.
type assignQueue struct {
	b    *Broker
	kick chan struct{}
	mu   struct {
		sync.Mutex
		waiting map[model.TopicIDPartition]model.DirectoryID
		sent    map[model.TopicIDPartition]model.DirectoryID // accepted; the metadata may still lag
	}
}

func newAssignQueue(b *Broker) *assignQueue {
	q := &assignQueue{b: b, kick: make(chan struct{}, 1)}
	q.mu.waiting = make(map[model.TopicIDPartition]model.DirectoryID)
	q.mu.sent = make(map[model.TopicIDPartition]model.DirectoryID)
	return q
}

// put queues an assignment unless it was accepted already.
func (q *assignQueue) put(of model.TopicIDPartition, dir model.DirectoryID) {
	q.mu.Lock()
	_, waits := q.mu.waiting[of]
	if was, ok := q.mu.sent[of]; ok && was == dir && !waits {
		q.mu.Unlock()
		return
	}
	q.mu.waiting[of] = dir
	q.mu.Unlock()
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// restore queues the true directory of a replica, if the controller has heard,
// or is about to hear, of another one.
func (q *assignQueue) restore(of model.TopicIDPartition, dir, shown model.DirectoryID) {
	q.mu.Lock()
	_, waits := q.mu.waiting[of]
	_, sent := q.mu.sent[of]
	q.mu.Unlock()
	if waits || sent || shown != dir {
		q.put(of, dir)
	}
}

// confirmed tells that the metadata shows dir. It may be older than an answer
// that names another one: that one is still to come.
func (q *assignQueue) confirmed(of model.TopicIDPartition, dir model.DirectoryID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if was, ok := q.mu.sent[of]; ok && was != dir {
		return
	}
	delete(q.mu.sent, of)
	if q.mu.waiting[of] == dir {
		delete(q.mu.waiting, of)
	}
}

func (q *assignQueue) take() []peer.DirAssignment {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]peer.DirAssignment, 0, len(q.mu.waiting))
	for of, dir := range q.mu.waiting {
		all = append(all, peer.DirAssignment{Of: of, Dir: dir})
	}
	slices.SortFunc(all, func(a, b peer.DirAssignment) int {
		if c := a.Dir.Compare(b.Dir); c != 0 {
			return c
		}
		if c := a.Of.TopicID.Compare(b.Of.TopicID); c != 0 {
			return c
		}
		return int(a.Of.Partition - b.Of.Partition)
	})
	return all[:min(len(all), assignMax)]
}

// settled forgets an assignment that was decided, unless a newer one replaced it.
func (q *assignQueue) settled(a peer.DirAssigned) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.waiting[a.Of] == a.Dir {
		delete(q.mu.waiting, a.Of)
		if a.Code == peer.CodeNone {
			q.mu.sent[a.Of] = a.Dir
		}
	}
}

func (q *assignQueue) run() {
	for {
		select {
		case <-q.b.ctx.Done():
			return
		case <-q.kick:
		}
		for batch := q.take(); len(batch) > 0; batch = q.take() {
			if q.send(batch) {
				continue
			}
			select {
			case <-q.b.ctx.Done():
				return
			case <-time.After(q.b.cfg.AssignmentBackoff):
			}
		}
	}
}

// send returns whether every assignment of the batch was decided.
func (q *assignQueue) send(batch []peer.DirAssignment) bool {
	res, err := q.b.cfg.Assign.AssignReplicasToDirs(q.b.ctx, q.b.cfg.Self, q.b.cfg.Epoch(), batch)
	if err != nil || res.Code != peer.CodeNone {
		return false
	}
	decided := 0
	for _, a := range res.Replicas {
		switch a.Code {
		case peer.CodeNone, peer.CodeUnknownTopicID, peer.CodeUnknownTopicOrPartition, peer.CodeInvalidRequest:
			// A refusal is final for this state of the partition; its next change asks again.
			q.settled(a)
			decided++
		}
	}
	return decided >= len(batch)
}
