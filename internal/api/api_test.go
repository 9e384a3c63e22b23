package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/server"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type view struct{ img *metadata.Image }

func (v view) Image() *metadata.Image { return v.img }

type creator struct{ asked chan []string }

func (c creator) CreateAsync(names []string) { c.asked <- names }

// serve starts a listener named CLIENT and returns a connection to it.
func serve(t *testing.T, h *Handlers) (*peer.Conn, string) {
	t.Helper()
	s, err := server.Listen(server.Config{
		Listener: "CLIENT", Address: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
	}, h)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(func() {
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	c, err := peer.Dial(ctx, s.Addr().String(), peer.Options{ClientID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, s.Addr().String()
}

// cluster has broker 1 (rack a), 2, fenced 3 and 4, which lacks the listener.
func cluster() *metadata.Image {
	img := metadata.Empty()
	img.Offset = 42
	for id := model.BrokerID(1); id <= 4; id++ {
		b := &metadata.Broker{ID: id, Fenced: id == 3, Dirs: []model.DirectoryID{{100, byte(id)}}}
		name := "CLIENT"
		if id == 4 {
			name = "OTHER"
		}
		b.Endpoints = []metadata.Endpoint{{Name: name, Host: fmt.Sprint("host", id), Port: uint16(9090 + id)}}
		img.Brokers[id] = b
	}
	img.Brokers[1].Rack, img.Brokers[1].HasRack = "a", true
	ids := func(v ...model.BrokerID) []model.BrokerID { return v }
	dirs := func(v ...model.BrokerID) (out []model.DirectoryID) {
		for _, id := range v {
			out = append(out, model.DirectoryID{100, byte(id)})
		}
		return out
	}
	part := func(leader model.BrokerID, replicas ...model.BrokerID) *metadata.Partition {
		return &metadata.Partition{Replicas: replicas, Dirs: dirs(replicas...), ISR: ids(replicas...), Leader: leader, LeaderEpoch: 5}
	}
	lost := part(1, 1, 2)
	lost.Dirs[1] = model.LostDir
	add := func(t *metadata.Topic) {
		img.Topics.ByName[t.Name], img.Topics.ByID[t.ID] = t, t
	}
	add(&metadata.Topic{Name: "t", ID: model.TopicID{1}, Partitions: []*metadata.Partition{
		part(1, 1, 2), part(2, 2, 3), part(3, 3, 1), part(4, 4, 1), part(model.NoBroker, 3), lost,
	}})
	add(&metadata.Topic{Name: "__consumer_offsets", ID: model.TopicID{2}, Partitions: []*metadata.Partition{part(2, 2)}})
	img.Controllers[9] = &metadata.Controller{ID: 9, Endpoints: []metadata.Endpoint{{Name: "CLIENT", Host: "c", Port: 1}}}
	return img
}

func metadataHandlers(c TopicCreator) *Handlers {
	h := New(Options{})
	v := view{cluster()}
	RegisterMetadata(h, 2, "cluster-id", v, c)
	RegisterDescribeCluster(h, 2, "cluster-id", v, nil)
	RegisterApiVersions(h, func() Features {
		return Features{
			Epoch:     42,
			Supported: []SupportedFeature{{"group.version", 0, 1}, {"metadata.version", 7, 25}},
			Finalized: []FinalizedFeature{{"metadata.version", 25}},
		}
	})
	return h
}

func ask[R kmsg.Response](t *testing.T, c *peer.Conn, req kmsg.Request, version int16) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	resp, err := c.DoVersion(ctx, req, version)
	if err != nil {
		t.Fatalf("%s v%d: %v", wire.APIName(req.Key()), version, err)
	}
	return resp.(R)
}

func TestApiVersionsListsWhatIsRegistered(t *testing.T) {
	c, _ := serve(t, metadataHandlers(nil))
	for v := int16(0); v <= 4; v++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "a-b.c", "1.2"
		resp := ask[*kmsg.ApiVersionsResponse](t, c, req, v)
		var got []string
		for _, k := range resp.ApiKeys {
			got = append(got, fmt.Sprintf("%d:%d-%d", k.ApiKey, k.MinVersion, k.MaxVersion))
		}
		if s := strings.Join(got, " "); s != "3:0-13 18:0-4 60:0-2" || resp.ErrorCode != 0 {
			t.Errorf("v%d: %s, error %d", v, s, resp.ErrorCode)
		}
		wantSupported, wantFinal := 0, 0
		switch v {
		case 3:
			wantSupported, wantFinal = 1, 1
		case 4:
			wantSupported, wantFinal = 2, 1
		}
		if len(resp.SupportedFeatures) != wantSupported || len(resp.FinalizedFeatures) != wantFinal {
			t.Errorf("v%d: features %+v %+v", v, resp.SupportedFeatures, resp.FinalizedFeatures)
		}
	}
	for _, name := range []string{"", "-a", "a b", "a\n", strings.Repeat("a", 3) + "-"} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = name, "1"
		if resp := ask[*kmsg.ApiVersionsResponse](t, c, req, 3); resp.ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("name %q: error %d", name, resp.ErrorCode)
		}
	}
}

// exchange writes a frame and returns everything that comes back.
func exchange(t *testing.T, addr string, frame []byte) []byte {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
	_ = nc.(*net.TCPConn).CloseWrite()
	got, _ := io.ReadAll(nc)
	return got
}

func TestApiVersionsOfTheFuture(t *testing.T) {
	_, addr := serve(t, metadataHandlers(nil))
	name := "me"
	frame := wire.AppendRequestHeader(nil, wire.Header{Key: 18, Version: 99, CorrelationID: 6, ClientID: &name})
	got := exchange(t, addr, append(frame, 1, 2, 3, 4))
	if len(got) < 8 || binary.BigEndian.Uint32(got[4:]) != 6 {
		t.Fatalf("%x", got)
	}
	resp, err := wire.DecodeResponse(18, 0, got[8:])
	if err != nil {
		t.Fatal(err)
	}
	r := resp.(*kmsg.ApiVersionsResponse)
	if r.ErrorCode != 35 || len(r.ApiKeys) != 1 || r.ApiKeys[0].ApiKey != 18 || r.ApiKeys[0].MaxVersion != 4 {
		t.Errorf("%+v", r)
	}
}

func TestBadRequestsCloseTheConnection(t *testing.T) {
	h := metadataHandlers(nil)
	called := make(chan struct{}, 100)
	h.Register(12, func(*Call) { called <- struct{}{} })
	c, addr := serve(t, h)
	header := func(key, version int16) []byte {
		return wire.AppendRequestHeader(nil, wire.Header{Key: key, Version: version})
	}
	for name, frame := range map[string][]byte{
		"not registered":    append(header(0, 9), make([]byte, 30)...),
		"unknown version":   append(header(3, 14), make([]byte, 30)...),
		"negative version":  header(3, -1),
		"garbage body":      append(header(3, 9), 0xff, 0xff, 0xff, 0xff, 0x0f),
		"truncated body":    append(header(12, 0), 0, 5, 'a'),
		"tag count 2^32":    append(header(3, 9), 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f),
		"private key":       append(header(wire.KeyPrivate, 0), 1),
		"a controller's":    append(header(62, 0), make([]byte, 50)...),
		"negative string":   append(header(12, 0), 0xff, 0xff, 0, 0, 0, 1, 0, 1, 'b'),
		"array of INT_MAX":  append(header(3, 1), 0x7f, 0xff, 0xff, 0xff),
		"unknown key":       append(header(12, 0)[:0], 0, 120, 0, 0, 0, 0, 0, 0, 0xff, 0xff),
		"header cut":        header(12, 0)[:9],
		"flexible header":   append(header(3, 9), 0x80),
		"metadata no topic": append(header(3, 9), 2),
	} {
		if got := exchange(t, addr, frame); len(got) > 0 {
			t.Errorf("%s: answered %x", name, got)
		}
	}
	if len(called) > 0 {
		t.Error("a handler saw a malformed request")
	}
	req := kmsg.NewPtrApiVersionsRequest()
	ask[*kmsg.ApiVersionsResponse](t, c, req, 0)
}

func TestMetadataOfAllTopicsInEveryVersion(t *testing.T) {
	c, _ := serve(t, metadataHandlers(nil))
	for v := int16(0); v <= 13; v++ {
		req := kmsg.NewPtrMetadataRequest()
		req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = true, true
		resp := ask[*kmsg.MetadataResponse](t, c, req, v)
		var brokers []string
		for _, b := range resp.Brokers {
			rack := "-"
			if b.Rack != nil {
				rack = *b.Rack
			}
			brokers = append(brokers, fmt.Sprintf("%d=%s:%d/%s", b.NodeID, b.Host, b.Port, rack))
		}
		want := "1=host1:9091/a 2=host2:9092/-"
		if v == 0 {
			want = "1=host1:9091/- 2=host2:9092/-"
		}
		if got := strings.Join(brokers, " "); got != want {
			t.Errorf("v%d: brokers %s", v, got)
		}
		if v >= 2 && *resp.ClusterID != "cluster-id" || v >= 1 && resp.ControllerID != 2 {
			t.Errorf("v%d: cluster %v controller %d", v, resp.ClusterID, resp.ControllerID)
		}
		if len(resp.Topics) != 2 || *resp.Topics[0].Topic != "__consumer_offsets" || v >= 1 && !resp.Topics[0].IsInternal {
			t.Fatalf("v%d: topics %+v", v, resp.Topics)
		}
		if v >= 10 && resp.Topics[1].TopicID != [16]byte{1} {
			t.Errorf("v%d: topic id %v", v, resp.Topics[1].TopicID)
		}
		if v >= 8 && resp.Topics[1].AuthorizedOperations != 3576 || v >= 8 && v <= 10 && resp.AuthorizedOperations != 8096 {
			t.Errorf("v%d: operations %d %d", v, resp.Topics[1].AuthorizedOperations, resp.AuthorizedOperations)
		}
	}
}

func TestMetadataOfPartitions(t *testing.T) {
	c, _ := serve(t, metadataHandlers(nil))
	type row struct {
		code     int16
		leader   int32
		replicas string
		isr      string
		offline  string
	}
	none := row{}
	tests := map[int16][]row{
		0: {
			{0, 1, "[1 2]", "[1 2]", "[]"},
			{9, 2, "[2]", "[2]", "[]"},
			{5, -1, "[1]", "[1]", "[]"}, none, none, none,
		},
		5: {
			none, none, {5, -1, "[3 1]", "[3 1]", "[3]"}, {5, -1, "[4 1]", "[4 1]", "[4]"}, none, none,
		},
		13: {
			{0, 1, "[1 2]", "[1 2]", "[]"},
			{0, 2, "[2 3]", "[2 3]", "[3]"},
			{72, -1, "[3 1]", "[3 1]", "[3]"},
			{72, -1, "[4 1]", "[4 1]", "[4]"},
			{5, -1, "[3]", "[3]", "[3]"},
			{0, 1, "[1 2]", "[1 2]", "[2]"}, // its directory is lost
		},
	}
	for v, rows := range tests {
		req := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr("t")
		req.Topics = append(req.Topics, topic, topic) // named twice, answered once
		resp := ask[*kmsg.MetadataResponse](t, c, req, v)
		if len(resp.Topics) != 1 {
			t.Fatalf("v%d: %d topics", v, len(resp.Topics))
		}
		for i, want := range rows {
			p := resp.Topics[0].Partitions[i]
			got := row{p.ErrorCode, p.Leader, fmt.Sprint(p.Replicas), fmt.Sprint(p.ISR), fmt.Sprint(p.OfflineReplicas)}
			if want != none && got != want {
				t.Errorf("v%d partition %d: %+v, want %+v", v, i, got, want)
			}
			if v >= 7 && p.LeaderEpoch != 5 {
				t.Errorf("v%d partition %d: epoch %d", v, i, p.LeaderEpoch)
			}
		}
	}
}

func TestMetadataOfATopicWithNeitherNameNorID(t *testing.T) {
	c, _ := serve(t, metadataHandlers(nil))
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{}}
	resp := ask[*kmsg.MetadataResponse](t, c, req, 12)
	if len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != kerr.UnknownTopicID.Code || len(resp.Brokers) == 0 {
		t.Fatalf("%+v", resp)
	}
}

func TestMetadataOfUnknownTopics(t *testing.T) {
	asked := make(chan []string, 10)
	c, _ := serve(t, metadataHandlers(creator{asked}))
	names := func(v ...string) *kmsg.MetadataRequest {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{}
		for _, n := range v {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = kmsg.StringPtr(n)
			req.Topics = append(req.Topics, topic)
		}
		return req
	}
	codes := func(resp *kmsg.MetadataResponse) (out []int16) {
		for _, topic := range resp.Topics {
			out = append(out, topic.ErrorCode)
		}
		return out
	}
	req := names("new", "t", "no/slash", "..", strings.Repeat("x", 250), "also-new")
	req.AllowAutoTopicCreation = true
	if got := codes(ask[*kmsg.MetadataResponse](t, c, req, 12)); !slices.Equal(got, []int16{3, 0, 17, 17, 17, 3}) {
		t.Errorf("codes %v", got)
	}
	if got := <-asked; !slices.Equal(got, []string{"new", "also-new"}) {
		t.Errorf("asked to create %q", got)
	}
	req.AllowAutoTopicCreation = false
	ask[*kmsg.MetadataResponse](t, c, req, 12)
	ask[*kmsg.MetadataResponse](t, c, names("old"), 3) // may not forbid it yet
	if got := <-asked; !slices.Equal(got, []string{"old"}) {
		t.Errorf("asked to create %q", got)
	}
	if resp := ask[*kmsg.MetadataResponse](t, c, names(), 1); len(resp.Topics) != 0 {
		t.Errorf("v1, no names: %d topics", len(resp.Topics))
	}
	if resp := ask[*kmsg.MetadataResponse](t, c, names(), 0); len(resp.Topics) != 2 {
		t.Errorf("v0, no names: %d topics", len(resp.Topics))
	}
}

func TestMetadataByTopicID(t *testing.T) {
	c, _ := serve(t, metadataHandlers(nil))
	req := kmsg.NewPtrMetadataRequest()
	for _, id := range []byte{1, 7} {
		topic := kmsg.NewMetadataRequestTopic()
		topic.TopicID = [16]byte{id}
		req.Topics = append(req.Topics, topic)
	}
	resp := ask[*kmsg.MetadataResponse](t, c, req, 12)
	if len(resp.Topics) != 2 || *resp.Topics[0].Topic != "t" || resp.Topics[1].ErrorCode != kerr.UnknownTopicID.Code ||
		resp.Topics[1].Topic != nil || resp.Topics[1].TopicID != [16]byte{7} {
		t.Errorf("%+v", resp.Topics)
	}
	for _, v := range []int16{10, 11} {
		resp := ask[*kmsg.MetadataResponse](t, c, req, v)
		if len(resp.Topics) != 2 || resp.Topics[0].ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("v%d: %+v", v, resp.Topics)
		}
	}
}

func TestDescribeCluster(t *testing.T) {
	broker, _ := serve(t, metadataHandlers(nil))
	h := New(Options{Controller: true})
	RegisterDescribeCluster(h, 9, "cluster-id", view{cluster()}, func() model.BrokerID { return 9 })
	RegisterApiVersions(h, nil)
	controller, _ := serve(t, h)
	tests := []struct {
		conn     *peer.Conn
		version  int16
		endpoint int8
		fenced   bool
		code     int16
		want     string
	}{
		{broker, 0, 1, false, 0, "2: 1 2"},
		{broker, 1, 1, false, 0, "2: 1 2"},
		{broker, 2, 1, false, 0, "2: 1 2"},
		{broker, 2, 1, true, 0, "2: 1 2 3*"},
		{broker, 2, 2, false, 114, "-1:"},
		{broker, 2, 7, false, 115, "-1:"},
		{controller, 2, 2, false, 0, "9: 9"},
		{controller, 2, 1, false, 114, "-1:"},
		{controller, 0, 1, false, 114, "-1:"},
	}
	for _, tt := range tests {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.EndpointType, req.IncludeFencedBrokers = tt.endpoint, tt.fenced
		resp := ask[*kmsg.DescribeClusterResponse](t, tt.conn, req, tt.version)
		got := fmt.Sprintf("%d:", resp.ControllerID)
		for _, b := range resp.Brokers {
			got += fmt.Sprintf(" %d", b.NodeID)
			if b.IsFenced {
				got += "*"
			}
		}
		if resp.ErrorCode != tt.code || got != tt.want || resp.ClusterID != "cluster-id" {
			t.Errorf("%+v: error %d, %s", tt, resp.ErrorCode, got)
		}
	}
}

func TestAuthoriseSeesEveryRequest(t *testing.T) {
	seen := make(chan string, 10)
	h := New(Options{
		Authorise: func(c *Call) error {
			seen <- wire.APIName(c.Header.Key) + " " + c.Principal
			if c.Header.Key == wire.KeyDescribeCluster {
				return kerr.ClusterAuthorizationFailed
			}
			return nil
		},
	})
	RegisterDescribeCluster(h, 2, "c", view{cluster()}, nil)
	RegisterApiVersions(h, nil)
	c, _ := serve(t, h)
	resp := ask[*kmsg.DescribeClusterResponse](t, c, kmsg.NewPtrDescribeClusterRequest(), 1)
	if resp.ErrorCode != 31 || len(resp.Brokers) != 0 {
		t.Errorf("%+v", resp)
	}
	for _, want := range []string{"ApiVersions User:ANONYMOUS", "DescribeCluster User:ANONYMOUS"} {
		if got := <-seen; got != want {
			t.Errorf("authorised %q, want %q", got, want)
		}
	}
}

func TestErrorCode(t *testing.T) {
	wrapped := fmt.Errorf("append at 5: %w", partition.ErrNotEnoughReplicas)
	for err, want := range map[error]int16{
		nil:                                 0,
		wrapped:                             19,
		partition.ErrFencedEpoch:            74,
		kerr.TopicAuthorizationFailed:       29,
		errors.New("something else"):        -1,
		fmt.Errorf("%w", io.EOF):            -1,
		fmt.Errorf("%w", wire.ErrMalformed): 42,
	} {
		if got := ErrorCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
