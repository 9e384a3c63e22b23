package quorum

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"tidemark/internal/model"
)

// Kinds of private frame between controllers.
const (
	frameRaft    = "raft"    // body: messages, each u32 length and protobuf
	frameHello   = "hello"   // who are you, what do you belong to; header only
	framePrepare = "prepare" // make these the first members; header only
	frameChunk   = "chunk"   // body of the answer: part of a snapshot file
)

// envelope heads every private request and answer. Body follows the JSON:
//
//	length u32 | JSON | body
type envelope struct {
	Kind    string `json:"kind"`
	Cluster string `json:"cluster"`
	Group   uint64 `json:"group,omitempty"`
	From    Member `json:"from"`
	To      uint64 `json:"to,omitempty"` // Raft id that a raft frame is meant for

	Form   *formation `json:"form,omitempty"`   // hello answer, prepare
	Leader uint64     `json:"leader,omitempty"` // hello answer: Raft id
	Known  []Member   `json:"known,omitempty"`  // hello answer: members

	Snapshot *SnapshotID `json:"snapshot,omitempty"` // chunk
	Position int64       `json:"position,omitempty"`
	Size     int64       `json:"size,omitempty"`

	Error string `json:"error,omitempty"`
}

var errBadFrame = errors.New("quorum: malformed private frame")

// Errors that peers answer with, by name.
const (
	refuseCluster = "other cluster"
	refuseGroup   = "other quorum"
	refuseTarget  = "meant for another raft id"
	refuseMember  = "not a member"
)

func encodeFrame(e envelope, body []byte) ([]byte, error) {
	head, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 4+len(head)+len(body))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = append(out, head...)
	return append(out, body...), nil
}

func decodeFrame(p []byte) (e envelope, body []byte, err error) {
	if len(p) < 4 || int64(binary.BigEndian.Uint32(p)) > int64(len(p)-4) {
		return e, nil, fmt.Errorf("%d bytes: %w", len(p), errBadFrame)
	}
	n := int(binary.BigEndian.Uint32(p))
	if err := json.Unmarshal(p[4:4+n], &e); err != nil {
		return e, nil, fmt.Errorf("%w: %w", errBadFrame, err)
	}
	return e, p[4+n:], nil
}

func encodeMessages(ms []*pb.Message) ([]byte, error) {
	var out []byte
	for _, m := range ms {
		at := len(out)
		out = append(out, 0, 0, 0, 0)
		var err error
		if out, err = (proto.MarshalOptions{}).MarshalAppend(out, m); err != nil {
			return nil, err
		}
		binary.BigEndian.PutUint32(out[at:], uint32(len(out)-at-4))
	}
	return out, nil
}

func decodeMessages(p []byte) ([]*pb.Message, error) {
	var ms []*pb.Message
	for len(p) > 0 {
		if len(p) < 4 || int64(binary.BigEndian.Uint32(p)) > int64(len(p)-4) {
			return nil, errBadFrame
		}
		n := int(binary.BigEndian.Uint32(p))
		m := &pb.Message{}
		if err := proto.Unmarshal(p[4:4+n], m); err != nil {
			return nil, fmt.Errorf("%w: %w", errBadFrame, err)
		}
		ms, p = append(ms, m), p[4+n:]
	}
	return ms, nil
}

func (n *Node) envelope(kind string) envelope {
	return envelope{Kind: kind, Cluster: n.cfg.ClusterID, Group: n.group.Load(), From: n.self}
}

func peerOf(m Member) Peer { return Peer{Node: m.Node, Endpoint: m.Endpoint} }

// nodeOf is the node id of a Raft id; NoBroker if unknown.
func nodeOf(ms members, id uint64) model.BrokerID {
	if m, ok := ms[id]; ok {
		return m.Node
	}
	return model.NoBroker
}
