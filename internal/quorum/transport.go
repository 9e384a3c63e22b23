package quorum

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// Links is the Transport over real connections. Bind it to its node, so that the
// node hears of broken ones.
type Links struct {
	o     peer.Options
	links *peer.RaftLinks

	mu    sync.Mutex
	node  *Node
	nodes map[string]model.BrokerID // by address
}

// NewLinks returns a Transport that connects as o says.
func NewLinks(o peer.Options) *Links {
	l := &Links{o: o, nodes: map[string]model.BrokerID{}}
	l.links = peer.NewRaftLinks(o, l.broken)
	return l
}

// Bind says which node hears of broken connections.
func (l *Links) Bind(n *Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.node = n
}

func (l *Links) broken(addr string) {
	l.mu.Lock()
	n := l.node
	id, ok := l.nodes[addr]
	l.mu.Unlock()
	if n != nil && ok {
		n.PeerBroken(id)
	}
}

// Call implements Transport.
func (l *Links) Call(ctx context.Context, to Peer, frame []byte) ([]byte, error) {
	addr := address(to.Endpoint)
	l.mu.Lock()
	l.nodes[addr] = to.Node
	l.mu.Unlock()
	return l.links.Call(ctx, addr, frame)
}

// Probe implements Transport.
func (l *Links) Probe(ctx context.Context, to Peer) error { return l.ProbeEndpoint(ctx, to.Endpoint) }

// ProbeEndpoint dials any listener; ErrRefused if nothing listens there.
func (l *Links) ProbeEndpoint(ctx context.Context, e metadata.Endpoint) error {
	err := peer.Probe(ctx, address(e), l.o)
	if errors.Is(err, peer.ErrRefused) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// Close breaks all connections.
func (l *Links) Close() { l.links.Close() }

func address(e metadata.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }
