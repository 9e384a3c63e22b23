package commitlog

import (
	"cmp"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// story is the state behind one interaction file: a heap file system, and a
// log in it that commands open, use and crash.
type story struct {
	t   *testing.T
	fs  *vfs.Mem
	l   *Log
	cfg Config
	now time.Time
	rep CompactReport // of the last compaction
}

func TestInteraction(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{t: t, fs: newMem(t), now: time.UnixMilli(1_000_000)}
		s.cfg = DefaultConfig()
		s.cfg.IndexInterval = 100
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if err := s.run(d); err != nil {
				return "error: " + err.Error() + "\n"
			}
			return s.answer(d)
		})
	})
}

func arg(d *datadriven.TestData, key string, def int64) int64 {
	if d.HasArg(key) {
		var v int64
		a, _ := d.Arg(key)
		fmt.Sscan(a.Vals[0], &v)
		return v
	}
	return def
}

// run executes one command; each is listed with an example.
func (s *story) run(d *datadriven.TestData) (err error) { // flat switch
	switch d.Cmd {
	case "config": // config segment-bytes=400 retention-bytes=-1 retention-ms=-1 segment-ms=1000
		s.cfg.SegmentBytes = arg(d, "segment-bytes", s.cfg.SegmentBytes)
		s.cfg.RetentionBytes = arg(d, "retention-bytes", s.cfg.RetentionBytes)
		s.cfg.Retention = time.Duration(arg(d, "retention-ms", s.cfg.Retention.Milliseconds())) * time.Millisecond
		s.cfg.SegmentAge = time.Duration(arg(d, "segment-ms", s.cfg.SegmentAge.Milliseconds())) * time.Millisecond
		if s.l != nil {
			s.l.UpdateConfig(s.cfg)
		}
	case "open": // open clean=true point=100 start=20
		s.l, err = Open(Options{FS: s.fs, Dir: testDir, Config: s.cfg, Now: func() time.Time { return s.now },
			Clean: d.HasArg("clean"), Cleaned: model.Offset(arg(d, "cleaned", 0)), RecoveryPoint: model.Offset(arg(d, "point", 0)),
			LogStart: model.Offset(arg(d, "start", 0)), ProducerSnapshot: func() []byte { return nil }})
	case "append": // append base=0 epoch=1 records=10 batches=3 ts=500 size=10
		err = s.append(d)
	case "abort": // abort pid=7: a transaction of two records and its abort marker
		pid, epoch := model.ProducerID(arg(d, "pid", 0)), model.LeaderEpoch(arg(d, "epoch", 0))
		first := s.l.End()
		_, err = s.l.Append(append(txnBatch(first, epoch, pid, 2), marker(first+2, epoch, pid, false)...))
	case "assign": // assign epoch=3
		err = s.l.AssignEpoch(model.LeaderEpoch(arg(d, "epoch", 0)), s.l.End())
	case "roll": // roll
		err = s.l.Roll()
	case "flush": // flush upto=50
		err = s.l.Flush(model.Offset(arg(d, "upto", int64(s.l.End()))))
	case "truncate": // truncate to=35
		_, err = s.l.TruncateTo(model.Offset(arg(d, "to", 0)))
	case "restart": // restart at=100
		err = s.l.TruncateFullyAndStartAt(model.Offset(arg(d, "at", 0)))
	case "advance": // advance to=35
		err = s.l.AdvanceStart(model.Offset(arg(d, "to", 0)))
	case "retain": // retain hw=50 now=5000
		_, err = s.l.ApplyRetention(time.UnixMilli(arg(d, "now", 0)), model.Offset(arg(d, "hw", 0)))
	case "remove-deleted": // remove-deleted after=60s
		_, err = s.l.RemoveDeleted(s.now.Add(s.cfg.FileDeleteDelay))
	case "close": // close
		err = s.l.Close(true)
	case "crash": // crash survives=100
		s.fs = s.fs.CrashClone(int(arg(d, "survives", 100)), 1)
	case "damage": // damage file=...log at=70 | cut=70 | empty: one byte flipped, or the file cut
		err = s.damage(d)
	case "remove": // remove file=00000000000000000000.index
		err = s.fs.Remove(testDir + "/" + d.CmdArgs[0].Vals[0])
	case "write": // write file=leader-epoch-checkpoint (the input is the contents)
		err = vfs.WriteFileAtomic(s.fs, testDir+"/"+d.CmdArgs[0].Vals[0], []byte(d.Input+"\n"))
	case "read": // read from=15 limit=30 bytes=100 min-one
	case "ls", "status", "end-of", "aborted", "time", "dump": // questions only
	default:
		return s.runCompact(d)
	}
	return err
}

func (s *story) append(d *datadriven.TestData) error {
	n := int(arg(d, "records", 10))
	for i := range arg(d, "batches", 1) {
		base := s.l.End()
		if i == 0 {
			base = model.Offset(arg(d, "base", int64(base)))
		}
		_, err := s.l.Append(batch(base, model.LeaderEpoch(arg(d, "epoch", 0)), n,
			arg(d, "ts", int64(base)), int(arg(d, "size", 10))))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *story) damage(d *datadriven.TestData) error {
	f, err := s.fs.Open(testDir + "/" + d.CmdArgs[0].Vals[0])
	if err != nil {
		return err
	}
	defer f.Close()
	if d.HasArg("cut") {
		err = f.Truncate(arg(d, "cut", 0))
	} else {
		var p [1]byte
		if _, err = f.ReadAt(p[:], arg(d, "at", 0)); err == nil {
			p[0] ^= 0xff
			_, err = f.WriteAt(p[:], arg(d, "at", 0))
		}
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

// answer is what a command prints when it succeeded.
func (s *story) answer(d *datadriven.TestData) string { // flat switch
	switch d.Cmd {
	case "ls":
		entries, err := s.fs.List(testDir)
		must(s.t, err)
		var out []string
		for _, e := range entries {
			out = append(out, fmt.Sprintf("%s %d", e.Name, e.Size))
		}
		sort.Strings(out)
		return strings.Join(out, "\n") + "\n"
	case "end-of": // end-of epoch=3
		e, end := s.l.EndOffsetFor(model.LeaderEpoch(arg(d, "epoch", 0)))
		return fmt.Sprintf("(%d, %d)\n", e, end)
	case "aborted":
		txns, err := s.l.AbortedTxns(s.l.Start(), s.l.End())
		return fmt.Sprintf("%v %v\n", txns, err)
	case "time": // time at=500
		off, at, epoch, ok, err := s.l.OffsetForTimestamp(arg(d, "at", 0), s.l.End())
		return fmt.Sprintf("offset %d timestamp %d epoch %d %t %v\n", off, at, epoch, ok, err)
	case "dump":
		var b strings.Builder
		must(s.t, Dump(s.fs, testDir, &b))
		return b.String()
	case "read":
		sl, err := s.l.Read(model.Offset(arg(d, "from", 0)), model.Offset(arg(d, "limit", 1<<40)),
			int(arg(d, "bytes", 1<<20)), d.HasArg("min-one"))
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		defer sl.Release()
		return fmt.Sprintf("[%d, %d) %d bytes\n", sl.First, sl.Next, sl.Len())
	case "put", "txn", "end", "records", "dirty", "compact":
		return s.answerCompact(d)
	case "config", "topic", "clock", "damage", "remove", "write", "crash", "close":
		return "ok\n"
	}
	return fmt.Sprintf("[%d, %d) flushed=%d epochs=%v\n%s\n", s.l.Start(), s.l.End(), s.l.Flushed(), s.l.Epochs(),
		cmp.Or(contents(s.t, s.l), "(no batches)"))
}
