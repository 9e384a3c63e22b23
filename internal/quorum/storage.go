package quorum

import (
	"encoding/json"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// storage is how Raft reads the WAL. Its methods are called by the loop; the WAL
// is written by others, hence the lock.
type storage struct {
	*wal
	// snapshot returns the newest durable snapshot, or false after asking for one.
	snapshot func() (checkpoint, bool)
}

var _ raft.Storage = (*storage)(nil)

// InitialState is the state at the applied checkpoint: Raft delivers later
// entries, conf changes among them, again.
func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) {
	st := s.state()
	hs := &pb.HardState{Term: new(uint64(0)), Vote: new(uint64(0)), Commit: new(uint64(0))}
	if st.hs != nil {
		hs = proto.Clone(st.hs).(*pb.HardState)
	}
	// The commit index isn't fsynced by itself; what was applied was committed.
	if hs.GetCommit() < st.ckpt.Index {
		hs.Commit = new(st.ckpt.Index)
	}
	hs.Commit = new(min(hs.GetCommit(), st.last()))
	return hs, st.ckpt.Conf.pb(), nil
}

// Entries returns [lo, hi), at least one entry, up to maxSize bytes.
func (s *storage) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	st := s.state()
	first := st.base.Index + 1
	if lo < first {
		return nil, raft.ErrCompacted
	}
	if hi > st.last()+1 || lo >= hi {
		return nil, raft.ErrUnavailable
	}
	ents := st.ents[lo-first : hi-first]
	var size uint64
	for i, e := range ents {
		size += uint64(proto.Size(e))
		if i > 0 && size > maxSize {
			ents = ents[:i]
			break
		}
	}
	return ents[:len(ents):len(ents)], nil
}

// Term returns the term of entry i, which may also be the one just below the first.
func (s *storage) Term(i uint64) (uint64, error) {
	st := s.state()
	switch {
	case i < st.base.Index:
		return 0, raft.ErrCompacted
	case i == st.base.Index:
		return st.base.Term, nil
	case i > st.last():
		return 0, raft.ErrUnavailable
	}
	return st.ents[i-st.base.Index-1].GetTerm(), nil
}

// LastIndex is the index of the last entry.
func (s *storage) LastIndex() (uint64, error) {
	st := s.state()
	return st.last(), nil
}

// FirstIndex is the index of the first entry that Entries can return.
func (s *storage) FirstIndex() (uint64, error) {
	st := s.state()
	return st.base.Index + 1, nil
}

// Snapshot describes the newest snapshot; the records themselves are pulled by
// the receiver.
func (s *storage) Snapshot() (*pb.Snapshot, error) {
	c, ok := s.snapshot()
	if !ok {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return &pb.Snapshot{
		Data: data,
		Metadata: &pb.SnapshotMetadata{
			Index: new(c.Index), Term: new(c.Term), ConfState: c.Conf.pb(),
		},
	}, nil
}
