package api

import (
	"context"

	"tidemark/internal/wire"
)

// RaftPeer takes the frames of other controllers; *quorum.Node is one.
type RaftPeer interface {
	// Handle answers one frame. It doesn't wait for other nodes.
	Handle(ctx context.Context, frame []byte) ([]byte, error)
}

// raftMessageAPI carries frames between controllers (key 10000, not
// advertised). What they mean is the quorum's affair; the listener gives them
// its security. Frames of one connection are handled in order.
type raftMessageAPI struct{ peer RaftPeer }

// RegisterRaftMessage adds the private key to a controller's listener.
func RegisterRaftMessage(h *Handlers, p RaftPeer) {
	a := &raftMessageAPI{peer: p}
	h.RegisterRaw(wire.KeyPrivate, a.handle)
}

func (a *raftMessageAPI) handle(c *Call) {
	out, err := a.peer.Handle(context.Background(), c.Body)
	if err != nil {
		c.Close(err)
		return
	}
	c.ReplyParts(wire.Part{Bytes: append(wire.AppendResponseHeader(nil, c.Header), out...)})
}
