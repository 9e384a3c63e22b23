package observer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// The values that a Source exchanges. They are peer's, since a remote source
// is a connection to a controller.
type (
	MetadataFetch       = peer.MetadataFetch
	MetadataFetchResult = peer.MetadataFetchResult
	SnapshotFetch       = peer.SnapshotFetch
	SnapshotChunk       = peer.SnapshotChunk
	SnapshotID          = peer.SnapshotID
	EpochOffset         = peer.EpochOffset
	QuorumLeader        = peer.QuorumLeader
)

// Source is where an observer reads the metadata log: the controllers over the
// network, or on a node with the controller role the local materialised log,
// which answers whether or not that controller leads. It is called by one
// goroutine. An error means that nobody answered; a refusal is a Code.
type Source interface {
	Fetch(context.Context, MetadataFetch) (MetadataFetchResult, error)
	FetchSnapshot(context.Context, SnapshotFetch) (SnapshotChunk, error)
}

// MetadataPeer is one connection to a controller; *peer.Conn implements it.
type MetadataPeer interface {
	MetadataFetch(context.Context, MetadataFetch) (MetadataFetchResult, error)
	FetchSnapshot(context.Context, SnapshotFetch) (SnapshotChunk, error)
	Close() error
}

// RemoteConfig configures a Remote.
type RemoteConfig struct {
	// Servers are asked in turn while no leader is known:
	// controller.quorum.bootstrap.servers, or the addresses of the static voters.
	Servers []string
	// VoterAddress finds a leader that an answer names without an endpoint.
	VoterAddress func(model.BrokerID) (addr string, ok bool)
	Dial         func(ctx context.Context, addr string) (MetadataPeer, error)
	Timeout      time.Duration // for one request, dialing included; 2 s
}

// Remote reads from the controllers: from the leader once an answer has named
// it, else from one server after the other.
type Remote struct {
	cfg    RemoteConfig
	turn   int    // of cfg.Servers
	leader string // "" while unknown
	conn   MetadataPeer
	addr   string // of conn
}

// NewRemote returns a source that connects on its first call.
func NewRemote(cfg RemoteConfig) *Remote {
	cfg.Timeout = orDefault(cfg.Timeout, 2*time.Second)
	return &Remote{cfg: cfg}
}

// Fetch asks the leader, or a server that may know it.
func (r *Remote) Fetch(ctx context.Context, f MetadataFetch) (MetadataFetchResult, error) {
	res, err := ask(ctx, r, func(ctx context.Context, p MetadataPeer) (MetadataFetchResult, error) {
		return p.MetadataFetch(ctx, f)
	})
	if err == nil {
		r.follow(res.Code, res.Leader)
	}
	return res, err
}

// FetchSnapshot asks whom Fetch asked last.
func (r *Remote) FetchSnapshot(ctx context.Context, f SnapshotFetch) (SnapshotChunk, error) {
	res, err := ask(ctx, r, func(ctx context.Context, p MetadataPeer) (SnapshotChunk, error) {
		return p.FetchSnapshot(ctx, f)
	})
	if err == nil {
		r.follow(res.Code, res.Leader)
	}
	return res, err
}

// Close drops the connection.
func (r *Remote) Close() {
	if r.conn != nil {
		_ = r.conn.Close() // given up either way
		r.conn = nil
	}
}

func ask[R any](ctx context.Context, r *Remote, fn func(context.Context, MetadataPeer) (R, error)) (R, error) {
	var zero R
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	if err := r.connect(ctx); err != nil {
		r.lost()
		return zero, err
	}
	res, err := fn(ctx, r.conn)
	if err != nil {
		err = fmt.Errorf("controller %s: %w", r.addr, err)
		r.lost()
	}
	return res, err
}

func (r *Remote) connect(ctx context.Context) error {
	want := r.leader
	if want == "" {
		if len(r.cfg.Servers) == 0 {
			return errors.New("no controller address is configured")
		}
		want = r.cfg.Servers[r.turn%len(r.cfg.Servers)]
	}
	if r.conn != nil && r.addr == want {
		return nil
	}
	r.Close()
	r.addr = want
	conn, err := r.cfg.Dial(ctx, want)
	if err != nil {
		return fmt.Errorf("controller %s: %w", want, err)
	}
	r.conn = conn
	return nil
}

// lost gives up the connection and goes on with the next server.
func (r *Remote) lost() {
	r.Close()
	r.leader = ""
	r.turn++
}

// follow takes the leader that an answer names.
func (r *Remote) follow(code peer.Code, l QuorumLeader) {
	addr := l.Address
	if addr == "" && l.ID >= 0 {
		addr, _ = r.cfg.VoterAddress(l.ID)
	}
	switch {
	case addr != "":
		r.leader = addr
	case code != peer.CodeNone: // it neither leads nor knows who does
		r.leader = ""
		r.turn++
	}
}
