package quorum

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// ErrIDCollision means that two members hash to the same Raft id. One of them
// has to be formatted again.
var ErrIDCollision = errors.New("quorum: two members have the same raft id")

type brokerID = model.BrokerID

func contains(ids []uint64, id uint64) bool { return slices.Contains(ids, id) }

// Voter is one configured controller. Dir is the zero id while unknown, as with
// controller.quorum.voters.
type Voter struct {
	ID       model.BrokerID
	Dir      model.DirectoryID
	Endpoint metadata.Endpoint
}

// Member is one participant of the Raft group. Life is drawn when its WAL is
// created: a node whose disk was lost is another member, even if its directory
// id was reused.
type Member struct {
	Node     model.BrokerID    `json:"node"`
	Dir      model.DirectoryID `json:"dir"`
	Life     uint64            `json:"life"`
	Endpoint metadata.Endpoint `json:"endpoint"`
}

// RaftID is the member's id inside Raft: a hash of directory id and life, never
// 0 and never one of raft's local targets.
func (m Member) RaftID() uint64 {
	var in [24]byte
	copy(in[:16], m.Dir[:])
	binary.BigEndian.PutUint64(in[16:], m.Life)
	sum := sha256.Sum256(in[:])
	id := binary.BigEndian.Uint64(sum[:8])
	if id == raft.None || raft.IsLocalMsgTarget(id) {
		return binary.BigEndian.Uint64(sum[8:16]) | 1
	}
	return id
}

// String names the member in logs.
func (m Member) String() string {
	return fmt.Sprintf("%d (directory %s, raft %016x)", m.Node, m.Dir, m.RaftID())
}

// members maps Raft ids to members. It is replaced, never changed, so that it
// can be shared between goroutines.
type members map[uint64]Member

func newMembers(list []Member) (members, error) {
	ms := make(members, len(list))
	for _, m := range list {
		id := m.RaftID()
		if o, dup := ms[id]; dup {
			return nil, fmt.Errorf("%v and %v: %w", o, m, ErrIDCollision)
		}
		ms[id] = m
	}
	return ms, nil
}

func (ms members) with(id uint64, m Member) members {
	out := maps.Clone(ms)
	if out == nil {
		out = members{}
	}
	out[id] = m
	return out
}

func (ms members) without(id uint64) members {
	out := maps.Clone(ms)
	delete(out, id)
	return out
}

// list is sorted by node id, then Raft id.
func (ms members) list() []Member {
	out := slices.Collect(maps.Values(ms))
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.RaftID(), b.RaftID()))
	})
	return out
}

// byNode finds a member by its node id; the voter wins over a learner with the
// same id.
func (ms members) byNode(node model.BrokerID, voters []uint64) (uint64, Member, bool) {
	var found uint64
	ok := false
	for _, m := range ms.list() {
		id := m.RaftID()
		if m.Node == node && (!ok || slices.Contains(voters, id)) {
			found, ok = id, true
		}
	}
	return found, ms[found], ok
}
