package commitlog

import (
	"strings"
	"sync/atomic"
	"testing"

	"tidemark/internal/vfs"
)

// countReads counts the bytes that are read from segment files.
func countReads(fsys vfs.FS, n *atomic.Int64) vfs.FS {
	return vfs.NewFaulty(fsys, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, logSuffix) {
			n.Add(int64(op.Len))
		}
		return nil
	})
}

// restartLog is a log of one segment, killed with a restart point at 90 %.
func restartLog(t *testing.T) (m *vfs.Mem, o Options, want string) {
	m = newMem(t)
	o = memOptions(m)
	o.Config.IndexInterval = 4096
	o.ProducerSnapshot = func() []byte { return encodeProducers(nil) }
	dirty := 0
	o.RestartBytes, o.OnDirty = 100<<10, func() { dirty++ }
	l := open(t, o)
	for i := range 1000 {
		_, err := l.Append(batch(l.End(), 1, 2, int64(i), 1000))
		must(t, err)
		if dirty > 0 && i < 900 {
			must(t, mark(l))
			dirty = 0
		}
	}
	if l.Unmarked() < 100*2000 || l.Unmarked() > 220*2000 {
		t.Fatalf("%d bytes behind the last restart point", l.Unmarked())
	}
	must(t, l.Checkpointed(l.Flushed()))
	names, err := m.List(testDir)
	must(t, err)
	snapshots := 0
	for _, e := range names {
		if strings.HasSuffix(e.Name, snapshotSuffix) {
			snapshots++
		}
	}
	if snapshots != 1 {
		t.Errorf("%d snapshots of earlier restart points stayed", snapshots)
	}
	o.RecoveryPoint, o.OnDirty = l.Flushed(), nil
	return m.CrashClone(100, 1), o, contents(t, l)
}

func TestRecoveryReadsFromTheRestartPoint(t *testing.T) {
	m, o, want := restartLog(t)
	var read atomic.Int64
	o.FS = countReads(m, &read)
	l := open(t, o)
	if share := float64(read.Load()) / float64(l.Size()); share > 0.25 || share == 0 {
		t.Errorf("recovery read %.0f %% of the log", 100*share)
	}
	if got := contents(t, l); got != want {
		t.Errorf("found %s\nwant %s", got, want)
	}
	checkLookups(t, "after recovery", l)
	if l.Flushed() != o.RecoveryPoint {
		t.Errorf("flushed %d, the recovery point was %d", l.Flushed(), o.RecoveryPoint)
	}
}

// TestRestartPointNeedsItsFiles damages one of the files that a restart point
// consists of: then the whole segment is read, and nothing is missed.
func TestRestartPointNeedsItsFiles(t *testing.T) {
	for _, c := range []struct {
		suffix string
		harm   func(t *testing.T, fsys vfs.FS, name string)
	}{
		{indexSuffix, flipAt(100)}, {indexSuffix, flipAt(8)}, {indexSuffix, cutTo(1003)}, {indexSuffix, gone1}, {indexSuffix, zeros},
		{timeSuffix, flipAt(120)}, {timeSuffix, cutTo(1003)}, {timeSuffix, gone1},
		{snapshotSuffix, flipAt(9)}, {snapshotSuffix, gone1},
	} {
		m, o, want := restartLog(t)
		name := l0(t, m, c.suffix)
		c.harm(t, m, name)
		o.FS = m
		l := open(t, o)
		if got := contents(t, l); got != want {
			t.Errorf("%s: found %s\nwant %s", name, got, want)
		}
		checkLookups(t, name, l)
		must(t, l.Close(true))
		o.Clean = true
		checkLookups(t, name+", closed", open(t, o))
	}
}

// l0 is the only file of a suffix.
func l0(t *testing.T, fsys vfs.FS, suffix string) string {
	names, err := fsys.List(testDir)
	must(t, err)
	for _, e := range names {
		if strings.HasSuffix(e.Name, suffix) {
			return testDir + "/" + e.Name
		}
	}
	t.Fatalf("no %s file among %v", suffix, names)
	return ""
}

func flipAt(at int64) func(*testing.T, vfs.FS, string) {
	return func(t *testing.T, fsys vfs.FS, name string) {
		f, err := fsys.Open(name)
		must(t, err)
		var p [1]byte
		_, err = f.ReadAt(p[:], at)
		must(t, err)
		p[0] ^= 0x40
		_, err = f.WriteAt(p[:], at)
		must(t, err)
		must(t, f.Sync())
	}
}

func cutTo(size int64) func(*testing.T, vfs.FS, string) {
	return func(t *testing.T, fsys vfs.FS, name string) { must(t, cutFileTo(fsys, name, size, true)) }
}

func gone1(t *testing.T, fsys vfs.FS, name string) { must(t, fsys.Remove(name)) }

// zeros is what a JVM's preallocated index ends in after a crash.
func zeros(t *testing.T, fsys vfs.FS, name string) {
	p, err := vfs.ReadFile(fsys, name)
	must(t, err)
	must(t, cutFileTo(fsys, name, int64(len(p))+80, true))
}
