package api

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tidemark/internal/coordinator"
	"tidemark/internal/group"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/peer"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupLog commits at once, or refuses.
type groupLog struct {
	mu     sync.Mutex
	end    model.Offset
	refuse error
}

func (l *groupLog) Scan(func(record.Batch) error) (model.Offset, error) { return 0, nil }

func (l *groupLog) Append(b record.Batch, epoch model.LeaderEpoch, _ *purgatory.Ready) (coordinator.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return coordinator.Position{}, l.refuse
	}
	b.Stamp(l.end, epoch)
	l.end = b.NextOffset()
	return coordinator.Position{Epoch: epoch, Last: b.LastOffset()}, nil
}

func (l *groupLog) Await(_ coordinator.Position, ready *purgatory.Ready, done func(error)) {
	ready.Add(committedNow(func() { done(nil) }))
}

type committedNow func()

func (c committedNow) Complete() { c() }

func (l *groupLog) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = err
}

type oneBlock struct {
	next model.ProducerID
	err  error
}

func (o *oneBlock) Next(reply func(model.ProducerID, error)) {
	o.next++
	reply(o.next, o.err)
}

// groupServer serves groups over the image of cluster().
func groupServer(t *testing.T) (*peer.Conn, *groupLog, creator) {
	t.Helper()
	h := New(Options{})
	v, made := view{cluster()}, creator{make(chan []string, 1)}
	cfg := group.DefaultConfig()
	cfg.InitialRebalanceDelay = 0
	c := coordinator.New(coordinator.Config{Groups: cfg, Image: v.Image})
	t.Cleanup(c.Close)
	log := &groupLog{}
	c.Lead(0, 1, log)
	for deadline := time.After(10 * time.Second); c.Stats().Loading > 0; {
		select {
		case <-deadline:
			t.Fatal("not loaded")
		case <-time.After(time.Millisecond):
		}
	}
	RegisterGroups(h, c, v, made)
	RegisterInitProducerID(h, &oneBlock{next: 99})
	RegisterApiVersions(h, func() Features { return Features{} })
	conn, _ := serve(t, h)
	return conn, log, made
}

func wantCode(t *testing.T, what string, got int16, want *kerr.Error) {
	t.Helper()
	code := int16(0)
	if want != nil {
		code = want.Code
	}
	if got != code {
		t.Errorf("%s: %v, want %v", what, kerr.ErrorForCode(got), kerr.ErrorForCode(code))
	}
}

// joinAs joins group id with a JoinGroup of one version and returns the answer
// after the second step, if the version has one.
func joinAs(t *testing.T, c *peer.Conn, id string, v int16) *kmsg.JoinGroupResponse {
	t.Helper()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = id, 10000, 10000, "consumer"
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0}}}
	resp := ask[*kmsg.JoinGroupResponse](t, c, req, v)
	if v >= 4 {
		wantCode(t, fmt.Sprintf("first JoinGroup v%d", v), resp.ErrorCode, kerr.MemberIDRequired)
		req.MemberID = resp.MemberID
		resp = ask[*kmsg.JoinGroupResponse](t, c, req, v)
	}
	return resp
}

func TestMembershipInEveryVersion(t *testing.T) {
	c, _, _ := groupServer(t)
	for v := int16(0); v <= 9; v++ {
		id := fmt.Sprint("g", v)
		j := joinAs(t, c, id, v)
		if j.ErrorCode != 0 || j.Generation != 1 || j.LeaderID != j.MemberID || len(j.Members) != 1 || *j.Protocol != "range" {
			t.Fatalf("JoinGroup v%d: %+v", v, j)
		}
		if (j.ProtocolType != nil) != (v >= 7) {
			t.Errorf("JoinGroup v%d: protocol type %v", v, j.ProtocolType)
		}
		s := kmsg.NewPtrSyncGroupRequest()
		s.Group, s.Generation, s.MemberID = id, 1, j.MemberID
		s.ProtocolType, s.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		s.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: j.MemberID, MemberAssignment: []byte("all")}}
		sv := min(v, 5)
		if r := ask[*kmsg.SyncGroupResponse](t, c, s, sv); r.ErrorCode != 0 || string(r.MemberAssignment) != "all" {
			t.Fatalf("SyncGroup v%d: %+v", sv, r)
		}
		h := kmsg.NewPtrHeartbeatRequest()
		h.Group, h.Generation, h.MemberID = id, 1, j.MemberID
		wantCode(t, "Heartbeat", ask[*kmsg.HeartbeatResponse](t, c, h, min(v, 4)).ErrorCode, nil)
		h.Generation = 2
		wantCode(t, "Heartbeat of the future", ask[*kmsg.HeartbeatResponse](t, c, h, min(v, 4)).ErrorCode, kerr.IllegalGeneration)
		describeStable(t, c, id, min(v, 6))
		leave(t, c, id, j.MemberID, min(v, 5))
	}
}

func describeStable(t *testing.T, c *peer.Conn, id string, v int16) {
	t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups, req.IncludeAuthorizedOperations = []string{id, "nobody"}, true
	r := ask[*kmsg.DescribeGroupsResponse](t, c, req, v)
	g := r.Groups[0]
	if g.State != "Stable" || g.Protocol != "range" || len(g.Members) != 1 || string(g.Members[0].MemberAssignment) != "all" ||
		g.Members[0].ClientHost != "/127.0.0.1" || g.Members[0].ClientID != "test" {
		t.Fatalf("DescribeGroups v%d: %+v", v, g)
	}
	if v >= 3 && g.AuthorizedOperations != groupOperations {
		t.Errorf("DescribeGroups v%d: operations %d", v, g.AuthorizedOperations)
	}
	no := r.Groups[1]
	want := (*kerr.Error)(nil)
	if v >= 6 {
		want = kerr.GroupIDNotFound
	}
	wantCode(t, fmt.Sprintf("DescribeGroups v%d of nothing", v), no.ErrorCode, want)
	if no.State != "Dead" || (no.ErrorMessage != nil) != (v >= 6) {
		t.Errorf("DescribeGroups v%d of nothing: %+v", v, no)
	}
}

func leave(t *testing.T, c *peer.Conn, id, member string, v int16) {
	t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = id, "stranger"
	req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "stranger"}, {MemberID: member}}
	r := ask[*kmsg.LeaveGroupResponse](t, c, req, v)
	if v < 3 {
		wantCode(t, "LeaveGroup of a stranger", r.ErrorCode, kerr.UnknownMemberID)
		req.MemberID = member
		wantCode(t, "LeaveGroup", ask[*kmsg.LeaveGroupResponse](t, c, req, v).ErrorCode, nil)
		return
	}
	wantCode(t, "LeaveGroup", r.ErrorCode, nil)
	wantCode(t, "LeaveGroup of a stranger", r.Members[0].ErrorCode, kerr.UnknownMemberID)
	wantCode(t, "LeaveGroup of a member", r.Members[1].ErrorCode, nil)
}

func TestOffsetsInEveryVersion(t *testing.T) {
	c, _, _ := groupServer(t)
	for v := int16(2); v <= 10; v++ {
		id := fmt.Sprint("o", v)
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation = id, -1
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic, topic.TopicID = "t", model.TopicID{1}
		for _, p := range []int32{0, 1, 77} {
			tp := kmsg.NewOffsetCommitRequestTopicPartition()
			tp.Partition, tp.Offset, tp.LeaderEpoch, tp.Metadata = p, 100+int64(p), 3, kmsg.StringPtr("note")
			topic.Partitions = append(topic.Partitions, tp)
		}
		unknown := kmsg.NewOffsetCommitRequestTopic()
		unknown.Topic, unknown.TopicID, unknown.Partitions = "nope", model.TopicID{9}, topic.Partitions[:1]
		req.Topics = []kmsg.OffsetCommitRequestTopic{topic, unknown}
		r := ask[*kmsg.OffsetCommitResponse](t, c, req, v)
		wantCode(t, "commit", r.Topics[0].Partitions[0].ErrorCode, nil)
		wantCode(t, "commit", r.Topics[0].Partitions[1].ErrorCode, nil)
		wantCode(t, "commit to no partition", r.Topics[0].Partitions[2].ErrorCode, kerr.UnknownTopicOrPartition)
		no := kerr.UnknownTopicOrPartition
		if v >= 10 {
			no = kerr.UnknownTopicID
		}
		wantCode(t, "commit to no topic", r.Topics[1].Partitions[0].ErrorCode, no)
		req.Group, req.Generation, req.MemberID = id+"-none", 5, "m"
		want := kerr.IllegalGeneration
		if v >= 9 {
			want = kerr.GroupIDNotFound
		}
		wantCode(t, fmt.Sprintf("commit v%d of a member of nothing", v),
			ask[*kmsg.OffsetCommitResponse](t, c, req, v).Topics[0].Partitions[0].ErrorCode, want)
		for fv := int16(1); fv <= 10; fv++ {
			fetchOffsets(t, c, id, fv)
		}
	}
}

func fetchOffsets(t *testing.T, c *peer.Conn, id string, v int16) {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = id
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{1, 2}}}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = id
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{
		{Topic: "t", TopicID: model.TopicID{1}, Partitions: []int32{1, 2}}, {Topic: "nope", TopicID: model.TopicID{9}, Partitions: []int32{0}},
	}
	req.Groups = []kmsg.OffsetFetchRequestGroup{g}
	r := ask[*kmsg.OffsetFetchResponse](t, c, req, v)
	var got []string
	for _, x := range r.Topics {
		for _, p := range x.Partitions {
			got = append(got, fmt.Sprint(x.Topic, p.Partition, p.Offset, *p.Metadata, p.ErrorCode))
		}
	}
	for _, rg := range r.Groups {
		for _, x := range rg.Topics {
			for _, p := range x.Partitions {
				got = append(got, fmt.Sprint(x.Topic, x.TopicID[0], p.Partition, p.Offset, *p.Metadata, p.ErrorCode))
			}
		}
	}
	want := []string{"t1 101note0", "t2 -10"}
	switch {
	case v >= 10:
		want = []string{"1 1 101note0", "1 2 -10", "9 0 -1100"}
	case v >= 8:
		want = []string{"t0 1 101note0", "t0 2 -10", "nope0 0 -10"}
	}
	if !slices.Equal(got, want) {
		t.Errorf("OffsetFetch v%d: %q, want %q", v, got, want)
	}
	if v < 2 {
		return
	}
	req.Topics, req.Groups[0].Topics = nil, nil
	r = ask[*kmsg.OffsetFetchResponse](t, c, req, v)
	n := 0
	for _, x := range r.Topics {
		n += len(x.Partitions)
	}
	for _, rg := range r.Groups {
		for _, x := range rg.Topics {
			n += len(x.Partitions)
		}
	}
	if n != 2 {
		t.Errorf("OffsetFetch v%d of all: %d offsets", v, n)
	}
}

func TestFindCoordinator(t *testing.T) {
	c, _, made := groupServer(t)
	for v := int16(0); v <= 6; v++ {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g", "h"}
		r := ask[*kmsg.FindCoordinatorResponse](t, c, req, v)
		node, host, port, code := r.NodeID, r.Host, r.Port, r.ErrorCode
		if v >= 4 {
			x := r.Coordinators[1]
			node, host, port, code = x.NodeID, x.Host, x.Port, x.ErrorCode
			if len(r.Coordinators) != 2 || x.Key != "h" {
				t.Errorf("v%d: %+v", v, r)
			}
		}
		if node != 2 || host != "host2" || port != 9092 || code != 0 {
			t.Errorf("v%d: %d %s:%d, code %d", v, node, host, port, code)
		}
		for kind, want := range map[int8]*kerr.Error{1: kerr.UnsupportedVersion, 2: kerr.InvalidRequest} {
			if v == 0 {
				break
			}
			req.CoordinatorType = kind
			r := ask[*kmsg.FindCoordinatorResponse](t, c, req, v)
			if code = r.ErrorCode; v >= 4 {
				code = r.Coordinators[0].ErrorCode
			}
			wantCode(t, fmt.Sprintf("kind %d v%d", kind, v), code, want)
		}
	}
	if len(made.asked) != 0 {
		t.Error("the topic exists, and was created")
	}
}

func TestFindCoordinatorCreatesTheTopic(t *testing.T) {
	img, made := cluster(), creator{make(chan []string, 1)}
	delete(img.Topics.ByName, group.OffsetsTopic)
	a := findCoordinatorAPI{view{img}, made}
	wantCode(t, "no topic", a.find("CLIENT", 0, "g").ErrorCode, kerr.CoordinatorNotAvailable)
	if got := <-made.asked; !slices.Equal(got, []string{group.OffsetsTopic}) {
		t.Fatalf("created %v", got)
	}
	img = cluster()
	p := img.Topics.ByName[group.OffsetsTopic].Partitions[0]
	for _, leader := range []model.BrokerID{model.NoBroker, 3, 4, 77} { // none, fenced, without the listener, unknown
		p.Leader = leader
		r := (&findCoordinatorAPI{view{img}, made}).find("CLIENT", 0, "g")
		wantCode(t, fmt.Sprint("leader ", leader), r.ErrorCode, kerr.CoordinatorNotAvailable)
		if r.NodeID != -1 || r.Port != -1 || r.Host != "" {
			t.Errorf("leader %d: %+v", leader, r)
		}
	}
}

func TestListAndDeleteGroups(t *testing.T) {
	c, log, _ := groupServer(t)
	commit := func(id string) {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation = id, -1
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}}}
		wantCode(t, "commit", ask[*kmsg.OffsetCommitResponse](t, c, req, 8).Topics[0].Partitions[0].ErrorCode, nil)
	}
	commit("empty")
	joinAs(t, c, "busy", 9)
	for v := int16(0); v <= 5; v++ {
		req := kmsg.NewPtrListGroupsRequest()
		r := ask[*kmsg.ListGroupsResponse](t, c, req, v)
		if len(r.Groups) != 2 || r.Groups[0].Group != "busy" || r.Groups[0].ProtocolType != "consumer" || r.Groups[1].Group != "empty" {
			t.Errorf("v%d: %+v", v, r.Groups)
		}
		if v >= 5 && r.Groups[0].GroupType != "classic" || v >= 4 && r.Groups[0].GroupState != "CompletingRebalance" {
			t.Errorf("v%d: %+v", v, r.Groups[0])
		}
		if v < 4 {
			continue
		}
		req.StatesFilter = []string{"empty"}
		if r := ask[*kmsg.ListGroupsResponse](t, c, req, v); len(r.Groups) != 1 || r.Groups[0].Group != "empty" {
			t.Errorf("v%d, empty ones: %+v", v, r.Groups)
		}
	}
	od := kmsg.NewPtrOffsetDeleteRequest()
	od.Group = "nobody"
	od.Topics = []kmsg.OffsetDeleteRequestTopic{
		{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
		{Topic: "nope", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
	}
	wantCode(t, "OffsetDelete of no group", ask[*kmsg.OffsetDeleteResponse](t, c, od, 0).ErrorCode, kerr.GroupIDNotFound)
	od.Group = "empty"
	r := ask[*kmsg.OffsetDeleteResponse](t, c, od, 0)
	wantCode(t, "OffsetDelete", r.Topics[0].Partitions[0].ErrorCode, nil)
	wantCode(t, "OffsetDelete of no topic", r.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	for v := int16(0); v <= 2; v++ {
		commit("empty")
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{"empty", "busy", "nobody"}
		log.set(fmt.Errorf("x: %w", partition.ErrNotEnoughReplicas))
		wantCode(t, "DeleteGroups under min ISR", ask[*kmsg.DeleteGroupsResponse](t, c, req, v).Groups[0].ErrorCode, kerr.CoordinatorNotAvailable)
		log.set(nil)
		g := ask[*kmsg.DeleteGroupsResponse](t, c, req, v).Groups
		wantCode(t, "DeleteGroups", g[0].ErrorCode, nil)
		wantCode(t, "DeleteGroups with members", g[1].ErrorCode, kerr.NonEmptyGroup)
		wantCode(t, "DeleteGroups of nothing", g[2].ErrorCode, kerr.GroupIDNotFound)
	}
	wantCode(t, "DeleteGroups", int16(len(ask[*kmsg.DeleteGroupsResponse](t, c, kmsg.NewPtrDeleteGroupsRequest(), 2).Groups)), nil)
}

func TestRefusals(t *testing.T) {
	c, log, _ := groupServer(t)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.SessionTimeoutMillis, join.ProtocolType = "g", 10, "consumer"
	wantCode(t, "short session", ask[*kmsg.JoinGroupResponse](t, c, join, 9).ErrorCode, kerr.InvalidSessionTimeout)
	join.Group = ""
	wantCode(t, "no group id", ask[*kmsg.JoinGroupResponse](t, c, join, 9).ErrorCode, kerr.InvalidGroupID)
	join.Group, join.SessionTimeoutMillis = "g", 10000
	wantCode(t, "no protocols", ask[*kmsg.JoinGroupResponse](t, c, join, 9).ErrorCode, kerr.InconsistentGroupProtocol)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group = "g"
	wantCode(t, "no protocol in v5", ask[*kmsg.SyncGroupResponse](t, c, sync, 5).ErrorCode, kerr.InconsistentGroupProtocol)
	wantCode(t, "sync of a stranger", ask[*kmsg.SyncGroupResponse](t, c, sync, 4).ErrorCode, kerr.UnknownMemberID)
	for _, tc := range []struct {
		err  error
		want *kerr.Error
	}{
		{partition.ErrNotEnoughReplicas, kerr.CoordinatorNotAvailable},
		{partition.ErrNotLeader, kerr.NotCoordinator},
		{partition.ErrStorage, kerr.NotCoordinator},
		{errors.New("x"), kerr.UnknownServerError},
	} {
		log.set(tc.err)
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation = "g", -1
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}}}
		wantCode(t, tc.err.Error(), ask[*kmsg.OffsetCommitResponse](t, c, req, 8).Topics[0].Partitions[0].ErrorCode, tc.want)
	}
}

func TestEveryGroupOutcomeHasACode(t *testing.T) {
	for c := group.OK + 1; c.String()[0] != 'c'; c++ {
		if groupCodes[c] == nil || groupCodes[c].Message != c.String() {
			t.Errorf("%s is mapped to %v", c, groupCodes[c])
		}
	}
}

func TestInitProducerID(t *testing.T) {
	c, _, _ := groupServer(t)
	for v := int16(0); v <= 5; v++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		r := ask[*kmsg.InitProducerIDResponse](t, c, req, v)
		if r.ErrorCode != 0 || r.ProducerID != 100+int64(v) || r.ProducerEpoch != 0 {
			t.Errorf("v%d: %+v", v, r)
		}
		req.TransactionalID = kmsg.StringPtr("txn")
		r = ask[*kmsg.InitProducerIDResponse](t, c, req, v)
		wantCode(t, "transactional id", r.ErrorCode, kerr.UnsupportedVersion)
		if r.ProducerID != -1 {
			t.Errorf("v%d: %+v", v, r)
		}
	}
}
