package api

import (
	"context"
	"testing"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/quorum"
	"tidemark/internal/server"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type emptyLog struct{}

func (emptyLog) Fetch(context.Context, quorum.MetadataFetch) quorum.MetadataFetchResult {
	return quorum.MetadataFetchResult{}
}

func (emptyLog) FetchSnapshot(quorum.SnapshotFetch) quorum.SnapshotFetchResult {
	return quorum.SnapshotFetchResult{}
}

// A new active controller hears a broker's fetches of the metadata log long
// before its first heartbeat: that connection counts, and the last one tells.
func TestFetchOfMetadataShowsTheBroker(t *testing.T) {
	gone := make(chan model.BrokerID, 10)
	h := New(Options{Controller: true, Admit: NewBrokerConns(func(id model.BrokerID) { gone <- id }).Admit})
	RegisterFetchMetadata(h, emptyLog{})
	RegisterApiVersions(h, nil)
	srv, err := server.Listen(server.Config{Listener: "CONTROLLER", Address: "127.0.0.1:0"}, h)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { _ = srv.Shutdown(t.Context()) })

	stranger := dial(t, srv.Addr().String())
	if _, err := stranger.Do(t.Context(), kmsg.NewPtrFetchRequest()); err != nil { // names no partition
		t.Fatal(err)
	}
	first, second := dial(t, srv.Addr().String()), dial(t, srv.Addr().String())
	for _, c := range []*peer.Conn{first, second} {
		if _, err := c.MetadataFetch(t.Context(), peer.MetadataFetch{Replica: 11}); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = stranger.Close(), first.Close()
	_ = second.Close()
	select {
	case id := <-gone:
		if id != 11 {
			t.Errorf("broker %d is gone, want 11", id)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody noticed")
	}
	select {
	case id := <-gone:
		t.Errorf("told twice, of %d", id)
	default:
	}
}
