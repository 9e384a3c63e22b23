package api

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/peer"
	"tidemark/internal/quorum"
	"tidemark/internal/server"
	"tidemark/internal/vfs"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// controllerNode is a controller on a loopback port.
type controllerNode struct {
	id    model.BrokerID
	addr  string
	srv   *server.Server
	h     *Handlers
	links *quorum.Links
	node  *quorum.Node
	views chan quorum.View
	once  sync.Once
}

func startControllers(t *testing.T, size int) []*controllerNode {
	t.Helper()
	var all []*controllerNode
	var voters []quorum.Voter
	for i := range size {
		c := &controllerNode{id: model.BrokerID(i + 1), h: New(Options{Controller: true}), views: make(chan quorum.View, 1000)}
		srv, err := server.Listen(server.Config{Listener: "CONTROLLER", Address: "127.0.0.1:0"}, c.h)
		if err != nil {
			t.Fatal(err)
		}
		c.srv, c.addr = srv, srv.Addr().String()
		port := srv.Addr().(*net.TCPAddr).Port
		voters = append(voters, quorum.Voter{ID: c.id,
			Endpoint: metadata.Endpoint{Name: "CONTROLLER", Host: "127.0.0.1", Port: uint16(port)}})
		all = append(all, c)
	}
	for i, c := range all {
		c.links = quorum.NewLinks(peer.Options{ClientID: "quorum"})
		n, err := quorum.Open(quorum.Config{
			NodeID: c.id, DirectoryID: model.DirectoryID{0: 9, 15: byte(i)}, ClusterID: "c", Dir: t.TempDir() + "/__cluster_metadata-0",
			FS: vfs.OS, Voters: voters, Transport: c.links, Endpoint: voters[i].Endpoint,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.node = n
		c.links.Bind(n)
		n.OnLeadership(func(v quorum.View) { c.views <- v })
		RegisterFetchMetadata(c.h, n)
		RegisterFetchSnapshot(c.h, n)
		RegisterDescribeQuorum(c.h, n)
		RegisterRaftMessage(c.h, n)
		RegisterEnvelope(c.h)
		RegisterApiVersions(c.h, nil)
		c.srv.Start()
		n.Start()
		t.Cleanup(func() { c.kill(); _ = n.Close() })
	}
	return all
}

// kill drops the listener and all connections first, as the end of a process does.
func (c *controllerNode) kill() {
	c.once.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.srv.Shutdown(ctx)
		c.links.Close()
	})
}

// awaitLeader returns the node that serves, in an epoch above after.
func awaitLeader(t *testing.T, all []*controllerNode, after model.LeaderEpoch) *controllerNode {
	t.Helper()
	found := make(chan *controllerNode, len(all))
	stop := make(chan struct{})
	defer close(stop)
	for _, c := range all {
		go func() {
			for {
				select {
				case v := <-c.views:
					if v.Ready && v.Epoch > after {
						found <- c
						return
					}
				case <-stop:
					return
				}
			}
		}()
	}
	select {
	case c := <-found:
		return c
	case <-time.After(20 * time.Second):
		t.Fatal("no leader")
		return nil
	}
}

func dial(t *testing.T, addr string) *peer.Conn {
	t.Helper()
	c, err := peer.Dial(t.Context(), addr, peer.Options{ClientID: "raft-client-10"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Three controllers over TCP elect; an observer finds the leader from any of
// them, follows the log, and sees the next leader soon after the first is gone.
func TestControllersServeObservers(t *testing.T) {
	all := startControllers(t, 3)
	l := awaitLeader(t, all, 0)
	epoch := l.node.View().Epoch
	for _, c := range all {
		r, err := dial(t, c.addr).MetadataFetch(t.Context(), peer.MetadataFetch{ClusterID: "c", Replica: 10, MaxBytes: 1 << 20})
		if err != nil || int16(r.Code) != kerr.FencedLeaderEpoch.Code {
			t.Fatalf("first contact with %d: %+v %v", c.id, r, err)
		}
		if r.Leader.ID != model.NoBroker && (r.Leader.ID != l.id || r.Leader.Address != l.addr) {
			t.Fatalf("node %d names %+v, the leader is %d at %s", c.id, r.Leader, l.id, l.addr)
		}
	}
	conn := dial(t, l.addr)
	at := peer.MetadataFetch{ClusterID: "c", Replica: 10, CurrentEpoch: epoch, MaxBytes: 1 << 20, HighWatermark: model.NoOffset}
	r, err := conn.MetadataFetch(t.Context(), at)
	if err != nil || r.Code != 0 || len(r.Records) == 0 || r.HighWatermark < 3 {
		t.Fatalf("%+v %v", r, err)
	}
	d, err := conn.Do(t.Context(), describeRequest())
	if err != nil {
		t.Fatal(err)
	}
	if p := d.(*kmsg.DescribeQuorumResponse).Topics[0].Partitions[0]; p.LeaderID != int32(l.id) ||
		len(p.CurrentVoters) != 3 || len(p.Observers) != 1 {
		t.Fatalf("%+v", p)
	}
	begin := time.Now()
	l.kill()
	var rest []*controllerNode
	for _, c := range all {
		if c != l {
			rest = append(rest, c)
		}
	}
	next := awaitLeader(t, rest, epoch)
	took := time.Since(begin)
	t.Logf("new leader %d after %v", next.id, took)
	if took > 3*time.Second {
		t.Errorf("%v without a leader", took)
	}
}

func describeRequest() *kmsg.DescribeQuorumRequest {
	req := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = model.MetadataTopic
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	return req
}

// An envelope runs what is inside and returns its bytes; what can't run is
// refused with the envelope's own code.
func TestEnvelope(t *testing.T) {
	all := startControllers(t, 1)
	l := awaitLeader(t, all, 0)
	conn := dial(t, l.addr)
	inner := describeRequest()
	inner.SetVersion(2)
	data := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client")).AppendRequest(nil, inner, 77)[4:]
	principal := kmsg.NewDefaultPrincipalData()
	principal.Type, principal.Name = "User", "alice"
	who := principal.AppendTo(nil) // begins with its version
	for _, x := range []struct {
		what      string
		data, who []byte
		host      []byte
		code      int16
	}{
		{"describe quorum", data, who, []byte{127, 0, 0, 1}, 0},
		{"address of 3 bytes", data, who, []byte{1, 2, 3}, kerr.InvalidRequest.Code},
		{"no principal", data, nil, []byte{127, 0, 0, 1}, kerr.PrincipalDeserializationFailure.Code},
		{"cut short", data[:len(data)-3], who, []byte{127, 0, 0, 1}, kerr.UnsupportedVersion.Code},
		{"fetch isn't forwarded", append([]byte{0, 1}, data[2:]...), who, []byte{127, 0, 0, 1}, kerr.InvalidRequest.Code},
	} {
		req := kmsg.NewPtrEnvelopeRequest()
		req.RequestData, req.RequestPrincipal, req.ClientHostAddress = x.data, x.who, x.host
		out, err := conn.Do(t.Context(), req)
		if err != nil {
			t.Fatalf("%s: %v", x.what, err)
		}
		resp := out.(*kmsg.EnvelopeResponse)
		if resp.ErrorCode != x.code {
			t.Fatalf("%s: code %d, want %d", x.what, resp.ErrorCode, x.code)
		}
		if x.code == 0 {
			d := kmsg.NewPtrDescribeQuorumResponse()
			d.SetVersion(2)
			if err := d.ReadFrom(resp.ResponseData[5:]); err != nil || d.Topics[0].Partitions[0].LeaderID != 1 {
				t.Fatalf("%s: %v %+v", x.what, err, d)
			}
		}
	}
}
