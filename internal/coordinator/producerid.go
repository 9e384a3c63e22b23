package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// ErrNoProducerID: the controller gave no producer ids in time. Clients retry.
var ErrNoProducerID = errors.New("no producer id is available")

// IDSource gives blocks of producer ids; *observer.Channel is one.
type IDSource interface {
	AllocateProducerIDs(ctx context.Context, id model.BrokerID, epoch model.BrokerEpoch) (peer.ProducerIDBlock, error)
}

// ProducerIDs hands out producer ids, each once in the life of the cluster, from
// blocks that the controller gives. The next block is asked for before the
// present one is used up. Safe for concurrent use.
type ProducerIDs struct {
	self    model.BrokerID
	epoch   func() model.BrokerEpoch
	source  IDSource
	timeout time.Duration

	mu struct {
		sync.Mutex
		blocks  []peer.ProducerIDBlock // with ids left; the second is for later
		waiting []func(model.ProducerID, error)
		asking  bool
	}
}

// idWaitersMax bounds those who wait for a block; more are refused.
const idWaitersMax = 1000

// NewProducerIDs returns a generator for this broker, whose registration has
// that epoch.
func NewProducerIDs(self model.BrokerID, epoch func() model.BrokerEpoch, source IDSource) *ProducerIDs {
	return &ProducerIDs{self: self, epoch: epoch, source: source, timeout: 10 * time.Second}
}

// Next calls reply once with a fresh id, or with ErrNoProducerID. It doesn't block.
func (p *ProducerIDs) Next(reply func(model.ProducerID, error)) {
	p.mu.Lock()
	id, ok := p.takeLocked()
	full := !ok && len(p.mu.waiting) >= idWaitersMax
	if !ok && !full {
		p.mu.waiting = append(p.mu.waiting, reply)
	}
	ask := p.wantsLocked()
	p.mu.asking = p.mu.asking || ask
	p.mu.Unlock()
	if ask {
		go p.ask()
	}
	switch {
	case ok:
		reply(id, nil)
	case full:
		reply(model.NoProducerID, fmt.Errorf("%d requests wait: %w", idWaitersMax, ErrNoProducerID))
	}
}

func (p *ProducerIDs) takeLocked() (model.ProducerID, bool) {
	if len(p.mu.blocks) == 0 {
		return 0, false
	}
	b := &p.mu.blocks[0]
	id := b.First
	b.First++
	if b.Count--; b.Count == 0 {
		p.mu.blocks = p.mu.blocks[1:]
	}
	return id, true
}

// wantsLocked: a block should be asked for when a tenth of the last is left.
func (p *ProducerIDs) wantsLocked() bool {
	if p.mu.asking || len(p.mu.blocks) > 1 {
		return false
	}
	return len(p.mu.blocks) == 0 || p.mu.blocks[0].Count <= idsLow
}

// idsLow of the 1000 ids of a block.
const idsLow = 100

func (p *ProducerIDs) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	b, err := p.source.AllocateProducerIDs(ctx, p.self, p.epoch())
	if err == nil && b.Code != peer.CodeNone {
		err = fmt.Errorf("controller answered %s", b.Code)
	}
	if err == nil && (b.Count <= 0 || b.First < 0) {
		err = fmt.Errorf("controller gave %d ids from %d", b.Count, b.First)
	}
	var replies []func()
	p.mu.Lock()
	p.mu.asking = false
	if err == nil {
		p.mu.blocks = append(p.mu.blocks, b)
	}
	for len(p.mu.waiting) > 0 {
		fn := p.mu.waiting[0]
		id, ok := p.takeLocked()
		switch {
		case ok:
			replies = append(replies, func() { fn(id, nil) })
		case err != nil:
			replies = append(replies, func() { fn(model.NoProducerID, fmt.Errorf("%w: %w", ErrNoProducerID, err)) })
		}
		if !ok && err == nil {
			break
		}
		p.mu.waiting = p.mu.waiting[1:]
	}
	again := len(p.mu.waiting) > 0
	p.mu.asking = again
	p.mu.Unlock()
	for _, fn := range replies {
		fn()
	}
	if again {
		go p.ask()
	}
}
