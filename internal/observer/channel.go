package observer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// ErrNoController means that no active controller answered in time.
var ErrNoController = errors.New("no active controller")

// Controller is one connection to a controller. It has one method per request
// that brokers send to the active controller, because Channel gives each of
// them the same retry. *peer.Conn implements it.
type Controller interface {
	RegisterBroker(context.Context, peer.Registration) (peer.RegistrationResult, error)
	BrokerHeartbeat(context.Context, peer.Heartbeat) (peer.HeartbeatResult, error)
	AlterPartitions(context.Context, model.BrokerID, model.BrokerEpoch, []peer.AlterPartition) (
		peer.AlterPartitionsResult, error)
	AllocateProducerIDs(context.Context, model.BrokerID, model.BrokerEpoch) (peer.ProducerIDBlock, error)
	AssignReplicasToDirs(context.Context, model.BrokerID, model.BrokerEpoch, []peer.DirAssignment) (
		peer.AssignDirsResult, error)
	CreateTopics(context.Context, []peer.NewTopic, time.Duration) (peer.CreatedTopics, error)
	Envelope(context.Context, peer.Envelope) (peer.EnvelopeResult, error)
	Close() error
}

// ChannelConfig configures a Channel.
type ChannelConfig struct {
	// Resolve names the active controller, as Observer.Controller does.
	Resolve func() (id model.BrokerID, addr string, ok bool)
	Dial    func(ctx context.Context, addr string) (Controller, error)
	Retry   time.Duration // between attempts, after some quicker ones; 50 ms
	Attempt time.Duration // limit of one attempt; 4.5 s (half a session)
}

// Channel carries requests to whichever controller is active: one connection,
// one request in flight, and a fresh look for the controller after a broken
// connection or NOT_CONTROLLER. A call returns when a controller has answered
// or its context ends. Each use (heartbeats, AlterPartition, ...) has its own
// Channel. Safe for concurrent use; calls queue.
type Channel struct {
	cfg  ChannelConfig
	turn chan struct{} // holds one token; its holder owns conn and addr
	conn Controller
	addr string
}

// NewChannel returns a Channel that connects on its first call.
func NewChannel(cfg ChannelConfig) *Channel {
	if cfg.Retry <= 0 {
		cfg.Retry = 50 * time.Millisecond
	}
	if cfg.Attempt <= 0 {
		cfg.Attempt = 4500 * time.Millisecond
	}
	ch := &Channel{cfg: cfg, turn: make(chan struct{}, 1)}
	ch.turn <- struct{}{}
	return ch
}

// RegisterBroker sends a registration.
func (ch *Channel) RegisterBroker(ctx context.Context, r peer.Registration) (peer.RegistrationResult, error) {
	return call(ctx, ch, func(ctx context.Context, c Controller) (peer.RegistrationResult, peer.Code, error) {
		res, err := c.RegisterBroker(ctx, r)
		return res, res.Code, err
	})
}

// BrokerHeartbeat sends a heartbeat.
func (ch *Channel) BrokerHeartbeat(ctx context.Context, h peer.Heartbeat) (peer.HeartbeatResult, error) {
	return call(ctx, ch, func(ctx context.Context, c Controller) (peer.HeartbeatResult, peer.Code, error) {
		res, err := c.BrokerHeartbeat(ctx, h)
		return res, res.Code, err
	})
}

// AlterPartitions sends ISR proposals.
func (ch *Channel) AlterPartitions(ctx context.Context, from model.BrokerID, epoch model.BrokerEpoch,
	ps []peer.AlterPartition) (peer.AlterPartitionsResult, error) {
	return call(ctx, ch, func(ctx context.Context, c Controller) (peer.AlterPartitionsResult, peer.Code, error) {
		res, err := c.AlterPartitions(ctx, from, epoch, ps)
		return res, res.Code, err
	})
}

// AllocateProducerIDs asks for a block of producer ids.
func (ch *Channel) AllocateProducerIDs(ctx context.Context, from model.BrokerID, epoch model.BrokerEpoch,
) (peer.ProducerIDBlock, error) {
	return call(ctx, ch, func(ctx context.Context, c Controller) (peer.ProducerIDBlock, peer.Code, error) {
		res, err := c.AllocateProducerIDs(ctx, from, epoch)
		return res, res.Code, err
	})
}

// AssignReplicasToDirs reports which directories hold which replicas.
func (ch *Channel) AssignReplicasToDirs(ctx context.Context, from model.BrokerID, epoch model.BrokerEpoch,
	as []peer.DirAssignment) (peer.AssignDirsResult, error) {
	return call(ctx, ch, func(ctx context.Context, c Controller) (peer.AssignDirsResult, peer.Code, error) {
		res, err := c.AssignReplicasToDirs(ctx, from, epoch, as)
		return res, res.Code, err
	})
}

// CreateTopics creates topics that this broker needs.
func (ch *Channel) CreateTopics(ctx context.Context, topics []peer.NewTopic, limit time.Duration,
) (peer.CreatedTopics, error) {
	return call(ctx, ch, func(ctx context.Context, c Controller) (peer.CreatedTopics, peer.Code, error) {
		res, err := c.CreateTopics(ctx, topics, limit)
		return res, res.Code, err
	})
}

// Envelope forwards a client's admin request.
func (ch *Channel) Envelope(ctx context.Context, e peer.Envelope) (peer.EnvelopeResult, error) {
	return call(ctx, ch, func(ctx context.Context, c Controller) (peer.EnvelopeResult, peer.Code, error) {
		res, err := c.Envelope(ctx, e)
		return res, res.Code, err
	})
}

// Close drops the connection once the call in flight has ended. Later calls fail.
func (ch *Channel) Close() {
	if _, ok := <-ch.turn; ok {
		ch.drop()
		close(ch.turn)
	}
}

// call runs fn against the active controller until one answers.
func call[R any](
	ctx context.Context, ch *Channel, fn func(context.Context, Controller) (R, peer.Code, error),
) (R, error) {
	var zero R
	select {
	case _, ok := <-ch.turn:
		if !ok {
			return zero, fmt.Errorf("channel closed: %w", ErrNoController)
		}
	case <-ctx.Done():
		return zero, fmt.Errorf("%w: %w", ErrNoController, ctx.Err())
	}
	defer func() { ch.turn <- struct{}{} }()
	why := error(nil)
	for pause := ch.cfg.Retry / 16; ; pause = min(2*pause, ch.cfg.Retry) {
		res, code, err := attempt(ctx, ch, fn)
		if err == nil && code != peer.CodeNotController {
			return res, nil
		}
		ch.drop()
		if err == nil {
			err = fmt.Errorf("%s answered %s", ch.addr, code)
		}
		if why = err; ctx.Err() != nil {
			return zero, fmt.Errorf("%w: %w", ErrNoController, why)
		}
		select {
		case <-ctx.Done():
			return zero, fmt.Errorf("%w: %w", ErrNoController, why)
		case <-time.After(pause):
		}
	}
}

func attempt[R any](ctx context.Context, ch *Channel, fn func(context.Context, Controller) (R, peer.Code, error),
) (res R, code peer.Code, err error) {
	_, addr, ok := ch.cfg.Resolve()
	if !ok {
		return res, 0, errors.New("none is known")
	}
	ctx, cancel := context.WithTimeout(ctx, ch.cfg.Attempt)
	defer cancel()
	if ch.conn != nil && ch.addr != addr {
		ch.drop()
	}
	if ch.addr = addr; ch.conn == nil {
		conn, err := ch.cfg.Dial(ctx, addr)
		if err != nil {
			return res, 0, err
		}
		ch.conn = conn
	}
	return fn(ctx, ch.conn)
}

func (ch *Channel) drop() {
	if ch.conn != nil {
		_ = ch.conn.Close() // it is given up either way
		ch.conn = nil
	}
}
