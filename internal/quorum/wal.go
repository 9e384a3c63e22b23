package quorum

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// confState mirrors raft's, in a form that survives JSON.
type confState struct {
	Voters       []uint64 `json:"voters,omitempty"`
	Learners     []uint64 `json:"learners,omitempty"`
	Outgoing     []uint64 `json:"outgoing,omitempty"`
	LearnersNext []uint64 `json:"learnersNext,omitempty"`
	AutoLeave    bool     `json:"autoLeave,omitempty"`
}

func confStateOf(cs *pb.ConfState) confState {
	return confState{
		Voters: slices.Clone(cs.GetVoters()), Learners: slices.Clone(cs.GetLearners()),
		Outgoing: slices.Clone(cs.GetVotersOutgoing()), LearnersNext: slices.Clone(cs.GetLearnersNext()),
		AutoLeave: cs.GetAutoLeave(),
	}
}

func (c confState) pb() *pb.ConfState {
	return &pb.ConfState{
		Voters: slices.Clone(c.Voters), Learners: slices.Clone(c.Learners),
		VotersOutgoing: slices.Clone(c.Outgoing), LearnersNext: slices.Clone(c.LearnersNext),
		AutoLeave: new(c.AutoLeave),
	}
}

func (c confState) has(id uint64) bool {
	return slices.Contains(c.Voters, id) || slices.Contains(c.Learners, id) || slices.Contains(c.Outgoing, id)
}

func (c confState) joint() bool { return len(c.Outgoing) > 0 }

// checkpoint says how far the committed entries have been materialised. It is
// also all that a Raft snapshot needs beside the file of records.
type checkpoint struct {
	Index   uint64            `json:"index"` // last applied Raft index
	Term    uint64            `json:"term"`
	End     model.Offset      `json:"end"`   // end of the materialised log
	Epoch   model.LeaderEpoch `json:"epoch"` // of the record below End
	Conf    confState         `json:"conf"`
	Members []Member          `json:"members"`
}

// formation is this node's part in agreeing on the first configuration.
type formation struct {
	Group   uint64   `json:"group"` // identity of the quorum: a hash of its first members
	Members []Member `json:"members,omitempty"`
	Active  bool     `json:"active"` // may take part in elections
	Joining bool     `json:"joining,omitempty"`
}

// walState is what the WAL says. Its slices and pointers are never changed in
// place once published.
type walState struct {
	life uint64
	form formation
	hs   *pb.HardState
	base checkpoint // index and term just below the first entry
	ents []*pb.Entry
	ckpt checkpoint
}

func (s *walState) last() uint64 { return s.base.Index + uint64(len(s.ents)) }

// wal is the private log. Appends come from the writer and, for checkpoints,
// from the applier. Lock order: io -> mu; Raft's loop takes only mu, under which
// nothing waits for the disk.
type wal struct {
	fs  vfs.FS
	dir string

	io struct {
		sync.Mutex
		file   vfs.File
		name   string
		seq    uint64
		size   int64 // bytes written
		synced int64 // bytes known durable
		failed error // sticky: after a failed write or fsync nothing is trusted
	}
	mu struct {
		sync.Mutex
		walState
	}
}

func (w *wal) state() walState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.walState
}

func (w *wal) publish(s walState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.walState = s
}

// openWAL reads the newest WAL file, or creates one with a fresh life.
func openWAL(fs vfs.FS, dir string) (*wal, error) {
	w := &wal{fs: fs, dir: dir}
	if err := fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	if err := fs.SyncDir(path.Dir(dir)); err != nil { // a new directory must survive a crash
		return nil, err
	}
	names, err := w.files()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return w, w.create()
	}
	for _, old := range names[:len(names)-1] {
		if err := fs.Remove(path.Join(dir, old)); err != nil {
			return nil, err
		}
	}
	return w, w.load(names[len(names)-1])
}

// files lists WAL files, oldest first, and removes half-written ones.
func (w *wal) files() ([]string, error) {
	list, err := w.fs.List(w.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range list {
		switch {
		case strings.HasSuffix(e.Name, ".wal.tmp"):
			if err := w.fs.Remove(path.Join(w.dir, e.Name)); err != nil {
				return nil, err
			}
		case strings.HasSuffix(e.Name, ".wal"):
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (w *wal) create() error {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	w.io.Lock()
	defer w.io.Unlock()
	return w.rewriteLocked(walState{life: binary.BigEndian.Uint64(b[:]) | 1})
}

func (w *wal) load(name string) error {
	w.io.Lock()
	defer w.io.Unlock()
	full := path.Join(w.dir, name)
	data, err := vfs.ReadFile(w.fs, full)
	if err != nil {
		return err
	}
	var s walState
	valid, err := scanFrames(data, s.replay)
	if err != nil {
		return fmt.Errorf("%s: %w", full, err)
	}
	if s.life == 0 {
		return fmt.Errorf("%s: no identity frame in %d bytes: %w", full, len(data), ErrCorrupt)
	}
	f, err := w.fs.Open(full)
	if err != nil {
		return err
	}
	if valid < int64(len(data)) {
		if err := f.Truncate(valid); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	w.io.file, w.io.name, w.io.size, w.io.synced = f, name, valid, valid
	w.publish(s)
	_, err = fmt.Sscanf(name, "%020d.wal", &w.io.seq)
	return err
}

// replay applies one frame. // flat switch
func (s *walState) replay(f frame) error {
	switch f.typ {
	case frameIdentity:
		if len(f.payload) != 8 {
			return ErrCorrupt
		}
		s.life = binary.BigEndian.Uint64(f.payload)
		return nil
	case frameFormation:
		s.form = formation{}
		return json.Unmarshal(f.payload, &s.form)
	case frameHardState:
		s.hs = &pb.HardState{}
		return proto.Unmarshal(f.payload, s.hs)
	case frameEntries:
		ents, err := decodeEntries(f.payload)
		if err != nil {
			return err
		}
		return s.add(ents)
	case frameCheckpoint:
		s.ckpt = checkpoint{}
		return json.Unmarshal(f.payload, &s.ckpt)
	case frameSnapshot:
		var c checkpoint
		if err := json.Unmarshal(f.payload, &c); err != nil {
			return err
		}
		s.base, s.ckpt, s.ents = c, c, nil
		return nil
	}
	return fmt.Errorf("unknown type %d: %w", f.typ, ErrCorrupt)
}

// add appends entries; an index that exists already replaces it and everything
// after, as in Raft.
func (s *walState) add(ents []*pb.Entry) error {
	first := s.base.Index + 1
	for len(ents) > 0 && ents[0].GetIndex() < first {
		ents = ents[1:]
	}
	if len(ents) == 0 {
		return nil
	}
	at := ents[0].GetIndex() - first
	switch n := uint64(len(s.ents)); {
	case at > n:
		return fmt.Errorf("entry %d after %d: %w", ents[0].GetIndex(), s.last(), ErrCorrupt)
	case at == n:
		s.ents = append(s.ents, ents...)
	default: // readers may hold what is replaced: copy
		s.ents = append(s.ents[:at:at], ents...)
	}
	return nil
}

// save writes what one MsgStorageAppend carries; sync makes it durable together
// with everything before it.
func (w *wal) save(hs *pb.HardState, ents []*pb.Entry, sync bool) error {
	w.io.Lock()
	defer w.io.Unlock()
	var buf []byte
	s := w.state()
	if len(ents) > 0 {
		p, err := encodeEntries(ents)
		if err != nil {
			return err
		}
		buf = appendFrame(buf, frameEntries, w.io.synced, p)
		if err := s.add(ents); err != nil {
			return err
		}
	}
	if !raft.IsEmptyHardState(hs) {
		p, err := proto.Marshal(hs)
		if err != nil {
			return err
		}
		buf = appendFrame(buf, frameHardState, w.io.synced, p)
		s.hs = proto.Clone(hs).(*pb.HardState)
	}
	if err := w.writeLocked(buf, sync); err != nil {
		return err
	}
	w.publish(s)
	return nil
}

// saveCheckpoint makes c durable (invariants 6 and 7).
func (w *wal) saveCheckpoint(c checkpoint) error {
	w.io.Lock()
	defer w.io.Unlock()
	s := w.state()
	s.ckpt = c
	return w.writeJSONLocked(s, frameCheckpoint, c)
}

// saveSnapshot replaces all entries by an installed snapshot.
func (w *wal) saveSnapshot(c checkpoint, hs *pb.HardState) error {
	w.io.Lock()
	defer w.io.Unlock()
	s := w.state()
	s.base, s.ckpt, s.ents = c, c, nil
	if !raft.IsEmptyHardState(hs) {
		s.hs = proto.Clone(hs).(*pb.HardState)
	}
	return w.rewriteLocked(s)
}

func (w *wal) saveFormation(f formation) error {
	w.io.Lock()
	defer w.io.Unlock()
	s := w.state()
	s.form = f
	return w.writeJSONLocked(s, frameFormation, f)
}

// start makes c, with no entries, the beginning of this node's Raft log.
func (w *wal) start(f formation, c checkpoint) error {
	w.io.Lock()
	defer w.io.Unlock()
	s := w.state()
	s.form, s.base, s.ckpt, s.ents = f, c, c, nil
	s.hs = &pb.HardState{Term: new(c.Term), Vote: new(uint64(0)), Commit: new(c.Index)}
	return w.rewriteLocked(s)
}

// trim drops entries up to index, which a durable snapshot covers (invariant 6).
func (w *wal) trim(index uint64) error {
	w.io.Lock()
	defer w.io.Unlock()
	s := w.state()
	if index <= s.base.Index || index > s.last() || index > s.ckpt.Index {
		return nil
	}
	n := index - s.base.Index
	base := s.ckpt
	base.Index, base.Term = index, s.ents[n-1].GetTerm()
	s.base, s.ents = base, slices.Clone(s.ents[n:])
	return w.rewriteLocked(s)
}

// writeJSONLocked appends one durable frame, then publishes the state it leads to.
func (w *wal) writeJSONLocked(s walState, typ byte, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := w.writeLocked(appendFrame(nil, typ, w.io.synced, p), true); err != nil {
		return err
	}
	w.publish(s)
	return nil
}

func (w *wal) writeLocked(buf []byte, sync bool) error {
	if w.io.failed != nil {
		return w.io.failed
	}
	if len(buf) > 0 {
		if _, err := w.io.file.WriteAt(buf, w.io.size); err != nil {
			w.io.failed = fmt.Errorf("write %s at %d: %w", w.io.name, w.io.size, err)
			return w.io.failed
		}
		w.io.size += int64(len(buf))
	}
	if sync && w.io.synced < w.io.size {
		if err := w.io.file.Sync(); err != nil {
			w.io.failed = fmt.Errorf("sync %s at %d: %w", w.io.name, w.io.size, err)
			return w.io.failed
		}
		w.io.synced = w.io.size
	}
	return nil
}

// rewriteLocked writes s to the next file, durable before the old one goes, and
// publishes it.
func (w *wal) rewriteLocked(s walState) error {
	if w.io.failed != nil {
		return w.io.failed
	}
	buf, err := s.encode()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%020d.wal", w.io.seq+1)
	full := path.Join(w.dir, name)
	f, err := w.replaceFile(full, buf)
	if err != nil {
		w.io.failed = fmt.Errorf("rewrite %s: %w", full, err)
		return w.io.failed
	}
	if old := w.io.file; old != nil {
		_ = old.Close()
		_ = w.fs.Remove(path.Join(w.dir, w.io.name)) // a leftover is removed at the next start
	}
	w.io.file, w.io.name, w.io.seq = f, name, w.io.seq+1
	w.io.size, w.io.synced = int64(len(buf)), int64(len(buf))
	w.publish(s)
	return nil
}

func (s *walState) encode() ([]byte, error) {
	buf := appendFrame(nil, frameIdentity, 0, binary.BigEndian.AppendUint64(nil, s.life))
	add := func(typ byte, v any) error {
		p, err := json.Marshal(v)
		buf = appendFrame(buf, typ, 0, p)
		return err
	}
	if err := add(frameFormation, s.form); err != nil {
		return nil, err
	}
	if s.base.Index > 0 {
		if err := add(frameSnapshot, s.base); err != nil {
			return nil, err
		}
	}
	if len(s.ents) > 0 {
		p, err := encodeEntries(s.ents)
		if err != nil {
			return nil, err
		}
		buf = appendFrame(buf, frameEntries, 0, p)
	}
	if s.hs != nil {
		p, err := proto.Marshal(s.hs)
		if err != nil {
			return nil, err
		}
		buf = appendFrame(buf, frameHardState, 0, p)
	}
	return buf, add(frameCheckpoint, s.ckpt)
}

func (w *wal) replaceFile(full string, buf []byte) (vfs.File, error) {
	f, err := w.fs.Create(full + ".tmp")
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(buf, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := w.fs.Rename(full+".tmp", full); err != nil {
		return nil, err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return nil, err
	}
	return w.fs.Open(full)
}

func (w *wal) close() error {
	w.io.Lock()
	defer w.io.Unlock()
	if w.io.file == nil {
		return nil
	}
	err := w.writeLocked(nil, true)
	err = errors.Join(err, w.io.file.Close())
	w.io.file, w.io.failed = nil, ErrClosed
	return err
}

func encodeEntries(ents []*pb.Entry) ([]byte, error) {
	var out []byte
	for _, e := range ents {
		at := len(out)
		out = append(out, 0, 0, 0, 0)
		var err error
		if out, err = (proto.MarshalOptions{}).MarshalAppend(out, e); err != nil {
			return nil, err
		}
		binary.BigEndian.PutUint32(out[at:], uint32(len(out)-at-4))
	}
	return out, nil
}

func decodeEntries(p []byte) ([]*pb.Entry, error) {
	var ents []*pb.Entry
	for len(p) > 0 {
		if len(p) < 4 || int(binary.BigEndian.Uint32(p)) > len(p)-4 {
			return nil, fmt.Errorf("entry length in %d bytes: %w", len(p), ErrCorrupt)
		}
		n := int(binary.BigEndian.Uint32(p))
		e := &pb.Entry{}
		if err := proto.Unmarshal(p[4:4+n], e); err != nil {
			return nil, err
		}
		ents, p = append(ents, e), p[4+n:]
	}
	return ents, nil
}
