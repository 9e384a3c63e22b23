package api

import (
	"sync"

	"tidemark/internal/model"
	"tidemark/internal/server"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BrokerConns knows which connections of a controller's listener belong to
// which broker, and tells when the last one of a broker has broken: the process
// may be gone, long before its session ends. Safe for concurrent use.
type BrokerConns struct {
	gone func(model.BrokerID)

	mu    sync.Mutex
	owner map[*server.Conn]model.BrokerID
	open  map[model.BrokerID]int
}

// NewBrokerConns returns an empty set; gone is called from a goroutine of its own.
func NewBrokerConns(gone func(model.BrokerID)) *BrokerConns {
	return &BrokerConns{gone: gone, owner: map[*server.Conn]model.BrokerID{}, open: map[model.BrokerID]int{}}
}

// Admit notes who sends, and lets everything pass; it fits Options.Admit.
func (b *BrokerConns) Admit(c *Call) error {
	switch req := c.Msg.(type) {
	case *kmsg.BrokerHeartbeatRequest:
		b.note(c.Req.Conn, model.BrokerID(req.BrokerID))
	case *kmsg.BrokerRegistrationRequest:
		b.note(c.Req.Conn, model.BrokerID(req.BrokerID))
	case *kmsg.AlterPartitionRequest:
		b.note(c.Req.Conn, model.BrokerID(req.BrokerID))
	case *kmsg.FetchRequest: // of the metadata log; the first thing that a new controller hears
		if isMetadataFetch(req) {
			if id := metadataFetch(req).Replica; id >= 0 {
				b.note(c.Req.Conn, id)
			}
		}
	}
	return nil
}

func (b *BrokerConns) note(c *server.Conn, id model.BrokerID) {
	b.mu.Lock()
	_, known := b.owner[c]
	if !known {
		b.owner[c] = id
		b.open[id]++
	}
	b.mu.Unlock()
	if !known {
		go func() {
			<-c.Done()
			b.forget(c, id)
		}()
	}
}

func (b *BrokerConns) forget(c *server.Conn, id model.BrokerID) {
	b.mu.Lock()
	delete(b.owner, c)
	b.open[id]--
	last := b.open[id] == 0
	if last {
		delete(b.open, id)
	}
	b.mu.Unlock()
	if last {
		b.gone(id)
	}
}
