package api

import (
	"net"
	"sync"

	"tidemark/internal/coordinator"
	"tidemark/internal/group"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Keys of the group APIs.
const (
	keyOffsetCommit    int16 = 8
	keyOffsetFetch     int16 = 9
	keyFindCoordinator int16 = 10
	keyJoinGroup       int16 = 11
	keyHeartbeat       int16 = 12
	keyLeaveGroup      int16 = 13
	keySyncGroup       int16 = 14
	keyDescribeGroups  int16 = 15
	keyListGroups      int16 = 16
	keyInitProducerID  int16 = 22
	keyDeleteGroups    int16 = 42
	keyOffsetDelete    int16 = 47
)

// groupOperations: read, delete, describe, describe and alter configs.
const groupOperations int32 = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

// RegisterGroups adds the APIs of consumer groups in the classic protocol.
// creator creates __consumer_offsets when it is first needed; view is what the
// node knows of topics and brokers.
func RegisterGroups(h *Handlers, c *coordinator.Coordinator, view ClusterView, creator TopicCreator) {
	h.Register(keyFindCoordinator, (&findCoordinatorAPI{view, creator}).handle)
	h.Register(keyJoinGroup, (&joinGroupAPI{c}).handle)
	h.Register(keySyncGroup, (&syncGroupAPI{c}).handle)
	h.Register(keyHeartbeat, (&groupHeartbeatAPI{c}).handle)
	h.Register(keyLeaveGroup, (&leaveGroupAPI{c}).handle)
	h.Register(keyOffsetCommit, (&offsetCommitAPI{c, view}).handle)
	h.Register(keyOffsetFetch, (&offsetFetchAPI{c, view}).handle)
	h.Register(keyOffsetDelete, (&offsetDeleteAPI{c, view}).handle)
	h.Register(keyDescribeGroups, (&describeGroupsAPI{c}).handle)
	h.Register(keyListGroups, (&listGroupsAPI{c}).handle)
	h.Register(keyDeleteGroups, (&deleteGroupsAPI{c}).handle)
}

// groupCodes maps the outcomes of package group.
var groupCodes = map[group.Code]*kerr.Error{
	group.UnknownServerError:       kerr.UnknownServerError,
	group.CoordinatorLoading:       kerr.CoordinatorLoadInProgress,
	group.CoordinatorNotAvailable:  kerr.CoordinatorNotAvailable,
	group.NotCoordinator:           kerr.NotCoordinator,
	group.InvalidGroupID:           kerr.InvalidGroupID,
	group.GroupIDNotFound:          kerr.GroupIDNotFound,
	group.NonEmptyGroup:            kerr.NonEmptyGroup,
	group.GroupMaxSizeReached:      kerr.GroupMaxSizeReached,
	group.MemberIDRequired:         kerr.MemberIDRequired,
	group.UnknownMemberID:          kerr.UnknownMemberID,
	group.FencedInstanceID:         kerr.FencedInstanceID,
	group.IllegalGeneration:        kerr.IllegalGeneration,
	group.InconsistentProtocol:     kerr.InconsistentGroupProtocol,
	group.InvalidSessionTimeout:    kerr.InvalidSessionTimeout,
	group.RebalanceInProgress:      kerr.RebalanceInProgress,
	group.OffsetMetadataTooLarge:   kerr.OffsetMetadataTooLarge,
	group.GroupSubscribedToTopic:   kerr.GroupSubscribedToTopic,
	group.InvalidRequest:           kerr.InvalidRequest,
	group.GroupAuthorizationFailed: kerr.GroupAuthorizationFailed,
}

// groupCode returns Kafka's code of an outcome.
func groupCode(c group.Code) int16 {
	if c == group.OK {
		return 0
	}
	if e := groupCodes[c]; e != nil {
		return e.Code
	}
	return kerr.UnknownServerError.Code
}

// clientHost names the client as Java prints an address.
func clientHost(c *Call) string {
	host, _, err := net.SplitHostPort(c.Req.Conn.RemoteAddr().String())
	if err != nil {
		host = c.Req.Conn.RemoteAddr().String()
	}
	return "/" + host
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// whenAll calls done once all n parts have called part, at once if there are none.
func whenAll(n int, done func()) (part func(set func())) {
	var mu sync.Mutex
	if n == 0 {
		done()
	}
	return func(set func()) {
		mu.Lock()
		set()
		n--
		last := n == 0
		mu.Unlock()
		if last {
			done()
		}
	}
}
