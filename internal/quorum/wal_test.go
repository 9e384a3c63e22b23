package quorum

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

const walDir = "/d/__cluster_metadata-0"

func walDisk(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	if err := errors.Join(m.MkdirAll("/d"), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return m
}

func entry(index, term uint64, data string) *pb.Entry {
	return &pb.Entry{Index: new(index), Term: new(term), Type: pb.EntryNormal.Enum(), Data: []byte(data)}
}

func hard(term, commit uint64) *pb.HardState {
	return &pb.HardState{Term: new(term), Vote: new(uint64(7)), Commit: new(commit)}
}

// String describes what must survive a crash.
func (s *walState) String() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "life %d group %d active %v base %d/%d ckpt %d@%d hs %d/%d/%d;",
		s.life, s.form.Group, s.form.Active, s.base.Index, s.base.Term, s.ckpt.Index, s.ckpt.End,
		s.hs.GetTerm(), s.hs.GetVote(), s.hs.GetCommit())
	for _, e := range s.ents {
		fmt.Fprintf(&b, " %d/%d:%s", e.GetIndex(), e.GetTerm(), e.GetData())
	}
	return b.String()
}

func describeWAL(w *wal) string {
	s := w.state()
	return s.String()
}

// walScript drives a WAL through elections, conflicts, checkpoints, trims and
// snapshots. Each step is durable when it returns.
func walScript(w *wal, rng *rand.Rand, step func() bool) error {
	if err := w.start(formation{Group: 9, Active: true}, checkpoint{Index: 1, Term: 1}); err != nil {
		return err
	}
	term, last := uint64(1), uint64(1)
	for i := range 40 {
		if !step() {
			return nil
		}
		s := w.state()
		var err error
		switch k := rng.IntN(10); {
		case k < 5:
			n := 1 + rng.IntN(4)
			var ents []*pb.Entry
			for range n {
				last++
				ents = append(ents, entry(last, term, fmt.Sprint("e", i)))
			}
			err = w.save(hard(term, last-1), ents, true)
		case k < 7: // a new leader replaces an uncommitted tail
			term++
			from := max(s.base.Index+1, s.ckpt.Index+1, last-min(last, uint64(rng.IntN(3))))
			last = from
			err = w.save(hard(term, from-1), []*pb.Entry{entry(from, term, fmt.Sprint("c", i))}, true)
		case k < 8:
			err = w.saveCheckpoint(checkpoint{Index: last, Term: term, End: model.Offset(last * 2)})
		case k < 9:
			err = w.trim(s.ckpt.Index)
		default:
			last += 5
			err = w.saveSnapshot(checkpoint{Index: last, Term: term, End: model.Offset(last * 2)}, hard(term, last))
		}
		if err != nil {
			return err
		}
	}
	step()
	return nil
}

// After a crash at any point between operations, whatever an operation made
// durable is there, and nothing else.
func TestWALCrashSweep(t *testing.T) {
	for seed := range uint64(30) {
		disk := walDisk(t)
		w, err := openWAL(disk, walDir)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = walScript(w, rand.New(rand.NewPCG(seed, 1)), func() bool {
			n++
			want := describeWAL(w)
			for _, percent := range []int{0, 50, 100} {
				again, err := openWAL(disk.CrashClone(percent, seed*1000+uint64(n)), walDir)
				if err != nil {
					t.Fatalf("seed %d step %d, %d%% of unsynced kept: %v", seed, n, percent, err)
				}
				if got := describeWAL(again); got != want {
					t.Fatalf("seed %d step %d, %d%% of unsynced kept:\n got %s\nwant %s", seed, n, percent, got, want)
				}
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A crash inside an operation leaves the state before or after it.
func TestWALCrashInsideOperations(t *testing.T) {
	errStop := errors.New("power is gone")
	for seed := range uint64(20) {
		for fail := 1; ; fail++ {
			disk := walDisk(t)
			ops, broken := 0, false
			fs := vfs.NewFaulty(disk, func(vfs.Op) error {
				if ops++; ops >= fail {
					broken = true
					return errStop
				}
				return nil
			})
			w, err := openWAL(fs, walDir)
			if err != nil {
				continue // before there was anything
			}
			before := describeWAL(w)
			err = walScript(w, rand.New(rand.NewPCG(seed, 1)), func() bool {
				before = describeWAL(w)
				return true
			})
			if !broken {
				break // the script ran to its end
			}
			if err != nil && !errors.Is(err, errStop) { // nil: only removing the old file failed
				t.Fatalf("seed %d, operation %d: %v", seed, fail, err)
			}
			again, err := openWAL(disk.CrashClone(50, seed+uint64(fail)), walDir)
			if err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, fail, err)
			}
			checkPrefix(t, before, again, fmt.Sprintf("seed %d, operation %d", seed, fail))
		}
	}
}

// checkPrefix: identity, formation and every durable entry below the checkpoint
// are there.
func checkPrefix(t *testing.T, before string, w *wal, where string) {
	t.Helper()
	s := w.state()
	var life, group uint64
	if _, err := fmt.Sscanf(before, "life %d group %d", &life, &group); err != nil {
		t.Fatal(err)
	}
	if s.life != life || (group != 0 && s.form.Group != group) {
		t.Fatalf("%s: %s, before %s", where, s.String(), before)
	}
	if s.ckpt.Index > s.last() {
		t.Fatalf("%s: checkpoint at %d, entries end at %d", where, s.ckpt.Index, s.last())
	}
}

// An entry that was only written may be lost, a synced one may not.
func TestWALUnsyncedTail(t *testing.T) {
	disk := walDisk(t)
	w, err := openWAL(disk, walDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		w.start(formation{Group: 9, Active: true}, checkpoint{Index: 1, Term: 1}),
		w.save(hard(2, 1), []*pb.Entry{entry(2, 2, "synced")}, true),
		w.save(nil, []*pb.Entry{entry(3, 2, "written")}, false),
		w.save(hard(2, 2), nil, false),
	); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(200) {
		again, err := openWAL(disk.CrashClone(50, seed), walDir)
		if err != nil {
			t.Fatal(err)
		}
		if last := again.state(); last.last() < 2 || last.last() > 3 {
			t.Fatalf("seed %d: %s", seed, last.String())
		}
	}
}

// Damage below what was durable isn't mistaken for a torn tail.
func TestWALDamageIsNotATornTail(t *testing.T) {
	disk := walDisk(t)
	w, err := openWAL(disk, walDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.start(formation{Group: 9, Active: true}, checkpoint{Index: 1, Term: 1}); err != nil {
		t.Fatal(err)
	}
	at := w.io.size
	for i := range uint64(3) {
		if err := w.save(hard(2, 1), []*pb.Entry{entry(2+i, 2, "entry")}, true); err != nil {
			t.Fatal(err)
		}
	}
	f, err := disk.Open(walDir + "/" + w.io.name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, at+walHeaderSize+3); err != nil {
		t.Fatal(err)
	}
	if _, err := openWAL(disk, walDir); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("opened a damaged WAL: %v", err)
	}
}

func FuzzWALFrames(f *testing.F) {
	p, _ := encodeEntries([]*pb.Entry{entry(2, 2, "x")})
	b, _ := proto.Marshal(hard(2, 1))
	f.Add(appendFrame(appendFrame(nil, frameEntries, 0, p), frameHardState, 40, b))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s walState
		n, err := scanFrames(data, s.replay)
		if n < 0 || n > int64(len(data)) {
			t.Fatalf("valid prefix of %d bytes is %d: %v", len(data), n, err)
		}
	})
}
